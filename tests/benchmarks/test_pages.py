"""The benchmark of pages measures what it says: what it fills in is what the overview finds."""

from datetime import timedelta
from pathlib import Path

from app.core.clock import now
from app.store import online, overview
from app.store.db import Database
from app.store.tallies import Tallies, Tally
from tests.benchmarks.pages.population import BIG, Size, populate


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
