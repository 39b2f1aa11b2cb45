"""Plain lines for logs and pipes, and the wording that all views share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from typing_extensions import override

from study.metrics import objective_label
from study.spec.sections import StudySpec
from study.trials import TrialConfig
from study.views.base import Outcome, Planned, View

BASE_TRAINING_SHARE = 0.25  # share of the base's training between two lines

REPORT_SECONDS = 5.0  # at least, between any line and one for a report
SILENT_SECONDS = 60.0  # without a line before one says how far a training is that reports nothing


class PlainView(View):
    """Writes a line when a training ends, and on the way a line for a report now and then."""

    def __init__(self, spec: StudySpec, console: Console) -> None:
        self._spec = spec
        self._console = console
        self._next_base_line = 0.0
        self._last_line = time.monotonic()

    @override
    def base_training(self, step: int, total: int, loss: float) -> None:
        if step / total >= self._next_base_line:
            self.remarked(f"training the base model: step {step}/{total}, loss {loss:.2f}")
            self._next_base_line = step / total + BASE_TRAINING_SHARE

    @override
    def remarked(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        self._last_line = time.monotonic()

    @override
    @contextmanager
    def searching(self, planned: Planned) -> Iterator[None]:
        self._tally = Tally(self._spec, planned)
        resumed = f", {planned.done} already done" if planned.done else ""
        wanted = f"{planned.total} {planned.what}{resumed}; workers: {planned.workers}"
        self.remarked(f"{self._spec.name}: {wanted}")
        yield

    @override
    def progressed(self, config: TrialConfig, step: int, value: float | None) -> None:
        pause = SILENT_SECONDS if value is None else REPORT_SECONDS
        if time.monotonic() - self._last_line < pause:
            return
        label = objective_label(self._spec.evaluation.objective[0])
        reached = "" if value is None else f", {label} {value:.3g}"
        steps = f"step {step}/{config.training.steps}"
        self.remarked(f"{describe(self._spec, config)}: {steps}{reached}")

    @override
    def ended(self, outcome: Outcome) -> None:
        self._tally.add(outcome)
        remaining = self._tally.remaining()
        self.remarked(
            f"{ending(self._spec, outcome)}  [{self._tally.done}/{self._tally.total}"
            f"{', ' + remaining if remaining else ''}]"
        )


class Tally:
    """Counts trainings, keeps the best, and estimates the remaining time."""

    def __init__(self, spec: StudySpec, planned: Planned) -> None:
        self.total = planned.total
        self.done = planned.done
        self.best: Outcome | None = None
        self._done_before = planned.done
        self._started = time.monotonic()
        self._maximize = spec.evaluation.directions[0] == "maximize"

    def add(self, outcome: Outcome) -> None:
        """Count an outcome, unless it belongs to a baseline or will be retried."""
        if outcome.config.role == "baseline" or outcome.state == "interrupted":
            return
        self.done = self.done + 1 if outcome.counted is None else outcome.counted
        if outcome.state == "complete" and outcome.value is not None and self._is_better(outcome):
            self.best = outcome

    def _is_better(self, outcome: Outcome) -> bool:
        if self.best is None:
            return True
        assert outcome.value is not None
        assert self.best.value is not None
        return (outcome.value > self.best.value) == self._maximize

    def remaining(self) -> str:
        """Return the estimated remaining time, or an empty string before it can be estimated."""
        finished = self.done - self._done_before
        if finished < 2 or self.done >= self.total:
            return ""
        seconds = (time.monotonic() - self._started) / finished * (self.total - self.done)
        return f"{clock(seconds)} left"


# ---------------------------------------------------------------- words


def ending(spec: StudySpec, outcome: Outcome) -> str:
    """Return the training and its result: its value, or its state and the reason."""
    how = f"{outcome.state}: {outcome.reason}"
    if outcome.state == "complete":
        reached = {outcome.objective: outcome.value, **outcome.further}
        how = ", ".join(f"{objective_label(name)} {v:.3g}" for name, v in reached.items())
    return f"{describe(spec, outcome.config)}: {how}"


def describe(spec: StudySpec, config: TrialConfig) -> str:
    """Return a short description of a training: its number and its search values."""
    if config.repeats is not None:
        return f"trial {config.repeats} again"
    if config.role != "search":
        default = "default LoRA" if spec.trains_adapters else "default training"
        names = {"base": "untrained base", "default": default, "plain": f"{default}, no teacher"}
        return names.get(config.name, config.name)
    space, values = spec.search.search_space, config.values
    chosen = {
        name: value
        for name, value in values.items()
        if name in space.distributions and space.is_active(name, values)
    }
    return f"#{config.number}  " + " ".join(f"{_short(n)} {_value(v)}" for n, v in chosen.items())


def _short(name: str) -> str:
    words = {"learning_rate": "lr", "alpha": "α", "rank": "r", "target_modules": "", "method": ""}
    return words.get(name, name)


def _value(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() else f"{value:.2g}"


def clock(seconds: float) -> str:
    """Return seconds as m:ss, or h:mm:ss from one hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
