"""Figures of several studies side by side.

A study has the same colour in all figures; `plot_…` take `ax` and return it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import TrialState

from analysis.display import own_names
from analysis.plots import marks
from analysis.plots.bars_and_violins import Bar, Group, distributions, interval_bars, with_violins
from analysis.plots.palette import (
    BASE,
    BEST,
    DEFAULT,
    FLAGGED,
    PLAIN,
    TRIAL,
    in_house_style,
    legend_above,
    new_axes,
)
from analysis.studies.study_data import MAXIMIZE, StudyData
from analysis.surrogates.encoding import all_numbers
from analysis.wording import label_of, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.importance.variance import Importances, Marginal

COLOURS = (TRIAL, BEST, DEFAULT, FLAGGED, PLAIN, BASE)
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
MAX_BARS = 10


@in_house_style
def plot_importances_beside(
    found: Mapping[str, Importances | None], ax: Axes | None = None
) -> Axes:
    """Bars of the main effects, one per study and parameter, with their 95 % intervals.

    The legend names every study, also one without shares.
    """
    from matplotlib.patches import Patch

    ax = new_axes(ax)
    shown = {label: {p.name: p for p in r.parameters} if r else {} for label, r in found.items()}
    strength = {n: p.importance for ps in shown.values() for n, p in ps.items()}
    for parameters in shown.values():
        strength |= {n: max(p.importance, strength[n]) for n, p in parameters.items()}
    names = sorted(strength, key=lambda n: -strength[n])[:MAX_BARS]
    step = 0.8 / max(len(shown), 1)
    bars = [
        Bar(
            row + (place - (len(shown) - 1) / 2) * step,
            parameters[name].importance,
            parameters[name].ci,
            COLOURS[place],
            f"{parameters[name].importance:.2f}",
        )
        for place, parameters in enumerate(shown.values())
        for row, name in enumerate(names)
        if name in parameters
    ]
    interval_bars(ax, bars, [shortened(name) for name in names], width=0.85 * step)
    ax.set(xlim=(0, 1.12), xlabel="share of the variance")
    handles = [
        Patch(color=colour, label=shortened(label) + ("" if parameters else " (no shares)"))
        for (label, parameters), colour in zip(shown.items(), COLOURS, strict=False)
    ]
    legend_above(ax, handles)
    return ax


@with_violins
@in_house_style
def plot_scores_beside(
    studies: Mapping[str, StudyData], objective: str, ax: Axes | None = None
) -> Axes:
    """A violin of the finished trials' objective for each study, every trial a dot."""
    ax = new_axes(ax)
    groups = []
    for place, (label, study) in enumerate(studies.items()):
        values = {t.number: study.value(t, objective) for t in study.drawn}
        finite = {number: y for number, y in values.items() if np.isfinite(y)}
        scores = np.array(list(finite.values()), dtype=float)
        groups.append(Group(shortened(label, 18), scores, COLOURS[place], tuple(finite), place))
    distributions(ax, groups, ("violin", "median", "dots"), dots=8)
    every = np.concatenate([group.values for group in groups])
    marks.keep_in_view(ax, every, list(studies.values()), objective)
    ax.set_ylabel(shortened(label_of(objective)))
    return ax


@in_house_style
def plot_progress_beside(
    studies: Mapping[str, StudyData], objective: str, ax: Axes | None = None
) -> Axes:
    """The best value so far over the finished trials: a line per study, a dot per improvement."""
    ax = new_axes(ax)
    for place, (label, study) in enumerate(studies.items()):
        trials = [t for t in study.drawn if t.state == TrialState.COMPLETE]
        y = np.array([study.value(t, objective) for t in trials], dtype=float)
        if not np.isfinite(y).any():
            continue
        is_gain = study.directions[study.index_of(objective)] == MAXIMIZE
        best = (np.fmax if is_gain else np.fmin).accumulate(y)
        style: dict[str, Any] = {"color": COLOURS[place], "ls": DASHES[place], "lw": 1.5}
        x = np.arange(1, len(y) + 1)
        ax.step(x, best, where="post", label=shortened(label), **style)
        new = np.flatnonzero(np.isfinite(best) & (best != np.r_[np.nan, best[:-1]]))
        drawn = ax.scatter(x[new], best[new], s=16, color=COLOURS[place], linewidths=0)
        marks.of_trials(drawn, [trials[i].number for i in new], place)
    ax.set(xlabel="finished trials", ylabel=f"best {shortened(label_of(objective))} so far")
    ax.locator_params("x", integer=True)
    legend_above(ax)
    return ax


@in_house_style
def plot_marginals_beside(
    curves: Mapping[str, Marginal | None], objective: str, ax: Axes | None = None
) -> Axes:
    """One parameter's mean effect in each study, with its band; separate marks for names.

    None for a study that did not vary it; the other studies keep their colours.
    """
    ax = new_axes(ax)
    found = [curve for curve in curves.values() if curve is not None]
    known = list(dict.fromkeys(v for curve in found for v in curve.values))
    numeric = all_numbers(known)
    for (label, curve), colour, dashes in zip(curves.items(), COLOURS, DASHES, strict=False):
        if curve is None:
            continue
        text = shortened(label)
        if not numeric:
            x = np.array([known.index(v) for v in curve.values])
            around = [curve.mean - curve.low, curve.high - curve.mean]
            ax.errorbar(x, curve.mean, around, fmt="_", color=colour, lw=1.2, ms=12, label=text)
            continue
        values = np.array(curve.values, dtype=float)
        ax.fill_between(values, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
        ax.plot(values, curve.mean, color=colour, ls=dashes, lw=1.4, label=text)
    name = found[0].name if found else ""
    if not numeric:
        marks.level_axis(ax, [shortened(marks.tick(v), 14) for v in known])
    elif any(c.is_log for c in found) and min(known) > 0:
        marks.log_ticks(ax, "x", np.array(known, dtype=float))
    ax.set(xlabel=shortened(name, 40), ylabel=shortened(label_of(objective)))
    legend_above(ax)
    return ax


def __dir__() -> list[str]:
    return own_names(globals())
