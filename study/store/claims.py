"""The budget of a study, shared by all runs on one storage: each unit is taken once.

A claim is one unit: a trial with all its retries.  It is taken in one short transaction that locks
the study's row (PostgreSQL) or the whole file (SQLite).  However many runs there are, the total is
exact and no sampler index is used twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Update, func, select, update

from study.store import records, run_queries, schema
from study.store.outlasting import is_repeating, outlasting

ROWS = schema.claims.c
COLUMNS = (
    ROWS.claim,
    ROWS.sampled,
    ROWS.enqueued,
    ROWS.point,
    ROWS.state,
    ROWS.parent,
    ROWS.attempt,
    ROWS.origin,
    ROWS.waiting,
)


@dataclass
class Claim:
    """One unit of the budget; a baseline's number is negative."""

    number: int  # what the seed of its training is derived from
    sampled: int = 0  # the index of its point among sampled ones
    enqueued: bool = False
    point: dict[str, Any] | None = None  # the values that are set before sampling
    state: str = "open"
    parent: str | None = None
    attempt: int = 1
    origin: int | None = None  # for a retry: the number of the first attempt's trial
    waiting: int | None = None  # the id of a queued Optuna trial for this claim

    @property
    def is_baseline(self) -> bool:
        """Whether it is a baseline, which does not count towards the budget."""
        return self.number < 0

    @property
    def key(self) -> tuple[int, int]:
        """Claim and attempt, which identify one Optuna trial."""
        return self.number, self.attempt


