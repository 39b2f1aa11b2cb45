"""Which trainings go on: several begin together, and at each rung the best of them go on.

The others are put aside, not ended: at every later rung they compete again.  A gate holds a rung
open: nobody is put aside before a leader of the rung is clearly better than the untrained model,
since scores say nothing before learning has begun.  A run and benchmarks/search_steps.py decide by
this code alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from study.kinds.schedules import Schedule, rungs_of
from study.searching.fronts import fronts


def is_paused(attributes: Mapping[str, Any]) -> bool:
    """Return whether a trial with these user attributes waits at a rung, or was put aside there."""
    passed = rungs_of(attributes)
    return len(passed) > 0 and not passed[-1]["goes_on"]


def is_aside(attributes: Mapping[str, Any]) -> bool:
    """Return whether a trial with these user attributes was put aside at its last rung."""
    passed = rungs_of(attributes)
    return len(passed) > 0 and passed[-1]["goes_on"] is False


@dataclass(frozen=True)
class Arrival:
    """A training at a rung: its objectives' values, and whether one is clearly better.

    Higher is better; a training whose values are unknown has -inf in all.  `is_clear` is asked when
    the rung is decided: with several workers the untrained model's score can come late.
    """

    values: tuple[float, ...]
    is_clear: Callable[[], bool]  # clearly better than the untrained model in a score


@dataclass(frozen=True)
class Decision:
    """What became of a training at a rung."""

    number: int
    level: int
    goes_on: bool
    gate_is_open: bool


def who_goes_on(
    arrived: Mapping[int, Arrival], own: Collection[int], places: int
) -> tuple[list[int], bool]:
    """Return who goes on from a rung, best first, and whether the gate is open.

    Args:
        arrived: Everybody at this rung, also those that were put aside there earlier.
        own: Those that arrived together now.
        places: How many go on, once the gate is open.
    """
    values = {number: arrival.values for number, arrival in arrived.items()}
    ranked = [number for front in fronts(values) for number in front]
    leaders = fronts({number: values[number] for number in own})[0]
    if not any(arrived[number].is_clear() for number in leaders):
        return [number for number in ranked if number in own], False
    return ranked[:places], True


@dataclass
class _Bracket:
    level: int = 0  # of the rung that it trains to
    began: int = 0
    is_filling: bool = True
    training: set[int] = field(default_factory=set)  # or waiting for a slot
    arrived: dict[int, Arrival] = field(default_factory=dict)


class Brackets:
    """The brackets of one run.

    Args:
        schedule: How many begin, and how many go on from each rung.
        fills: Whether freed slots take the next bracket, where an idle worker costs time.
    """

    def __init__(self, schedule: Schedule, fills: bool = False) -> None:
        self._schedule = schedule
        self._fills = fills
        self._active: list[_Bracket] = []
        self._queue: list[int] = []
        self._aside: dict[int, tuple[int, Arrival]] = {}  # number -> level
        self._decided: list[Decision] = []
        self._is_restoring = False

    # ------------------------------------------------------------ what to train next

    @property
    def wants_new(self) -> bool:
        """Whether another training may begin now."""
        if self._queue:
            return False
        return self.is_filling or self._fills or not self._active

    def next(self) -> int | None:
        """Return a training that goes on now, if one waits for a slot."""
        return self._queue.pop(0) if self._queue else None

    @property
    def left(self) -> list[int]:
        """Those that were put aside at a rung and have not gone on."""
        return sorted(self._aside)

    @property
    def is_filling(self) -> bool:
        """Whether a bracket has room for more."""
        return any(bracket.is_filling for bracket in self._active)

    @property
    def is_idle(self) -> bool:
        """Whether no bracket is at work."""
        return not self._active

    def decisions(self) -> list[Decision]:
        """Return what was decided since the last call."""
        decided, self._decided = self._decided, []
        return decided

    # ------------------------------------------------------------ what happens

    def begin(self, number: int, level: int = 0) -> None:
        """Take a training into the bracket that fills up, or into a new one.

        One that has passed rungs in an earlier run or process joins those at its level.
        """
        most = self._schedule.sizes[0]
        found = [b for b in self._active if b.level == level and (level or b.is_filling)]
        bracket = found[0] if found else _Bracket(level, began=most if level else 0)
        if not found:
            self._active.append(bracket)
        bracket.training.add(number)
        bracket.began += not level
        bracket.is_filling = bracket.began < most

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Decide nothing before all that an earlier run had begun is taken in."""
        self._is_restoring = True
        try:
            yield
        finally:
            self._is_restoring = False
        for bracket in list(self._active):
            self._settle(bracket)

    def no_more(self) -> None:
        """Let a bracket that fills up go on with those that it has."""
        for bracket in list(self._active):
            if bracket.is_filling:
                bracket.is_filling = False
                self._settle(bracket)

    def put_aside(self, number: int, level: int, arrival: Arrival) -> None:
        """Take over a training that an earlier run had put aside at a rung."""
        self._aside[number] = level, arrival

    def level_of(self, number: int) -> int:
        """Return the level of the rung that a training trains to."""
        return self._of(number).level

    def arrive(self, number: int, arrival: Arrival) -> None:
        """Take a training that has reached its rung and waits there."""
        bracket = self._of(number)
        bracket.training.discard(number)
        bracket.arrived[number] = arrival
        self._settle(bracket)

    def end(self, number: int) -> None:
        """Take note that a training has ended, wherever it stood."""
        self._aside.pop(number, None)
        if number in self._queue:
            self._queue.remove(number)
        for bracket in list(self._active):
            bracket.training.discard(number)
            bracket.arrived.pop(number, None)
            self._settle(bracket)

    # ------------------------------------------------------------ deciding

    def _of(self, number: int) -> _Bracket:
        return next(bracket for bracket in self._active if number in bracket.training)

    def _settle(self, bracket: _Bracket) -> None:
        """Decide who goes on, once all of a bracket have arrived or ended."""
        if bracket.is_filling or bracket.training or self._is_restoring:
            return
        if not bracket.arrived:
            self._active.remove(bracket)
            return
        level = bracket.level
        earlier = {n: arrival for n, (at, arrival) in self._aside.items() if at == level}
        everybody = {**earlier, **bracket.arrived}
        places = self._places(bracket)
        going, is_open = who_goes_on(everybody, bracket.arrived.keys(), places)
        for number in everybody:
            if number in bracket.arrived or number in going:
                goes_on = number in going
                self._decided.append(Decision(number, level, goes_on, is_open))
        self._aside |= {n: (level, arrival) for n, arrival in bracket.arrived.items()}
        for number in going:
            del self._aside[number]
        self._queue += going
        bracket.training, bracket.arrived, bracket.level = set(going), {}, level + 1

    def _places(self, bracket: _Bracket) -> int:
        """Return how many of a bracket go on; fewer if fewer began."""
        sizes = self._schedule.sizes
        return max(1, math.ceil(bracket.began * sizes[bracket.level + 1] / sizes[0]))
