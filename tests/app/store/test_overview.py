"""All channels at a glance; what is counted only once; traffic by the hour."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import event, update

from app.core.clock import now
from app.core.rollout import Plan
from app.store import jobs, online, overview, registry, releases, rollouts
from app.store.catalog import ItemRow, delete_items, upsert_items
from app.store.channels import CHAMPION, create_channel
from app.store.db import Database
from app.store.event_rows import EventRow
from app.store.event_writes import Sent, write_events
from app.store.events import InteractionRow, append_interactions
from app.store.revisions import settle
from app.store.tables import AliasHistory, Channel, TrainingJob
from app.store.tallies import Tallies, Tally
from app.store.tenants import create_tenant
from app.store.users import delete_user
from tests.app.store.test_online import give

METRICS: dict[str, Any] = {
    "test": {"adapter": {"hr10": 0.3, "ndcg10": 0.2}, "popularity": {"hr10": 0.2, "ndcg10": 0.1}}
}


def add_adapter(database: Database, channel: Channel, metrics: dict[str, Any]) -> int:
    with database.session() as s:
        return registry.register(
            s,
            channel.id,
            method="houlsby",
            config={},
            weights=b"w" * 10_000,
            backbone_fingerprint="bb-1",
            metrics=metrics,
            source="training",
            actor="me",
        ).version


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    said: list[str] = []

    def note(*args: object) -> None:
        said.append(str(args[2]))

    event.listen(database.engine, "before_cursor_execute", note)
    yield said
    event.remove(database.engine, "before_cursor_execute", note)


def test_a_glance_names_champion_and_challenger(database: Database, channel: Channel) -> None:
    first, second = add_adapter(database, channel, METRICS), add_adapter(database, channel, {})
    with database.session() as s:
        other = create_tenant(s, "beta").id
        create_channel(s, other, "bare", "", "bb-1")
        releases.promote(s, channel.id, first, actor="me", reason="")
        rollouts.set_challenger(s, channel.id, second, Plan(share=0.1, shadow=True), actor="me", reason="")
    known = overview.KnownScores()
    with database.read() as s:
        mine, bare = overview.glances(s)
        assert overview.glances(s, channel_id=channel.id) == [mine]
        assert overview.glances(s, tenant_id=other) == [bare]
        adapters = [mine.champion_adapter or ""]
        with counted(database) as said:
            scores = [known.of(s, adapters)[adapters[0]] for _ in range(2)]
        assert len(said) == 1  # what never changes is read once
        assert overview.last_moves(s, [mine.id, bare.id]).keys() == {mine.id}
    assert (mine.tenant, mine.name, bare.tenant, bare.name) == ("acme", "books", "beta", "bare")
    assert (mine.champion_version, mine.champion_method) == (first, "houlsby")
    assert (mine.challenger_version, mine.challenger_method) == (second, "houlsby")
    assert (mine.share, mine.shadow) == (0.1, True)
    assert (bare.champion_version, bare.champion_method, bare.challenger_version) == (0, None, None)
    assert scores[0] == scores[1] == overview.Scores(0.3, 0.2, 0.2, 0.1)
    assert round(scores[0].lift or 0, 9) == 0.5


def test_an_adapter_without_scores_is_there_and_has_none(database: Database, channel: Channel) -> None:
    add_adapter(database, channel, {})
    with database.read() as s:
        adapter = registry.get_adapter(s, channel.id, 1).id
        assert overview.KnownScores().of(s, [adapter]) == {adapter: overview.Scores(None, None, None, None)}
        assert overview.Scores(0.3, 0.2, 0.0, 0.0).lift is None


def test_the_job_that_runs_comes_before_a_newer_one_that_waits(database: Database, channel: Channel) -> None:
    made = []
    for _ in range(3):
        with database.session() as s:
            made.append(jobs.create_job(s, channel.id, {}, "me").id)
    with database.session() as s:
        # Their ids may be of the same millisecond; what is newest is the largest.
        ordered = sorted(made)
        s.execute(update(TrainingJob).where(TrainingJob.id == ordered[0]).values(state="FAILED", error="why"))
        assert overview.last_jobs(s, [channel.id])[channel.id].id == ordered[2]
        s.execute(update(TrainingJob).where(TrainingJob.id == ordered[1]).values(state="RUNNING"))
        found = overview.last_jobs(s, [channel.id])[channel.id]
    assert (found.id, found.state) == (ordered[1], "RUNNING")


def test_counts_are_exact_and_made_only_after_a_change(database: Database, channel: Channel) -> None:
    tallies = Tallies()

    def tally() -> Tally:
        with database.read() as s:
            return tallies.of(s, [channel.id])[channel.id]

    assert tally() == Tally(0, 0, 0)
    with database.session() as s:
        upsert_items(s, channel.id, [ItemRow(f"i{n}", f"text {n}") for n in range(3)])
        append_interactions(s, channel.id, [InteractionRow("u1", f"i{n}", n) for n in range(3)])
    assert tally() == Tally(3, 0, 3)
    with database.session() as s:
        write_events(s, [Sent(channel.id, [EventRow(0, "u2", "i0", 7), EventRow(1, "u2", "i1", 8)])])
    with counted(database) as said:
        assert tally() == Tally(3, 0, 5)
    assert not [statement for statement in said if "count(" in statement]
    with database.session() as s:
        settle(s, None)
        delete_items(s, channel.id, ["i2"])
    assert tally() == Tally(2, 0, 5)
    with database.session() as s:
        write_events(s, [Sent(channel.id, [EventRow(0, "u3", "i0", 9)])])
    assert tally() == Tally(2, 0, 6)
    with database.session() as s:
        delete_user(s, channel, "u2")
    assert tally() == Tally(2, 0, 4)
    with database.read() as s:
        assert tallies.of(s, ["chn_gone"]) == {}


def test_traffic_by_the_hour(database: Database, channel: Channel) -> None:
    until = datetime(2026, 1, 2, 12, 30, 20, tzinfo=UTC)
    give(database, channel, until, 1, "champion", 10, 2)  # this minute counts
    give(database, channel, until - timedelta(minutes=59), 1, "champion", 5, 1)
    give(database, channel, until - timedelta(minutes=60), 1, "champion", 7, 3)
    give(database, channel, until - timedelta(hours=3), 2, "challenger", 4, 4)  # an hour too old
    give(database, channel, until - timedelta(hours=2), 2, "challenger", 3, 1)
    with database.read() as s:
        rates = online.hourly_rates(s, channel.id, until, 3)
        hourly = online.hourly(s, [channel.id], until, 3)
        clicked = online.clicked(s, [channel.id, "chn_other"], until, 3)
        given = online.recommended(s, [channel.id, "chn_other"], until - timedelta(minutes=59))
    assert rates[CHAMPION] == [online.Rate(), online.Rate(7, 3), online.Rate(15, 3)]
    assert rates["challenger"] == [online.Rate(3, 1), online.Rate(), online.Rate()]
    assert hourly == {(channel.id, CHAMPION): [0, 7, 15], (channel.id, "challenger"): [3, 0, 0]}
    assert clicked == {channel.id: 7}
    assert given == {channel.id: 15}
    assert online.hour_start(until, 1) == datetime(2026, 1, 2, 11, 31, tzinfo=UTC)


def test_moves_are_the_newest(database: Database, channel: Channel) -> None:
    first, second = now() - timedelta(days=2), now()
    with database.session() as s:
        for at in (first, second):
            s.add(
                AliasHistory(
                    channel_id=channel.id, alias=CHAMPION, action="promote", from_version=0, to_version=1,
                    actor="me", reason="", at=at,
                )
            )  # fmt: skip
    with database.read() as s:
        assert overview.last_moves(s, [channel.id]) == {channel.id: second}
