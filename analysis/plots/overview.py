"""Figures of all parameters at once: parallel coordinates, pairs, and where the best lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.comparison.contrast import Contrast
from analysis.display import own_names
from analysis.plots import marks
from analysis.plots.bars_and_violins import Bar, interval_bars
from analysis.plots.palette import (
    BEST,
    GRID,
    INK,
    MUTED,
    ON_LINES,
    TRIAL,
    colour_of,
    in_house_style,
    legend_above,
    new_axes,
)
from analysis.plots.slices import varied_parameters
from analysis.studies.study_data import StudyData
from analysis.surrogates.encoding import Column, make_column
from analysis.wording import alike_signed, label_of, shortened
from study.metrics import Array, metric_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.trial import FrozenTrial

    from analysis.importance.variance import Importances

MAX_AXES, MAX_LINES, MAX_PAIRED, MAX_RANGES, MAX_LEVELS = 7, 400, 8, 6, 9
BEST_SHARE = 0.1  # this share of the trials stands out
MOST_BEST = 40  # more lines could not be followed
ABSENT = -0.24  # the height of a line at the axis of a parameter that its trial lacks
BANDED = 3  # so many trials have a band


@dataclass(frozen=True)
class Ranges:
    """Where trials lie in the search space: `units` is (N, D), NaN where a parameter was absent."""

    columns: tuple[Column, ...]
    trials: tuple[FrozenTrial, ...]  # best first
    units: Array

    @property
    def leading(self) -> int:
        """How many trials stand out: the best tenth, but at most forty."""
        return min(max(round(BEST_SHARE * len(self.trials)), 1), MOST_BEST)


def has_bands(data: StudyData) -> bool:
    """Whether the best tenth holds enough trials for a band."""
    return round(BEST_SHARE * len(data.ranked())) >= BANDED


def ranges_of(
    data: StudyData, result: Importances | None = None, objective: str | None = None
) -> Ranges:
    """Return every varied parameter of the ranked trials on its own scale, 0 to 1."""
    names = varied_parameters(data, result)
    columns = tuple(make_column(name, data.distributions[name]) for name in names)
    trials = tuple(t for t in data.ranked(objective) if np.isfinite(data.value(t, objective)))
    units = np.full((len(trials), len(columns)), np.nan)
    for i, trial in enumerate(trials):
        for j, column in enumerate(columns):
            if column.name in trial.params:
                units[i, j] = column.to_unit(trial.params[column.name])
    return Ranges(columns, trials, units)


@in_house_style
def plot_parallel(
    data: StudyData,
    ax: Axes | None = None,
    result: Importances | None = None,
    objective: str | None = None,
) -> Axes:
    """Every trial as a line through its parameters to its objective; the best tenth stands out.

    At most forty stand out; with more than 400 others, an even selection is drawn.  The line of a
    trial that lacks a parameter passes below that parameter's axis.
    """
    ax = new_axes(ax)
    shown = ranges_of(data, result, objective)
    values = np.array([data.value(t, objective) for t in shown.trials])
    spread = np.ptp(values) if len(values) else 0.0
    height = (values - values.min()) / spread if spread else np.full(len(values), 0.5)
    kept = shown.columns[:MAX_AXES]
    lines = np.column_stack([shown.units[:, : len(kept)], height])  # (N, D + 1)
    absent = np.isnan(lines).any(axis=0)  # (D + 1,)
    lines[np.isnan(lines)] = ABSENT
    rest = np.arange(shown.leading, len(lines))
    rest = rest[:: max(-(-len(rest) // MAX_LINES), 1)]
    _lines(ax, shown, lines, rest, TRIAL, "trial", 0.6)
    top = np.arange(min(shown.leading, len(lines)))
    _lines(
        ax,
        shown,
        lines,
        top,
        BEST,
        f"best {len(top)} trials" if len(top) > 1 else "best trial",
        1.3,
    )
    for place in range(lines.shape[1]):
        ax.plot([place] * 2, [0, 1], color=MUTED, lw=0.7, zorder=1.5)
    for place, column in enumerate(kept):
        _scale(ax, place, column)
    for place in np.flatnonzero(absent).tolist():
        ax.annotate("none", (place, ABSENT), ha="center", va="center", color=MUTED, bbox=ON_LINES)
    if len(values):
        _ends(ax, len(kept), marks.tick(float(values.min())), marks.tick(float(values.max())))
    names = [shortened(c.name, 14) for c in kept]
    names.append(shortened(label_of(data.objectives[data.index_of(objective)]), 14))
    ax.set_xticks(range(len(names)), names)
    ax.tick_params("x", length=0, pad=12)
    low = ABSENT - 0.08 if absent.any() else -0.03
    ax.set(xlim=(-0.3, len(kept) + 0.3), ylim=(low, 1.1), yticks=[])
    ax.grid(visible=False)
    ax.spines[["left", "bottom"]].set_visible(False)
    legend_above(ax)
    return ax


def _lines(
    ax: Axes, shown: Ranges, lines: Array, rows: Any, colour: str, label: str, width: float
) -> None:
    from matplotlib.collections import LineCollection

    if len(rows) == 0:
        return
    x = np.arange(lines.shape[1])
    style: dict[str, Any] = {"colors": colour, "linewidths": width, "label": label}
    style["alpha"] = 0.35 if colour == TRIAL else 0.9
    drawn = LineCollection([np.column_stack([x, lines[i]]) for i in rows], **style)
    marks.of_trials(drawn, [shown.trials[i].number for i in rows])
    ax.add_collection(drawn)


def _scale(ax: Axes, place: int, column: Column) -> None:
    """Write the levels next to the axis where they are few, otherwise the ends of the range."""
    values = column.grid_values()
    if column.positions is None or len(values) > MAX_LEVELS:
        _ends(ax, place, marks.tick(values[0]), marks.tick(values[-1]))
        return
    style: dict[str, Any] = {"textcoords": "offset points", "va": "center", "color": INK}
    style["bbox"] = ON_LINES
    for value, unit in zip(values, column.positions, strict=True):
        ax.annotate(shortened(marks.tick(value), 14), (place, unit), (4, 0), **style)


def _ends(ax: Axes, place: float, low: str, high: str) -> None:
    style: dict[str, Any] = {"ha": "center", "color": INK, "annotation_clip": False}
    style |= {"textcoords": "offset points", "bbox": ON_LINES}
    ax.annotate(shortened(low, 10), (place, 0), (0, -4), va="top", **style)
    ax.annotate(shortened(high, 10), (place, 1), (0, 3), va="bottom", **style)


@in_house_style
def plot_interactions(result: Importances, ax: Axes | None = None) -> Axes:
    """Shares as a matrix: main effects on the diagonal, interactions of pairs below it."""
    ax = new_axes(ax)
    names = [p.name for p in result.parameters[:MAX_PAIRED]]
    shares = {(p.name, p.name): p.importance for p in result.parameters}
    pairs = (i for i in result.interactions if len(i.names) == 2)
    shares |= {(i.names[0], i.names[1]): i.importance for i in pairs}
    for row, one in enumerate(names):
        for column, other in enumerate(names[: row + 1]):
            share = shares.get((one, other), shares.get((other, one), 0.0))
            _cell(ax, column, row, share, one == other)
    labels = [shortened(name, 16) for name in names]
    marks.level_axis(ax, labels)
    ax.set_yticks(range(len(names)), labels)
    ax.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5))
    ax.grid(visible=False)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)
    return ax


def _cell(ax: Axes, column: int, row: int, share: float, is_main: bool) -> None:
    from matplotlib.patches import Rectangle

    place = (column - 0.47, row - 0.47)
    edge: dict[str, Any] = {"ec": MUTED if is_main else GRID, "lw": 0.8}
    ax.add_patch(Rectangle(place, 0.94, 0.94, fc="none", **edge))
    ax.add_patch(Rectangle(place, 0.94, 0.94, fc=TRIAL, lw=0, alpha=0.75 * min(share, 1.0)))
    ax.annotate(f"{share:.2f}", (column, row), ha="center", va="center", color=INK)


@in_house_style
def plot_best_in_ranges(
    data: StudyData, ax: Axes | None = None, result: Importances | None = None
) -> Axes:
    """Where the best trial lies in each parameter's range, and where the best tenth does."""
    ax = new_axes(ax)
    shown = ranges_of(data, result)
    columns = shown.columns[:MAX_RANGES]
    for row, column in enumerate(columns):
        units = shown.units[: shown.leading, row]
        units = units[np.isfinite(units)]
        ax.plot([0, 1], [row, row], color=GRID, lw=5, solid_capstyle="round", zorder=1)
        if len(units) >= BANDED and not column.is_categorical:  # names have no middle
            ends = [_along(column, unit) for unit in np.quantile(units, [0.1, 0.9])]
            ax.plot(ends, [row, row], color=TRIAL, lw=5, alpha=0.45, solid_capstyle="round")
        best = _along(column, shown.units[0, row]) if shown.trials else np.nan
        if np.isfinite(best):
            ax.scatter([best], [row], s=34, color=BEST, linewidths=0, zorder=4)
            said = shortened(marks.tick(shown.trials[0].params[column.name]), 14)
            ax.annotate(said, (1, row), (9, 0), textcoords="offset points", va="center")
    ax.set_yticks(range(len(columns)), [shortened(c.name, 16) for c in columns])
    ax.set(xlim=(-0.03, 1.28), ylim=(max(len(columns), 1) - 0.5, -0.5))
    ax.set_xticks([0, 1], ["lowest", "highest"])
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[["left", "bottom"]].set_visible(False)
    return ax


def _along(column: Column, unit: float) -> float:
    """Where a value lies from the lowest to the highest: levels lie inside the range of a unit."""
    if column.positions is None or len(column.positions) < 2:
        return unit
    first, last = float(column.positions[0]), float(column.positions[-1])
    return (unit - first) / (last - first)


@in_house_style
def plot_gains(comparisons: Sequence[Contrast], ax: Axes | None = None) -> Axes:
    """Differences from the baselines with 95 % intervals; at the line there is no difference."""
    ax = new_axes(ax)
    write = alike_signed([c.difference for c in comparisons])
    bars = [
        Bar(row, c.difference, c.interval, colour_of(c.b.name), write(c.difference))
        for row, c in enumerate(comparisons)
    ]
    names = [f"against {shortened(c.b.name, 14)}" for c in comparisons]
    interval_bars(ax, bars, names, as_points=True)
    ax.axvline(0, color=INK, lw=0.9)
    ax.margins(x=0.08)
    if comparisons:
        ax.set_xlabel(f"difference in {metric_label(comparisons[0].a.metric)}")
    return ax


def __dir__() -> list[str]:
    return own_names(globals())
