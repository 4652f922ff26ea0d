"""Sessions, locks and the migration."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text

from app.core.errors import Unavailable
from app.store.catalog import Changes, ItemRow, changes_since, delete_items, upsert_items
from app.store.db import Database, migration_config
from app.store.tables import Base, Channel, ItemImage
from app.store.tenants import create_tenant, list_tenants


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def empty(request: pytest.FixtureRequest) -> Iterator[Database]:
    database = Database(request.getfixturevalue(request.param))
    yield database
    database.dispose()


def test_migration_gives_exactly_the_tables(empty: Database) -> None:
    empty.migrate()
    with empty.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_image_channels_come_and_go_without_loss(empty: Database) -> None:
    """Rows of the first schema are text channels in the second one, and the same rows when it is undone."""
    _to(empty, "0001")
    with empty.engine.begin() as connection:
        for statement in FIRST_ROWS:
            connection.execute(text(statement))
    _to(empty, "0002")
    with empty.session() as s:
        assert s.scalars(select(Channel.modality)).all() == ["text"]
        s.add(ItemImage(channel_id="c", item_id="i", sha256="0", format="png", width=8, height=8, data=b"x"))
    _to(empty, "0001")
    with empty.engine.connect() as connection:
        assert connection.execute(text("SELECT name, generation FROM channels")).all() == [("books", 7)]
        assert connection.execute(text("SELECT item_id, text FROM items")).all() == [("i", "thing")]
        assert "item_images" not in inspect(connection).get_table_names()
        assert "modality" not in [column["name"] for column in inspect(connection).get_columns("channels")]
    _to(empty, "0002")
    with empty.engine.connect() as connection:
        assert connection.scalars(text("SELECT modality FROM channels")).all() == ["text"]


def test_revisions_come_and_go_without_loss(empty: Database) -> None:
    """Rows from before are of revision 0 and count up from there."""
    _to(empty, "0001")
    with empty.engine.begin() as connection:
        for statement in FIRST_ROWS:
            connection.execute(text(statement))
    _to(empty, "0002")
    _to(empty, "0003")
    with empty.session() as s:
        assert s.execute(select(Channel.items_revision, Channel.events_revision)).all() == [(0, 0)]
        assert changes_since(s, "c", 0) == Changes(0, (), ())
        upsert_items(s, "c", [ItemRow("j", "new")])
    with empty.session() as s:
        assert delete_items(s, "c", ["i", "j"]) == 2
        assert changes_since(s, "c", 0) == Changes(2, (), ("i", "j"))
        upsert_items(s, "c", [ItemRow("i", "thing")])
    _to(empty, "0002")
    with empty.engine.connect() as connection:
        assert connection.execute(text("SELECT name, generation FROM channels")).all() == [("books", 10)]
        assert connection.execute(text("SELECT item_id, text FROM items")).all() == [("i", "thing")]
        assert "deleted_items" not in inspect(connection).get_table_names()
    _to(empty, "head")


FIRST_ROWS = (
    "INSERT INTO tenants (id, name, created_at) VALUES ('t', 'acme', '2026-01-01')",
    "INSERT INTO channels (id, tenant_id, name, description, generation, next_version, created_at) "
    "VALUES ('c', 't', 'books', '', 7, 1, '2026-01-01')",
    "INSERT INTO items (channel_id, item_id, text, attributes) VALUES ('c', 'i', 'thing', '{}')",
)


def _to(database: Database, revision: str) -> None:
    with database.engine.begin() as connection:
        config = migration_config(connection)
        is_down = revision < str(MigrationContext.configure(connection).get_current_revision() or "")
        (command.downgrade if is_down else command.upgrade)(config, revision)


def test_migrating_twice_and_at_once_is_safe(empty: Database) -> None:
    others = [Database(empty.engine.url.render_as_string(hide_password=False)) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(Database.migrate, others))
    empty.migrate()
    for other in others:
        other.dispose()
    with empty.session() as s:
        create_tenant(s, "acme")


def test_error_rolls_back(database: Database) -> None:
    with pytest.raises(RuntimeError), database.session() as s:
        create_tenant(s, "acme")
        raise RuntimeError
    with database.read() as s:
        assert list_tenants(s) == []


def test_a_read_session_is_one_snapshot(database: Database) -> None:
    with database.read() as s:
        assert list_tenants(s) == []
        with database.session() as other:
            create_tenant(other, "acme")
        assert list_tenants(s) == []
    with database.read() as s:
        assert [tenant.name for tenant in list_tenants(s)] == ["acme"]


def test_read_session_keeps_nothing(database: Database) -> None:
    with database.read() as s:
        create_tenant(s, "acme")
    with database.read() as s:
        assert list_tenants(s) == []


def test_sqlite_pragmas(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    with database.read() as s:
        assert s.scalar(text("PRAGMA journal_mode")) == "wal"
        assert s.scalar(text("PRAGMA foreign_keys")) == 1
        assert s.scalar(text("PRAGMA busy_timeout")) == 30_000
        assert s.scalar(text("PRAGMA synchronous")) == 1
    database.dispose()


def test_read_then_write_never_fails_half_way(database: Database) -> None:
    """Two sessions that read first and write then wait for each other instead of failing."""
    barrier = threading.Barrier(2)

    def work(name: str) -> None:
        barrier.wait()
        with database.session() as s:
            list_tenants(s)
            create_tenant(s, name)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, ["one", "two"]))
    with database.read() as s:
        assert [tenant.name for tenant in list_tenants(s)] == ["one", "two"]


def test_no_server_is_unavailable(tmp_path: Path) -> None:
    database = Database(f"postgresql+psycopg://nobody@/none?host={tmp_path}")
    with pytest.raises(Unavailable, match="Try again"), database.session() as s:
        s.execute(text("SELECT 1"))
    with pytest.raises(Unavailable):
        database.migrate()
    database.dispose()


def test_unreadable_sqlite_is_unavailable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}")
    with pytest.raises(Unavailable), database.read() as s:
        s.execute(text("SELECT 1"))
    database.dispose()
