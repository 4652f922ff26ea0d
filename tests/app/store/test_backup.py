"""Back-ups: all that a tenant has goes out and comes back, on either database and from one to the other."""

import hashlib
import io
import json
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Table, select

from app.core.errors import Conflict, Invalid, NotFound, TransRecError
from app.core.images import image_info
from app.store import backup, catalog, channels, events, images, jobs, registry, releases, tenants, vectors
from app.store.backup.plan import references, renamed, rows_of, serial, tables
from app.store.catalog import ItemRow
from app.store.db import Database
from app.store.events import InteractionRow
from app.store.images import ImageRow
from app.store.tables import Base
from tests.fakes import picture

TENANT = "acme"


def fill(db: Database, name: str = TENANT) -> str:
    """A tenant with a row in every table that a store function fills; returns a key of it."""
    with db.session() as s:
        tenant = tenants.create_tenant(s, name)
        _, secret = tenants.create_key(s, tenant.id, "reader", "shop")
        books = channels.create_channel(s, tenant.id, "books", "", "bb-1")
        films = channels.create_channel(s, tenant.id, "films", "", "bb-2", "image")
        rows = [ItemRow(f"i{n}", f"thing {n}", {"price": n / 4, "tags": ["a", "ü"]}) for n in range(50)]
        catalog.upsert_items(s, books.id, rows)
        catalog.delete_items(s, books.id, ["i49"])
        catalog.upsert_items(s, films.id, [ItemRow("f1", "film")])
        images.put_image(s, films.id, ImageRow("f1", image_info(picture(1)), picture(1)))
        events.append_interactions(
            s, books.id, [InteractionRow(f"u{n % 7}", f"i{n % 40}", 1000 + n) for n in range(200)]
        )
        job = jobs.create_job(s, books.id, {"fit": {}}, "me")
        jobs.claim(s, job.id, "w", 60)
        jobs.save_checkpoint(s, job.id, owner="w", step=3, state={"a": 1}, tensors=b"\0\1")
        adapter = registry.register(
            s,
            books.id,
            method="houlsby",
            config={"bottleneck": 4},
            weights=b"weights\0",
            backbone_fingerprint="bb-1",
            metrics={"hr10": 0.5},
            source="training",
            actor="me",
            job_id=job.id,
        )
        vectors.save_vectors(s, books.id, adapter.sha256, "bb-1", b"vectors")
        releases.promote(s, books.id, 1, actor="me", reason="better")
    return secret


def content(db: Database, name: str) -> dict[str, list[dict[str, Any]]]:
    """All rows of a tenant, without the ids that a restore makes anew."""
    with db.read() as s:
        tenant_id = tenants.get_tenant(s, name).id
        found = {}
        for table in tables():
            rows = s.execute(select(table).where(rows_of(table, tenant_id))).mappings()
            found[table.name] = sorted((_plain(table, dict(row)) for row in rows), key=repr)
    return found


