"""Figures of a study: a result in, `Axes` out.

The numbers come from `analysis.studies`, `analysis.importance` and `analysis.comparison`.  Every
function takes `ax` and returns it; without one it makes a new figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from analysis.comparison.distillation import WEIGHT
from analysis.display import own_names
from analysis.importance.answers import importances_of
from analysis.importance.confounding import formula_of, with_derived
from analysis.plots import marks
from analysis.plots.adapter_figures import score_text
from analysis.plots.bars_and_violins import Bar, Group, distributions, interval_bars, with_violins
from analysis.plots.palette import (
    BASE,
    BEST,
    INK,
    MUTED,
    PAIR,
    TRIAL,
    VIOLIN,
    colour_of,
    in_house_style,
    legend_above,
    new_axes,
)
from analysis.plots.slices import Slice, slice_of, varied_parameters
from analysis.studies.study_data import MAXIMIZE, StudyData, is_enqueued
from analysis.wording import label_of, shortened
from study.metrics import Array, metric_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.comparison.contrast import Score
    from analysis.comparison.distillation import Distillation
    from analysis.importance.variance import (
        Importances,
        Marginal,
    )

MAX_BARS = 14
MAX_DOTS = 400  # with more examples only the violin is drawn


@in_house_style
def plot_importances(
    result: Importances | StudyData,
    ax: Axes | None = None,
    bars: int = MAX_BARS,
    *,
    legend: bool = True,
) -> Axes:
    """Bars of the main effects, blue beyond chance, with 95 % intervals, then the largest pairs.

    Of a study, the importances for its first objective are computed first.
    """
    if isinstance(result, StudyData):
        result = importances_of(result)
    ax = new_axes(ax)
    every = [*(p.importance for p in result.parameters), *(i.importance for i in result.pairs)]
    least = min(sorted(every, reverse=True)[:bars], default=0.0)
    pairs = [pair for pair in result.pairs if pair.importance >= least]
    drawn = [
        Bar(
            row,
            p.importance,
            p.ci,
            TRIAL if p.significant else BASE,
            f"{p.importance:.2f}",
        )
        for row, p in enumerate(result.parameters[: bars - len(pairs)])
    ]
    names = [shortened(p.name) for p in result.parameters[: len(drawn)]]
    for row, pair in enumerate(pairs, len(drawn)):
        drawn.append(Bar(row, pair.importance, pair.ci, PAIR, f"{pair.importance:.2f}"))
        names.append(" × ".join(shortened(n, 14) for n in pair.names))
    interval_bars(ax, drawn, names)
    ax.set(xlim=(0, 1.12), xticks=[0, 0.2, 0.4, 0.6, 0.8, 1.0])
    ax.set_xlabel(f"share of the variance of {shortened(label_of(result.objective))}")
    if legend:
        legend_above(ax, _importance_handles(result, bool(pairs)), columns=2)
    return ax


def _importance_handles(result: Importances, pairs: bool) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    verdicts = {p.significant for p in result.parameters}
    patches = {
        "beyond chance": (TRIAL, True in verdicts),
        "not beyond chance": (BASE, False in verdicts),
        "pair, beyond its two parameters": (PAIR, pairs),
    }
    interval = Line2D([], [], color=INK, lw=1.1, label="95 % interval")
    shown = [Patch(color=c, label=label) for label, (c, is_there) in patches.items() if is_there]
    return [*shown, interval]


@in_house_style
def plot_history(data: StudyData, ax: Axes | None = None, objective: str | None = None) -> Axes:
    """Every trial's value by trial number, and the best so far."""
    ax = new_axes(ax)
    index = data.index_of(objective)
    trials = [t for t in data.drawn if np.isfinite(data.value(t, objective))]
    numbers = np.array([t.number for t in trials])
    values = np.array([t.values[index] for t in trials])
    marks.dots(ax, numbers, values, [is_enqueued(t) for t in trials], list(numbers))
    if len(values):
        better = np.maximum if data.directions[index] == MAXIMIZE else np.minimum
        best = better.accumulate(values)
        ax.step(numbers, best, where="post", color=BEST, lw=1.4, label="best so far")
        new = np.flatnonzero(best != np.r_[np.nan, best[:-1]])
        leads = ax.scatter(numbers[new], best[new], s=16, color=BEST, linewidths=0, zorder=3)
        marks.of_trials(leads, numbers[new])
    pruned = _pruned(ax, data)
    if np.ptp(ax.get_xlim()) < 1:  # one trial
        ax.set_xlim(ax.get_xlim()[0] - 1, ax.get_xlim()[1] + 1)
    baselines = marks.baseline_lines(ax, data, data.objectives[index])
    marks.keep_in_view(ax, [*values, *pruned, *baselines], [data], objective)
    ax.set(xlabel="trial", ylabel=shortened(label_of(data.objectives[index])))
    ax.locator_params("x", integer=True)
    legend_above(ax)
    return ax


