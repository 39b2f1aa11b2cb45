"""Figures of models side by side: base and adapters, and the trainings of a confirmation.

Adapters are rows, because the names of nine would run into each other below a figure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.comparison.adapters import Adapters
from analysis.comparison.compared_models import ComparedModel
from analysis.comparison.confirmation import Confirmation
from analysis.plots.bars_and_violins import Bar, Group, distributions, interval_bars, with_violins
from analysis.plots.palette import (
    BEST,
    FLAGGED,
    INK,
    TRIAL,
    VIOLIN,
    colour_of,
    in_house_style,
    new_axes,
)
from analysis.wording import label_of, shortened
from study.metrics import Array, metric_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 5  # with fewer different values there is neither violin nor box


@in_house_style
def plot_adapter_bars(found: Adapters, metric: str, ax: Axes | None = None, best: str = "") -> Axes:
    """Bars of the corpus scores with 95 % intervals; a line at the base's score."""
    ax = new_axes(ax)
    bars = []
    for row, model in enumerate((found.base, *found.adapters)):
        score = found.scores[model.name, metric]
        text, colour = score_text(score.score), _colour(found, model, best)
        bars.append(Bar(row, score.score, score.ci, colour, text))
    interval_bars(ax, bars, _names(found))
    ax.axvline(bars[0].value, color=INK, lw=0.7, ls=":")
    ax.margins(x=0.14)
    ax.set_xlabel(f"{metric_label(metric)} on {found.in_words} examples")
    return ax


@with_violins
@in_house_style
def plot_adapter_violins(
    found: Adapters, metric: str, ax: Axes | None = None, best: str = ""
) -> Axes:
    """Violins of the single examples' scores."""
    return _distributions(found, metric, ax, best, ("violin",))


@in_house_style
def plot_adapter_boxes(
    found: Adapters, metric: str, ax: Axes | None = None, best: str = ""
) -> Axes:
    """Boxes of the single examples' scores: quartiles, median, and a dot at the mean."""
    return _distributions(found, metric, ax, best, ("box",))


@with_violins
@in_house_style
def plot_adapter_distributions(
    found: Adapters, metric: str, ax: Axes | None = None, best: str = ""
) -> Axes:
    """Violins of the single examples' scores, with their boxes."""
    return _distributions(found, metric, ax, best, ("violin", "box"))


def _distributions(
    found: Adapters, metric: str, ax: Axes | None, best: str, parts: tuple[str, ...]
) -> Axes:
    ax = new_axes(ax)
    groups = []
    for model, name in zip((found.base, *found.adapters), _names(found), strict=True):
        scores = found.examples[model.name, metric]
        colour = _colour(found, model, best, VIOLIN)
        groups.append(Group(name, scores[np.isfinite(scores)], colour))
    distributions(ax, groups, parts, orient="h", width=0.86, few=FEW)
    ax.set_xlabel(f"{metric_label(metric)} per example")
    return ax


def has_spread(scores: Array) -> bool:
    """Whether there are enough different values for a violin or a box to be informative."""
    return len(np.unique(scores[np.isfinite(scores)])) >= FEW


def score_text(score: float) -> str:
    """A score as written at the end of its bar."""
    return f"{score:.1f}" if abs(score) >= 10 else f"{score:.2f}"


def flagged_names(found: Adapters) -> set[str]:
    """The adapters that are flagged for metric gaming."""
    return {v.adapter for v in found.examined.flagged} if found.examined else set()


def _names(found: Adapters) -> list[str]:
    flagged = flagged_names(found)
    return [
        shortened(label_of(m.label)) + (" (flagged)" if m.name in flagged else "")
        for m in (found.base, *found.adapters)
    ]


def _colour(found: Adapters, model: ComparedModel, best: str, other: str = TRIAL) -> str:
    """The colour of a baseline, of a flagged adapter, of the best, or `other`."""
    if not isinstance(model.who, int):
        return colour_of(model.name)
    if model.name in flagged_names(found):
        return FLAGGED
    return BEST if model.name == best else other


@in_house_style
def plot_confirmation(found: Confirmation, ax: Axes | None = None) -> Axes:
    """Test scores of every model on fresh seeds, a dot per training; the winner comes first."""
    ax = new_axes(ax)
    models = (found.winner, *found.others)
    groups = [Group(model.name, model.scores, colour_of(model.name)) for model in models]
    distributions(ax, groups, ("dots", "mean"), dots=22)
    ax.set_ylabel(f"{label_of(found.metric)} on test")
    return ax
