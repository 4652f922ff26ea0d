"""What a tenant may have."""

import threading

import pytest
from sqlalchemy import event

from app.core.errors import OverQuota
from app.core.images import ImageInfo
from app.store import channels, jobs, quotas, registry, tenants
from app.store.catalog import ItemRow, upsert_items
from app.store.db import Database
from app.store.events import InteractionRow, append_interactions
from app.store.images import ImageRow, upsert_images
from app.store.jobs import JobState
from app.store.quotas import Limits, TenantLimits
from app.store.tables import Channel


def limited(database: Database, tenant_id: str, **overrides: int | None) -> TenantLimits:
    """The limits after the tenant's are changed."""
    limits = TenantLimits(Limits())
    with database.session() as s:
        name = next(tenant.name for tenant in tenants.list_tenants(s) if tenant.id == tenant_id)
        tenants.set_limits(s, name, overrides)
    with database.read() as s:
        limits.look(s)
    return limits


def test_what_a_tenant_has(database: Database, channel: Channel, posters: Channel) -> None:
    images = [
        ImageRow("a", ImageInfo("PNG", 8, 8, "x"), b"12345"),
        ImageRow("b", ImageInfo("PNG", 8, 8, "y"), b"1"),
    ]
    with database.session() as s:
        upsert_images(s, posters.id, images)
        registry.register(
            s,
            posters.id,
            method="houlsby",
            config={},
            weights=b"123",
            backbone_fingerprint="bb",
            metrics={},
            source="upload",
            actor="k",
        )
        append_interactions(s, posters.id, [InteractionRow("u", "a", 1), InteractionRow("u", "a", 2)])
        jobs.create_job(s, posters.id, {}, "k")
        done = jobs.create_job(s, posters.id, {}, "k")
        done.state = JobState.SUCCEEDED
    with database.read() as s:
        assert quotas.usage(s, posters.tenant_id) == {
            "channels": 1,
            "items": 4,
            "interactions": 2,
            "jobs": 1,
            "bytes": 9,
        }
        assert quotas.usage(s, channel.tenant_id) == {
            "channels": 1,
            "items": 0,
            "interactions": 0,
            "jobs": 0,
            "bytes": 0,
        }


def test_above_its_quota_nothing_is_written(database: Database, channel: Channel) -> None:
    limits = limited(database, channel.tenant_id, items=2)
    with database.session() as s:
        upsert_items(s, channel.id, [ItemRow("a", "x"), ItemRow("b", "x")])
        limits.check(s, channel.tenant_id, "items")  # as many as it may have
    with pytest.raises(OverQuota) as caught, database.session() as s:
        upsert_items(s, channel.id, [ItemRow("c", "x")])
        limits.check(s, channel.tenant_id, "items")
    assert caught.value.extra == {"quota": "items", "limit": 2, "used": 3}
    assert "3 items" in caught.value.message and "quota is 2" in caught.value.message
    with database.read() as s:
        assert quotas.usage(s, channel.tenant_id)["items"] == 2


def test_who_has_no_quota_pays_nothing(database: Database, channel: Channel) -> None:
    limits = limited(database, channel.tenant_id, items=2)
    statements: list[object] = []
    event.listen(database.engine, "before_cursor_execute", lambda *seen: statements.append(seen))
    with database.read() as s:
        limits.check(s, channel.tenant_id, "jobs")
        limits.check(s, "ten_other", "items")
        assert not statements
        limits.check(s, channel.tenant_id, "items")
    assert statements


def test_overrides_go_back_to_the_default(database: Database, channel: Channel) -> None:
    tenant_id, limits = channel.tenant_id, TenantLimits(Limits(items=5, jobs=1))
    steps: list[tuple[dict[str, int | None], Limits]] = [
        ({"items": 9, "channels": 3}, Limits(items=9, channels=3, jobs=1)),
        ({"items": None}, Limits(items=5, channels=3, jobs=1)),
        ({"jobs": 0}, Limits(items=5, channels=3, jobs=0)),
        ({"jobs": None, "channels": None}, Limits(items=5, jobs=1)),
    ]
    for changes, expected in steps:
        with database.session() as s:
            tenants.set_limits(s, "acme", changes)
        with database.read() as s:
            limits.look(s)
        assert limits.of(tenant_id) == expected
    assert limits.of("ten_new") == Limits(items=5, jobs=1)


def test_writers_at_once_do_not_slip_over_a_quota(database: Database, channel: Channel) -> None:
    limits = limited(database, channel.tenant_id, channels=5, jobs=3)
    start, refused, made = threading.Barrier(8), list[str](), list[str]()

    def write(number: int) -> None:
        start.wait()
        for name in ("channels", "jobs"):
            try:
                with database.session() as s:
                    if name == "channels":
                        channels.create_channel(s, channel.tenant_id, f"c{number}", "", "bb")
                    else:
                        jobs.create_job(s, channel.id, {}, "k")
                    limits.check(s, channel.tenant_id, name)
            except OverQuota:
                refused.append(name)
            else:
                made.append(name)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == ["channels"] * 4 + ["jobs"] * 3
    assert sorted(refused) == ["channels"] * 4 + ["jobs"] * 5
