"""A run's trials at the rungs of its schedule: their scores, the gate, and what is recorded.

`Brackets` decides; here it gets scores of reports, and what it decided goes to the trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from study.kinds.schedules import RUNGS, SCHEDULES
from study.metrics import Statistics
from study.searching.brackets import Arrival, Brackets, Decision
from study.searching.untrained import is_clearly_better
from study.spec.sections import StudySpec
from study.trials import Progress, TrialConfig

Entry = dict[str, Any]
"""One rung of a trial: level, step, score, clear; once decided goes_on, gate and came_back."""


@dataclass
class _Climber:
    trial: optuna.Trial
    rungs: tuple[int, ...]  # steps
    reports: dict[int, float]  # step -> value
    clear: set[int]  # steps of rungs where it was clearly better than the untrained model
    reached: int  # the step that its state holds
    passed: list[Entry] = field(default_factory=list)


class Rungs:
    """The trials of one run that climb its schedule's rungs.

    Args:
        spec: The study.
        untrained: Returns the untrained model's statistics, once they are known.
        fills: Whether free slots take the next bracket.
        remark: Shows a line.
    """

    def __init__(
        self,
        spec: StudySpec,
        untrained: Callable[[], Statistics | None],
        fills: bool,
        remark: Callable[[str], None],
    ) -> None:
        self._schedule = SCHEDULES[spec.search.schedule]
        self._brackets = Brackets(self._schedule, fills)
        self._every = spec.training.report_every
        self._direction = spec.evaluation.directions[0]
        self._untrained = untrained
        self._remark = remark
        self._climbers: dict[int, _Climber] = {}

    # ------------------------------------------------------------ what to train next

    @property
    def wants_new(self) -> bool:
        """Whether another trial may begin now."""
        return self._brackets.wants_new

    def next(self) -> int | None:
        """Return the trial that goes on now, if one waits for a slot."""
        while (number := self._brackets.next()) is not None:
            if not self._arrives(number):
                return number
        return None

    def no_more(self) -> bool:
        """Let the bracket that fills up go on with those it has; return whether there was one."""
        was_filling = self._brackets.is_filling
        self._brackets.no_more()
        self._record()
        return was_filling

    def left(self) -> list[int]:
        """Return the trials that stay put aside, once no bracket is at work."""
        return self._brackets.left if self._brackets.is_idle else []

    # ------------------------------------------------------------ what happens

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Decide nothing before all that an earlier run had begun is taken in."""
        with self._brackets.restoring():
            yield
        self._record()

    def begin(
        self,
        trial: optuna.Trial,
        config: TrialConfig,
        reports: Mapping[int, float],
        passed: Sequence[Entry],
        reached: int,
    ) -> bool:
        """Take a trial into a bracket; return whether it waits at a rung that it had reached.

        `passed` are its rungs in an earlier run or process, `reached` the step of its state.
        """
        number = config.number
        scores = {entry["step"]: entry["score"] for entry in passed} | dict(reports)
        clear = {entry["step"] for entry in passed if entry["clear"]}
        steps = self._schedule.steps(config.training.steps, self._every)
        climber = _Climber(trial, steps, scores, clear, reached, list(passed))
        self._climbers[number] = climber
        level = 0
        if passed:
            self._write(climber)
            last = passed[-1]
            if last["goes_on"] is False:
                arrival = self._arrival(number, last["step"])
                self._brackets.put_aside(number, last["level"], arrival)
                return True
            level = last["level"] + bool(last["goes_on"])
            if last["goes_on"] is None:
                climber.reached = max(reached, last["step"])
        self._brackets.begin(number, level)
        waits = self._arrives(number)
        self._record()
        return waits

    def reports(self, progress: Progress) -> bool:
        """Take a report; return whether the trial waits at a rung."""
        climber = self._climbers[progress.number]
        climber.reached = progress.step
        if progress.value is not None and math.isfinite(progress.value):
            climber.reports.setdefault(progress.step, progress.value)
        if progress.step in climber.rungs and self._is_clear(progress.statistics):
            climber.clear.add(progress.step)
        waits = self._arrives(progress.number)
        self._record()
        return waits

    def end(self, number: int) -> None:
        """Take note that a trial has ended."""
        if self._climbers.pop(number, None) is not None:
            self._brackets.end(number)
            self._record()

    def last_rung(self, number: int) -> Entry:
        """Return the rung at which a trial was put aside."""
        return self._climbers[number].passed[-1]

    # ------------------------------------------------------------ scores and records

    def _arrives(self, number: int) -> bool:
        climber, level = self._climbers[number], self._brackets.level_of(number)
        if level >= len(climber.rungs) or climber.reached < climber.rungs[level]:
            return False
        step = climber.rungs[level]
        arrival = self._arrival(number, step)
        climber.passed = [entry for entry in climber.passed if entry["level"] < level]
        value = climber.reports.get(step)
        climber.passed.append(
            {"level": level, "step": step, "score": value, "clear": arrival.is_clear}
            | {"goes_on": None}
        )
        self._write(climber)
        self._brackets.arrive(number, arrival)
        return True

    def _arrival(self, number: int, step: int) -> Arrival:
        climber = self._climbers[number]
        sign = 1.0 if self._direction == "maximize" else -1.0
        value = sign * climber.reports.get(step, -sign * math.inf)
        return Arrival(value, step in climber.clear)

    def _is_clear(self, trained: Statistics | None) -> bool:
        untrained = self._untrained()
        if trained is None or untrained is None:
            return False
        return is_clearly_better(trained, untrained, self._direction)

    def _record(self) -> None:
        decisions = self._brackets.decisions()
        for decision in decisions:
            if climber := self._climbers.get(decision.number):
                gate = "open" if decision.gate_is_open else "closed"
                last = climber.passed[-1]
                entry = {**last, "goes_on": decision.goes_on, "gate": gate}
                if last["goes_on"] is False:
                    entry["came_back"] = True
                climber.passed[-1] = entry
                self._write(climber)
        if decisions:
            self._remark(self._in_words(decisions))

    def _write(self, climber: _Climber) -> None:
        with suppress(UpdateFinishedTrialError):  # taken over: noticed when telling the trial
            climber.trial.set_user_attr(RUNGS, climber.passed)

    def _in_words(self, decisions: list[Decision]) -> str:
        """Return one line about who goes on from a rung."""
        going = [d.number for d in decisions if d.goes_on]
        step = self._climbers[decisions[0].number].passed[-1]["step"]
        named = ", ".join(f"#{number}" for number in going)
        if not decisions[0].gate_is_open:
            return (
                f"step {step}: all {len(decisions)} go on, since none is clearly better than the "
                "untrained base yet"
            )
        return f"step {step}: {named} of {len(decisions)} trials go on"
