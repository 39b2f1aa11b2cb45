"""Figures of a study: a result in, `Axes` out.

Nothing is computed here that a reader might want as a number: that stands in `analysis.trials`,
`analysis.importance` and `analysis.comparison`.  Every function takes `ax` and returns it; without
one it makes a figure of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from analysis.encoding import make_column
from analysis.palette import (
    BASE,
    BEST,
    CHANCE,
    GRID,
    INK,
    MUTED,
    PAIR,
    PAPER,
    TRIAL,
    colour_of,
    legend_above,
    new_axes,
    shortened,
)
from analysis.trials import MAXIMIZE, StudyData, is_enqueued
from study.metrics import METRICS, Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.comparison import Score
    from analysis.importance import Importances, Marginal

MAX_LEVELS = 16  # a parameter with more levels is drawn along a continuous axis
MAX_BARS = 14
FEW = 3  # fewer values than this make no violin


@dataclass(frozen=True)
class Slice:
    """One parameter against one objective: x and y are (N,), N finite COMPLETE trials.

    `levels` holds the parameter's levels in order where it is discrete, and x their positions.
    """

    parameter: str
    objective: str
    x: Array
    y: Array
    numbers: tuple[int, ...]
    enqueued: tuple[bool, ...]
    levels: tuple[Any, ...]
    is_log: bool


def slice_of(data: StudyData, parameter: str, objective: str | None = None) -> Slice:
    """Return one parameter's slice; raise KeyError for a parameter that no trial has."""
    column = make_column(parameter, data.distributions[parameter])
    levels = column.values if 0 < len(column.values) <= MAX_LEVELS else ()
    if column.is_categorical or not column.ordered:
        levels = column.values
    trials = [t for t in data.complete if parameter in t.params]
    trials = [t for t in trials if np.isfinite(data.value(t, objective))]
    values = [t.params[parameter] for t in trials]
    x = [levels.index(v) if levels else v for v in values]
    return Slice(
        parameter=parameter,
        objective=data.objectives[data.index_of(objective)],
        x=np.array(x, dtype=float),
        y=np.array([data.value(t, objective) for t in trials], dtype=float),
        numbers=tuple(t.number for t in trials),
        enqueued=tuple(is_enqueued(t) for t in trials),
        levels=levels,
        is_log=column.is_log and not levels,
    )


def plot_importances(result: Importances, ax: Axes | None = None) -> Axes:
    """Bars of the main effects with 95 % intervals and chance lines, then the largest pairs."""
    ax = new_axes(ax)
    pairs = [i for i in result.interactions if i.importance >= 0.02][:3]
    parameters = result.parameters[:MAX_BARS]
    for row, p in enumerate(parameters):
        ax.barh(row, p.importance, 0.55, color=TRIAL if p.significant else BASE)
        ax.plot([p.null, p.null], [row - 0.42, row + 0.42], color=CHANCE, lw=1.6)
    for row, pair in enumerate(pairs, len(parameters)):
        ax.barh(row, pair.importance, 0.55, color=PAIR)
    for row, effect in enumerate([*parameters, *pairs]):
        ax.plot(effect.ci, [row, row], color=INK, lw=1.1)
        ax.annotate(
            f"{effect.importance:.2f}",
            (max(effect.ci[1], effect.importance), row),
            (5, 0),
            textcoords="offset points",
            va="center",
        )
    names = [shortened(p.name) for p in parameters]
    names += [" × ".join(shortened(n, 14) for n in pair.names) for pair in pairs]
    ax.set_yticks(range(len(names)), names)
    ax.set(xlim=(0, 1.12), ylim=(len(names) - 0.4, -0.6))
    ax.set_xlabel(f"share of the variance of {shortened(result.objective)}")
    ax.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    ax.grid(axis="y", visible=False)
    _importance_legend(ax, result, bool(pairs))
    return ax


def _importance_legend(ax: Axes, result: Importances, pairs: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    if any(p.significant for p in result.parameters):
        handles.append(Patch(color=TRIAL, label="beyond chance"))
    if not all(p.significant for p in result.parameters):
        handles.append(Patch(color=BASE, label="not beyond chance"))
    if pairs:
        handles.append(Patch(color=PAIR, label="of a pair together"))
    handles.append(Line2D([], [], color=CHANCE, lw=1.6, label="chance"))
    handles.append(Line2D([], [], color=INK, lw=1.1, label="95 % interval"))
    ax.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=3,
        borderaxespad=0.2,
        handlelength=1.4,
        columnspacing=1.2,
    )


