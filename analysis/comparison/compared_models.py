"""Which models are compared: the base, the default adapter, and some or all trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from analysis.comparison.within_study import label_of_model
from study.errors import InputError

if TYPE_CHECKING:
    from analysis.studies.study_data import StudyData, Who
    from study.store.records import EvaluationRow

BASE = "base"
SHOWN_ALL, SHOWN_BEST = 9, 5


@dataclass(frozen=True)
class ComparedModel:
    """The base or an adapter; models of one configuration share the letter `twins`."""

    name: str
    who: Who
    seed: int
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    twins: str = ""

    @property
    def label(self) -> str:
        """The name, with the letter of its configuration where that has several seeds."""
        return f"{self.name} {self.twins}".strip()


def evaluated(data: StudyData, split: str) -> dict[Who, EvaluationRow]:
    """The evaluations of a split: by trial number, and by name of a baseline."""
    complete = {t.number for t in data.complete}
    rows: dict[Who, EvaluationRow] = {}
    for row in data.evaluations:
        if row.split == split and row.role == "baseline":
            rows[row.name] = row
        elif row.split == split and row.role == "search" and row.trial_number in complete:
            rows[row.trial_number] = row
    if BASE not in rows:
        known = ", ".join(data.splits) or "none"
        raise InputError(
            f"{data.name}: stores no evaluation of the untrained base on {split!r}; "
            f"evaluated splits: {known}"
        )
    return rows


def compared_models(
    data: StudyData, rows: Mapping[Who, EvaluationRow], trials: Sequence[int], split: str
) -> tuple[list[ComparedModel], int]:
    """The base and the adapters, twins marked, and how many lower-scoring trials are left out."""
    complete = [who for who in rows if isinstance(who, int)]
    unknown = [str(number) for number in trials if number not in complete]
    if unknown:
        raise InputError(
            f"--trials: {data.name} stores no {split} evaluation of trial {', '.join(unknown)}; "
            f"allowed: {', '.join(map(str, sorted(complete))) or 'none'}"
        )
    best = [t.number for t in data.ranked() if t.number in complete]
    few = len(complete) <= SHOWN_ALL
    numbers = list(dict.fromkeys(trials)) or sorted(complete if few else best[:SHOWN_BEST])
    named = [] if trials else [name for name in data.baselines if name in rows and name != BASE]
    whos: list[Who] = [BASE, *named, *numbers]
    if len(whos) < 2:
        raise InputError(f"{data.name}: no trial has finished, so there is no adapter to compare")
    models = [
        ComparedModel(label_of_model(data, who), who, rows[who].seed, rows[who].config)
        for who in whos
    ]
    left_out = 0 if trials else len(complete) - len(numbers)
    return _with_twins(models), left_out


def _with_twins(models: Sequence[ComparedModel]) -> list[ComparedModel]:
    """Give models that share a configuration but not a seed the same letter."""
    groups: list[list[ComparedModel]] = []
    for model in models:
        group = next((g for g in groups if model.config and g[0].config == model.config), None)
        if group is None:
            groups.append([model])
        else:
            group.append(model)
    repeated = [g for g in groups if len({model.seed for model in g}) > 1]
    letters = {model.name: chr(ord("a") + i) for i, g in enumerate(repeated) for model in g}
    return [replace(model, twins=letters.get(model.name, "")) for model in models]