def _pruned(ax: Axes, data: StudyData) -> list[float]:
    """Draw crosses at the last reports of the pruned trials, and return these values.

    With several objectives there are no reports.
    """
    pruned = [t for t in data.frozen_trials if t.state == TrialState.PRUNED]
    last = {
        t.number: t.intermediate_values[max(t.intermediate_values)]
        for t in pruned
        if t.intermediate_values and len(data.objectives) == 1
    }
    if last:
        style: dict[str, Any] = {"s": 16, "marker": "x", "color": MUTED, "lw": 0.9}
        label = "pruned, at its last report"
        marks.of_trials(ax.scatter(list(last), list(last.values()), label=label, **style), last)
    return list(last.values())


@in_house_style
def plot_slice(
    data: StudyData,
    parameter: str,
    ax: Axes | None = None,
    objective: str | None = None,
    marginal: Marginal | None = None,
) -> Axes:
    """One parameter against the objective, each dot a trial, with its mean effect if given."""
    ax = new_axes(ax)
    shown = slice_of(data, parameter, objective)
    if marginal is not None:
        marks.mean_effect(ax, shown, marginal)
    marks.dots(ax, shown.x, shown.y, shown.enqueued, shown.numbers)
    marks.mark_best(ax, data, shown)
    marks.keep_in_view(ax, shown.y, [data], objective)
    marks.parameter_axis(ax, shown)
    ax.set_ylabel(shortened(label_of(shown.objective)))
    return ax


@in_house_style
def plot_slices(
    data: StudyData,
    axes: Sequence[Axes] | None = None,
    objective: str | None = None,
    result: Importances | None = None,
) -> list[Axes]:
    """`plot_slice` for every parameter that varied, the most important first given `result`."""
    names = varied_parameters(data, result)
    effects = {m.name: m for m in result.marginals} if result is not None else {}
    axes = marks.small_multiples(len(names)) if axes is None else axes
    return [
        plot_slice(data, name, ax, objective, effects.get(name))
        for name, ax in zip(names, axes, strict=False)
    ]


@with_violins
@in_house_style
def plot_score_by_level(
    data: StudyData, parameter: str, ax: Axes | None = None, objective: str | None = None
) -> Axes:
    """A violin of the objective for each level of a discrete parameter, with every trial as a dot.

    Raises ValueError for a continuous parameter: use `plot_slice` for that.
    """
    shown = slice_of(data, parameter, objective)
    if not shown.levels:
        raise ValueError(f"{parameter} is continuous: use plot_slice")
    ax = new_axes(ax)
    groups = [
        Group(marks.tick(level), shown.y[shown.x == i], VIOLIN)
        for i, level in enumerate(shown.levels)
    ]
    distributions(ax, groups)
    marks.dots(ax, shown.x, shown.y, shown.enqueued, shown.numbers)
    marks.mark_best(ax, data, shown)
    baselines = marks.baseline_lines(ax, data, shown.objective)
    marks.keep_in_view(ax, [*shown.y, *baselines], [data], objective)
    marks.parameter_axis(ax, shown)
    ax.set_ylabel(shortened(label_of(shown.objective)))
    legend_above(ax)
    return ax


@in_house_style
def plot_derived(
    data: StudyData, name: str, ax: Axes | None = None, objective: str | None = None
) -> Axes:
    """A derived coordinate of `importance.confounding` against the objective, each dot a trial.

    Raises KeyError where the parameters do not determine it.
    """
    ax = new_axes(ax)
    trials = [t for t in data.drawn if np.isfinite(data.value(t, objective))]
    x = np.array([with_derived(t.params)[name] for t in trials], dtype=float)
    y = np.array([data.value(t, objective) for t in trials], dtype=float)
    shown = Slice(
        parameter=formula_of(name),
        objective=data.objectives[data.index_of(objective)],
        x=x,
        y=y,
        numbers=tuple(t.number for t in trials),
        enqueued=tuple(map(is_enqueued, trials)),
        levels=(),
        is_log=True,
    )
    marks.dots(ax, x, y, shown.enqueued, shown.numbers)
    marks.mark_best(ax, data, shown)
    marks.keep_in_view(ax, y, [data], objective)
    marks.parameter_axis(ax, shown)
    ax.set_ylabel(shortened(label_of(shown.objective)))
    return ax


@in_house_style
def plot_best_against_baselines(scores: Sequence[Score], ax: Axes | None = None) -> Axes:
    """Bars of `comparison.model_scores` with bootstrap intervals, grouped by split."""
    ax = new_axes(ax)
    splits = list(dict.fromkeys(s.split for s in scores))
    names = list(dict.fromkeys(s.name for s in scores))
    step = 0.8 / max(len(names), 1)
    bars = [
        Bar(
            splits.index(s.split) + (names.index(s.name) - (len(names) - 1) / 2) * step,
            s.score,
            s.ci,
            colour_of(s.name),
            score_text(s.score),
            shortened(s.name),
        )
        for s in scores
    ]
    places = [f"{shortened(split)} examples" for split in splits]
    interval_bars(ax, bars, places, width=0.86 * step, orient="v")
    ax.margins(y=0.12)
    ax.set_ylabel(label_of(scores[0].metric) if scores else "")
    legend_above(ax)
    return ax