def plot_history(data: StudyData, ax: Axes | None = None, objective: str | None = None) -> Axes:
    """Every trial's value in the order of their numbers, and the best so far."""
    ax = new_axes(ax)
    trials = [t for t in data.complete if np.isfinite(data.value(t, objective))]
    numbers = [t.number for t in trials]
    values = np.array([data.value(t, objective) for t in trials])
    index = data.index_of(objective)
    maximise = data.directions[index] == MAXIMIZE
    _points(ax, np.array(numbers), values, [is_enqueued(t) for t in trials], "trial")
    if len(values):
        best = np.maximum.accumulate(values) if maximise else np.minimum.accumulate(values)
        ax.step(numbers, best, where="post", color=BEST, lw=1.4, label="best so far")
    pruned = [t for t in data.frozen_trials if t.state == TrialState.PRUNED and t.value is not None]
    if pruned and len(data.objectives) == 1:
        ax.scatter(
            [t.number for t in pruned],
            [t.value or 0.0 for t in pruned],
            s=16,
            marker="x",
            color=MUTED,
            lw=0.9,
            label="pruned, at its last report",
        )
    _baseline_lines(ax, data, data.objectives[index])
    ax.set(xlabel="trial", ylabel=shortened(data.objectives[index]))
    ax.xaxis.get_major_locator().set_params(integer=True)
    legend_above(ax, 3)
    return ax


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
        _draw_marginal(ax, shown, marginal)
    x = shown.x + _jitter(len(shown.x), 0.12 if shown.levels else 0.0)
    _points(ax, x, shown.y, shown.enqueued, "trial")
    _mark_best(ax, data, shown, x, objective)
    _parameter_axis(ax, shown)
    ax.set_ylabel(shortened(shown.objective))
    return ax


def plot_slices(
    data: StudyData,
    axes: Sequence[Axes] | None = None,
    objective: str | None = None,
    result: Importances | None = None,
) -> list[Axes]:
    """`plot_slice` for every parameter that varied, most important first where that is known."""
    names = varied_parameters(data, result)
    curves = {m.name: m for m in result.marginals} if result is not None else {}
    if axes is None:
        axes = _grid(len(names))
    return [
        plot_slice(data, name, ax, objective, curves.get(name))
        for name, ax in zip(names, axes, strict=False)
    ]


def plot_score_by_level(
    data: StudyData, parameter: str, ax: Axes | None = None, objective: str | None = None
) -> Axes:
    """A violin of the objective for each level of a discrete parameter, with every trial as a dot.

    Raises ValueError for a continuous parameter: `plot_slice` shows that one.
    """
    shown = slice_of(data, parameter, objective)
    if not shown.levels:
        raise ValueError(f"{parameter} has no levels: draw it with plot_slice")
    ax = new_axes(ax)
    groups = {str(i): shown.y[shown.x == i] for i in range(len(shown.levels))}
    _violins(ax, groups, dict.fromkeys(groups, TRIAL))
    x = shown.x + _jitter(len(shown.x), 0.14)
    _points(ax, x, shown.y, shown.enqueued, "trial")
    _mark_best(ax, data, shown, x, objective)
    _baseline_lines(ax, data, shown.objective)
    _parameter_axis(ax, shown)
    ax.set_ylabel(shortened(shown.objective))
    legend_above(ax)
    return ax


def plot_best_against_baselines(scores: Sequence[Score], ax: Axes | None = None) -> Axes:
    """Bars of `comparison.model_scores` with bootstrap intervals, grouped by split."""
    ax = new_axes(ax)
    splits = list(dict.fromkeys(s.split for s in scores))
    names = list(dict.fromkeys(s.name for s in scores))
    width = 0.8 / len(names)
    for score in scores:
        place = splits.index(score.split) + (names.index(score.name) - (len(names) - 1) / 2) * width
        first = score.split == splits[0]
        ax.bar(
            place,
            score.score,
            width * 0.86,
            color=colour_of(score.name),
            label=score.name if first else None,
        )
        ax.plot([place, place], score.ci, color=INK, lw=1.2)
        ax.annotate(
            f"{score.score:.1f}" if abs(score.score) >= 10 else f"{score.score:.2f}",
            (place, max(score.ci[1], score.score)),
            (0, 3),
            textcoords="offset points",
            ha="center",
        )
    ax.set_xticks(range(len(splits)), [f"{s} examples" for s in splits])
    ax.set_xlim(-0.6, len(splits) - 0.4)
    ax.margins(y=0.12)
    ax.set_ylabel(METRICS[scores[0].metric].label if scores else "")
    ax.grid(axis="x", visible=False)
    legend_above(ax)
    return ax


