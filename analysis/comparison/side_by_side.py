"""Several studies beside each other: their names, what their files say differently, their figures.

A study keeps one colour through all figures; `plot_…` take `ax` and return it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.display import own_names
from analysis.plots import marks as drawing
from analysis.plots.palette import (
    BASE,
    BEST,
    CHANCE,
    DEFAULT,
    INK,
    PAIR,
    TRIAL,
    in_house_style,
    label_of,
    legend_above,
    new_axes,
    shortened,
)
from analysis.studies.study_data import MAXIMIZE, StudyData
from analysis.surrogates.encoding import all_numbers
from study.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.importance.compute import Importances, Marginal

COLOURS = (TRIAL, BEST, DEFAULT, CHANCE, PAIR, BASE)
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
MAX_BARS = 10


def study_labels(studies: Sequence[StudyData]) -> list[str]:
    """Return a name for each study; where names are equal, with where it was read from.

    Raises InputError for fewer than two studies, or more than there are colours.
    """
    if not 2 <= len(studies) <= len(COLOURS):
        raise InputError(
            f"studies side by side: must be 2 to {len(COLOURS)} but got {len(studies)}"
        )
    names = [s.name for s in studies]
    labels = [
        name if names.count(name) == 1 else f"{name} ({PurePath(s.target).name})"
        for name, s in zip(names, studies, strict=True)
    ]
    if len(set(labels)) < len(labels):
        labels = [f"{label} #{place}" for place, label in enumerate(labels, 1)]
    return labels


def differences(studies: Sequence[StudyData]) -> dict[str, tuple[Any, ...]]:
    """Return the keys of the study files that differ: key → one value a study, None where absent.

    Empty where no two studies have a file.
    """
    files = [_flat(s.spec) if s.spec is not None else {} for s in studies]
    if sum(map(bool, files)) < 2:
        return {}
    keys = dict.fromkeys(key for file in files for key in file)
    found = {key: tuple(file.get(key) for file in files) for key in keys if key != "name"}
    return {key: values for key, values in found.items() if any(v != values[0] for v in values)}


def _flat(part: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in part.items():
        name = f"{before}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


@in_house_style
def plot_importances_beside(
    found: Mapping[str, Importances | None], ax: Axes | None = None
) -> Axes:
    """Bars of the main effects, one a study and parameter, with their 95 % intervals."""
    ax = new_axes(ax)
    shown = {label: {p.name: p for p in r.parameters} if r else {} for label, r in found.items()}
    strength = {n: p.importance for ps in shown.values() for n, p in ps.items()}
    for parameters in shown.values():
        strength |= {n: max(p.importance, strength[n]) for n, p in parameters.items()}
    names = sorted(strength, key=lambda n: -strength[n])[:MAX_BARS]
    height = 0.8 / max(len(shown), 1)
    for place, (label, parameters) in enumerate(shown.items()):
        rows = [i for i, name in enumerate(names) if name in parameters]
        at = [i + (place - (len(shown) - 1) / 2) * height for i in rows]
        effects = [parameters[names[i]] for i in rows]
        colour, text = COLOURS[place], shortened(label)
        ax.barh(at, [e.importance for e in effects], height * 0.85, color=colour, label=text)
        for y, effect in zip(at, effects, strict=True):
            ax.plot(effect.ci, [y, y], color=INK, lw=1.0)
            end = (max(effect.ci[1], effect.importance), y)
            style: dict[str, Any] = {"textcoords": "offset points", "va": "center"}
            ax.annotate(f"{effect.importance:.2f}", end, (4, 0), **style)
    ax.set_yticks(range(len(names)), [shortened(name) for name in names])
    ax.set(xlim=(0, 1.12), ylim=(len(names) - 0.4, -0.6), xlabel="share of the variance")
    ax.grid(axis="y", visible=False)
    legend_above(ax)
    return ax


@in_house_style
def plot_scores_beside(
    studies: Mapping[str, StudyData], objective: str, ax: Axes | None = None
) -> Axes:
    """A violin of the finished trials' objective for each study, every trial a dot."""
    ax = new_axes(ax)
    known = {label: _values(s, objective) for label, s in studies.items()}
    groups = {label: np.array(list(of.values()), dtype=float) for label, of in known.items()}
    colours = dict(zip(groups, COLOURS, strict=False))
    drawing.violins(ax, groups, colours)
    for place, (label, y) in enumerate(groups.items()):
        x = place + drawing.jitter(len(y), 0.1)
        drawn = ax.scatter(x, y, s=8, color=colours[label], alpha=0.6, linewidths=0)
        drawing.of_trials(drawn, known[label], place)
    values = np.concatenate(list(groups.values()))
    drawing.keep_in_view(ax, values, list(studies.values()), objective)
    drawing.level_axis(ax, [shortened(label, 18) for label in groups])
    ax.set_ylabel(shortened(label_of(objective)))
    return ax


def _values(study: StudyData, objective: str) -> dict[int, float]:
    """The finite values of the finished trials by their numbers."""
    values = {t.number: study.value(t, objective) for t in study.complete}
    return {number: y for number, y in values.items() if np.isfinite(y)}


@in_house_style
def plot_progress_beside(
    studies: Mapping[str, StudyData], objective: str, ax: Axes | None = None
) -> Axes:
    """The best value known after so many finished trials: a line a study, a dot an improvement."""
    ax = new_axes(ax)
    for place, (label, study) in enumerate(studies.items()):
        y = np.array([study.value(t, objective) for t in study.complete], dtype=float)
        if not np.isfinite(y).any():
            continue
        is_gain = study.directions[study.index_of(objective)] == MAXIMIZE
        best = (np.fmax if is_gain else np.fmin).accumulate(y)
        style: dict[str, Any] = {"color": COLOURS[place], "ls": DASHES[place], "lw": 1.5}
        x = np.arange(1, len(y) + 1)
        ax.step(x, best, where="post", label=shortened(label), **style)
        new = np.flatnonzero(np.isfinite(best) & (best != np.r_[np.nan, best[:-1]]))
        drawn = ax.scatter(x[new], best[new], s=16, color=COLOURS[place], linewidths=0)
        drawing.of_trials(drawn, [study.complete[i].number for i in new], place)
    ax.set(xlabel="finished trials", ylabel=f"best {shortened(label_of(objective))} so far")
    ax.locator_params("x", integer=True)
    legend_above(ax)
    return ax


@in_house_style
def plot_marginals_beside(
    curves: Mapping[str, Marginal | None], objective: str, ax: Axes | None = None
) -> Axes:
    """One parameter's mean effect in each study, with its band; names as marks side by side.

    A study that did not vary it, None, keeps its colour for the other figures.
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
        drawing.level_axis(ax, [shortened(str(v), 14) for v in known])
    elif any(c.is_log for c in found) and min(known) > 0:
        drawing.log_ticks(ax, "x", np.array(known, dtype=float))
    ax.set(xlabel=shortened(name, 40), ylabel=shortened(label_of(objective)))
    legend_above(ax)
    return ax


def __dir__() -> list[str]:
    return own_names(globals())
