"""Figures of base against adapters: bars, violins and boxes, a row a model.

Rows, because nine adapters have names that would run into each other below a figure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.comparison.adapters import Adapters
from analysis.comparison.compared_models import ComparedModel
from analysis.plots.marks import bodies
from analysis.plots.palette import (
    BEST,
    CHANCE,
    INK,
    TRIAL,
    colour_of,
    in_house_style,
    label_of,
    new_axes,
    shortened,
)
from study.metrics import METRICS, Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 5  # fewer different values than this make neither violin nor box


@in_house_style
def plot_adapter_bars(found: Adapters, metric: str, ax: Axes | None = None, best: str = "") -> Axes:
    """Bars of the corpus scores with 95 % intervals; a line at the base's."""
    ax = new_axes(ax)
    for row, model in enumerate((found.base, *found.adapters)):
        score = found.scores[model.name, metric]
        ax.barh(row, score.score, 0.62, color=_colour(found, model, best))
        ax.plot(score.ci, [row, row], color=INK, lw=1.1)
        text = f"{score.score:.1f}" if abs(score.score) >= 10 else f"{score.score:.2f}"
        place = (max(score.ci[1], score.score, 0), row)
        ax.annotate(text, place, (4, 0), textcoords="offset points", va="center")
    ax.axvline(found.scores[found.base.name, metric].score, color=INK, lw=0.7, ls=":")
    ax.margins(x=0.14)
    ax.set_xlabel(f"{METRICS[metric].label} of all {found.n_examples} examples")
    return _rows(ax, found)


@in_house_style
def plot_adapter_violins(
    found: Adapters, metric: str, ax: Axes | None = None, best: str = ""
) -> Axes:
    """Violins of the single examples' scores."""
    ax = new_axes(ax)
    models = (found.base, *found.adapters)
    each = [_each(found, model, metric) for model in models]
    each = [scores if has_spread(scores) else scores[:0] for scores in each]
    bodies(ax, each, [_colour(found, model, best) for model in models], 0.86, orient="h")
    ax.set_xlabel(f"{METRICS[metric].label} of one example")
    return _rows(ax, found)


@in_house_style
def plot_adapter_boxes(
    found: Adapters, metric: str, ax: Axes | None = None, best: str = ""
) -> Axes:
    """Boxes of the single examples' scores: quartiles, median, and a dot at the mean."""
    ax = new_axes(ax)
    for row, model in enumerate((found.base, *found.adapters)):
        each = _each(found, model, metric)
        if len(each):
            _box(ax, row, each, _colour(found, model, best))
    ax.set_xlabel(f"{METRICS[metric].label} of one example")
    return _rows(ax, found)


def has_spread(each: Array) -> bool:
    """Whether there are enough different values for a violin or a box to say something."""
    return len(np.unique(each[np.isfinite(each)])) >= FEW


def _box(ax: Axes, row: int, each: Array, colour: str) -> None:
    """Quartiles as a box, whiskers to the last value within 1.5 boxes, median, mean."""
    low, median, high = np.quantile(each, [0.25, 0.5, 0.75])
    reach = 1.5 * (high - low)
    inside = each[(each >= low - reach) & (each <= high + reach)]
    ax.plot([inside.min(), low], [row, row], color=colour, lw=1.0)
    ax.plot([high, inside.max()], [row, row], color=colour, lw=1.0)
    ax.barh(row, high - low, 0.22, left=low, facecolor="none", edgecolor=colour, linewidth=1.0)
    ax.plot([median, median], [row - 0.16, row + 0.16], color=INK, lw=1.6)
    ax.scatter([each.mean()], [row], s=9, color=INK, zorder=4, linewidths=0)


def _each(found: Adapters, model: ComparedModel, metric: str) -> Array:
    each = found.examples[model.name, metric]
    return each[np.isfinite(each)]


def _colour(found: Adapters, model: ComparedModel, best: str) -> str:
    """A baseline's own colour; the best's; that of a flag; otherwise a trial's."""
    if not isinstance(model.who, int):
        return colour_of(model.name)
    if model.name in flagged_names(found):
        return CHANCE
    return BEST if model.name == best else TRIAL


def flagged_names(found: Adapters) -> set[str]:
    """The adapters that a flag of metric gaming stands on."""
    return {v.adapter for v in found.examined.flagged} if found.examined else set()


def _rows(ax: Axes, found: Adapters) -> Axes:
    models = (found.base, *found.adapters)
    flagged = flagged_names(found)
    names = [
        shortened(label_of(m.label)) + (" (flag)" if m.name in flagged else "") for m in models
    ]
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    return ax
