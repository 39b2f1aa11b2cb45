"""Pieces of figures: dots of trials, baselines, lines, and the axis of a parameter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import FrozenTrial

from analysis.plots.palette import BEST, INK, MUTED, ON_LINES, PAPER, TRIAL, colour_of
from analysis.plots.slices import Slice
from analysis.studies.study_data import MAXIMIZE, MINIMIZE, StudyData
from analysis.wording import choice, shortened
from study.metrics import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import Collection

    from analysis.importance.variance import Marginal

MANY = 800  # from here on dots are small and faint, so that their density shows
FAR, VERY_FAR = 3.0, 6.0  # interquartile ranges by which a value is worse than the quartile
WELL_SPREAD = ((1, 2, 5), (1, 2, 3, 5, 7), (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9))


def dots(
    ax: Axes, x: Array, y: Array, enqueued: Sequence[bool], numbers: Sequence[int] = ()
) -> None:
    """One dot per trial; a hollow diamond where the trial was enqueued by hand."""
    by_hand, which = np.array(enqueued, dtype=bool), np.array(numbers, dtype=int)
    style: dict[str, Any] = {"s": 13, "color": TRIAL, "alpha": 0.75, "linewidths": 0}
    style |= {"s": 6, "alpha": 0.4} if len(x) > MANY else {}
    if (~by_hand).any():
        drawn = ax.scatter(x[~by_hand], y[~by_hand], label="trial", **style)
        of_trials(drawn, which[~by_hand] if len(which) else which)
    style = {"s": 20, "marker": "D", "facecolors": "none", "edgecolors": TRIAL, "linewidths": 1.0}
    if by_hand.any():
        drawn = ax.scatter(x[by_hand], y[by_hand], label="enqueued by hand", **style)
        of_trials(drawn, which[by_hand] if len(which) else which)


def of_trials(marks: Collection, numbers: Iterable[int], study: int | None = None) -> None:
    """Record which trial each mark stands for; the page shows it when the pointer is over the mark.

    With several studies on a page, `study` is the position of the trials' study.
    """
    if known := " ".join(trial_key(number, study) for number in numbers):
        marks.set_gid(f"trial:{known}")


def trial_key(number: int | str, study: int | None = None) -> str:
    """The identifier of one trial's marks and table rows on a page."""
    return str(number) if study is None else f"{study}:{number}"


def mark_best(ax: Axes, data: StudyData, shown: Slice) -> None:
    """A large dot for the best trial of the slice's objective."""
    best = next(iter(data.ranked(shown.objective)), None)
    if best is not None and best.number in shown.numbers:
        place = shown.numbers.index(best.number)
        style: dict[str, Any] = {
            "s": 42,
            "color": BEST,
            "linewidths": 0,
            "zorder": 4,
            "clip_on": False,
        }
        drawn = ax.scatter(
            shown.x[place], shown.y[place], label=f"best (trial {best.number})", **style
        )
        of_trials(drawn, [best.number])


def front(
    ax: Axes, x: Array, y: Array, numbers: Sequence[int], label: str, drawstyle: str = "default"
) -> None:
    """The trials that no other trial beats, joined by a line."""
    style: dict[str, Any] = {"color": BEST, "lw": 1.0, "drawstyle": drawstyle, "zorder": 2.5}
    ax.plot(x, y, label=label, **style)
    of_trials(ax.scatter(x, y, s=18, color=BEST, linewidths=0, zorder=3), numbers)


def baseline_lines(ax: Axes, data: StudyData, objective: str) -> list[float]:
    """Draw a horizontal line for each baseline with this objective, and return their values."""
    levels: list[float] = []
    for name, dashes in zip(data.baselines, (":", "--", "-.", "-."), strict=False):
        value = data.baseline_value(name, objective)
        if value is not None and np.isfinite(value):
            label = shortened(name)
            ax.axhline(value, color=colour_of(name), ls=dashes, lw=1.1, label=label, zorder=1.5)
            levels.append(value)
    return levels


def mean_effect(ax: Axes, shown: Slice, marginal: Marginal) -> None:
    """The marginal with its band; separate marks where the levels have no order."""
    mean, low, high = marginal.mean, marginal.low, marginal.high
    x = [shown.levels.index(v) if shown.levels else v for v in marginal.values]
    if marginal.is_categorical:
        ax.errorbar(x, mean, [mean - low, high - mean], fmt="_", color=INK, lw=1.0, ms=14)
        return
    ax.fill_between(x, low, high, color=MUTED, alpha=0.2, linewidth=0)
    ax.plot(x, mean, color=INK, lw=1.2)