@with_violins
@in_house_style
def plot_example_scores(scores: Mapping[str, Array], metric: str, ax: Axes | None = None) -> Axes:
    """A violin of the scores per example for each model."""
    ax = new_axes(ax)
    groups = [
        Group(name, values[np.isfinite(values)], colour_of(name)) for name, values in scores.items()
    ]
    distributions(ax, groups, ("violin", "median", "dots"), most_dots=MAX_DOTS)
    ax.set_ylabel(f"{metric_label(metric)} per example")
    return ax


@in_house_style
def plot_learning_curves(data: StudyData, ax: Axes | None = None) -> Axes:
    """What every trial reported during training; pruned ones are grey and end in a cross."""
    ax = new_axes(ax)
    best = [data.best_trial] if data.best_trial is not None else []
    trials = [t for t in data.drawn if t.intermediate_values]
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    others = [t for t in trials if t not in pruned and t not in best]
    marks.curves(ax, others, TRIAL, "trial", 0.7)
    marks.curves(ax, pruned, MUTED, "pruned", 0.7)
    marks.curves(ax, best, BEST, f"best (trial {best[0].number})" if best else "", 1.8)
    ends = [max(t.intermediate_values) for t in pruned]
    reached = [t.intermediate_values[end] for t, end in zip(pruned, ends, strict=True)]
    crosses = ax.scatter(ends, reached, s=14, marker="x", color=MUTED, lw=0.8)
    marks.of_trials(crosses, [t.number for t in pruned])
    ax.set(xlabel="step", ylabel=f"{shortened(label_of(data.objective))} as reported")
    marks.keep_in_view(ax, _reports(trials), [data], None, list(_reports(best)))
    legend_above(ax)
    return ax


@in_house_style
def plot_training_losses(data: StudyData, ax: Axes | None = None) -> Axes:
    """Every model's training loss; with a teacher it includes the teacher's term."""
    ax = new_axes(ax)
    known = {
        (row.role, row.trial_number, row.name): curve
        for row in data.evaluations
        if row.split == "dev"
        and (curve := _curve(row.details.get("training_losses", ()))) is not None
    }
    trials = {n: c for (role, n, _), c in known.items() if role == "search" and n is not None}
    if data.best_trial is not None and (best := data.best_trial.number) in trials:
        marks.lines(ax, [trials.pop(best)], BEST, f"best (trial {best})", 1.6, [best])
    marks.lines(ax, list(trials.values()), TRIAL, "trial", 0.7, list(trials))
    for (role, _, name), curve in known.items():
        if role == "baseline":
            marks.lines(ax, [curve], colour_of(name), shortened(name), 1.6)
    ax.set(xlabel="step", ylabel="training loss")
    legend_above(ax)
    return ax


def _curve(points: Any) -> Array | None:
    """Steps and losses (N, 2) as stored; None where they are not a curve."""
    try:
        curve = np.array(points, dtype=float)
    except (ValueError, TypeError):
        return None
    return curve if curve.ndim == 2 and curve.shape[1] == 2 else None


@in_house_style
def plot_weight_curve(data: StudyData, found: Distillation, ax: Axes | None = None) -> Axes:
    """The objective over the teacher's weight: every trial, and the mean in each bin of weights."""
    ax = plot_slice(data, WEIGHT, ax)
    for part in found.curve:
        ax.plot([part.low, part.high], [part.mean, part.mean], color=INK, lw=1.6, marker="|")
        if part.ci is not None:
            middle = (part.low + part.high) / 2
            ax.plot([middle, middle], part.ci, color=INK, lw=1.1)
    return ax


def _reports(trials: Sequence[FrozenTrial]) -> Array:
    reported = np.array([y for t in trials for y in t.intermediate_values.values()], dtype=float)
    return np.asarray(reported[np.isfinite(reported)])


@in_house_style
def plot_pareto(data: StudyData, ax: Axes | None = None) -> Axes:
    """The first two objectives against each other, with the Pareto front."""
    ax = new_axes(ax)
    trials = [t for t in data.ranked() if np.isfinite(t.values).all()]
    x, y = (np.array([t.values[i] for t in trials]) for i in (0, 1))
    marks.dots(ax, x, y, [is_enqueued(t) for t in trials], [t.number for t in trials])
    best = [t for t in data.pareto_trials if np.isfinite(t.values).all()]
    best.sort(key=lambda t: t.values)
    if best:
        x, y = (np.array([t.values[i] for t in best]) for i in (0, 1))
        marks.front(ax, x, y, [t.number for t in best], "Pareto front")
    one, two = (shortened(label_of(name)) for name in data.objectives[:2])
    ax.set(xlabel=one, ylabel=two)
    legend_above(ax)
    return ax


def __dir__() -> list[str]:
    return own_names(globals())
