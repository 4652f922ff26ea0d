"""Rollouts over HTTP, on a real server: canary, shadow, rule, guard, policies."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from sqlalchemy import select, update

from app.core.attribution import origin_of
from app.model import adapters
from app.model.backbone import Backbone
from app.model.encode import encode_histories, encode_items, popularity_bias, prior_of
from app.store.db import Database
from app.store.tables import Click, Guard, Impressions, Release
from tests.app.api.conftest import Server, Shop, is_problem, wait_for
from tests.app.api.test_swap import COUNTS, TEXTS
from tests.fakes import SMALL, adapter_bytes, adapter_weights

ADMIN = "/v1/admin/channels/books"
CHALLENGER = f"{ADMIN}/releases/challenger"
BOOKS = "/v1/channels/books/recommendations"
HISTORIES = [[a, b] for a in range(8) for b in range(8) if a != b]
RULE = {"min_recommendations": 10, "max_drop": 0.1, "z": 3}


@pytest.fixture
def adapted(shop: Shop, backbone: tuple[str, Backbone]) -> Shop:
    """The shop with version 1, which nobody has promoted."""
    made = shop.operator.post(f"{ADMIN}/adapters", content=adapter_bytes(backbone[1], 1))
    assert made.json()["version"] == 1
    return shop


def challenge(shop: Shop, **body: Any) -> httpx.Response:
    return shop.operator.put(CHALLENGER, json={"version": 1, "share": 0.2, **body})


def follow(shop: Shop) -> dict[str, Any]:
    """Wait until the server answers with what the rows say."""
    detail: dict[str, Any] = {}

    def followed() -> bool:
        detail.update(shop.reader.get("/v1/channels/books").json())
        loaded = detail["serving"]["challenger"]
        expected = detail["challenger"] and detail["challenger"]["version"]
        same = detail["serving"]["generation"] == detail["generation"]
        return bool(same and (loaded and loaded["version"]) == expected)

    wait_for(followed)
    return detail


def asked(shop: Shop, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def ask(body: dict[str, Any]) -> dict[str, Any]:
        answer = shop.reader.post(BOOKS, json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(ask, bodies))


def users_met(shop: Shop, count: int) -> set[int]:
    """The users to whom the challenger answers."""
    answers = asked(shop, [{"user_id": f"user-{n}", "count": 1} for n in range(count)])
    return {n for n, answer in enumerate(answers) if answer["variant"] == "challenger"}


def offline(backbone: Backbone, adapted: bool) -> list[list[str]]:
    """The best 5 after each history, computed without the service."""
    model = adapters.load(backbone.model, SMALL, adapter_weights(backbone, 1)) if adapted else backbone.model
    vectors = torch.from_numpy(encode_items(model, backbone.inputs(TEXTS)))
    users = torch.from_numpy(np.asarray(encode_histories(model, vectors, HISTORIES)))
    scores = users @ vectors.T + torch.from_numpy(popularity_bias(prior_of(model), COUNTS))
    for row, history in enumerate(HISTORIES):
        scores[row, history] = -torch.inf
    return [[f"i{item}" for item in row[:5]] for row in scores.argsort(descending=True).tolist()]


def test_a_canary_is_sticky_and_its_share_grows(adapted: Shop) -> None:
    assert challenge(adapted, reason="try").status_code == 200
    detail = follow(adapted)
    assert detail["challenger"] == {
        "version": 1,
        "method": "houlsby",
        "digest": None,
        "share": 0.2,
        "shadow": False,
    }
    assert detail["champion"]["version"] == 0
    fifth = users_met(adapted, 1000)
    assert 150 <= len(fifth) <= 250  # 200, four standard deviations either way
    assert users_met(adapted, 1000) == fifth
    assert challenge(adapted, share=0.5, expected_current=1).status_code == 200
    follow(adapted)
    half = users_met(adapted, 1000)
    assert fifth < half
    assert 437 <= len(half) <= 563
    assert adapted.operator.delete(CHALLENGER, params={"reason": "enough"}).status_code == 204
    assert follow(adapted)["challenger"] is None
    assert users_met(adapted, 100) == set()
    moves = adapted.operator.get(f"{ADMIN}/releases/history").json()
    assert [(m["alias"], m["action"], m["to_version"], m["reason"]) for m in moves] == [
        ("challenger", "challenge", 1, "try"),
        ("challenger", "change", 1, ""),
        ("challenger", "withdraw", None, "enough"),
    ]
    assert moves[0]["detail"] == {"share": 0.2, "shadow": False, "rule": None}


def test_each_answer_is_of_the_release_that_it_names(adapted: Shop, backbone: tuple[str, Backbone]) -> None:
    challenge(adapted, share=0.5)
    follow(adapted)
    expected = {"champion": offline(backbone[1], False), "challenger": offline(backbone[1], True)}
    bodies = [{"history": [f"i{n}" for n in history], "count": 5} for history in HISTORIES]
    answers = asked(adapted, bodies)
    for row, answer in enumerate(answers):
        origin, variant = origin_of(answer["recommendation_id"]), answer["variant"]
        assert origin is not None
        assert (origin.variant, origin.version) == (variant, answer["release"]["version"])
        assert origin.version == (variant == "challenger")
        assert [item["item_id"] for item in answer["items"]] == expected[variant][row]
    assert {answer["variant"] for answer in answers} == {"champion", "challenger"}


def test_promoting_the_challenger_ends_the_rollout(adapted: Shop) -> None:
    challenge(adapted)
    follow(adapted)
    listed = adapted.operator.get(f"{ADMIN}/releases").json()
    assert [(r["version"], r["champion"], r["challenger"]) for r in listed] == [
        (1, False, True),
        (0, True, False),
    ]
    body = {"version": 1, "expected_current": 0, "guard": {"hours": 1}}
    listed = adapted.operator.post(f"{ADMIN}/releases/promote", json=body).json()
    assert [(r["version"], r["champion"], r["challenger"]) for r in listed] == [
        (1, True, False),
        (0, False, False),
    ]
    assert follow(adapted)["challenger"] is None
    assert is_problem(adapted.operator.get(f"{ADMIN}/releases/rollout"), 404)
    assert asked(adapted, [{"history": ["i1"]}])[0]["release"]["version"] == 1


def test_refused_rollouts(adapted: Shop, server: Server) -> None:
    assert is_problem(challenge(adapted, share=1.5), 422)
    assert is_problem(challenge(adapted, share=0), 422)
    assert is_problem(challenge(adapted, rule={"z": -1}), 422)
    assert is_problem(challenge(adapted, version=0), 409)
    assert is_problem(challenge(adapted, version=7), 404)
    assert is_problem(challenge(adapted, expected_current=1), 409)
    assert is_problem(adapted.operator.delete(CHALLENGER), 404)
    assert is_problem(adapted.writer.put(CHALLENGER, json={"version": 1, "share": 0.2}), 403)
    assert challenge(adapted, expected_current=None).status_code == 200
    second = challenge(adapted, share=0.9, expected_current=None)
    assert is_problem(second, 409)
    assert second.json()["current"] == 1
    assert is_problem(adapted.operator.delete(CHALLENGER, params={"expected_current": 0}), 409)
    rollback = adapted.operator.post(f"{ADMIN}/releases/rollback", json={"expected_current": 4})
    assert is_problem(rollback, 409)
    assert adapted.operator.get(f"{ADMIN}/releases/rollout").json()["share"] == 0.2


def test_a_foreign_adapter_is_no_challenger(adapted: Shop, server: Server) -> None:
    db: Database = server.app.state.db
    with db.session() as s:  # as after the service has got another backbone
        mine = (Release.channel_id == adapted.channel_id) & (Release.version == 1)
        s.execute(update(Release).where(mine).values(backbone_fingerprint="f" * 64))
    answer = challenge(adapted)
    assert is_problem(answer, 422)
    assert "another backbone" in answer.json()["detail"]
    assert is_problem(adapted.operator.post(f"{ADMIN}/releases/promote", json={"version": 1}), 422)


def test_the_shadow_is_compared(
    adapted: Shop, backbone: tuple[str, Backbone], platform: httpx.Client
) -> None:
    before = platform.get("/v1/admin/serving").json()["shadow"]
    assert challenge(adapted, share=0, shadow=True).status_code == 200
    follow(adapted)
    bodies = [{"history": [f"i{n}" for n in history], "count": 5} for history in HISTORIES]
    for body in bodies:
        assert asked(adapted, [body])[0]["variant"] == "champion"
    pairs = list(zip(offline(backbone[1], False), offline(backbone[1], True), strict=True))
    overlap = sum(len({*a} & {*b}) / 5 for a, b in pairs) / len(pairs)
    first = sum(a[0] == b[0] for a, b in pairs) / len(pairs)
    found: dict[str, Any] = {}

    def compared() -> bool:
        found.update(adapted.operator.get(f"{ADMIN}/releases/rollout").json()["compared"])
        return bool(found["queries"] == len(bodies))

    wait_for(compared)
    assert (found["overlap"], found["same_first"]) == (pytest.approx(overlap), pytest.approx(first))
    assert 0 < overlap < 1
    after = platform.get("/v1/admin/serving").json()["shadow"]
    assert after["compared"] - before["compared"] == len(bodies)
    assert (after["dropped"], after["failed"]) == (before["dropped"], before["failed"])
    online = adapted.operator.get(f"{ADMIN}/online").json()
    assert [(o["version"], o["variant"], o["recommendations"]) for o in online] == [
        (0, "champion", len(bodies))
    ]


def click(server: Server, shop: Shop, answers: list[dict[str, Any]]) -> None:
    db: Database = server.app.state.db
    with db.session() as s:
        for answer in answers:
            origin = origin_of(answer["recommendation_id"])
            assert origin is not None
            s.add(
                Click(
                    channel_id=shop.channel_id,
                    recommendation_id=answer["recommendation_id"],
                    item_id=answer["items"][0]["item_id"],
                    version=origin.version,
                    variant=origin.variant,
                    at=origin.at + 10,
                )
            )


def test_a_rule_takes_a_bad_challenger_back(adapted: Shop, server: Server) -> None:
    assert challenge(adapted, share=0.5, rule=RULE).status_code == 200
    follow(adapted)
    answers = asked(adapted, [{"user_id": f"u-{n}"} for n in range(100)])
    wait_for(lambda: sum(o["recommendations"] for o in adapted.operator.get(f"{ADMIN}/online").json()) == 100)
    shown = adapted.operator.get(f"{ADMIN}/releases/rollout").json()
    assert shown["rule"] == RULE
    given = {variant: rate["recommendations"] for variant, rate in shown["online"].items()}
    assert sum(given.values()) == 100
    assert shown["online"]["champion"] == {
        "recommendations": given["champion"],
        "clicked": 0,
        "ctr": 0,
        "standard_error": 0,
    }
    click(server, adapted, [answer for answer in answers if answer["variant"] == "champion"])
    assert follow_rule(adapted)["challenger"] is None
    move = adapted.operator.get(f"{ADMIN}/releases/history").json()[-1]
    assert (move["alias"], move["action"], move["actor"]) == ("challenger", "withdraw", "rule")
    assert move["detail"]["other_ctr"] == 1
    assert f"0.0000 of {given['challenger']}" in move["reason"]
    assert users_met(adapted, 50) == set()


def follow_rule(shop: Shop) -> dict[str, Any]:
    """Wait until a rule has moved something, and the server has followed."""
    history = f"{ADMIN}/releases/history"
    wait_for(lambda: shop.operator.get(history).json()[-1]["actor"] == "rule")
    return follow(shop)


def test_a_guard_rolls_a_bad_champion_back(adapted: Shop, server: Server) -> None:
    good = asked(adapted, [{"user_id": f"u-{n}"} for n in range(40)])
    click(server, adapted, good)
    wait_for(lambda: sum(o["recommendations"] for o in adapted.operator.get(f"{ADMIN}/online").json()) == 40)
    body = {"version": 1, "guard": RULE | {"hours": 2}}
    assert adapted.operator.post(f"{ADMIN}/releases/promote", json=body).status_code == 200
    follow(adapted)
    move_guard_back(server, adapted)
    asked(adapted, [{"user_id": f"u-{n}"} for n in range(40)])
    detail = follow_rule(adapted)
    assert detail["champion"]["version"] == 0
    move = adapted.operator.get(f"{ADMIN}/releases/history").json()[-1]
    assert (move["alias"], move["action"], move["from_version"]) == ("champion", "rollback", 1)
    assert move["detail"]["recommendations"] >= 10


def move_guard_back(server: Server, shop: Shop) -> None:
    """Let the promotion lie two minutes back, and what was given before it three: windows are of minutes."""
    before = timedelta(minutes=3) // timedelta(milliseconds=1)
    db: Database = server.app.state.db
    with db.session() as s:
        s.get_one(Guard, shop.channel_id).started_at -= timedelta(minutes=2)
        given = update(Impressions).where(Impressions.channel_id == shop.channel_id)
        s.execute(given.where(Impressions.version == 0).values(minute=Impressions.minute - before))
        for row in s.scalars(select(Click).where(Click.channel_id == shop.channel_id)):
            at = int(row.recommendation_id[4:16], 16) - before
            row.recommendation_id = f"rec_{at:012x}{row.recommendation_id[16:]}"
            row.at -= before


def test_a_training_policy(adapted: Shop, server: Server) -> None:
    policy = f"{ADMIN}/training-policy"
    assert is_problem(adapted.operator.get(policy), 404)
    assert is_problem(adapted.operator.put(policy, json={}), 422)
    assert is_problem(
        adapted.operator.put(policy, json={"every_hours": 1, "job": {"adapter": {"k": 1}}}), 422
    )
    job = {"promote": True, "as_challenger": {"share": 0.1}, "fit": {"max_epochs": 1}}
    body = {"after_interactions": 2, "every_hours": 24, "job": job}
    made = adapted.operator.put(policy, json=body).json()
    assert (made["after_interactions"], made["every_hours"], made["interactions"]) == (2, 24, 24)
    assert made["job"]["as_challenger"] == {"share": 0.1, "shadow": False, "rule": None}
    assert adapted.operator.get(policy).json() == made
    more = "user_id,item_id,timestamp\nu1,i1,9001\nu1,i2,9002\n"
    url = "/v1/channels/books/imports?kind=interactions&format=csv"
    assert adapted.writer.post(url, content=more.encode()).status_code == 201
    server.app.state.housekeeper.train_again()
    found = adapted.operator.get(f"{ADMIN}/training-jobs").json()
    assert [(j["state"], j["created_by"]) for j in found] == [("PENDING", "policy")]
    assert found[0]["config"] == made["job"]
    server.app.state.housekeeper.train_again()
    assert len(adapted.operator.get(f"{ADMIN}/training-jobs").json()) == 1
    assert adapted.operator.get(policy).json()["last_job_at"]
    assert adapted.operator.delete(policy).status_code == 204
    assert is_problem(adapted.operator.delete(policy), 404)
