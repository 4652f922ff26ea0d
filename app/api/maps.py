"""A release's items as a map."""

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from app.api.deps import EngineDep, Operator
from app.api.schemas.base import Text
from app.api.schemas.maps import GroupOut, MapOut, PointOut
from app.api.schemas.releases import ReleaseRef
from app.core.errors import NotFound
from app.serving.columns import text_of
from app.serving.engine import Engine
from app.serving.projection import map_of
from app.serving.release import Release

router = APIRouter(prefix="/v1/admin/channels/{channel}/releases", tags=["releases"])

GROUPS = 8
TITLE = 200  # characters
OTHER, WITHOUT = "other", "without"
_LEVELS = (1000, 100, 10, 1)  # interactions


@router.get("/{version}/map")
def get_map(
    version: Annotated[int, Path(ge=0, lt=2**31)],
    access: Operator,
    engine: EngineDep,
    limit: Annotated[int, Query(ge=1, le=5000)] = 2000,
    by: Annotated[Text | None, Query(description="An attribute; left out, by interactions.")] = None,
) -> MapOut:
    """Show the items of a version that answers, champion or challenger, as points of a plane.

    A sample of at most `limit`, projected by PCA of the vectors' directions: what is near is similar.
    """
    release = _release(engine, access.channel_id, version)
    bundle = engine.open(release)
    if by is not None:
        bundle.attributes.check([by])
    found = map_of(bundle, limit)
    rows = found.rows.tolist()
    known = [bundle.catalog.metadata(row) for row in rows]
    met = bundle.counts[found.rows].tolist()
    groups = _most(list(map(_level, met)) if by is None else [_value(each, by) for each in known])
    return MapOut(
        release=ReleaseRef.model_validate(release),
        items=bundle.catalog.size,
        shares=found.shares,
        by=by,
        attributes=list(bundle.attributes.columns),
        groups=_counted(groups),
        points=[
            PointOut(
                item_id=bundle.catalog.item_id(row),
                x=x,
                y=y,
                title=str(each["text"])[:TITLE],
                group=group,
                interactions=number,
            )
            for row, each, (x, y), group, number in zip(
                rows, known, found.points.tolist(), groups, met, strict=True
            )
        ],
    )


def _release(engine: Engine, channel_id: str, version: int) -> Release:
    champion, trial = engine.live.get(channel_id), engine.challengers.live.get(channel_id)
    loaded = [release for release in (champion, trial.release if trial else None) if release]
    for release in loaded:
        if release.version == version:
            return release
    if not loaded:
        engine.release(channel_id)  # says why
    versions = ", ".join(str(release.version) for release in loaded)
    raise NotFound(
        f"Version {version} does not answer now, so its items are not here. "
        f"Ask for version {versions}, or make it the challenger in the shadow."
    )


def _level(interactions: int) -> str:
    """0, 1-9, 10-99, 100-999 or 1,000+ interactions."""
    least = next((level for level in _LEVELS if interactions >= level), 0)
    return {0: "0", 1: "1-9", 10: "10-99", 100: "100-999", 1000: "1,000+"}[least]


def _value(metadata: dict[str, Any], by: str) -> str:
    """The attribute's text, of a list the first one's."""
    value = None if by == "text" else metadata.get(by)
    if isinstance(value, list):
        value = next(iter(value), None)
    return WITHOUT if value is None or isinstance(value, list | dict) else text_of(value)[:TITLE]


def _most(groups: list[str]) -> list[str]:
    """The same, but only the most frequent ones by name."""
    most = {name for name, _ in Counter(groups).most_common(GROUPS)} | {WITHOUT}
    return [group if group in most else OTHER for group in groups]


def _counted(groups: list[str]) -> list[GroupOut]:
    """Most items first, what is no value of its own last."""
    counts = Counter(groups).most_common()
    counts.sort(key=lambda pair: pair[0] in (OTHER, WITHOUT))
    return [GroupOut(name=name, items=number) for name, number in counts]
