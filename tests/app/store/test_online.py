"""Online metrics, and the rules that read them."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from scipy.stats import chi2_contingency
from sqlalchemy import func, select, update

from app.core.attribution import Variant, new_recommendation_id
from app.core.clock import milliseconds, now
from app.core.rollout import Guard, Plan, Rule
from app.store import aliases, online, releases, rollouts, rules
from app.store.aliases import CHALLENGER
from app.store.channels import CHAMPION
from app.store.db import Database
from app.store.online import MINUTE, Rate, Sums
from app.store.tables import AliasHistory, Channel, Click, Impressions, Rollout, ShadowResult
from app.store.tables import Guard as GuardRow
from tests.app.store.test_releases import add_adapter, champion

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def give(
    database: Database,
    channel: Channel,
    at: datetime,
    version: int,
    variant: Variant,
    count: int,
    clicked: int,
) -> None:
    """So many recommendations of that moment, some of them clicked."""
    moment = milliseconds(at)
    with database.session() as s:
        online.add(s, {(channel.id, moment // MINUTE * MINUTE, version, variant): count}, {})
        for _ in range(clicked):
            made = new_recommendation_id(variant, version)
            recommendation_id = f"rec_{moment:012x}{made[16:]}"
            for item_id in ("a", "b"):  # two clicks on one recommendation count once
                s.add(
                    Click(
                        channel_id=channel.id,
                        recommendation_id=recommendation_id,
                        item_id=item_id,
                        version=version,
                        variant=variant,
                        at=moment + 5000,
                    )
                )


def test_counts_add_up(database: Database, channel: Channel) -> None:
    key = (channel.id, milliseconds(START), 3, CHAMPION)
    for given in (5, 7):
        with database.session() as s:
            counts = {key: given, ("chn_gone", 0, 1, CHAMPION): 9}  # of a channel that was deleted meanwhile
            shadow = {(channel.id, milliseconds(START), 4): Sums(2, 1.5, 1)}
            online.add(s, counts, shadow)  # type: ignore[arg-type]
    with database.read() as s:
        assert online.rates(s, channel.id, START) == {(3, CHAMPION): Rate(12, 0)}
        assert online.comparison(s, channel.id, 4, START) == online.Comparison(4, 0.75, 0.5)
        assert online.comparison(s, channel.id, 5, START) == online.Comparison(0, None, None)
        assert s.scalar(select(func.count()).select_from(Impressions)) == 1


def test_rates_by_version_and_variant(database: Database, channel: Channel) -> None:
    give(database, channel, START - timedelta(minutes=2), 1, CHAMPION, 50, 50)
    give(database, channel, START, 1, CHAMPION, 100, 10)
    give(database, channel, START, 2, CHALLENGER, 40, 2)
    with database.read() as s:
        rates = online.rates(s, channel.id, START + timedelta(seconds=30))  # the minute counts whole
        assert rates == {(1, CHAMPION): Rate(100, 10), (2, CHALLENGER): Rate(40, 2)}
        before = online.rates(s, channel.id, START - timedelta(minutes=5), START)
        assert before == {(1, CHAMPION): Rate(50, 50)}
    rate = rates[1, CHAMPION]
    assert rate.ctr == 0.1
    assert rate.standard_error == pytest.approx(math.sqrt(0.1 * 0.9 / 100))
    assert Rate().ctr is Rate().standard_error is None


def test_a_late_click_counts_for_its_recommendation(database: Database, channel: Channel) -> None:
    give(database, channel, START - timedelta(minutes=2), 1, CHAMPION, 50, 5)
    with database.session() as s:
        s.execute(update(Click).values(at=milliseconds(START + timedelta(hours=1))))
    with database.read() as s:
        assert online.rates(s, channel.id, START) == {}
        assert online.rates(s, channel.id, START - timedelta(hours=1))[1, CHAMPION] == Rate(50, 5)


def test_what_is_old_is_pruned(database: Database, channel: Channel) -> None:
    for days in (31, 1):
        at = START - timedelta(days=days)
        give(database, channel, at, 1, CHAMPION, 10, 1)
        with database.session() as s:
            online.add(s, {}, {(channel.id, milliseconds(at), 1): Sums(1, 1.0, 1)})
    with database.session() as s:
        online.prune(s, START - online.KEPT)
    with database.read() as s:
        counted = [s.scalar(select(func.count()).select_from(t)) for t in (Impressions, Click, ShadowResult)]
    assert counted == [1, 2, 1]


@pytest.mark.parametrize(
    ("mine", "other", "broken"),
    [
        (Rate(2000, 100), Rate(2000, 200), True),
        (Rate(2000, 190), Rate(2000, 200), False),  # not by more than a tenth
        (Rate(999, 10), Rate(2000, 200), False),  # too few
        (Rate(2000, 10), Rate(999, 200), False),
        (Rate(1000, 85), Rate(1000, 100), False),  # may be chance
        (Rate(2000, 300), Rate(2000, 200), False),  # better
        (Rate(2000, 0), Rate(2000, 0), False),
        (Rate(2000, 2000), Rate(2000, 2000), False),
    ],
)
def test_what_breaks_a_rule(mine: Rate, other: Rate, broken: bool) -> None:
    assert (rules.breach(Rule(), mine, other) is not None) == broken


def test_z_is_that_of_two_proportions() -> None:
    found = rules.breach(Rule(z=0), Rate(1500, 90), Rate(4000, 400))
    assert found is not None
    table = [[90, 1410], [400, 3600]]
    assert found.z**2 == pytest.approx(chi2_contingency(table, correction=False).statistic, rel=1e-3)


def on_trial(database: Database, channel: Channel, rule: Rule | None) -> None:
    add_adapter(database, channel)
    with database.session() as s:
        plan = Plan(share=0.2, rule=rule)
        rollouts.set_challenger(s, channel.id, 1, plan, actor="ann", reason="")
        s.execute(update(Rollout).values(started_at=START))


def challenger(database: Database, channel: Channel) -> int | None:
    with database.read() as s:
        found = aliases.pointed_at(s, channel.id, CHALLENGER)
        return found.version if found else None


def test_a_bad_challenger_is_taken_back(database: Database, channel: Channel) -> None:
    on_trial(database, channel, Rule())
    give(database, channel, START - timedelta(hours=1), 1, CHALLENGER, 5000, 0)  # of an earlier trial
    give(database, channel, START, 0, CHAMPION, 2000, 200)
    with database.read() as s:
        assert rules.watched(s) == [channel.id]
    assert not rules.enforce(database, channel.id)
    give(database, channel, START, 1, CHALLENGER, 1500, 60)
    assert rules.enforce(database, channel.id)
    assert challenger(database, channel) is None
    assert champion(database, channel) == 0
    with database.read() as s:
        move = aliases.history(s, channel.id)[-1]
        assert rules.watched(s) == []
    assert (move.actor, move.action, move.from_version, move.to_version) == ("rule", "withdraw", 1, None)
    assert "0.0400 of 1500" in move.reason and "0.1000 of 2000" in move.reason
    assert (move.detail["recommendations"], move.detail["other_ctr"]) == (1500, 0.1)
    assert not rules.enforce(database, channel.id)


def test_without_a_rule_nobody_is_taken_back(database: Database, channel: Channel) -> None:
    on_trial(database, channel, None)
    give(database, channel, START, 0, CHAMPION, 2000, 200)
    give(database, channel, START, 1, CHALLENGER, 2000, 0)
    assert not rules.enforce(database, channel.id)
    assert challenger(database, channel) == 1


def test_a_new_champion_starts_the_comparison_anew(database: Database, channel: Channel) -> None:
    on_trial(database, channel, Rule())
    add_adapter(database, channel)
    with database.session() as s:
        releases.promote(s, channel.id, 2, actor="ann", reason="")
        s.execute(
            update(AliasHistory).where(AliasHistory.alias == CHAMPION).values(at=START + timedelta(hours=1))
        )
    give(database, channel, START, 1, CHALLENGER, 2000, 0)
    give(database, channel, START + timedelta(hours=2), 2, CHAMPION, 2000, 200)
    assert not rules.enforce(database, channel.id)
    give(database, channel, START + timedelta(hours=2), 1, CHALLENGER, 2000, 0)
    assert rules.enforce(database, channel.id)


def promoted(database: Database, channel: Channel, ago: timedelta) -> datetime:
    add_adapter(database, channel)
    with database.session() as s:
        releases.promote(s, channel.id, 1, actor="ann", reason="", guard=Guard(hours=2))
        s.execute(update(GuardRow).values(started_at=now() - ago))
    return now() - ago


def test_a_bad_champion_is_rolled_back(database: Database, channel: Channel) -> None:
    at = promoted(database, channel, timedelta(minutes=30))
    give(database, channel, at - timedelta(minutes=10), 0, CHAMPION, 2000, 200)
    give(database, channel, at - timedelta(hours=10), 0, CHAMPION, 9000, 0)  # long before
    give(database, channel, at + timedelta(minutes=10), 1, CHAMPION, 900, 10)
    assert not rules.enforce(database, channel.id)
    give(database, channel, at + timedelta(minutes=10), 1, CHAMPION, 900, 10)
    assert rules.enforce(database, channel.id)
    assert champion(database, channel) == 0
    with database.read() as s:
        move = releases.history(s, channel.id)[-1]
        assert s.get(GuardRow, channel.id) is None
    assert (move.actor, move.action, move.detail["recommendations"]) == ("rule", "rollback", 1800)


def test_a_guard_ends(database: Database, channel: Channel) -> None:
    at = promoted(database, channel, timedelta(hours=3))
    give(database, channel, at - timedelta(minutes=10), 0, CHAMPION, 2000, 200)
    give(database, channel, at + timedelta(minutes=10), 1, CHAMPION, 2000, 0)
    assert not rules.enforce(database, channel.id)
    assert champion(database, channel) == 1
    with database.read() as s:
        assert rules.watched(s) == []
