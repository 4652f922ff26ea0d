"""Filters, exclusions and limits together, by the model and by popularity, against plain Python."""

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from app.model.backbone import Backbone
from app.model.bank import Bank
from app.model.encode import encode_histories
from app.serving.build import Builder
from app.serving.filters import Condition, canonical
from app.serving.index import Asked
from app.serving.rank import MANY, Query, Ranked, rank
from app.serving.recommend import popular
from app.serving.release import Bundle, open_bundle
from app.store import channels, events, tenants
from app.store.catalog import ItemRow, upsert_items
from app.store.db import Database

SIZE = MANY + 144
HISTORY = [1, 2]
Options = dict[str, Any]


def attributes_of(n: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "n": str(n),
        "brand": "big" if n % 3 else f"b{n % 7}",
        "tags": [f"t{n % 4}", f"t{n % 5}"],
    }
    return made if n % 10 else {"n": n}


@pytest.fixture(params=["flat", "hnsw"])
def bundle(request: pytest.FixtureRequest, sqlite: Database, backbone: Backbone, builder: Builder) -> Bundle:
    with sqlite.session() as s:
        tenant = tenants.create_tenant(s, "acme")
        channel = channels.create_channel(s, tenant.id, "books", "", backbone.fingerprint)
        upsert_items(
            s, channel.id, [ItemRow(f"i{n}", f"thing {n} of {n % 13}", attributes_of(n)) for n in range(SIZE)]
        )
        rows = [events.InteractionRow(f"u{u}", f"i{n}", n) for n in range(40) for u in range(n)]
        events.append_interactions(s, channel.id, rows)
    kind: Asked = request.param
    builder.index = kind
    return open_bundle(builder.build(channel.id).folder)


def query(bundle: Bundle, history: list[int], options: Options) -> Query:
    conditions = {name: Condition.model_validate(each) for name, each in options.get("filter", {}).items()}
    excluded = {*options.get("excluded", ()), *history}
    at_most = tuple(options.get("at_most", {}).items())
    return Query(bundle.folder, history, options["count"], excluded, canonical(conditions), at_most)


def expected(order: list[int], asked: Query, options: Options) -> list[int]:
    """Greedy by plain Python; of filters, one on `n` and one on `tags`."""
    counts, chosen = Counter[tuple[str, object]](), list[int]()
    for row in order:
        item = attributes_of(row)
        wanted = options.get("filter", {})
        if row in asked.excluded or row >= wanted.get("n", {}).get("lt", SIZE):
            continue
        if "tags" in wanted and wanted["tags"] not in item.get("tags", ()):
            continue
        values = [
            (name, value)
            for name in options.get("at_most", {})
            for value in {*(item.get(name, ()) if name == "tags" else [item[name]] if name in item else ())}
        ]
        if len(chosen) < asked.count and all(counts[v] < options["at_most"][v[0]] for v in values):
            counts.update(values)
            chosen.append(row)
    return chosen


def options_of(chance: random.Random) -> Options:
    made: Options = {"count": chance.choice([1, 5, 20, 100])}
    if chance.random() < 0.6:
        made["filter"] = {"n": {"lt": chance.choice([0, 3, 30, 250])}}
    if chance.random() < 0.3:
        made.setdefault("filter", {})["tags"] = "t3"
    if chance.random() < 0.5:
        made["excluded"] = chance.sample(range(SIZE), chance.choice([1, 30, MANY + 40]))
    if chance.random() < 0.6:
        made["at_most"] = chance.choice([{"brand": 1}, {"brand": 3}, {"tags": 2, "brand": 4}, {"nobody": 1}])
    return made


def rows_of(found: Ranked) -> list[int]:
    return [row for row, _ in found]


def test_a_mixed_batch_is_answered_as_asked(bundle: Bundle, backbone: Backbone) -> None:
    import torch

    user = encode_histories(backbone.model, torch.from_numpy(bundle.vectors.copy()), [HISTORY])[0]
    scores = bundle.index.vectors @ np.append(user, np.float32(1))
    order = np.argsort(-scores, kind="stable").tolist()
    chance = random.Random(3)
    options = [options_of(chance) for _ in range(60)]
    asked = [query(bundle, HISTORY, each) for each in options]
    answers = rank(Bank(backbone.model, "user", 2**20), 20, open_bundle, asked)
    for each, one, answer in zip(options, asked, answers, strict=True):
        right = expected(order, one, each)
        assert len(answer) == len(right), each
        if bundle.index.kind == "flat":
            np.testing.assert_allclose([score for _, score in answer], scores[right], atol=1e-4)
        else:  # which may miss an item, but breaks no rule
            assert rows_of(answer) == expected(rows_of(answer), one, each)
    assert {len(answer) for answer in answers} >= {0, 1, 5, 20}


def test_popularity_obeys_the_same_rules(bundle: Bundle) -> None:
    order, chance = bundle.popular.tolist(), random.Random(4)
    for _ in range(100):
        options = options_of(chance)
        asked = query(bundle, [], options)
        answer = popular(bundle, asked)
        assert rows_of(answer) == expected(order, asked, options), options
        assert [score for _, score in answer] == [bundle.counts[row] for row in rows_of(answer)]


def test_the_walk_over_a_large_catalogue_obeys_them_too(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.serving.recommend._WALKED", 7)
    test_popularity_obeys_the_same_rules(bundle)


def test_one_filter_is_evaluated_and_searched_once(
    bundle: Bundle, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches: list[int] = []
    search = type(bundle.index).search

    def counted(index: Any, queries: Any, *rest: Any) -> Any:
        searches.append(len(queries))
        return search(index, queries, *rest)

    monkeypatch.setattr(type(bundle.index), "search", counted)
    red, blue = ({"count": 5, "filter": {"n": {"lt": most}}} for most in (30, 31))
    asked = [query(bundle, [row], options) for row in range(4) for options in (red, blue, {"count": 9})]
    rank(Bank(backbone.model, "user", 2**20), 20, lambda _: bundle, asked)
    assert searches == [4, 4, 4]
