"""Users by how their ids begin, by chance, and what one of them met."""

import pytest

from app.store import user_search
from app.store.catalog import ItemRow, delete_items, upsert_items
from app.store.channels import create_channel
from app.store.db import Database
from app.store.events import InteractionRow, append_interactions
from app.store.tables import Channel

USERS = ["a", "ann", "ann%", "anna", "annß", "b/1", "o'hara", "ünal"]


@pytest.fixture
def met(database: Database, channel: Channel) -> Channel:
    """Users of which each met 30 items, and one in another channel."""
    with database.session() as s:
        other = create_channel(s, channel.tenant_id, "films", "", "bb-1")
        upsert_items(s, channel.id, [ItemRow(f"i{n}", f"thing {n}", {"n": n}) for n in range(30)])
        rows = [InteractionRow(user, f"i{n}", n) for user in USERS for n in range(30)]
        append_interactions(s, channel.id, rows)
        append_interactions(s, other.id, [InteractionRow("anne", "i1", 1)])
    return channel


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("", set(USERS)),
        ("ann", {"ann", "ann%", "anna", "annß"}),
        ("ann%", {"ann%"}),
        ("A", set()),
        ("ü", {"ünal"}),
        ("o'", {"o'hara"}),
        ("zzz", set()),
    ],
)
def test_users_are_found_by_how_their_ids_begin(
    database: Database, met: Channel, prefix: str, found: set[str]
) -> None:
    with database.read() as s:
        users = user_search.find_users(s, met.id, prefix, "", 100)
        assert len(users) == len(found)
        assert set(users) == found
        # Two by two it is the same.
        pages, after = list[str](), ""
        while len(pages) <= len(users) and (page := user_search.find_users(s, met.id, prefix, after, 2)):
            assert len(page) <= 2
            pages += page
            after = page[-1]
        assert pages == users


def test_a_user_is_drawn_by_chance(database: Database, met: Channel) -> None:
    with database.read() as s:
        drawn = {user_search.random_user(s, met.id) for _ in range(200)}
        assert drawn == set(USERS)  # one is missed once in 10**10 runs
        assert user_search.random_user(s, "nowhere") is None


def test_what_a_user_met_is_told_the_newest_first(database: Database, met: Channel) -> None:
    with database.session() as s:
        delete_items(s, met.id, ["i28"])
    with database.read() as s:
        found = user_search.met_items(s, met.id, "ann", 3)
        assert found == [
            ("i29", 29, "thing 29", {"n": 29}),
            ("i28", 28, None, None),
            ("i27", 27, "thing 27", {"n": 27}),
        ]
        assert user_search.met_items(s, met.id, "nobody", 3) == []


def test_a_search_looks_into_an_index_and_sorts_nothing(database: Database, met: Channel) -> None:
    """Of 600 users with other beginnings it gives up: no search reads a whole table."""
    with database.session() as s:
        rows = [InteractionRow(f"x{n:04}", "i1", n) for n in range(user_search.MOST_STEPS + 100)]
        append_interactions(s, met.id, rows)
    with database.read() as s:
        assert len(user_search.find_users(s, met.id, "x", "", 1000)) == user_search.MOST_STEPS
        assert user_search.find_users(s, met.id, "x0599", "", 10) == ["x0599"]