def plot_example_scores(scores: Mapping[str, Array], metric: str, ax: Axes | None = None) -> Axes:
    """A violin of `comparison.example_scores` for each model: where the corpus score comes from."""
    ax = new_axes(ax)
    groups = {name: values[np.isfinite(values)] for name, values in scores.items()}
    _violins(ax, groups, {name: colour_of(name) for name in groups})
    for place, (name, values) in enumerate(groups.items()):
        if len(values) <= 400:
            x = place + _jitter(len(values), 0.1)
            ax.scatter(x, values, s=4, color=colour_of(name), alpha=0.55, linewidths=0)
    ax.set_xticks(range(len(groups)), [shortened(name) for name in groups])
    ax.set_ylabel(f"{METRICS[metric].label} of one example")
    ax.grid(axis="x", visible=False)
    return ax


def plot_learning_curves(data: StudyData, ax: Axes | None = None) -> Axes:
    """What every trial reported while it trained; pruned ones end in a cross."""
    ax = new_axes(ax)
    best = data.best_trial
    for trial in data.frozen_trials:
        if trial.intermediate_values:
            _curve(ax, trial, best is not None and trial.number == best.number)
    ax.set(xlabel="step", ylabel=f"{shortened(data.objective)} as reported")
    _unique_legend(ax)
    return ax


def plot_pareto(data: StudyData, ax: Axes | None = None) -> Axes:
    """The first two objectives against each other, and the trials that no other beats in all."""
    ax = new_axes(ax)
    trials = data.ranked()
    x, y = ([t.values[i] for t in trials] for i in (0, 1))
    _points(ax, np.array(x), np.array(y), [is_enqueued(t) for t in trials], "trial")
    front = sorted(data.pareto_trials, key=lambda t: tuple(t.values))
    ax.plot(
        [t.values[0] for t in front],
        [t.values[1] for t in front],
        color=BEST,
        marker="o",
        ms=4,
        lw=1.0,
        label="not beaten in every objective",
    )
    ax.set(xlabel=shortened(data.objectives[0]), ylabel=shortened(data.objectives[1]))
    legend_above(ax)
    return ax


def varied_parameters(data: StudyData, result: Importances | None = None) -> list[str]:
    """The parameters with more than one value among the COMPLETE trials, important ones first."""
    order = [p.name for p in result.parameters] if result is not None else []
    values = {
        name: {t.params[name] for t in data.complete if name in t.params}
        for name in data.distributions
    }
    names = [name for name, seen in values.items() if len(seen) > 1]
    return sorted(names, key=lambda n: order.index(n) if n in order else len(order))


# ---------------------------------------------------------------- pieces


def _points(ax: Axes, x: Array, y: Array, enqueued: Sequence[bool], label: str) -> None:
    chosen = np.array(enqueued, dtype=bool)
    if (~chosen).any():
        ax.scatter(x[~chosen], y[~chosen], s=13, color=TRIAL, alpha=0.75, linewidths=0, label=label)
    if chosen.any():
        ax.scatter(
            x[chosen],
            y[chosen],
            s=20,
            marker="D",
            facecolors="none",
            edgecolors=TRIAL,
            linewidths=1.0,
            label="enqueued by hand",
        )


def _mark_best(ax: Axes, data: StudyData, shown: Slice, x: Array, objective: str | None) -> None:
    best = next(iter(data.ranked(objective)), None)
    if best is not None and best.number in shown.numbers:
        place = shown.numbers.index(best.number)
        ax.scatter(
            x[place],
            shown.y[place],
            s=42,
            color=BEST,
            linewidths=0,
            zorder=4,
            label=f"best (trial {best.number})",
        )


def _baseline_lines(ax: Axes, data: StudyData, objective: str) -> None:
    for name, style in zip(data.baselines, (":", "--", "-.", "-."), strict=False):
        value = data.baseline_value(name, objective)
        if value is not None and np.isfinite(value):
            ax.axhline(
                value, color=colour_of(name), ls=style, lw=1.1, label=shortened(name), zorder=1.5
            )


