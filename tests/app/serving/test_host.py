"""The host tier: what is kept open, and what is closed."""

from concurrent.futures import ThreadPoolExecutor

from app.serving.build import Builder
from app.serving.host import HostTier
from app.store.catalog import ItemRow, upsert_items
from app.store.db import Database
from app.store.tables import Channel


def test_releases_whose_folders_were_removed_are_closed(
    builder: Builder, sqlite: Database, channel: Channel
) -> None:
    """The disk has the last few of a channel: more than these must not stay mapped."""
    host, opened = HostTier(10**9), []
    for n in range(12):
        with sqlite.session() as s:
            upsert_items(s, channel.id, [ItemRow("i0", f"written {n}")])
        folder = builder.build(channel.id).folder
        host.open(folder)
        opened.append(folder)
    there = [folder for folder in opened if folder.exists()]
    assert len(there) < len(opened)
    assert [folder for folder in opened if folder in host] == there
    assert host.stats.releases == len(there)
    assert host.stats.bytes == sum(host.open(folder).nbytes for folder in there)


def test_many_ask_for_one_that_is_closed(builder: Builder, channel: Channel) -> None:
    """Nobody fails."""
    folder = builder.build(channel.id).folder
    for _ in range(20):
        host = HostTier(10**9)
        with ThreadPoolExecutor(16) as pool:
            opened = list(pool.map(lambda _, host=host: host.open(folder), range(32)))
        assert {bundle.folder for bundle in opened} == {folder}
