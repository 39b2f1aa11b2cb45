"""Any study database as one frozen object: trials, scores, outputs, and what they rest on.

`load` is the door to every analysis, report and notebook.  It reads what Optuna stored and, where
this program ran the study, the tables beside it; a database of anybody else has no scores, outputs
or provenance, and everything else works on it.  The frames themselves are built in
`analysis.frames`, on first use, so that loading stays free of pandas.
"""

from __future__ import annotations

import math
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from study.errors import InputError
from study.metrics import METRICS, Statistics
from study.store import records
from study.store.records import EvaluationRow, Examples, ScoreRow
from study.store.storage import engine_of, hidden, open_read_only

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Engine

    from analysis.importance import Importances

MAXIMIZE, MINIMIZE = "maximize", "minimize"
Who = int | str  # a trial's number, a baseline's name, or "best"


@dataclass(frozen=True, eq=False)
class StudyData:
    """A study as it was found: everything else is computed from it."""

    name: str
    target: str  # where it was read from, without password
    objectives: tuple[str, ...]
    directions: tuple[str, ...]  # "maximize" or "minimize", one an objective
    frozen_trials: tuple[FrozenTrial, ...] = field(repr=False)
    attributes: Mapping[str, Any] = field(default_factory=dict, repr=False)
    spec_text: str | None = field(default=None, repr=False)
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)
    evaluations: tuple[EvaluationRow, ...] = field(default=(), repr=False)
    score_rows: tuple[ScoreRow, ...] = field(default=(), repr=False)
    examples: Mapping[str, Examples] = field(default_factory=dict, repr=False)
    engine: Engine | None = field(default=None, repr=False)

    # ------------------------------------------------------------ the trials

    @property
    def objective(self) -> str:
        """The first objective; the only one of most studies."""
        return self.objectives[0]

    @property
    def direction(self) -> str:
        """The direction of the first objective."""
        return self.directions[0]

    @property
    def spec(self) -> dict[str, Any] | None:
        """The study file as a dict; None where this program did not run the study."""
        return None if self.spec_text is None else tomllib.loads(self.spec_text)

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """One distribution a parameter; ranges that changed are widened where they can be."""
        from analysis.encoding import common_distributions

        result: dict[str, BaseDistribution] = {}
        for name in dict.fromkeys(n for trial in self.frozen_trials for n in trial.distributions):
            used = [t.distributions[name] for t in self.frozen_trials if name in t.distributions]
            try:
                result |= common_distributions({name: d} for d in used)[0]
            except ValueError:
                result[name] = used[-1]
        return result

    @cached_property
    def complete(self) -> tuple[FrozenTrial, ...]:
        """The COMPLETE trials in order of their numbers."""
        return tuple(t for t in self.frozen_trials if t.state == TrialState.COMPLETE)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Trials by state, states without trials left out."""
        found = Counter(trial.state.name.lower() for trial in self.frozen_trials)
        return {
            state.name.lower(): found[state.name.lower()]
            for state in TrialState
            if found[state.name.lower()]
        }

    def value(self, trial: FrozenTrial, objective: str | None = None) -> float:
        """The trial's value of one objective; NaN unless it is COMPLETE."""
        if trial.state != TrialState.COMPLETE:
            return math.nan  # Optuna gives a PRUNED trial its last report as value
        return float(trial.values[self.index_of(objective)])

    def index_of(self, objective: str | None) -> int:
        """The position of an objective; the first for None.  Raises InputError for others."""
        if objective is None:
            return 0
        if objective not in self.objectives:
            raise InputError(
                f"objective: study {self.name!r} has none named {objective!r}; "
                f"allowed: {', '.join(self.objectives)}"
            )
        return self.objectives.index(objective)

    def ranked(self, objective: str | None = None) -> list[FrozenTrial]:
        """The COMPLETE trials that satisfy their constraints, best first by one objective."""
        sign = -1.0 if self.directions[self.index_of(objective)] == MAXIMIZE else 1.0
        feasible = [t for t in self.complete if all(c <= 0 for c in t.constraints.values())]
        ranked = [t for t in feasible if not math.isnan(self.value(t, objective))]
        return sorted(ranked, key=lambda t: (sign * self.value(t, objective), t.number))

    @cached_property
    def best_trial(self) -> FrozenTrial | None:
        """The best COMPLETE trial by the first objective; None where there is none."""
        return next(iter(self.ranked()), None)

    @cached_property
    def pareto_trials(self) -> list[FrozenTrial]:
        """The trials that no other beats in every objective, best of the first objective first."""
        signs = [-1.0 if d == MAXIMIZE else 1.0 for d in self.directions]
        ranked = self.ranked()
        losses = {t.number: [s * v for s, v in zip(signs, t.values, strict=True)] for t in ranked}
        return [
            t
            for t in ranked
            if not any(_dominates(losses[o.number], losses[t.number]) for o in ranked)
        ]

    # ------------------------------------------------------------ the frames

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial: number, state, objectives, parameters, attributes, seconds."""
        from analysis.frames import trials_frame

        return trials_frame(self)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row a stored score: role, name, trial, seed, split, metric, score, signature."""
        from analysis.frames import scores_frame

        return scores_frame(self)

    def outputs(
        self,
        who: Who = "best",
        split: str = "dev",
        *,
        role: str | None = None,
        seed: int | None = None,
    ) -> pd.DataFrame:
        """One row an example: source, target, output, and each metric's score of that example.

        `who` is a trial's number, a baseline's name or "best".  Raises LookupError if not stored.
        """
        from analysis.frames import outputs_frame

        return outputs_frame(self, self.evaluation(who, split, role=role, seed=seed))

    # ------------------------------------------------------------ the evaluations

    @property
    def baselines(self) -> tuple[str, ...]:
        """The names of the stored baselines, the untrained base first."""
        names = {e.name for e in self.evaluations if e.role == "baseline"}
        return tuple(sorted(names, key=lambda name: (name != "base", name != "default", name)))

    def evaluation(
        self, who: Who, split: str = "dev", *, role: str | None = None, seed: int | None = None
    ) -> EvaluationRow:
        """The stored evaluation of a trial, a baseline or "best"; LookupError if there is none."""
        if who == "best" and self.best_trial is not None:
            who = self.best_trial.number
        wanted = role or ("search" if isinstance(who, int) else "baseline")
        for row in self.evaluations:
            known_as = row.trial_number if isinstance(who, int) else row.name
            if (row.role, known_as, row.split) == (wanted, who, split) and seed in (None, row.seed):
                return row
        splits = sorted({e.split for e in self.evaluations})
        raise LookupError(
            f"study {self.name!r} stores no {wanted} evaluation of {who!r} on {split!r}; "
            f"baselines: {list(self.baselines)}, splits: {splits}"
        )

    def statistics(
        self,
        who: Who,
        metric: str,
        split: str = "dev",
        *,
        role: str | None = None,
        seed: int | None = None,
    ) -> Statistics:
        """The per-example statistics (N, S) of one metric; LookupError if they are not stored."""
        row = self.evaluation(who, split, role=role, seed=seed)
        assert self.engine is not None
        return records.read_statistics(self.engine, row.evaluation_id, metric)

    def score(self, who: Who, metric: str, split: str = "dev") -> float | None:
        """One stored corpus score; None if it is not stored."""
        try:
            wanted = self.evaluation(who, split).evaluation_id
        except LookupError:
            return None
        rows = (r for r in self.score_rows if (r.evaluation_id, r.metric) == (wanted, metric))
        return next((row.score for row in rows), None)

    def baseline_value(self, name: str, objective: str) -> float | None:
        """What a baseline reaches in an objective: a score, on `general_…` of that split, or a
        detail such as its seconds; None where neither is stored.
        """
        split = next((s for s in self.splits if objective.startswith(f"{s}_")), "dev")
        score = self.score(name, objective.removeprefix(f"{split}_"), split)
        if score is None and any(e.name == name and e.split == "dev" for e in self.evaluations):
            score = self.evaluation(name).details.get(objective)
        return score

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics with stored statistics, the objective first."""
        stored = {row.metric for row in self.score_rows}
        return tuple(sorted(stored & set(METRICS), key=lambda m: (m != self.objective, m)))

    @property
    def splits(self) -> tuple[str, ...]:
        """The evaluated splits, dev first."""
        return tuple(sorted({e.split for e in self.evaluations}, key=lambda s: (s != "dev", s)))

    def _repr_html_(self) -> str:
        from analysis.frames import study_html

        return study_html(self)


def load(
    target: str | Path,
    study_name: str | None = None,
    *,
    space: Any = None,
    objective: str | None = None,
    direction: str = MAXIMIZE,
) -> StudyData:
    """Read a study: from a run folder, an SQLite or journal file, a storage URL, or a CSV file.

    A storage of several studies needs `study_name`; a CSV file needs `space` (name → Optuna
    distribution) and the name of its `objective` column.  Raises InputError, one line a problem.
    """
    if str(target).lower().endswith(".csv"):
        from analysis.results_csv import load_csv

        return load_csv(Path(target), space, objective, direction, study_name)
    storage = open_read_only(str(target))
    frozen = _choose(storage.get_all_studies(), study_name, hidden(str(target)))
    directions = tuple(MAXIMIZE if d.name == "MAXIMIZE" else MINIMIZE for d in frozen.directions)
    return StudyData(
        name=frozen.study_name,
        target=hidden(str(target)),
        objectives=_objective_names(frozen, len(directions)),
        directions=directions,
        frozen_trials=tuple(storage.get_all_trials(frozen._study_id, deepcopy=False)),
        attributes=frozen.user_attrs,
        **_recorded(engine_of(storage), frozen._study_id),
    )


def importances_of(
    data: StudyData,
    objective: str | None = None,
    surrogate: str = "auto",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    resamples: int = 100,
) -> Importances:
    """What mattered for one objective, from the COMPLETE trials that were not enqueued.

    Raises InputError where the study has no such objective or used one parameter name with
    distributions that contradict each other.
    """
    from analysis.encoding import common_distributions
    from analysis.importance import importances

    index = data.index_of(objective)
    used = [t for t in data.complete if not is_enqueued(t)]
    try:
        return importances(
            [t.params for t in used],
            [t.values[index] for t in used],
            common_distributions(t.distributions for t in data.complete)[0],
            surrogate=surrogate,
            seed=seed,
            resamples=resamples,
            objective=data.objectives[index],
            direction=data.directions[index],
            study=data.name,
            counts=_counts(data),
            progress=progress,
        )
    except ValueError as error:
        raise InputError(f"{data.name}: {error}") from error


def is_enqueued(trial: FrozenTrial) -> bool:
    """Whether somebody chose this point by hand: by our mark, else by Optuna's own.

    A retried trial carries Optuna's mark too, but its point was sampled.
    """
    if "enqueued" in trial.user_attrs:
        return bool(trial.user_attrs["enqueued"])
    retried = "retry_of" in trial.user_attrs or "failed_trial" in trial.system_attrs
    return "fixed_params" in trial.system_attrs and not retried


def _counts(data: StudyData) -> dict[str, int]:
    counts = data.counts
    return {
        "complete": counts.get("complete", 0),
        "pruned": counts.get("pruned", 0),
        "failed": counts.get("fail", 0),
    }


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    no_worse = all(a <= b for a, b in zip(one, other, strict=True))
    return no_worse and any(a < b for a, b in zip(one, other, strict=True))


def _choose(studies: Sequence[Any], study_name: str | None, where: str) -> Any:
    names = [study.study_name for study in studies]
    if not studies:
        raise InputError(f"{where}: holds no study")
    if study_name is None and len(studies) == 1:
        return studies[0]
    if study_name not in names:
        problem = "holds several studies" if study_name is None else f"no study {study_name!r}"
        raise InputError(f"{where}: {problem}; choose by --study-name: {', '.join(names)}")
    return studies[names.index(study_name)]


def _objective_names(frozen: Any, count: int) -> tuple[str, ...]:
    """Optuna's metric names, our own mark, or plain numbers; always distinct."""
    for names in (
        frozen.system_attrs.get("study:metric_names"),
        frozen.user_attrs.get("objectives"),
    ):
        if isinstance(names, list) and len(names) == count == len(set(map(str, names))):
            return tuple(map(str, names))
    return ("value",) if count == 1 else tuple(f"value_{i}" for i in range(count))


def _recorded(engine: Engine | None, study_id: int) -> dict[str, Any]:
    """What our own tables say about the study; nothing where there are none."""
    if engine is None or not records.has_tables(engine):
        return {}
    return {
        "spec_text": records.read_spec(engine, study_id),
        "provenance": records.read_provenance(engine, study_id),
        "evaluations": tuple(records.read_evaluations(engine, study_id)),
        "score_rows": tuple(records.read_scores(engine, study_id)),
        "examples": records.read_examples(engine, study_id),
        "engine": engine,
    }