def _draw_marginal(ax: Axes, shown: Slice, marginal: Marginal) -> None:
    x = [shown.levels.index(v) if shown.levels else v for v in marginal.values]
    if shown.levels and marginal.is_categorical:
        ax.errorbar(
            x,
            marginal.mean,
            [marginal.mean - marginal.low, marginal.high - marginal.mean],
            fmt="_",
            color=INK,
            lw=1.0,
            ms=14,
        )
        return
    ax.fill_between(x, marginal.low, marginal.high, color=MUTED, alpha=0.2, linewidth=0)
    ax.plot(x, marginal.mean, color=INK, lw=1.2)


def _parameter_axis(ax: Axes, shown: Slice) -> None:
    ax.set_xlabel(shortened(shown.parameter, 40))
    if shown.levels:
        labels = [shortened(_level(v), 14) for v in shown.levels]
        crowded = sum(map(len, labels)) > 34
        ax.set_xticks(
            range(len(labels)),
            labels,
            rotation=35 if crowded else 0,
            ha="right" if crowded else "center",
        )
        ax.set_xlim(-0.6, len(labels) - 0.4)
        ax.grid(axis="x", visible=False)
    elif shown.is_log and len(shown.x) and shown.x.min() > 0:
        _log_axis(ax, shown.x)


def _log_axis(ax: Axes, x: Array) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ax.set_xscale("log")
    if x.max() / x.min() < 50:  # decades alone would leave an axis without a number
        ax.xaxis.set_major_locator(FixedLocator(list(_nice_ticks(x.min(), x.max()))))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _level(value)))


def _nice_ticks(low: float, high: float) -> Array:
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 2, 3, 5, 7), (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)):
        ticks = np.outer(decades, steps).ravel()
        ticks = ticks[(ticks >= low * 0.98) & (ticks <= high * 1.02)]
        if len(ticks) >= 3:
            break
    return np.asarray(ticks)


def _level(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
    return str(value)


def _violins(ax: Axes, groups: Mapping[str, Array], colours: Mapping[str, str]) -> None:
    """Violins of the groups with enough different values, each with a line at its median."""
    import seaborn

    drawn = {name: v for name, v in groups.items() if len(np.unique(v)) >= FEW}
    for place, (name, values) in enumerate(groups.items()):
        if name in drawn:
            seaborn.violinplot(
                x=np.full(len(values), place),
                y=values,
                color=colours[name],
                saturation=1,
                cut=0,
                inner=None,
                density_norm="width",
                width=0.8,
                linewidth=0.8,
                linecolor=colours[name],
                alpha=0.28,
                native_scale=True,
                ax=ax,
            )
        if len(values):
            ax.plot(
                [place - 0.22, place + 0.22], [np.median(values)] * 2, color=INK, lw=1.5, zorder=3
            )


def _curve(ax: Axes, trial: FrozenTrial, is_best: bool) -> None:
    steps = sorted(trial.intermediate_values)
    values = [trial.intermediate_values[step] for step in steps]
    pruned = trial.state == TrialState.PRUNED
    colour, width, label = TRIAL, 0.7, "trial"
    if is_best:
        colour, width, label = BEST, 1.8, f"best (trial {trial.number})"
    elif pruned:
        colour, width, label = MUTED, 0.7, "pruned"
    ax.plot(
        steps,
        values,
        color=colour,
        lw=width,
        alpha=1.0 if is_best else 0.5,
        label=label,
        zorder=3 if is_best else 2,
    )
    if pruned:
        ax.plot(steps[-1], values[-1], "x", color=colour, ms=4)


def _unique_legend(ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    first = dict(zip(reversed(labels), reversed(handles), strict=True))
    ax.legend(
        first.values(),
        first.keys(),
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=3,
        borderaxespad=0.2,
    )


def _jitter(count: int, width: float) -> Array:
    """A small sideways shift (count,), the same at every call."""
    return np.random.default_rng(0).uniform(-width, width, count)


def _grid(count: int) -> list[Axes]:
    import matplotlib.pyplot as plt

    from analysis.palette import STYLE

    columns = min(max(count, 1), 3)
    rows = max(-(-count // columns), 1)
    style = {**STYLE, "figure.facecolor": PAPER, "axes.facecolor": PAPER, "grid.color": GRID}
    with plt.rc_context(style):
        figure, axes = plt.subplots(
            rows, columns, figsize=(3.4 * columns, 2.8 * rows), layout="constrained", squeeze=False
        )
    for ax in axes.flat[count:]:
        ax.remove()
    return list(axes.flat[:count])