def keep_in_view(
    ax: Axes,
    y: Sequence[float] | Array,
    studies: Sequence[StudyData],
    objective: str | None,
    always: Sequence[float] = (),
) -> None:
    """Leave far worse values off the axis and note how many: they would flatten all others.

    Few are left off sooner than many.  Better values stay, however far ahead, and so do `always`
    and each study's best, by each of its objectives: the best by one may be the worst by another.
    """
    y = np.asarray(y, dtype=float)
    y = y[np.isfinite(y)]
    if len(y) < 5:
        return
    low, high = np.quantile(y, [0.25, 0.75])
    leaders = ((s, t) for s in studies for name in s.objectives for t in s.ranked(name)[:1])
    stays = np.isin(y, [*(study.value(trial, objective) for study, trial in leaders), *always])
    for ranges, most in ((FAR, max(len(y) // 10, 1)), (VERY_FAR, len(y))):
        reach = ranges * (high - low)
        worse = {MAXIMIZE: y < low - reach, MINIMIZE: y > high + reach}
        far = np.logical_and.reduce([worse[s.directions[s.index_of(objective)]] for s in studies])
        kept = y[~far | stays]
        outside = int(((y < kept.min()) | (y > kept.max())).sum())
        if reach > 0 and 0 < outside <= most:
            break
    else:
        return
    room = 0.06 * max(np.ptp(kept), 1e-12)
    ax.set_ylim(kept.min() - room, kept.max() + room)
    note = f"{outside} point{'s' * (outside != 1)} beyond the axis"
    style: dict[str, Any] = {"ha": "right", "color": MUTED, "bbox": ON_LINES}
    ax.annotate(note, (1, 0), (-2, 3), "axes fraction", "offset points", **style)


def parameter_axis(ax: Axes, shown: Slice) -> None:
    """The x axis of a slice: its levels by name, or its range on its own scale."""
    ax.set_xlabel(shortened(shown.parameter, 40))
    if shown.levels:
        level_axis(ax, [shortened(tick(value), 14) for value in shown.levels])
    elif shown.is_log and len(shown.x) and shown.x.min() > 0:
        log_ticks(ax, "x", shown.x)


def level_axis(ax: Axes, labels: Sequence[str]) -> None:
    """Levels at 0, 1, 2 …, slanted where they would collide."""
    crowded = sum(map(len, labels)) > 34
    ax.set_xticks(range(len(labels)), labels)
    if crowded:
        ax.tick_params("x", rotation=35)
        for label in ax.get_xticklabels():
            label.set_horizontalalignment("right")
    ax.set_xlim(-0.6, len(labels) - 0.4)
    ax.grid(axis="x", visible=False)


def log_ticks(ax: Axes, which: str, at: Array) -> None:
    """Make "x" or "y" logarithmic over positive places, with round numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis = ax.xaxis if which == "x" else ax.yaxis
    getattr(ax, f"set_{which}scale")("log")
    if at.max() / at.min() < 50:  # decades alone could leave an axis without any number
        axis.set_major_locator(FixedLocator(list(_nice_ticks(at.min(), at.max()))))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))


def _nice_ticks(low: float, high: float) -> Array:
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks = decades
    for steps in WELL_SPREAD:
        ticks = np.outer(decades, steps).ravel()
        ticks = ticks[(ticks >= low * 0.98) & (ticks <= high * 1.02)]
        if len(ticks) >= 3:
            break
    return ticks


def tick(value: Any) -> str:
    """A level or a position on an axis, small numbers as powers."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not np.isfinite(value):
        return str(choice(value))
    if isinstance(value, int):
        return str(value)
    if value and not 1e-3 <= abs(value) < 1e4:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.3g}"


def curves(ax: Axes, trials: Sequence[FrozenTrial], colour: str, label: str, width: float) -> None:
    """The reports of several trials over their steps, as one collection of lines."""
    reports = {t.number: sorted(t.intermediate_values.items()) for t in trials}
    finite = {n: [(step, y) for step, y in line if np.isfinite(y)] for n, line in reports.items()}
    known = {number: line for number, line in finite.items() if line}
    lines(ax, list(known.values()), colour, label, width, list(known))


def lines(
    ax: Axes,
    points: Sequence[Any],
    colour: str,
    label: str,
    width: float,
    numbers: Sequence[int] = (),
) -> None:
    """Lines of (step, value) as one collection; with `numbers`, each belongs to a trial."""
    from matplotlib.collections import LineCollection

    if not points:
        return
    is_one_of_many = width < 1
    style: dict[str, Any] = {"colors": colour, "linewidths": width, "label": label}
    style |= {"alpha": 0.5 if is_one_of_many else 1.0, "zorder": 2 if is_one_of_many else 3}
    drawn = LineCollection(points, **style)
    of_trials(drawn, numbers)
    ax.add_collection(drawn)
    ax.autoscale_view()


def jitter(count: int, width: float) -> Array:
    """A small sideways shift (count,), the same in every call."""
    return np.random.default_rng(0).uniform(-width, width, count)


def small_multiples(count: int) -> list[Axes]:
    """The axes of a new figure of `count` panels, three in a row."""
    import matplotlib.pyplot as plt

    columns = min(max(count, 1), 3)
    rows = max(-(-count // columns), 1)
    size = (3.4 * columns, 2.8 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    figure.set_facecolor(PAPER)
    for ax in axes.flat[count:]:
        ax.remove()
    return list(axes.flat[:count])
