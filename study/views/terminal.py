"""Live progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column
from typing_extensions import override

from study.metrics import objective_label
from study.spec.sections import StudySpec
from study.trials import TrialConfig
from study.views.base import Outcome, Planned, View
from study.views.plain import PlainView, Tally, describe, ending

MOST_BARS = 8


def make_view(spec: StudySpec, console: Console) -> View:
    """Return the live view on a terminal, the plain view elsewhere."""
    return LiveView(spec, console) if console.is_terminal else PlainView(spec, console)


class LiveView(View):
    """One bar for the study, and one for each of the first running trials."""

    def __init__(self, spec: StudySpec, console: Console) -> None:
        self._spec = spec
        self._console = console
        self._label = objective_label(spec.evaluation.objective[0])
        self._base: tuple[Bars, TaskID] | None = None
        self._tasks: dict[int, TaskID] = {}

    @override
    def base_training(self, step: int, total: int, loss: float) -> None:
        if self._base is None:
            bars = _bars(self._console)
            bars.start()
            self._base = bars, bars.add_task("training the base model", total=total, text="")
        bars, task = self._base
        bars.update(task, completed=step, text=f"loss {loss:.2f}")
        if step >= total:
            bars.stop()
            self._base = None  # the training of a teacher may follow

    @override
    def remarked(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)

    @override
    @contextmanager
    def searching(self, planned: Planned) -> Iterator[None]:
        self._tally = Tally(self._spec, planned)
        self._bars = _bars(self._console)
        self._whole = self._bars.add_task(
            f"[bold]{escape(self._spec.name)}",
            total=planned.total,
            completed=planned.done,
            text="",
        )
        with self._bars:
            yield

    @override
    def started(self, config: TrialConfig) -> None:
        steps = config.training.steps if config.is_trained else None
        text = escape(describe(self._spec, config))
        self._tasks[config.number] = self._bars.add_task(
            text, total=steps, text="", visible=len(self._tasks) < MOST_BARS
        )
        self._show_the_first()

    def _show_the_first(self) -> None:
        """Show the bars of the first trainings and the number of hidden ones."""
        for position, task in enumerate(self._tasks.values()):
            self._bars.update(task, visible=position < MOST_BARS)
        hidden = len(self._tasks) - MOST_BARS
        more = f" [dim]and {hidden} more[/dim]" if hidden > 0 else ""
        name = f"[bold]{escape(self._spec.name)}[/bold]"
        self._bars.update(self._whole, description=name + more)

    @override
    def progressed(self, config: TrialConfig, step: int, value: float | None) -> None:
        task = self._tasks[config.number]
        self._bars.update(task, completed=step)
        if value is not None:
            self._bars.update(task, text=f"{self._label} {value:.3g}")

    @override
    def paused(self, config: TrialConfig) -> None:
        if config.number in self._tasks:  # it ends without a bar if it was put aside
            self._bars.remove_task(self._tasks.pop(config.number))
            self._show_the_first()

    @override
    def ended(self, outcome: Outcome) -> None:
        """Remove the bar; baselines, failed and interrupted trainings leave a line.

        So do those of several objectives, of which no bar shows the best.
        """
        self.paused(outcome.config)
        self._tally.add(outcome)
        is_told = outcome.state in ("failed", "interrupted") or bool(outcome.further)
        if is_told or outcome.config.role == "baseline":
            self.remarked(ending(self._spec, outcome))
        best, remaining = self._tally.best, self._tally.remaining()
        best_so_far = f"best {self._label} {best.value:.3g}" if best else ""
        text = ", ".join(filter(None, (best_so_far, remaining)))
        self._bars.update(self._whole, completed=self._tally.done, text=text)


def _bars(console: Console) -> Bars:
    return Bars(
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=6, table_column=Column(min_width=6)),
        MofNCompleteColumn(table_column=Column(min_width=7, no_wrap=True)),
        TextColumn("{task.fields[text]}", table_column=Column(no_wrap=True)),
        console=console,
        transient=True,
    )