class Claims:
    """The claims of one study."""

    def __init__(self, database: Engine, study_id: int) -> None:
        self._database = database
        self._study_id = study_id
        self._taken: set[tuple[int, int]] = set()  # by this run

    # ------------------------------------------------------------ adding

    @outlasting
    def add(self, claims: Sequence[Claim]) -> None:
        """Add the claims of a study that has none yet."""
        with self._locked() as connection:
            if self._last(connection) is None:
                for claim in claims:
                    self._insert(connection, claim)

    @outlasting
    def enqueue(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Add a claim for every point that is not enqueued yet."""
        with self._locked() as connection:
            rows = self._select(connection, ROWS.enqueued == 1, ROWS.claim >= 0)
            for point in _without_known(points, [claim.point or {} for claim in rows]):
                self._append(connection, enqueued=True, point=dict(point))

    @outlasting
    def enqueue_waiting(self, trial_id: int, point: Mapping[str, Any]) -> None:
        """Add one claim for a trial that was put into Optuna's own queue."""
        with self._locked() as connection:
            if not self._select(connection, ROWS.waiting == trial_id):
                self._append(connection, enqueued=True, point=dict(point), waiting=trial_id)

    @outlasting
    def open_baselines(self, numbers: Sequence[int]) -> None:
        """Add baselines, and reopen those that failed or whose evaluation was removed."""
        with self._locked() as connection:
            existing = {claim.number for claim in self._select(connection, ROWS.claim < 0)}
            for number in numbers:
                if number not in existing:
                    self._insert(connection, Claim(number))
            again = self._update(ROWS.state == "done", ROWS.claim.in_(numbers))
            connection.execute(again.values(state="open", attempt=1))
            failed = self._update(ROWS.state == "failed")
            connection.execute(failed.values(state="open", attempt=1))

    # ------------------------------------------------------------ taking

    def take(self, parent: str, budget: int, *, baselines_only: bool = False) -> Claim | None:
        """Take a baseline, a lost or enqueued claim, or a new one; None if none is left."""
        claim = self._take(parent, budget, baselines_only)
        if claim is not None:
            self._taken.add(claim.key)
        return claim

    @outlasting
    def _take(self, parent: str, budget: int, baselines_only: bool) -> Claim | None:
        with self._locked() as connection:
            if is_repeating(self._database):  # an earlier attempt may have been committed
                held = self._select(connection, ROWS.state == "held", ROWS.parent == parent)
                if unknown := [claim for claim in held if claim.key not in self._taken]:
                    return self._hold(connection, unknown[0], parent)
            open_ones = [ROWS.state == "open", *([ROWS.claim < 0] if baselines_only else [])]
            baselines_first = (ROWS.claim >= 0, func.abs(ROWS.claim))
            claim = self._first(connection, *open_ones, order=baselines_first)
            if claim is not None and claim.is_baseline:
                return self._hold(connection, claim, parent)
            if baselines_only or self._begun(connection) >= budget:
                return None
            return self._hold(connection, claim or self._append(connection), parent)

    def _hold(self, connection: Connection, claim: Claim, parent: str) -> Claim:
        claim.state, claim.parent = "held", parent
        taken = self._update(ROWS.claim == claim.number)
        connection.execute(taken.values(state="held", parent=parent))
        return claim

    def close(self, claim: Claim, state: str = "done") -> bool:
        """Mark a held claim as done or failed; return whether this run still held it."""
        return self._leave(claim, state=state)

    def release(
        self, claim: Claim, point: Mapping[str, Any] | None = None, origin: int | None = None
    ) -> bool:
        """Offer a claim for another attempt; return whether this run still held it."""
        point_json = _written(point) if point else None
        return self._leave(
            claim,
            state="open",
            attempt=ROWS.attempt + 1,
            waiting=None,
            point=func.coalesce(point_json, ROWS.point),
            origin=func.coalesce(ROWS.origin, origin),
        )

    def offer(self, claim: Claim, trial_id: int) -> bool:
        """Offer a claim whose trial was put aside, for another run to go on with that trial."""
        return self._leave(claim, state="open", waiting=trial_id)

    @outlasting
    def _leave(self, claim: Claim, **changes: Any) -> bool:
        held = self._update(
            ROWS.claim == claim.number,
            ROWS.state == "held",
            ROWS.parent == claim.parent,
            ROWS.attempt == claim.attempt,
        )
        with self._database.begin() as connection:
            return bool(connection.execute(held.values(**changes)).rowcount)

    def forget_evaluations(self, trial_number: int) -> None:
        """Remove the records of an attempt that failed at the end."""
        records.forget_evaluations(self._database, self._study_id, trial_number)

    # ------------------------------------------------------------ looking

    @outlasting
    def counted(self) -> int:
        """The number of units of the budget that are done."""
        with self._database.connect() as connection:
            return self._begun(connection) - self._count(connection, "held")

    @outlasting
    def is_mine(self, claim: Claim) -> bool:
        """Whether the run that took the claim still holds it."""
        with self._database.connect() as connection:
            (now,) = self._select(connection, ROWS.claim == claim.number)
        return (now.state, now.parent, now.attempt) == ("held", claim.parent, claim.attempt)

    @outlasting
    def held(self) -> list[Claim]:
        """The claims that some run holds."""
        with self._database.connect() as connection:
            return self._select(connection, ROWS.state == "held")

    @outlasting
    def begun(self) -> int:
        """How many claims to take for all that were begun and not ended; they come first."""
        with self._database.connect() as connection:
            rows = self._select(connection, ROWS.state == "open")
        rows.sort(key=lambda claim: (not claim.is_baseline, abs(claim.number)))
        begun = [claim.waiting is not None or claim.attempt > 1 for claim in rows]
        return max((place for place, is_begun in enumerate(begun, 1) if is_begun), default=0)

    @outlasting
    def offered(self) -> list[Claim]:
        """The open claims with a trial that was put aside, or waits in Optuna's queue."""
        with self._database.connect() as connection:
            return self._select(connection, ROWS.state == "open", ROWS.waiting.is_not(None))

    @outlasting
    def held_by_the_dead(self) -> list[Claim]:
        """The claims whose run is no longer alive."""
        living = select(schema.parents.c.parent_id)
        with self._database.connect() as connection:
            return self._select(connection, ROWS.state == "held", ROWS.parent.not_in(living))

    def trial_of(self, claim: Claim) -> int | None:
        """The id of this attempt's Optuna trial."""
        return run_queries.trial_of(self._database, self._study_id, claim.key)

    @outlasting
    def is_empty(self) -> bool:
        """Whether no unit of the budget was taken or offered so far."""
        with self._database.connect() as connection:
            return self._last(connection) is None

    # ------------------------------------------------------------ SQL

    @contextmanager
    def _locked(self) -> Iterator[Connection]:
        """A transaction that excludes all others that take claims of this study."""
        of_study = schema.studies.c.study_id == self._study_id
        with self._database.begin() as connection:  # on SQLite, this locks the file
            connection.execute(select(schema.studies.c.study_id).where(of_study).with_for_update())
            yield connection

    def _begun(self, connection: Connection) -> int:
        """The number of units of the budget that are done or held."""
        last = self._last(connection)
        return 0 if last is None else last.number + 1 - self._count(connection, "open")

    def _count(self, connection: Connection, state: str) -> int:
        return len(self._select(connection, ROWS.state == state, ROWS.claim >= 0))

    def _last(self, connection: Connection) -> Claim | None:
        return self._first(connection, ROWS.claim >= 0, order=[ROWS.claim.desc()])

    def _append(self, connection: Connection, **values: Any) -> Claim:
        last = self._last(connection)
        claim = Claim(0, **values)
        if last is not None:
            claim.number, claim.sampled = last.number + 1, last.sampled + (not last.enqueued)
        self._insert(connection, claim)
        return claim

    def _insert(self, connection: Connection, claim: Claim) -> None:
        values = asdict(claim) | {"study_id": self._study_id, "enqueued": int(claim.enqueued)}
        values["claim"] = values.pop("number")
        values["point"] = None if claim.point is None else _written(claim.point)
        connection.execute(schema.claims.insert().values(values))

    def _select(self, connection: Connection, *wanted: ColumnElement[bool]) -> list[Claim]:
        query = select(*COLUMNS).where(ROWS.study_id == self._study_id, *wanted)
        return [_read(row) for row in connection.execute(query)]

    def _first(
        self, connection: Connection, *wanted: ColumnElement[bool], order: Sequence[Any]
    ) -> Claim | None:
        query = select(*COLUMNS).where(ROWS.study_id == self._study_id, *wanted)
        row = connection.execute(query.order_by(*order).limit(1)).first()
        return None if row is None else _read(row)

    def _update(self, *wanted: ColumnElement[bool]) -> Update:
        return update(schema.claims).where(ROWS.study_id == self._study_id, *wanted)


def _read(row: Any) -> Claim:
    number, sampled, enqueued, point, *rest = row
    point_values = None if point is None else json.loads(point)
    return Claim(number, sampled, bool(enqueued), point_values, *rest)


def _without_known(
    points: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return, in order, the points without a match; each known point matches at most one.

    An interrupted trial adds its sampled values to its point, so a known point with more values
    matches too.  Equal points are matched first; then points with more values choose first.
    """
    left, new = list(known), list(points)
    for may_hold_more in (False, True):
        for point in sorted(new, key=len, reverse=True):
            same = (k for k in left if k == point or (may_hold_more and point.items() <= k.items()))
            if (match := next(same, None)) is not None:
                left.remove(match)
                new.remove(point)
    return new


def _written(point: Mapping[str, Any] | None) -> str:
    return json.dumps(point, sort_keys=True)
