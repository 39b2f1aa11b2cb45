"""The tables of the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from analysis.comparison import Comparison
from analysis.trials import StudyData, is_enqueued
from reports.page import Cell, Table
from reports.wording import configuration, interval, number, signed
from study.metrics import METRICS

# attributes that our runner records and a reader compares trials by
SHOWN = ("trainable_parameters", "train_seconds", "tokens_per_second", "peak_memory_bytes")


def trial_table(data: StudyData) -> Table | None:
    """All trials: number, state, objectives, parameters, scores and costs; None without trials."""
    if not data.frozen_trials:
        return None
    attributes = _attributes(data)
    names = list(data.distributions)
    rows = []
    for trial in data.frozen_trials:
        values = [data.value(trial, name) for name in data.objectives]
        rows.append(
            (
                cell(trial.number),
                Cell(_state(trial), trial.state.name),
                *(cell(v if v == v else None) for v in values),
                *(cell(trial.params.get(name)) for name in names),
                *(cell(trial.user_attrs.get(name)) for name in attributes),
            )
        )
    best = {data.best_trial.number} if data.best_trial and len(data.objectives) == 1 else set()
    if len(data.objectives) > 1:
        best = {t.number for t in data.pareto_trials}
    marked = frozenset(i for i, t in enumerate(data.frozen_trials) if t.number in best)
    columns = (
        "trial",
        "state",
        *data.objectives,
        *names,
        *(a.replace("_", " ") for a in attributes),
    )
    return Table("All trials", columns, tuple(rows), sortable=True, marked=marked)


def failure_table(data: StudyData) -> Table | None:
    """The FAIL trials with their reasons; None where nothing failed."""
    failed = [t for t in data.frozen_trials if t.state == TrialState.FAIL]
    if not failed:
        return None
    rows = tuple((cell(t.number), Cell(_reason(t)), Cell(configuration(t.params))) for t in failed)
    return Table("Failed trials", ("trial", "reason", "configuration"), rows, sortable=True)


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """The best trial against every baseline on every metric and split."""
    rows = tuple(
        (
            Cell(METRICS[c.a.metric].label),
            Cell(c.a.split),
            Cell(f"{c.a.name} against {c.b.name}"),
            cell(c.a.score),
            cell(c.b.score),
            Cell(signed(c.difference), c.difference, True),
            Cell(interval(c.ci, signed)),
            Cell(_verdict(c)),
            cell(c.p_value),
        )
        for c in comparisons
    )
    columns = (
        "metric",
        "split",
        "models",
        "first",
        "second",
        "difference",
        "95 % interval",
        "first is",
        "p",
    )
    return Table("The best trial against the baselines", columns, rows)


def space_table(data: StudyData) -> Table | None:
    """The search space as Optuna knows it."""
    if not data.distributions:
        return None
    rows = tuple((Cell(name), Cell(_range(d))) for name, d in data.distributions.items())
    return Table("Search space", ("parameter", "range"), rows)


def cell(value: Any) -> Cell:
    """A value as a cell that sorts by the value itself."""
    if value is None:
        return Cell("")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return Cell(number(value), str(value))
    return Cell(number(value), float(value), numeric=True)


def _attributes(data: StudyData) -> list[str]:
    """Numeric attributes worth a column: the metrics on every split, then the costs."""
    present = dict.fromkeys(name for t in data.complete for name in t.user_attrs)
    metrics = [n for n in present if n.split("_")[-1] in METRICS and n not in data.objectives]
    return metrics + [n for n in SHOWN if n in present and n not in data.objectives]


def _state(trial: FrozenTrial) -> str:
    return trial.state.name.lower() + (", enqueued" if is_enqueued(trial) else "")


def _reason(trial: FrozenTrial) -> str:
    if trial.user_attrs.get("interrupted"):
        return "interrupted, to be run again"
    return str(
        trial.user_attrs.get("failure")
        or trial.system_attrs.get("fail_reason")
        or "no reason recorded"
    )


def _verdict(comparison: Comparison) -> str:
    if not comparison.clear:
        return "not clearly different"
    return "better" if comparison.gain > 0 else "worse"


def _range(distribution: Any) -> str:
    if hasattr(distribution, "choices"):
        return ", ".join(number(choice) for choice in distribution.choices)
    text = f"{number(distribution.low)} to {number(distribution.high)}"
    step = getattr(distribution, "step", None)
    text += f" in steps of {number(step)}" if step and step != 1 else ""
    return text + (", on a log scale" if distribution.log else "")
