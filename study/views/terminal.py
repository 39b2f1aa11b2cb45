"""The live view of a run: bars on a terminal, plain lines where standard error is none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column

from study.metrics import METRICS, split_and_metric
from study.spec.sections import StudySpec
from study.trials import TrialConfig
from study.views.base import Outcome, View

PLAIN_BASE_EVERY = 0.25
MOST_BARS = 8


def make_view(spec: StudySpec, console: Console) -> View:
    """Return the live view on a terminal, and the plain one elsewhere."""
    return LiveView(spec, console) if console.is_terminal else PlainView(spec, console)


def describe(spec: StudySpec, config: TrialConfig) -> str:
    """Return a training in few words: its number and what the search chose for it."""
    if config.repeats is not None:
        return f"trial {config.repeats} again"
    if config.role != "search":
        default = "default LoRA" if spec.trains_adapters else "default training"
        named = {"base": "untrained base", "default": default, "plain": f"{default}, no teacher"}
        return named[config.name]
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
    return (
        f"{value:.2g}"
        if isinstance(value, float) and not value.is_integer()
        else (str(int(value)) if isinstance(value, float) else str(value))
    )


def objective_label(objective: str) -> str:
    """Return the field's way to write an objective."""
    split, metric = split_and_metric(objective)
    label = METRICS[metric].label if metric in METRICS else metric.replace("_", " ")
    return label if split == "dev" else f"{split} {label}"


class _Tally:
    """How far the search is, how good, and how long it will take."""

    def __init__(self, spec: StudySpec, total: int, done: int) -> None:
        self.total = total
        self.done = done
        self._done_before = done
        self._started = time.monotonic()
        self._maximize = spec.evaluation.directions[0] == "maximize"
        self.best: Outcome | None = None

    def add(self, outcome: Outcome) -> None:
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
        """Return the estimated time to the end, once it can be estimated."""
        finished = self.done - self._done_before
        if finished < 2 or self.done >= self.total:
            return ""
        seconds = (time.monotonic() - self._started) / finished * (self.total - self.done)
        return f"{clock(seconds)} left"


def clock(seconds: float) -> str:
    """Return seconds as h:mm:ss, or m:ss where that is enough."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class PlainView:
    """One line an event; for logs and pipes."""

    def __init__(self, spec: StudySpec, console: Console) -> None:
        self._spec = spec
        self._console = console
        self._base_next = 0.0

    def base_training(self, step: int, total: int, loss: float) -> None:
        """Write a line at every quarter."""
        if step / total >= self._base_next:
            self._line(f"training the base model: step {step}/{total}, loss {loss:.2f}")
            self._base_next = step / total + PLAIN_BASE_EVERY

    def remarked(self, line: str) -> None:
        """Write it."""
        self._line(line)

    @contextmanager
    def searching(
        self, total: int, done: int, workers: int, what: str = "trials"
    ) -> Iterator[None]:
        """Say what begins."""
        self._tally = _Tally(self._spec, total, done)
        resumed = f", {done} of them done before" if done else ""
        self._line(f"{self._spec.name}: {total} {what}{resumed}; workers: {workers}")
        yield

    def started(self, config: TrialConfig) -> None:
        """Write nothing: the end of a trial is the news."""

    def progressed(self, config: TrialConfig, step: int, value: float | None) -> None:
        """Write nothing."""

    def ended(self, outcome: Outcome) -> None:
        """Write how it ended."""
        self._tally.add(outcome)
        text = describe(self._spec, outcome.config)
        left = self._tally.remaining()
        self._line(
            f"{text}: {_ending(outcome)}  [{self._tally.done}/{self._tally.total}"
            f"{', ' + left if left else ''}]"
        )

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _ending(outcome: Outcome) -> str:
    if outcome.state == "complete":
        return f"{objective_label(outcome.objective)} {outcome.value:.3g}"
    return f"{outcome.state}: {outcome.reason}"


class LiveView:
    """A bar for the study and one for each of the first running trials."""

    def __init__(self, spec: StudySpec, console: Console) -> None:
        self._spec = spec
        self._console = console
        self._base: tuple[Progress, TaskID] | None = None
        self._tasks: dict[int, TaskID] = {}

    def base_training(self, step: int, total: int, loss: float) -> None:
        """Show the bar of the base's training."""
        if self._base is None:
            progress = _bars(self._console)
            progress.start()
            self._base = (
                progress,
                progress.add_task("training the base model", total=total, text=""),
            )
        progress, task = self._base
        progress.update(task, completed=step, text=f"loss {loss:.2f}")
        if step >= total:
            progress.stop()
            self._base = None  # a teacher's may follow

    def remarked(self, line: str) -> None:
        """Leave a line."""
        self._line(line)

    @contextmanager
    def searching(
        self, total: int, done: int, workers: int, what: str = "trials"
    ) -> Iterator[None]:
        """Show the bars while the search runs."""
        self._tally = _Tally(self._spec, total, done)
        self._progress = _bars(self._console)
        self._whole = self._progress.add_task(
            f"[bold]{escape(self._spec.name)}", total=total, completed=done, text=""
        )
        with self._progress:
            yield

    def started(self, config: TrialConfig) -> None:
        """Add a bar for the trial."""
        steps = config.training.steps if config.method is not None else None
        text = escape(describe(self._spec, config))
        self._tasks[config.number] = self._progress.add_task(
            text, total=steps, text="", visible=len(self._tasks) < MOST_BARS
        )
        self._say_how_many()

    def _say_how_many(self) -> None:
        """Let the first trials be seen, and say how many there are besides."""
        for position, task in enumerate(self._tasks.values()):
            self._progress.update(task, visible=position < MOST_BARS)
        unseen = len(self._tasks) - MOST_BARS
        more = f" [dim]and {unseen} more[/dim]" if unseen > 0 else ""
        self._progress.update(
            self._whole, description=f"[bold]{escape(self._spec.name)}[/bold]{more}"
        )

    def progressed(self, config: TrialConfig, step: int, value: float | None) -> None:
        """Move the trial's bar."""
        task = self._tasks[config.number]
        self._progress.update(task, completed=step)
        if value is not None:
            self._progress.update(task, text=f"{self._label} {value:.3g}")

    def ended(self, outcome: Outcome) -> None:
        """Take the trial's bar away; what did not go well, and baselines, leave a line."""
        self._progress.remove_task(self._tasks.pop(outcome.config.number))
        self._say_how_many()
        self._tally.add(outcome)
        if outcome.state in ("failed", "interrupted") or outcome.config.role == "baseline":
            self._line(f"{describe(self._spec, outcome.config)}: {_ending(outcome)}")
        best, left = self._tally.best, self._tally.remaining()
        words = [f"best {self._label} {best.value:.3g}"] if best else []
        self._progress.update(
            self._whole, completed=self._tally.done, text=", ".join([*words, *filter(None, [left])])
        )

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    @property
    def _label(self) -> str:
        return objective_label(self._spec.evaluation.objective[0])


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=6, table_column=Column(min_width=6)),
        MofNCompleteColumn(table_column=Column(min_width=7, no_wrap=True)),
        TextColumn("{task.fields[text]}", table_column=Column(no_wrap=True)),
        console=console,
        transient=True,
    )
