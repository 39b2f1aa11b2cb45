"""Who trains what: every unit of the budget is taken once, and what dies comes back."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import sqlalchemy
from filelock import FileLock
from sqlalchemy import Engine, text

from study.store import live_runs, schema
from study.store.claims import Claim, Claims
from study.store.live_runs import Parent, forget_the_dead

STUDY = 1


@pytest.fixture
def database(tmp_path: Path) -> Engine:
    """Return a database with our tables."""
    found = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/study.db")
    schema.create_tables(found)
    return found


@pytest.fixture
def claims(database: Engine) -> Claims:
    """Return the claims of a new study."""
    return Claims(database, STUDY)


def taken(claims: Claims, parent: str, budget: int) -> list[Claim]:
    """Everything that one run can take."""
    found = []
    while claim := claims.take(parent, budget):
        found.append(claim)
    return found


def test_the_budget_is_given_out_once(claims: Claims) -> None:
    """Two runs together get as many claims as the budget has, with numbers and indices in order."""
    first = [claims.take("a", 5), claims.take("b", 5), claims.take("a", 5)]
    rest = taken(claims, "b", 5)
    found = [claim for claim in (*first, *rest) if claim]
    assert [(c.number, c.sampled, c.attempt) for c in found] == [(n, n, 1) for n in range(5)]
    assert claims.take("a", 5) is None
    assert claims.counted() == 0
    assert all(map(claims.close, found))
    assert claims.counted() == 5
    assert claims.take("a", 6) is not None


def test_enqueued_points_come_first_and_take_no_index(claims: Claims) -> None:
    """They are taken in their order, once, also where the file is read again or grows."""
    claims.enqueue([{"a": 1}, {"a": 2}, {"a": 1}])
    claims.enqueue([{"a": 1}, {"a": 2}, {"a": 1}, {"a": 3}])
    found = taken(claims, "p", 6)
    assert [c.point for c in found] == [{"a": 1}, {"a": 2}, {"a": 1}, {"a": 3}, None, None]
    assert [c.sampled for c in found] == [0, 0, 0, 0, 0, 1]
    assert [c.number for c in found] == list(range(6))


def test_an_enqueued_point_that_was_interrupted_is_not_enqueued_anew(claims: Claims) -> None:
    """What was sampled besides is kept for the retry, and the file's point is still known."""
    points = [{"a": 8}, {"a": 8, "b": 1}, {"a": 8}]
    claims.enqueue(points)
    first, second = taken(claims, "p", 2)
    assert claims.release(first, {"a": 8.0, "b": 2, "c": 0.5}, first.number)
    assert claims.release(second, {"a": 8.0, "b": 1, "c": 0.5}, second.number)
    claims.enqueue(points)
    claims.enqueue([*points, {"a": 8, "b": 1}])
    assert [c.point for c in taken(claims, "p", 9)][2:5] == [{"a": 8}, {"a": 8, "b": 1}, None]


def test_points_beyond_the_budget_wait(claims: Claims) -> None:
    """More points than trials: the rest is there when the budget grows."""
    claims.enqueue([{"a": 1}, {"a": 2}, {"a": 3}])
    (first,) = taken(claims, "p", 1)
    claims.close(first)
    assert claims.counted() == 1
    assert [c.point for c in taken(claims, "p", 3)] == [{"a": 2}, {"a": 3}]


def test_what_was_interrupted_is_taken_again(claims: Claims) -> None:
    """The retry has the claim's number and index, the point as far as known, and its origin."""
    lost, other = claims.take("a", 3), claims.take("a", 3)
    assert lost is not None
    assert other is not None
    assert claims.release(lost, {"x": 0.5}, origin=7)
    retry = claims.take("b", 3)
    assert retry == Claim(0, 0, False, {"x": 0.5}, "held", "b", 2, 7)
    assert not claims.is_mine(lost)
    assert claims.is_mine(retry)
    assert claims.release(retry, {}, origin=9)
    again = claims.take("a", 3)
    assert again is not None
    assert (again.attempt, again.origin, again.point) == (3, 7, {"x": 0.5})


def test_who_lost_a_claim_changes_nothing_more(claims: Claims) -> None:
    """Closing or releasing an attempt that was given away does nothing, even to its own run."""
    lost = claims.take("a", 1)
    assert lost is not None
    claims.release(lost)
    retry = claims.take("a", 1)
    assert not claims.close(lost)
    assert not claims.release(lost)
    assert claims.held() == [retry]


