"""Training workers."""

from datetime import timedelta

from app.store import workers
from app.store.db import Database, db_now
from app.store.tables import Worker


def test_a_worker_comes_works_and_goes(database: Database) -> None:
    with database.session() as s:
        workers.seen(s, "w1", "cpu", None)
    with database.session() as s:
        (first,) = workers.list_workers(s)
        assert (first.name, first.device, first.job_id, first.alive) == ("w1", "cpu", None, True)
        workers.seen(s, "w1", "cpu", "job_1")
    with database.session() as s:
        (second,) = workers.list_workers(s)
        assert second.job_id == "job_1"
        assert second.started_at == first.started_at <= second.seen_at
        workers.gone(s, "w1")
    with database.read() as s:
        assert workers.list_workers(s) == []


def test_a_silent_worker_is_dead_and_later_forgotten(database: Database) -> None:
    with database.session() as s:
        for name, silent in (("late", workers.LATE), ("old", workers.FORGOTTEN)):
            workers.seen(s, name, "cpu", None)
            s.get_one(Worker, name).seen_at = db_now(s) - silent - timedelta(seconds=1)
        s.flush()
        assert [w.alive for w in workers.list_workers(s)] == [False, False]
        assert workers.count_alive(s) == 0
        workers.seen(s, "new", "cpu", None)
        s.expire_all()
        assert [(w.name, w.alive) for w in workers.list_workers(s)] == [("late", False), ("new", True)]
        assert workers.count_alive(s) == 1
