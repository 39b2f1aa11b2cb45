"""What the terminal shows of a study: tables for a person, dicts for `--json`.

Needs neither pandas nor matplotlib, so that `optuna-study show` answers at once.  Nothing is wider
than 80 columns.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.comparison.sweeps import Sweep, learnt, sweep_of
from analysis.plots.palette import label_of, printable
from analysis.studies.study_data import StudyData, is_enqueued, state_of
from reports.wording import STATES, alike, counted, interval, number, probability, signed

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from analysis.comparison.contrast import Contrast

WIDTH = 80
TOP = 5


def study_table(data: StudyData, top: int = TOP) -> RenderableType:
    """State, counts, the best trials and the best against the baselines."""
    ways = zip(data.objectives, data.directions, strict=True)
    head = Text.assemble(
        (printable(data.name), "bold"), "  ", printable(", ".join(f"{way} {n}" for n, way in ways))
    )
    parts: list[RenderableType] = [head, Text(f"trials: {counted(data.counts) or 'none'}")]
    if data.sampled:
        parts.append(Text(data.sampled, style="dim"))
    shown = data.pareto_trials if len(data.objectives) > 1 else data.ranked()[:top]
    sweep = sweep_of(data)
    if sweep is not None:
        parts += [Text(), _sweep(sweep)]
    elif shown:
        parts += [Text(), _trials(data, shown[: max(top, 1)])]
    if len(shown) > top:
        parts.append(Text(f"… and {len(shown) - top} more on the Pareto front", style="dim"))
    if data.baselines and data.best_trial is not None:
        parts += [Text(), _baselines(data)]
    return Group(*parts, *_failures(data))


def _trials(data: StudyData, trials: Sequence[FrozenTrial]) -> Table:
    """The best trials, a row each; parameters that do not fit the width share one column."""
    title = "best trials" if len(data.objectives) == 1 else "trials beaten by no other"
    columns: dict[str, list[Any]] = {"trial": [t.number for t in trials]}
    for index, name in enumerate(data.objectives):
        columns[label_of(name)] = [t.values[index] for t in trials]
    varied = {n: [_value(t, n) for t in trials] for n in data.distributions}
    if _width({**columns, **varied}) <= WIDTH:
        return _table(title, {**columns, **varied})
    lines = [", ".join(f"{n} {number(_value(t, n))}" for n in t.params) for t in trials]
    return _table(title, {**columns, "parameters": lines})


def _value(trial: FrozenTrial, name: str) -> Any:
    """A parameter's value; None, which shows as nothing, only where it was not active."""
    value = trial.params.get(name)
    return str(value) if value is None and name in trial.params else value


def _sweep(sweep: Sweep) -> Table:
    """One row a level: its scores, whether it learnt, and what a classifier says."""
    columns: dict[str, list[Any]] = {
        sweep.parameter: [row.name if row.value is None else row.value for row in sweep.rows],
        **{label_of(m): [row.scores.get(m) for row in sweep.rows] for m in sweep.metrics},
        "": [learnt(row) for row in sweep.rows],
        "what it says": [row.remark for row in sweep.rows],
    }
    return _table("one row a level", {n: c for n, c in columns.items() if any(c)})


def _baselines(data: StudyData) -> Table:
    """The scores of the best trial and the baselines, metric by metric and split by split."""
    assert data.best_trial is not None
    columns: dict[str, list[Any]] = {"": [*data.baselines, f"trial {data.best_trial.number}"]}
    for split in data.splits:
        for metric in data.metrics:
            scores = [data.score(who, metric, split) for who in (*data.baselines, "best")]
            if any(score is not None for score in scores):
                heading = label_of(metric) if split == "dev" else f"{split} {label_of(metric)}"
                columns[heading] = scores
    while _width(columns) > WIDTH:
        columns.popitem()
    return _table("best against baselines", columns)


def _failures(data: StudyData) -> list[RenderableType]:
    """One line for each reason of failure or interruption, most frequent first."""
    reasons = Counter(
        f"{STATES.get(state_of(trial), state_of(trial))}: {reason}"
        for trial in data.frozen_trials
        if (reason := trial.user_attrs.get("failure"))
    )
    return [
        Text(f"\n{count} {printable(line)}", overflow="fold")
        for line, count in reasons.most_common(3)
    ]


def comparison_table(comparisons: Iterable[Contrast]) -> Table:
    """Pairs of models, a row each: scores, difference, interval, p."""
    headings = ["", "metric", "scores", "difference", "95 % interval", "p"]
    table = empty_table("paired over the examples", headings)
    for c in comparisons:
        scores = f"{number(c.a.score)} / {number(c.b.score)}"
        cells = [f"{c.a.name} / {c.b.name}", f"{label_of(c.a.metric)} {c.a.split}", scores]
        cells += [signed(c.difference), interval(c.interval), probability(c.p_adjusted)]
        table.add_row(*map(plain, cells))
    return table


def study_json(data: StudyData, top: int = TOP) -> dict[str, Any]:
    """The document that `optuna-study show --json` prints; no NaN and no infinity in it."""
    shown = data.pareto_trials if len(data.objectives) > 1 else data.ranked()[:top]
    who = (*data.baselines, *(["best"] if data.best_trial is not None else []))
    return {
        "study": data.name,
        "target": data.target,
        "objectives": [
            {"name": n, "direction": way}
            for n, way in zip(data.objectives, data.directions, strict=True)
        ],
        "trials": {STATES.get(state, state): count for state, count in data.counts.items()},
        "sampled": len(data.frozen_trials) if data.sampled else None,
        "best": [_trial_json(data, trial) for trial in shown],
        "scores": {
            name: {
                split: {m: _finite(data.score(name, m, split)) for m in data.metrics}
                for split in data.splits
            }
            for name in who
            if data.metrics
        },
    }


def _trial_json(data: StudyData, trial: FrozenTrial) -> dict[str, Any]:
    values = dict(zip(data.objectives, map(_finite, trial.values), strict=True))
    return {
        "number": trial.number,
        "values": values,
        "params": {name: _finite(value) for name, value in trial.params.items()},
        "enqueued": is_enqueued(trial),
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ---------------------------------------------------------------- tables


def plain(text: str) -> Text:
    """Plain text: no markup, and no control sequence that would steer the terminal."""
    return Text(printable(text))


def empty_table(title: str, headings: Iterable[str]) -> Table:
    """A table without rows in the one style of the terminal."""
    style: dict[str, Any] = {"box": None, "pad_edge": False, "title_justify": "left"}
    table = Table(title=Text(title, style="dim") if title else None, **style, min_width=len(title))
    for heading in headings:
        table.add_column(plain(heading), overflow="fold")
    return table


def _table(title: str, columns: dict[str, list[Any]]) -> Table:
    table = empty_table(title, columns)
    for column, values in zip(table.columns, columns.values(), strict=True):
        numeric = all(isinstance(v, (int, float)) for v in values if v is not None)
        column.justify = "right" if numeric else "left"
    for cells in zip(*map(_written, columns.values()), strict=True):
        table.add_row(*map(plain, cells))
    return table


def _written(values: list[Any]) -> list[str]:
    write = alike(values)
    return [write(value) for value in values]


def _width(columns: dict[str, list[Any]]) -> int:
    """How wide the columns are, with a space of two between them."""
    widths = [max(map(len, [name, *_written(values)])) + 2 for name, values in columns.items()]
    return sum(widths)
