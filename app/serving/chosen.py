"""Releases by choice, for who compares: champion, challenger, or another version that lies on this disk."""

from dataclasses import replace

from app.core.attribution import Variant
from app.core.errors import Conflict, Invalid
from app.serving.engine import Engine
from app.serving.release import ZERO_SHOT, Facts, Release
from app.store import registry


def by_variant(engine: Engine, channel_id: str, variant: Variant) -> Release:
    """What answers as champion or as challenger now; raises as `Engine.release`, `Conflict` without one."""
    champion = engine.release(channel_id)
    if variant == "champion":
        return champion
    challenger = engine.challengers.live.get(channel_id)
    if challenger is None or not challenger.release.facts.items:
        raise Conflict("No challenger is loaded. Set one with PUT .../releases/challenger, or wait for it.")
    return challenger.release


def by_version(engine: Engine, channel_id: str, version: int) -> Release:
    """The release of a version, as it was built last; nothing is built for the asking.

    Raises as `Engine.release` does, `NotFound` for an unknown version, `Conflict` for one that is not here.
    """
    champion = engine.release(channel_id)
    trial = engine.challengers.live.get(channel_id)
    for live in (champion, trial.release if trial else None):
        if live is not None and live.version == version and live.facts.items:
            return live
    sha256, method = "", ZERO_SHOT
    if version:
        with engine.db.read() as s:
            adapter = registry.get_adapter(s, channel_id, version)
            sha256, method = adapter.sha256, adapter.method
    for folder in engine.folders.latest(channel_id):
        try:
            facts = Facts.read(folder)
        except Invalid:  # made room for another one at this moment
            continue
        if (facts.adapter_sha256, facts.fingerprint) == (sha256, champion.facts.fingerprint) and facts.items:
            return replace(champion, version=version, method=method, folder=folder, facts=facts)
    raise Conflict(
        f"Version {version} does not lie on this server's disk, which keeps what answered last. "
        'Make it the challenger in the shadow ("share": 0, "shadow": true): then it can be asked, and '
        "answers nobody."
    )


def variant_of(engine: Engine, release: Release) -> Variant | None:
    """As what the release answers now, if at all."""
    champion, trial = engine.live.get(release.channel_id), engine.challengers.live.get(release.channel_id)
    if champion is not None and champion.folder == release.folder:
        return "champion"
    return "challenger" if trial is not None and trial.release.folder == release.folder else None


def is_up_to_date(engine: Engine, release: Release) -> bool:
    """Whether it is of the catalogue and the interactions that the champion is of."""
    newest = engine.release(release.channel_id).facts
    mine = release.facts
    return (mine.items_revision, mine.events_revision) == (newest.items_revision, newest.events_revision)
