"""Two parameters against the objective: shades of the mean, the trials, and lines of equal product.

Over alpha and learning rate it shows what shares cannot: whether the two act separately or through
learning rate · alpha / rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.display import own_names
from analysis.importance.confounding import factors, roles_in
from analysis.plots import marks
from analysis.plots.palette import (
    FLAGGED,
    INK,
    MUTED,
    TRIAL,
    in_house_style,
    legend_above,
    new_axes,
)
from analysis.plots.slices import MAX_LEVELS
from analysis.studies.study_data import MAXIMIZE, StudyData, is_enqueued
from analysis.surrogates.encoding import all_numbers
from analysis.surrogates.fits import Surface
from analysis.wording import shortened
from study.metrics import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVELS = 8  # shades
FAINT, STRONG = 0.04, 0.62  # their opacity, worst to best; one colour, which follows the theme
PRODUCTS = 0.5  # decades between lines of equal product


@in_house_style
def plot_surface(
    surface: Surface, data: StudyData, ax: Axes | None = None, objective: str | None = None
) -> Axes:
    """The mean objective over two parameters, better where stronger; each dot is a sampled trial.

    Over alpha and learning rate, dashed lines join equal learning rate · alpha / rank, at the
    median rank of the trials: if they follow the shades, the product is what matters.
    """
    ax = new_axes(ax)
    x, y = (_places(values) for values in surface.values)
    better = 1.0 if data.directions[data.index_of(objective)] == MAXIMIZE else -1.0
    _shades(ax, x, y, surface.mean.T, better)
    _dots(ax, surface, data)
    _lines_of_equal_product(ax, surface, data, x, y)
    _axis(ax, "x", surface, 0)
    _axis(ax, "y", surface, 1)
    ax.grid(visible=False)
    legend_above(ax)
    return ax


def _places(values: Sequence[Any]) -> Array:
    """Where a parameter's grid lies on its axis: numbers at themselves, names at 0, 1, 2 …"""
    return np.array(values if all_numbers(values) else range(len(values)), dtype=float)


def _shades(ax: Axes, x: Array, y: Array, height: Array, better: float) -> None:
    """Fill the (H, G) means between even levels and write the levels on their lines."""
    from matplotlib.colors import to_rgba
    from matplotlib.ticker import MaxNLocator

    if np.ptp(height) == 0:
        return
    levels = MaxNLocator(LEVELS).tick_values(float(height.min()), float(height.max()))
    opacity = np.linspace(FAINT, STRONG, len(levels) - 1)[:: int(better)]
    ax.contourf(x, y, height, levels=levels, colors=[to_rgba(TRIAL, a) for a in opacity])
    lines = ax.contour(x, y, height, levels=levels, colors=MUTED, linewidths=0.5)
    ax.clabel(lines, fontsize=7.5, colors=INK, fmt=marks.tick)


def _dots(ax: Axes, surface: Surface, data: StudyData) -> None:
    one, other = surface.names
    sampled = {t.number: t.params for t in data.complete if not is_enqueued(t)}
    at = {
        number: (_place(surface.values[0], p[one]), _place(surface.values[1], p[other]))
        for number, p in sampled.items()
        if one in p and other in p
    }
    x, y = np.array(list(at.values()), dtype=float).reshape(-1, 2).T
    style: dict[str, Any] = {"s": 7, "color": INK, "alpha": 0.65, "linewidths": 0}
    drawn = ax.scatter(x, y, label="trial", clip_on=False, **style)
    marks.of_trials(drawn, at)


def _place(values: Sequence[Any], value: Any) -> float:
    return float(value) if all_numbers(values) else float(values.index(value))


def _lines_of_equal_product(
    ax: Axes, surface: Surface, data: StudyData, x: Array, y: Array
) -> None:
    roles = roles_in(factors(data.distributions))
    if surface.names != (roles.get("alpha"), roles.get("learning_rate")) or not all(surface.is_log):
        return
    ranks = [t.params[roles["rank"]] for t in data.complete if roles.get("rank") in t.params]
    rank = float(np.median(ranks)) if ranks else 1.0
    ends = np.log10([x.min() * y.min() / rank, x.max() * y.max() / rank])
    steps = np.arange(np.ceil(ends[0] / PRODUCTS), np.floor(ends[1] / PRODUCTS) + 1) * PRODUCTS
    label: str | None = "equal learning rate · α / r" + (f", r = {rank:g}" if ranks else "")
    for product in 10.0**steps:
        ax.plot(x, product * rank / x, color=FLAGGED, ls=(0, (4, 3)), lw=0.9, label=label)
        label = None
    ax.set(xlim=(x.min(), x.max()), ylim=(y.min(), y.max()))


def _axis(ax: Axes, which: str, surface: Surface, index: int) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    values, axis = surface.values[index], ax.xaxis if which == "x" else ax.yaxis
    getattr(ax, f"set_{which}label")(shortened(surface.names[index], 40))
    if not all_numbers(values):
        names = [shortened(marks.tick(v), 14) for v in values]
        getattr(ax, f"set_{which}ticks")(range(len(values)), names)
    elif surface.is_log[index]:
        marks.log_ticks(ax, which, np.array(values, dtype=float))
        if len(values) <= MAX_LEVELS:
            axis.set_major_locator(FixedLocator(values))
            axis.set_minor_locator(NullLocator())


def __dir__() -> list[str]:
    return own_names(globals())
