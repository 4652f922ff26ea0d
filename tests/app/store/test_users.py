"""What is stored of one user: shown, deleted."""

from pathlib import Path

import pytest

from app.core.errors import ImportRejected
from app.store import events, users
from app.store.catalog import ItemRow, upsert_items
from app.store.channels import counters, create_channel
from app.store.db import Database
from app.store.event_rows import EventRow
from app.store.event_writes import Sent, write_events
from app.store.formats import Format
from app.store.imports import Kind, run_import
from app.store.tables import Channel, Import
from app.store.users import Held

USER = "o'hara/%_1"


@pytest.fixture
def two(database: Database, channel: Channel) -> list[Channel]:
    """Two channels where the user has 3 and 1 interactions, and another user 1."""
    with database.session() as s:
        films = create_channel(s, channel.tenant_id, "films", "", "bb-1")
        for each in (channel, films):
            upsert_items(s, each.id, [ItemRow(item_id, item_id) for item_id in "ab"])
        rows = [EventRow(n, USER, "a", n, f"e{n}") for n in range(3)]
        write_events(s, [Sent(channel.id, [*rows, EventRow(3, "v", "b", 1)])])
        write_events(s, [Sent(films.id, [EventRow(0, USER, "b", 9)])])
    return [channel, films]


def test_a_user_is_shown_and_deleted_whole(database: Database, two: list[Channel]) -> None:
    with database.read() as s:
        before = counters(s)
        assert [users.held(s, each, USER) for each in two] == [Held(3, 0), Held(1, 0)]
        page = users.interactions(s, two, USER, 0, 3)
        assert [(m.channel, m.item_id, m.timestamp, m.event_id) for m in page] == [
            ("books", "a", n, f"e{n}") for n in range(3)
        ]
        (last,) = users.interactions(s, two, USER, page[-1].seq, 3)
        assert (last.channel, last.item_id) == ("films", "b")
    with database.session() as s:
        assert [users.delete_user(s, each, USER) for each in two] == [Held(3, 0), Held(1, 0)]
    with database.session() as s:
        assert [users.delete_user(s, each, USER) for each in two] == [Held(0, 0), Held(0, 0)]
        assert users.interactions(s, two, USER, 0, 3) == []
        assert events.count_interactions(s, two[0].id) == 1
        after = counters(s)
    assert {c: revision for c, (_, revision) in after.items()} == {
        c: revision + 1 for c, (_, revision) in before.items()
    }


def test_reports_of_imports_hold_the_user_no_more(
    database: Database, two: list[Channel], tmp_path: Path
) -> None:
    # The columns are in the wrong order, or a line has one too few: the id is where it is quoted.
    csv = f"user_id,item_id,timestamp\na,{USER},1\n{USER},a,{USER}\n {USER},a,1\nb,{USER}9,1\n"
    file = tmp_path / "rows.csv"
    file.write_text(csv)
    with pytest.raises(ImportRejected):
        run_import(database, two[0].id, Kind.INTERACTIONS, file, Format.CSV, sha256="", actor="k")
    with database.read() as s:
        assert [users.held(s, each, USER).reports for each in two] == [1, 0]
    with database.session() as s:
        assert users.delete_user(s, two[0], USER).reports == 1
    with database.read() as s:
        assert users.held(s, two[0], USER) == Held(0, 0)
        (report,) = s.query(Import).all()
    reasons = [error["reason"] for error in report.errors]
    assert reasons[:2] == [users.REDACTED, users.REDACTED]
    assert USER not in reasons[2]  # it never was
    assert f"{USER}9" in reasons[3]  # another user's