def _plain(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    column = serial(table)
    left_out = {column.name} if column is not None else set()
    if renamed(table):
        left_out.add("id")
    for name in left_out | references(table).keys():
        del row[name]
    return row


def test_every_table_is_decided(database: Database) -> None:
    """A new table either leads to a tenant, or says `info={"backup": False}`."""
    for table in Base.metadata.sorted_tables:
        if table.info.get("backup", True):
            rows_of(table, "x")
    assert {"workers", "duties", "console_sessions"} == Base.metadata.tables.keys() - {
        table.name for table in tables()
    }


@pytest.mark.parametrize("target", ["sqlite_url", "postgres_url"])
def test_a_tenant_moves_to_another_database(
    database: Database, target: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    secret = fill(database)
    fill(database, "other")
    file = tmp_path / "acme.backup"
    manifest = backup.write(database, file, TENANT)
    assert manifest.tables["items"].rows == 50
    assert manifest.tables["tenants"].rows == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    url = request.getfixturevalue(target)
    other = Database(url if target == "postgres_url" else f"sqlite:///{tmp_path / 'other.db'}")
    other.migrate()
    try:
        assert backup.restore(other, file) == manifest
        assert content(other, TENANT) == content(database, TENANT)
        with other.read() as s:
            assert [t.name for t in tenants.list_tenants(s)] == [TENANT]
            assert tenants.authenticate(s, secret).tenant_id == tenants.get_tenant(s, TENANT).id
            channel = channels.list_channels(s, tenants.get_tenant(s, TENANT).id)[0]
            assert events.history(s, channel.id, "u3", 3) == events.history(s, channel.id, "u3")[-3:]
            assert releases.champion(s, channel.id).version == 1
        with other.session() as s:  # counters go on behind what was restored
            channel_id = channel.id
            catalog.upsert_items(s, channel_id, [ItemRow("new", "new")])
    finally:
        other.dispose()


def test_order_of_arrival_stays(database: Database, tmp_path: Path) -> None:
    fill(database)
    before = _item_ids(database)
    backup.write(database, tmp_path / "b", TENANT)
    backup.restore(database, tmp_path / "b", replace=True)
    assert _item_ids(database) == before


def _item_ids(db: Database) -> list[str]:
    with db.read() as s:
        channel = channels.list_channels(s, tenants.get_tenant(s, TENANT).id)[0]
        return [row.item_id for row in catalog.load_items(s, channel.id)]


def test_replace_brings_back_what_was_lost(database: Database, tmp_path: Path) -> None:
    secret = fill(database)
    before = content(database, TENANT)
    backup.write(database, tmp_path / "b", TENANT)
    with database.session() as s:
        channel = channels.list_channels(s, tenants.get_tenant(s, TENANT).id)[0]
        catalog.delete_items(s, channel.id, ["i1", "i2"])
        releases.rollback(s, channel.id, actor="me", reason="")
    assert content(database, TENANT) != before
    with pytest.raises(Conflict, match="--replace"):
        backup.restore(database, tmp_path / "b")
    backup.restore(database, tmp_path / "b", replace=True)
    assert content(database, TENANT) == before
    with database.read() as s:
        found = channels.list_channels(s, tenants.get_tenant(s, TENANT).id)[0]
        assert found.id != channel.id  # no cache of the old one is taken for it
        assert tenants.authenticate(s, secret)


def test_a_copy_beside_the_original(database: Database, tmp_path: Path) -> None:
    secret = fill(database)
    before = content(database, TENANT)
    backup.write(database, tmp_path / "b", TENANT)
    backup.restore(database, tmp_path / "b", tenant="copy")
    copy = content(database, "copy")
    assert copy.pop("tenants")[0]["name"] == "copy"
    assert copy.pop("api_keys") == []  # they are the original's
    assert copy == {name: rows for name, rows in before.items() if name not in ("tenants", "api_keys")}
    assert content(database, TENANT) == before
    with database.read() as s:
        assert tenants.authenticate(s, secret).tenant_id == tenants.get_tenant(s, TENANT).id


def test_all_tenants_and_the_platform(database: Database, tmp_path: Path) -> None:
    fill(database)
    fill(database, "other")
    with database.session() as s:
        _, platform = tenants.create_key(s, None, "operator", "platform")
    before = {name: content(database, name) for name in (TENANT, "other")}
    backup.write(database, tmp_path / "b")
    fresh = Database(f"sqlite:///{tmp_path / 'fresh.db'}")
    fresh.migrate()
    try:
        with fresh.session() as s:
            _, own = tenants.create_key(s, None, "operator", "first start")
        backup.restore(fresh, tmp_path / "b")
        assert {name: content(fresh, name) for name in before} == before
        with fresh.read() as s:
            assert tenants.authenticate(s, platform).tenant_id is None
            assert tenants.authenticate(s, own).tenant_id is None
        with pytest.raises(Conflict, match="There are tenants already"):
            backup.restore(fresh, tmp_path / "b")
        with pytest.raises(Invalid, match="one name"):
            backup.restore(fresh, tmp_path / "b", tenant="x")
    finally:
        fresh.dispose()


def test_one_snapshot_while_others_write(database: Database, tmp_path: Path) -> None:
    """An interaction and its item are written together, so a snapshot never has the one without the other."""
    fill(database)
    with database.read() as s:
        channel_id = channels.list_channels(s, tenants.get_tenant(s, TENANT).id)[0].id
    stopping = threading.Event()
    written: list[int] = []

    def work() -> None:
        while not stopping.is_set():
            n = len(written)
            with database.session() as s:
                catalog.upsert_items(s, channel_id, [ItemRow(f"w{n}", f"written {n}")])
                events.append_interactions(s, channel_id, [InteractionRow("w", f"w{n}", 5000 + n)])
            written.append(n)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for number in range(5):
            before = len(written)
            manifest = backup.write(database, tmp_path / f"b{number}", TENANT)
            items, interactions = (manifest.tables[name].rows for name in ("items", "interactions"))
            assert items - 50 == interactions - 200 >= before
    finally:
        stopping.set()
        writer.join()


def broken(file: Path, change: Callable[[dict[str, bytes]], None], method: int = ZIP_STORED) -> Path:
    """A copy of a back-up whose members were changed."""
    with ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    out = file.with_suffix(".broken")
    with ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out


def _set_manifest(members: dict[str, bytes], **changes: Any) -> None:
    members["manifest.json"] = json.dumps(json.loads(members["manifest.json"]) | changes).encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.pop("manifest.json"), "manifest.json is missing"),
        (lambda m: m.update({"manifest.json": b"[]"}), "manifest.json is missing or wrong"),
        (lambda m: m.update({"manifest.json": b" " * 2_000_000}), "more than"),
        (lambda m: m.pop("items.parquet"), "items.parquet is missing"),
        (lambda m: m.update({"items.parquet": m["items.parquet"][:-1] + b"x"}), "items.parquet was changed"),
        (lambda m: m.update({"items.parquet": b"x"}), "another size"),
        (lambda m: _set_manifest(m, format=99), "format 99"),
        (lambda m: _set_manifest(m, schema="0001"), "schema 0001"),
        (lambda m: _set_manifest(m, tables={}), "not those of this version"),
    ],
)
def test_damaged_files_change_nothing(
    database: Database, tmp_path: Path, change: Callable[[dict[str, bytes]], None], words: str
) -> None:
    fill(database)
    before = content(database, TENANT)
    backup.write(database, tmp_path / "b", TENANT)
    with pytest.raises(Invalid, match=words):
        backup.restore(database, broken(tmp_path / "b", change), replace=True)
    assert content(database, TENANT) == before


