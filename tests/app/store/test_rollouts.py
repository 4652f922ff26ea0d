"""The challenger: set, changed, taken back, promoted; by one operator at a time."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import ValidationError

from app.core.errors import Conflict, Invalid, NotFound
from app.core.rollout import Guard, Plan, Rule
from app.store import aliases, registry, releases, rollouts
from app.store.aliases import CHALLENGER, Move
from app.store.channels import generations
from app.store.db import Database
from app.store.tables import Channel
from app.store.tables import Guard as GuardRow
from tests.app.store.test_releases import add_adapter, champion

CANARY = Plan(share=0.1, rule=Rule())


def challenge(
    database: Database, channel: Channel, version: int, plan: Plan = CANARY, **more: object
) -> None:
    with database.session() as s:
        rollouts.set_challenger(s, channel.id, version, plan, actor="ann", reason="try", **more)  # type: ignore[arg-type]


def challenger(database: Database, channel: Channel) -> rollouts.Challenger | None:
    with database.read() as s:
        return rollouts.challenger(s, channel.id)


@pytest.fixture
def versions(database: Database, channel: Channel) -> list[int]:
    return [add_adapter(database, channel, weights).version for weights in (b"one", b"two", b"three")]


def test_a_rollout_from_its_begin_to_its_promotion(
    database: Database, channel: Channel, versions: list[int]
) -> None:
    challenge(database, channel, 1)
    first = challenger(database, channel)
    assert first is not None
    assert (first.release.version, first.rollout.share, first.rollout.shadow) == (1, 0.1, False)
    assert first.rule == Rule()
    challenge(database, channel, 1, Plan(share=0.5, shadow=True), expected_current=1)
    second = challenger(database, channel)
    assert second is not None
    assert (second.rollout.share, second.rollout.shadow, second.rule) == (0.5, True, None)
    assert second.rollout.started_at == first.rollout.started_at  # the same trial goes on
    challenge(database, channel, 2)
    third = challenger(database, channel)
    assert third is not None
    assert third.rollout.started_at > first.rollout.started_at
    with database.session() as s:
        releases.promote(s, channel.id, 2, actor="bob", reason="better")
    assert champion(database, channel) == 2
    assert challenger(database, channel) is None
    with database.read() as s:
        moves = [(m.alias, m.action, m.from_version, m.to_version) for m in aliases.history(s, channel.id)]
        shares = [m.detail.get("share") for m in aliases.history(s, channel.id, CHALLENGER)]
        assert generations(s) == {channel.id: len(moves)}
        assert [m.to_version for m in releases.history(s, channel.id)] == [2]
    assert moves == [
        (CHALLENGER, "challenge", None, 1),
        (CHALLENGER, "change", 1, 1),
        (CHALLENGER, "challenge", 1, 2),
        ("champion", "promote", 0, 2),
        (CHALLENGER, "promote", 2, None),
    ]
    assert shares == [0.1, 0.5, 0.1, None]


def test_taking_back(database: Database, channel: Channel, versions: list[int]) -> None:
    def withdraw(expected: int = aliases.ANY) -> None:
        with database.session() as s:
            rollouts.withdraw(s, channel.id, Move("withdraw", "ann", "worse"), expected)

    with pytest.raises(NotFound, match="no challenger"):
        withdraw()
    challenge(database, channel, 1)
    with pytest.raises(Conflict, match="challenger is version 1, not version 2"):
        withdraw(2)
    withdraw(1)
    assert challenger(database, channel) is None
    assert champion(database, channel) == 0


def test_a_rollback_to_the_challenger_ends_its_rollout(
    database: Database, channel: Channel, versions: list[int]
) -> None:
    with database.session() as s:
        releases.promote(s, channel.id, 1, actor="a", reason="")
    challenge(database, channel, 0, Plan(shadow=True))
    with database.session() as s:
        releases.rollback(s, channel.id, actor="a", reason="")
    assert champion(database, channel) == 0
    assert challenger(database, channel) is None


def test_another_promotion_leaves_the_rollout(
    database: Database, channel: Channel, versions: list[int]
) -> None:
    challenge(database, channel, 2)
    with database.session() as s:
        releases.promote(s, channel.id, 1, actor="a", reason="")
    assert challenger(database, channel) is not None


def test_refused_challengers(database: Database, channel: Channel, versions: list[int]) -> None:
    with pytest.raises(Conflict, match="is the champion"):
        challenge(database, channel, 0)
    with pytest.raises(NotFound, match="no version 9"):
        challenge(database, channel, 9)
    with pytest.raises(NotFound, match="channel is gone"):
        challenge(database, Channel(id="none"), 1)
    with pytest.raises(Conflict, match="challenger is none, not version 1"):
        challenge(database, channel, 1, expected_current=1)
    with pytest.raises(Invalid, match="another backbone"), database.read() as s:
        aliases.check_fits(s, channel.id, 1, "bb-1")
    with database.read() as s:
        aliases.check_fits(s, channel.id, 1, "bb-2")
        aliases.check_fits(s, channel.id, 0, "whichever")  # the bare backbone fits any
        assert aliases.history(s, channel.id) == []
    with pytest.raises(ValidationError, match="share above 0"):
        Plan()


@pytest.mark.parametrize("expected", [None, 1])
def test_of_two_operators_at_once_one_wins(
    database: Database, channel: Channel, versions: list[int], expected: int | None
) -> None:
    if expected is not None:
        challenge(database, channel, expected)
    barrier = threading.Barrier(2)

    def attempt(version: int) -> bool:
        barrier.wait()
        try:
            challenge(database, channel, version, expected_current=expected)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        won = list(pool.map(attempt, (2, 3)))
    assert sorted(won) == [False, True]
    found = challenger(database, channel)
    assert found is not None and found.release.version == (2, 3)[won.index(True)]


def test_a_promotion_and_a_challenge_at_once_take_turns(
    database: Database, channel: Channel, versions: list[int]
) -> None:
    barrier = threading.Barrier(2)

    def promote() -> None:
        with database.session() as s:
            releases.promote(s, channel.id, 1, actor="a", reason="")

    def attempt(act: Callable[[], None]) -> bool:
        barrier.wait()
        try:
            act()
        except Conflict:  # it is champion already
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        promoted, challenged = pool.map(attempt, (promote, lambda: challenge(database, channel, 1)))
    assert promoted
    assert champion(database, channel) == 1
    assert challenger(database, channel) is None, challenged


def test_a_guard_goes_with_the_next_move(database: Database, channel: Channel, versions: list[int]) -> None:
    with database.session() as s:
        releases.promote(s, channel.id, 1, actor="ann", reason="", guard=Guard(hours=2))
    with database.read() as s:
        guard = s.get_one(GuardRow, channel.id)
        assert (guard.version, guard.previous, guard.rule["hours"]) == (1, 0, 2)
        assert releases.history(s, channel.id)[0].detail["guard"]["hours"] == 2
    with database.session() as s:
        releases.promote(s, channel.id, 2, actor="ann", reason="")
    with database.read() as s:
        assert s.get(GuardRow, channel.id) is None


def test_a_rollback_passes_over_what_is_gone(
    database: Database, channel: Channel, versions: list[int]
) -> None:
    with database.session() as s:
        for version in (1, 2, 3, 2):
            releases.promote(s, channel.id, version, actor="a", reason="")
        s.delete(registry.get_adapter(s, channel.id, 3))
    with database.session() as s:
        assert releases.version_before(s, channel.id, 2) == 1
        with pytest.raises(Conflict, match="champion is version 2, not version 1"):
            releases.rollback(s, channel.id, actor="a", reason="", expected_current=1)
        assert releases.rollback(s, channel.id, actor="a", reason="").version == 1
        assert releases.rollback(s, channel.id, actor="a", reason="").version == 0
        with pytest.raises(Conflict, match="no earlier"):
            releases.rollback(s, channel.id, actor="a", reason="")
