"""The two building blocks of most figures: bars with intervals, and distributions.

A figure first computes its `Bar`s or `Group`s, then one function draws them.  Names run downwards
(`orient` h) where they are long, otherwise along the x axis (v).  seaborn is loaded only for a
violin, because loading it takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from analysis.plots import marks
from analysis.plots.palette import INK, ON_LINES, VIOLIN
from analysis.wording import shortened
from study.metrics import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 3  # with fewer different values there is no violin
BOXED = 8  # with fewer values quartiles mean little
Plot = TypeVar("Plot", bound=Callable[..., Any])


@dataclass(frozen=True)
class Bar:
    """A value with its 95 % interval, on the axis of numbers.

    `place` is on the axis of names; `text` is written at the end of the bar; the legend shows each
    `label` once.
    """

    place: float
    value: float
    interval: Sequence[float] | None
    colour: str
    text: str
    label: str | None = None


@dataclass(frozen=True)
class Group:
    """The values (N,) of one distribution, and the trials that they belong to, if any."""

    name: str
    values: Array
    colour: str
    trials: Collection[int] = ()
    study: int | None = None  # the trials' study among several


def interval_bars(
    ax: Axes,
    bars: Sequence[Bar],
    names: Sequence[str],
    *,
    width: float = 0.62,
    orient: str = "h",
    as_points: bool = False,
) -> None:
    """Draw each value as a bar from zero, or as a point, with its interval and text.

    `names` label the places 0, 1, …
    """
    across = orient == "h"
    labels: set[str] = set()

    def line(value: Sequence[float], place: Sequence[float], **style: Any) -> None:
        ax.plot(*(value, place) if across else (place, value), **style)

    for bar in bars:
        label = bar.label if bar.label not in labels else None
        labels |= {bar.label} if bar.label else set()
        ends = bar.interval or (bar.value, bar.value)
        at = (bar.place, bar.place)
        if as_points:
            line(ends, at, color=bar.colour, lw=2.2, solid_capstyle="round")
            place = (bar.value, bar.place) if across else (bar.place, bar.value)
            ax.scatter(*place, s=36, color=bar.colour, linewidths=0, zorder=4, label=label)
        else:
            draw = ax.barh if across else ax.bar
            draw(bar.place, bar.value, width, color=bar.colour, label=label)
            line(ends, at, color=INK, lw=1.1)
            place = (max(ends[1], bar.value, 0.0), bar.place)
            place = place if across else place[::-1]
        above = as_points or not across
        offset = (0, 5 if as_points else 1) if above else (4, 0)
        style: dict[str, Any] = {"ha": "center", "va": "bottom"} if above else {"va": "center"}
        style |= {"textcoords": "offset points", "bbox": ON_LINES}
        ax.annotate(bar.text, place, offset, **style)
    name_axis(ax, names, orient)
    if as_points and across:
        ax.set_ylim(len(names) - 0.4, -0.7)  # room for the text above the first


def distributions(
    ax: Axes,
    groups: Sequence[Group],
    parts: Collection[str] = ("violin", "median"),
    *,
    orient: str = "v",
    width: float | None = None,
    few: int = FEW,
    dots: float = 4.0,
    most_dots: float = math.inf,
) -> None:
    """Draw the parts of each group of finite values at 0, 1, …, under its name.

    `violin` is the outline, where there are at least `few` different values; `median` a line, with
    the quartiles as a band; `box` quartiles, whiskers to the last value within 1.5 boxes, median
    and mean; `mean` a line; `dots` all values, of size `dots`, unless more than `most_dots`.
    """
    width = min(0.8, 0.25 * len(groups)) if width is None else width
    across = orient == "h"

    def line(value: Sequence[float] | Array, place: Sequence[float], **style: Any) -> None:
        ax.plot(*(value, place) if across else (place, value), **style)

    if "violin" in parts:
        _bodies(ax, groups, width, orient, few)
    for place, group in enumerate(groups):
        y, at = group.values, (place, place)
        if not len(y):
            continue
        low, median, high = np.quantile(y, [0.25, 0.5, 0.75])
        beside = (place - 0.28 * width, place + 0.28 * width)
        if "median" in parts:
            line((median, median), beside, color=INK, lw=1.5, zorder=3)
        if "median" in parts and len(y) >= BOXED:
            line((low, high), at, color=INK, lw=3, alpha=0.35)
        if "mean" in parts:
            line((y.mean(), y.mean()), (place - 0.28, place + 0.28), color=INK, lw=1.6)
        if "box" in parts:
            reach = 1.5 * (high - low)
            inside = y[(y >= low - reach) & (y <= high + reach)]
            for whisker in ((inside.min(), low), (high, inside.max())):
                line(whisker, at, color=group.colour, lw=1.0)
            edge: dict[str, Any] = {"facecolor": "none", "edgecolor": group.colour, "lw": 1.0}
            if across:
                ax.barh(place, high - low, 0.22, left=low, **edge)
            else:
                ax.bar(place, high - low, 0.22, bottom=low, **edge)
            line((median, median), (place - 0.16, place + 0.16), color=INK, lw=1.6)
            line([y.mean()], [place], color=INK, marker="o", ms=3, mew=0, zorder=4)
        if "dots" in parts and len(y) <= most_dots:
            spread = place + marks.jitter(len(y), 0.1)
            xy = (y, spread) if across else (spread, y)
            drawn = ax.scatter(*xy, s=dots, color=group.colour, alpha=0.6, linewidths=0)
            marks.of_trials(drawn, group.trials, group.study)
    name_axis(ax, [shortened(group.name) for group in groups], orient)


def _bodies(ax: Axes, groups: Sequence[Group], width: float, orient: str, few: int) -> None:
    """The outlines of the violins, one colour each."""
    enough = [(n, g) for n, g in enumerate(groups) if len(np.unique(g.values)) >= few]
    if not enough:
        return
    import seaborn

    places = np.concatenate([np.full(len(g.values), float(place)) for place, g in enough])
    values = np.concatenate([g.values for _, g in enough])
    gap = np.diff([place for place, _ in enough]).min() if len(enough) > 1 else 1.0
    x, y = (places, values) if orient == "v" else (values, places)
    style: dict[str, Any] = {"saturation": 1, "cut": 0, "inner": None, "density_norm": "width"}
    style |= {"linewidth": 0.8, "alpha": 0.28, "native_scale": True, "orient": orient}
    style |= {"color": VIOLIN, "width": width / gap}  # seaborn's unit is the smallest distance
    known = len(ax.collections)
    seaborn.violinplot(x=x, y=y, ax=ax, **style)
    for body, (_, group) in zip(ax.collections[known:], enough, strict=True):
        body.set(facecolor=group.colour, edgecolor=group.colour)


def name_axis(ax: Axes, names: Sequence[str], orient: str) -> None:
    """Names at 0, 1, …: downwards, or along the x axis, slanted where they would collide."""
    if orient == "v":
        marks.level_axis(ax, names)
        return
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)


def with_violins(plot: Plot) -> Plot:
    """Mark a figure that needs seaborn, so that it can be loaded once for many figures."""
    plot.draws_violins = True  # type: ignore[attr-defined]
    return plot


def draws_violins(plot: Callable[..., Any]) -> bool:
    """Whether a figure, with or without its arguments, needs seaborn."""
    while isinstance(plot, partial):
        plot = plot.func
    return getattr(plot, "draws_violins", False)
