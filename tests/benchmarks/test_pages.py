"""The benchmark of pages opens every page, and what it fills in is what the overview finds."""

import re
from datetime import timedelta
from pathlib import Path

from fastapi.routing import APIRoute

from app.console.app import PAGES as CONSOLE
from app.core.clock import now
from app.store import online, overview
from app.store.db import Database
from app.store.tallies import Tallies, Tally
from tests.benchmarks.pages.places import places
from tests.benchmarks.pages.population import BIG, Size, populate

ASKED_FOR = {
    "data/facts", "data/imports", "data/imports/{import_id}", "data/imports/{import_id}/bad-lines.csv",
    "data/item", "data/item/delete", "items/{item_id:path}/image", "training/jobs", "training/knobs",
    "training/{job_id}/live", "releases/trial", "releases/promote", "releases/rollback", "releases/challenge",
    "releases/{version}/weights", "playground/users", "/tenants/{tenant}/keys/{key_id}/{act}",
    "/keys/{key_id}/{act}",
}  # fmt: skip
"""Dialogs, parts and files, which no page waits for."""


def test_every_page_is_opened() -> None:
    opened = [place.path.partition("?")[0].removeprefix("/admin") for place in places("job_1")]
    routes = [r for m in CONSOLE for r in m.router.routes if isinstance(r, APIRoute) and r.methods == {"GET"}]
    left = [route.path for route in routes if not any(_is_of(path, route.path) for path in opened)]
    assert {path.removeprefix("/channels/{tenant}/{channel}/") for path in left} == ASKED_FOR


def _is_of(path: str, pattern: str) -> bool:
    return re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", pattern), path) is not None


def test_a_population_is_what_it_says(sqlite_url: str, backbone_folder: Path) -> None:
    populate(sqlite_url, backbone_folder, Size(channels=3, tenants=2, items=40, interactions=90))
    db = Database(sqlite_url)
    with db.read() as s:
        found = overview.glances(s)
        ids = [glance.id for glance in found]
        tallies = Tallies().of(s, ids)
        scores = overview.KnownScores().of(s, [glance.champion_adapter or "" for glance in found])
        given = online.recommended(s, ids, now() - timedelta(hours=1))
        clicked = online.clicked(s, ids, now(), 24)
    db.dispose()
    assert len({glance.tenant for glance in found}) == 2
    [big] = [glance for glance in found if glance.name == BIG]
    assert tallies[big.id] == Tally(40, 0, 90)
    assert all(score.hr10 and score.popularity_hr10 for score in scores.values())
    assert len(scores) == len(given) == len(clicked) == 3
