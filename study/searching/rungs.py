"""A run's trials at the rungs of its schedule: their values, the gate, and what is recorded.

`Brackets` decides; here it gets the objectives' values at reports, and what it decided goes to the
trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from study.kinds.schedules import RUNGS, SCHEDULES, rung_values
from study.metrics import Statistics, objective_label
from study.searching.brackets import Arrival, Brackets, Decision
from study.searching.untrained import is_clearly_better
from study.spec.sections import StudySpec
from study.trials import Progress, TrialConfig

Values = tuple[float, ...]
Entry = dict[str, Any]
"""One rung of a trial: level, step, score, further, clear; once decided goes_on, gate and more."""


@dataclass
class _Climber:
    trial: optuna.Trial
    rungs: tuple[int, ...]  # steps
    reports: dict[int, Values]  # step -> the objectives' values, all of them finite
    clear: set[int]  # steps of rungs where it was clearly better than the untrained model
    unjudged: dict[int, Mapping[str, Statistics]]  # step of a rung -> to compare with that model
    reached: int  # the step that its state holds
    passed: list[Entry] = field(default_factory=list)


class Rungs:
    """The trials of one run that climb its schedule's rungs.

    Args:
        spec: The study.
        untrained: Returns the untrained model's statistics by objective, once they are known.
        fills: Whether free slots take the next bracket.
        remark: Shows a line.
    """

    def __init__(
        self,
        spec: StudySpec,
        untrained: Callable[[], Mapping[str, Statistics]],
        fills: bool,
        remark: Callable[[str], None],
    ) -> None:
        self._schedule = SCHEDULES[spec.search.schedule]
        self._brackets = Brackets(self._schedule, fills)
        self._every = spec.training.report_every
        self._directions = dict(
            zip(spec.evaluation.objective, spec.evaluation.directions, strict=True)
        )
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

        `reports` are those of a single objective, `passed` its rungs in an earlier run or process,
        and `reached` is the step of its state.
        """
        number = config.number
        values: dict[int, Values] = {step: (value,) for step, value in reports.items()}
        values |= {entry["step"]: found for entry in passed if (found := _known(entry))}
        clear = {entry["step"] for entry in passed if entry["clear"]}
        steps = self._schedule.steps(config.training.steps, self._every)
        climber = _Climber(trial, steps, values, clear, {}, reached, list(passed))
        self._climbers[number] = climber
        # rungs that it went by before the study had a schedule, where reports leave values out
        level = sum(step <= reached and step not in values for step in steps)
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
        scores = {name: found.score for name, found in progress.statistics.items()}
        measured = {**progress.costs, **scores}
        values = tuple(measured.get(name, math.nan) for name in self._directions)
        if all(map(math.isfinite, values)):
            climber.reports.setdefault(progress.step, values)
        if progress.step in climber.rungs:
            climber.unjudged[progress.step] = progress.statistics
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
        first, *others = climber.reports.get(step, (None,) * len(self._directions))
        further = dict(zip(list(self._directions)[1:], others, strict=True))
        climber.passed.append(
            {"level": level, "step": step, "score": first, "further": further}
            | {"clear": arrival.is_clear(), "goes_on": None}
        )
        self._write(climber)
        self._brackets.arrive(number, arrival)
        return True

    def _arrival(self, number: int, step: int) -> Arrival:
        climber = self._climbers[number]
        values = climber.reports.get(step)
        if values is None:
            values = (-math.inf,) * len(self._directions)
        else:
            ways = zip(self._directions.values(), values, strict=True)
            values = tuple(value if way == "maximize" else -value for way, value in ways)
        return Arrival(values, lambda: self._is_clear(climber, step))

    def _is_clear(self, climber: _Climber, step: int) -> bool:
        """Return whether a trial is clearly better than the untrained model in some objective."""
        if step in climber.unjudged and (untrained := self._untrained()):
            trained = climber.unjudged.pop(step)
            if any(
                is_clearly_better(found, untrained[name], self._directions[name])
                for name, found in trained.items()
                if name in untrained
            ):
                climber.clear.add(step)
        return step in climber.clear

    def _record(self) -> None:
        decisions = self._brackets.decisions()
        for decision in decisions:
            if climber := self._climbers.get(decision.number):
                gate = "open" if decision.gate_is_open else "closed"
                last = climber.passed[-1]
                entry = {**last, "goes_on": decision.goes_on, "gate": gate}
                entry["clear"] = self._is_clear(climber, last["step"])
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
        named = ", ".join(f"#{number}{self._reached(number)}" for number in going)
        if not decisions[0].gate_is_open:
            return (
                f"step {step}: all {len(decisions)} go on, since none is clearly better than the "
                "untrained base yet"
            )
        return f"step {step}: {named} of {len(decisions)} trials go on"

    def _reached(self, number: int) -> str:
        """Return a trial's values at its last rung, in brackets; empty if they are not known."""
        values = _known(self._climbers[number].passed[-1])
        pairs = zip(self._directions, values, strict=False)
        words = ", ".join(f"{objective_label(name)} {value:.3g}" for name, value in pairs)
        return f" ({words})" if words else ""


def _known(entry: Entry) -> Values:
    """Return the objectives' values at a rung; empty if they are not known."""
    return tuple(value for value in rung_values(entry) if value is not None)