def _part(members: dict[str, bytes], name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a part, with a manifest that says so: as somebody would who means it."""
    out = io.BytesIO()
    pq.write_table(change(pq.read_table(io.BytesIO(members[f"{name}.parquet"]))), out)
    members[f"{name}.parquet"] = data = out.getvalue()
    tables_ = json.loads(members["manifest.json"])["tables"]
    tables_[name] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    _set_manifest(members, tables=tables_)


def _filled(name: str, value: str | int | None) -> Callable[[pa.Table], pa.Table]:
    return lambda t: t.set_column(
        t.schema.get_field_index(name), name, pa.array([value] * len(t), t.schema.field(name).type)
    )


def _rows(members: dict[str, bytes], rows: object) -> None:
    tables_ = json.loads(members["manifest.json"])["tables"]
    tables_["items"]["rows"] = rows
    _set_manifest(members, tables=tables_)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update({"manifest.json": b"[" * 200_000}), "manifest.json is missing or wrong"),
        (lambda m: _set_manifest(m, tenant=5), "manifest.json is missing or wrong"),
        (lambda m: _set_manifest(m, tenant=0), "manifest.json is missing or wrong"),
        (lambda m: _set_manifest(m, tenant="other"), "another tenant"),
        (lambda m: _set_manifest(m, created_at=[]), "manifest.json is missing or wrong"),
        (lambda m: _rows(m, "x"), "manifest.json is missing or wrong"),
        (lambda m: _rows(m, 7), "another number of rows"),
        (lambda m: _part(m, "items", _filled("attributes", "{nope")), "items holds a value that is none"),
        (lambda m: _part(m, "items", _filled("text", None)), "do not fit together"),
        (lambda m: _part(m, "items", _filled("item_id", "twice")), "do not fit together"),
        (lambda m: _part(m, "items", _filled("channel_id", "nowhere")), "items refers to what is not in it"),
        (lambda m: _part(m, "api_keys", _filled("tenant_id", None)), "api_keys refers to what is not in it"),
        (lambda m: _part(m, "channels", _filled("id", "/etc/x_1")), "channels has an id that is none"),
        (lambda m: _part(m, "channels", _filled("id", None)), "channels has an id that is none"),
        (lambda m: _part(m, "channels", _filled("created_at", 2**63 - 1)), "channels holds a value that is"),
    ],
)
def test_hostile_files_change_nothing(
    database: Database, tmp_path: Path, change: Callable[[dict[str, bytes]], None], words: str
) -> None:
    fill(database)
    before = content(database, TENANT)
    backup.write(database, tmp_path / "b", TENANT)
    with pytest.raises(Invalid, match=words):
        backup.restore(database, broken(tmp_path / "b", change), replace=True)
    assert content(database, TENANT) == before


@pytest.mark.parametrize("table", ["channels", "items", "api_keys", "training_jobs"])
def test_a_forged_file_reaches_no_other_tenant(database: Database, tmp_path: Path, table: str) -> None:
    for name in (TENANT, "other"):
        fill(database, name)
    with database.read() as s:
        victim = tenants.get_tenant(s, "other").id
        ids = {"tenant_id": victim, "channel_id": channels.list_channels(s, victim)[0].id}
    before = content(database, "other")
    backup.write(database, tmp_path / "b", TENANT)
    name = "tenant_id" if table in ("channels", "api_keys") else "channel_id"
    forged = broken(tmp_path / "b", lambda m: _part(m, table, _filled(name, ids[name])))
    with pytest.raises(Invalid, match=f"{table} refers to what is not in it"):
        backup.restore(database, forged, replace=True)
    assert content(database, "other") == before


def test_numbers_that_no_column_holds(database: Database, tmp_path: Path) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite's integers have 64 bits in every column")
    fill(database)
    before = content(database, TENANT)
    backup.write(database, tmp_path / "b", TENANT)
    forged = broken(tmp_path / "b", lambda m: _part(m, "adapters", _filled("version", 2**40)))
    with pytest.raises(Invalid, match="do not fit together"):
        backup.restore(database, forged, replace=True)
    assert content(database, TENANT) == before


def test_an_encrypted_zip_is_none(database: Database, tmp_path: Path) -> None:
    fill(database)
    backup.write(database, tmp_path / "b", TENANT)
    data = (tmp_path / "b").read_bytes()
    first, *entries = data.split(b"PK\1\2")  # the zip's own list of its members: flags are its third number
    (tmp_path / "b").write_bytes(b"PK\1\2".join([first, *(e[:4] + b"\1\0" + e[6:] for e in entries)]))
    with pytest.raises(Invalid, match=r"manifest\.json is missing or wrong"):
        backup.restore(database, tmp_path / "b", replace=True)


def test_a_zip_bomb_is_not_unpacked(database: Database, tmp_path: Path) -> None:
    fill(database)
    backup.write(database, tmp_path / "b", TENANT)
    size = 256 * 1024**2

    def blow_up(members: dict[str, bytes]) -> None:
        tables_ = json.loads(members["manifest.json"])["tables"]
        tables_["items"]["bytes"] = size
        _set_manifest(members, tables=tables_)
        members["items.parquet"] = b"\0" * size

    with pytest.raises(Invalid, match="parquet is missing or has another size"):
        backup.restore(database, broken(tmp_path / "b", blow_up, ZIP_DEFLATED), replace=True)


def test_files_that_are_none(database: Database, tmp_path: Path) -> None:
    fill(database)
    whole = tmp_path / "b"
    backup.write(database, whole, TENANT)
    for name, data in (("empty", b""), ("text", b"hello"), ("cut", whole.read_bytes()[:-100])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(Invalid, match="no back-up, or a damaged one"):
            backup.restore(database, tmp_path / name, replace=True)
    with pytest.raises(TransRecError, match="no back-up"):
        backup.restore(database, tmp_path / "nowhere")
    with pytest.raises(NotFound, match="no tenant"):
        backup.write(database, tmp_path / "x", "nobody")
    assert not (tmp_path / "x").exists()
    assert not list(tmp_path.glob(".*.part"))


def test_a_restore_that_fails_half_way_leaves_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database)
    before = content(database, TENANT)
    backup.write(database, tmp_path / "b", TENANT)

    def fail(table: str, _done: int, _total: int) -> None:
        if table == "aliases":
            raise RuntimeError("the plug was pulled")

    with pytest.raises(RuntimeError):
        backup.restore(database, tmp_path / "b", replace=True, progress=fail)
    assert content(database, TENANT) == before


KILLED = """
import os, signal, sys
from pathlib import Path
from app.store import backup
from app.store.db import Database
def note(table, done, total):
    if table == "aliases":
        os.kill(os.getpid(), signal.SIGKILL)
db = Database(sys.argv[2])
if sys.argv[1] == "write":
    backup.write(db, Path(sys.argv[3]), "acme", note)
else:
    backup.restore(db, Path(sys.argv[3]), replace=True, progress=note)
"""


@pytest.mark.parametrize("what", ["write", "restore"])
def test_kill_9_in_the_middle(database: Database, database_url: str, tmp_path: Path, what: str) -> None:
    fill(database)
    before, file = content(database, TENANT), tmp_path / "b"
    backup.write(database, file, TENANT)
    whole = file.read_bytes()
    done = subprocess.run([sys.executable, "-c", KILLED, what, database_url, str(file)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert file.read_bytes() == whole
    assert content(database, TENANT) == before
    backup.restore(database, file, replace=True)
    assert content(database, TENANT) == before