def test_baselines_are_no_part_of_the_budget(claims: Claims) -> None:
    """They come first, also after the time is up; one that failed waits for the next run."""
    claims.open_baselines([-1, -2])
    base, default = claims.take("a", 0), claims.take("a", 0, baselines_only=True)
    assert base is not None
    assert default is not None
    assert [base.number, default.number] == [-1, -2]
    claims.close(base)
    claims.close(default, "failed")
    assert claims.counted() == 0
    assert claims.take("a", 0) is None
    claims.open_baselines([-2])
    assert [c.number for c in taken(claims, "a", 1)] == [-2, 0]


def test_a_trial_of_optunas_queue_is_put_up_once(claims: Claims) -> None:
    """Whoever looks at the queue again adds nothing."""
    for _ in range(2):
        claims.enqueue_waiting(31, {"x": 1})
    (claim,) = taken(claims, "a", 1)
    assert (claim.waiting, claim.enqueued, claim.point) == (31, True, {"x": 1})


# ---------------------------------------------------------------- who is alive


def test_the_living_keep_what_they_hold(database: Engine, claims: Claims, tmp_path: Path) -> None:
    """A run that has begun is not forgotten; when it leaves, its claims are anybody's."""
    parent = Parent(database, tmp_path)
    parent.begin()
    claims.take(parent.id, 1)
    forget_the_dead(database, tmp_path)
    assert claims.held_by_the_dead() == []
    parent.end()
    assert [c.number for c in claims.held_by_the_dead()] == [0]
    assert list(tmp_path.glob(".lock*")) == []


ID = "0123456789abcdef" * 2


def add_parent(
    database: Engine, host: str, age: float, lock_file: str = "", parent: str = ID
) -> None:
    """A run as another process left its row."""
    now = live_runs.CLOCKS["sqlite"]
    with database.begin() as connection:
        connection.execute(
            text(f"INSERT INTO run_parents VALUES (:p, :h, :l, {now} - :a)"),
            {"p": parent, "h": host, "l": lock_file, "a": age},
        )


def is_forgotten(database: Engine, folder: Path) -> bool:
    """Whether the run is taken for dead."""
    forget_the_dead(database, folder)
    with database.connect() as connection:
        return connection.execute(text("SELECT count(*) FROM run_parents")).scalar() == 0


@pytest.mark.parametrize(
    ("host", "lock", "age", "expected"),
    [
        (socket.gethostname(), "held", 1.0, False),
        (socket.gethostname(), "free", 1.0, True),  # killed: nobody needs to wait
        (socket.gethostname(), "none", 1.0, False),  # a run in another folder
        ("elsewhere", "free", 1.0, False),  # a lock of another machine says nothing here
        ("elsewhere", "none", live_runs.GRACE_SECONDS + 1, True),
        (socket.gethostname(), "held", live_runs.GRACE_SECONDS + 1, True),  # it hangs
    ],
)
def test_who_is_taken_for_dead(
    database: Engine, tmp_path: Path, host: str, lock: str, age: float, expected: bool
) -> None:
    """In its own folder a free lock shows it at once, anywhere the silence does."""
    path = tmp_path / f".lock-{ID}"
    holder = FileLock(path)
    if lock == "held":
        holder.acquire()
    elif lock == "free":
        path.touch()
    add_parent(database, host, age)
    assert is_forgotten(database, tmp_path) == expected
    assert path.exists() == (lock == "held" or (host, lock) == ("elsewhere", "free"))
    holder.release()


def test_a_run_that_was_taken_for_dead_comes_back(
    database: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next heartbeat writes its row anew: what it takes from then on is its own."""
    monkeypatch.setattr(live_runs, "HEARTBEAT_SECONDS", 0.02)
    parent = Parent(database, tmp_path)
    parent.begin()
    try:
        with database.begin() as connection:
            connection.execute(text("DELETE FROM run_parents"))
        claim = Claims(database, STUDY).take(parent.id, 1)
        assert claim is not None
        for _ in range(500):
            if not Claims(database, STUDY).held_by_the_dead():
                break
            parent._stopping.wait(0.01)
        assert Claims(database, STUDY).held_by_the_dead() == []
    finally:
        parent.end()
