"""A study as one frozen object: its trials, what is stored with them, and how they rank.

`load` makes the object.  `frames` builds the data frames on first use: reading a study does not
load pandas.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from analysis.display import Displayed
from analysis.document import Document, Facts
from analysis.studies.trial_values import is_enqueued, is_feasible, seconds_of, state_of
from analysis.wording import configuration, counted, label_of, number
from study.errors import InputError, did_you_mean
from study.metrics import Metric, Statistics, TextOptions, is_known, metric_of
from study.metrics.clusters import Clusters, clusters_of
from study.spec.toml_text import parse_toml
from study.store import records
from study.store.records import EvaluationRow, Examples, ScoreRow
from study.store.storage import run_folder_of

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Engine

__all__ = ["MAXIMIZE", "MINIMIZE", "StudyData", "Who", "is_enqueued", "seconds_of", "state_of"]

MAXIMIZE, MINIMIZE = "maximize", "minimize"
Who = int | str  # a trial's number, a baseline's name, or "best"
INNER = {"all_counts", "baseline_value", "database", "evaluations", "frozen_trials", "index_of"}
INNER |= {
    "folder",
    "is_one_of_several",
    "has_ended",
    "stored_in_folder",
    "best_in_words",
    "clusters",
    "statistics_of",
    "text_options",
    "drawn",
    "is_ours",
    "leaders",
    "metric_rows",
    "sampled",
    "score_rows",
}  # not offered by the Tab key


@dataclass(frozen=True, eq=False, repr=False)
class StudyData(Displayed):
    """A study as it was read; everything else is computed from it."""

    name: str
    target: str  # where it was read from, without password
    objectives: tuple[str, ...]
    directions: tuple[str, ...]  # "maximize" or "minimize", one per objective
    frozen_trials: tuple[FrozenTrial, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    spec_text: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    evaluations: tuple[EvaluationRow, ...] = ()
    score_rows: tuple[ScoreRow, ...] = ()
    examples: Mapping[str, Examples] = field(default_factory=dict)
    database: Engine | None = None
    leaders: tuple[FrozenTrial, ...] = ()  # the best trials, where `frozen_trials` is a sample
    all_counts: Mapping[str, int] = field(default_factory=dict)  # of all trials, then
    folder: Path | None = None  # the run folder on this machine, with its adapters
    is_one_of_several: bool = False  # in its storage
    has_ended: bool = False  # no run of this program works on it any more
    region: str = ""  # the part of the search space that it was cut to, as an expression
    kept: str = ""  # how many of its trials lie there, in words
    incomplete: str = ""  # what of the storage could not be read, in words

    # ------------------------------------------------------------ the trials

    @property
    def objective(self) -> str:
        """The first objective; the only one of most studies."""
        return self.objectives[0]

    @property
    def stored_in_folder(self) -> bool:
        """Whether the run folder holds the database too."""
        return self.folder is not None and run_folder_of(self.target) == self.folder

    @property
    def direction(self) -> str:
        """The direction of the first objective."""
        return self.directions[0]

    @property
    def spec(self) -> dict[str, Any] | None:
        """The study file as a dict; None where this program did not run the study."""
        return None if self.spec_text is None else parse_toml(self.spec_text)

    @cached_property
    def is_ours(self) -> bool:
        """Whether the study is stored with a study file that this program can read."""
        from study.spec.sections import spec_from_toml

        try:
            return self.spec_text is not None and bool(spec_from_toml(self.spec_text, self.name))
        except (InputError, ValueError):
            return False

    @property
    def text_options(self) -> TextOptions:
        """How the study compares texts; the defaults where this program did not run it."""
        from study.spec.sections import spec_from_toml

        if self.spec_text is None or not self.is_ours:
            return TextOptions()
        options = spec_from_toml(self.spec_text, self.name).evaluation.text_options
        return replace(options, labels=tuple(self.provenance.get("labels", ())))

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """One distribution per parameter: changed ranges are merged, changed steps are dropped.

        A parameter that had choices and a range has the values of the trials as choices.
        """
        from analysis.surrogates.encoding import common_distributions, loose_range

        result: dict[str, BaseDistribution] = {}
        trials = (*self.frozen_trials, *self.leaders)
        for name in dict.fromkeys(n for trial in trials for n in trial.distributions):
            used = [t.distributions[name] for t in trials if name in t.distributions]
            common = common_distributions({name: d} for d in used)[0]
            values = (t.params[name] for t in trials if name in t.params)
            result[name] = common[name] if name in common else loose_range(used, values)
        return result

    @property
    def sampled(self) -> str | None:
        """How much was read of a large or incomplete study, or of a region; None if all was."""
        if self.kept or not self.all_counts:
            return self.kept or self.incomplete or None
        return (
            f"read {len(self.frozen_trials):,} random trials and the best {len(self.leaders):,} of "
            f"{sum(self.all_counts.values()):,}"
        )

    def where(self, expression: str) -> StudyData:
        """Return the part of the study in a region, such as `learning_rate < 1e-3 and rank == 8`.

        Its search space is that part too, so shares are of the variance in the region.  Baselines
        stay.  Raises InputError for an expression that is none, and for a region without trials.
        """
        from analysis.studies.region import parsed, within

        conditions = parsed(expression)
        kept = within(self.frozen_trials, conditions, self.distributions)
        leaders = within(self.leaders, conditions, self.distributions)
        if not kept:
            raise InputError(f"where: {expression} holds for no trial of {self.name}")
        numbers = {t.number for t in (*kept, *leaders)}
        rows = [r for r in self.evaluations if r.trial_number in {None, *numbers}]
        known = {row.evaluation_id for row in rows}
        scope = f"only {len(kept)} of {len(self.frozen_trials)} trials, where {expression.strip()}"
        return replace(
            self,
            frozen_trials=kept,
            leaders=leaders,
            all_counts={},
            evaluations=tuple(rows),
            score_rows=tuple(r for r in self.score_rows if r.evaluation_id in known),
            region=" and ".join(filter(None, (self.region, expression.strip()))),
            kept="; ".join(filter(None, (self.sampled, scope))),
        )

    @cached_property
    def complete(self) -> tuple[FrozenTrial, ...]:
        """The COMPLETE trials in order of their numbers."""
        return tuple(t for t in self.frozen_trials if t.state == TrialState.COMPLETE)

    @cached_property
    def drawn(self) -> tuple[FrozenTrial, ...]:
        """The trials that figures show, in order: where they are a sample, the best beside it.

        Only one by each objective, so that what a figure shows of the sample stays true.
        """
        best = (t for name in self.objectives for t in self.ranked(name)[:1])
        known = {t.number: t for t in (*self.frozen_trials, *best)}
        return tuple(known[number] for number in sorted(known))

    @cached_property
    def counts(self) -> dict[str, int]:
        """Trials by state; `interrupted` ones were run again and do not count as failures.

        Those that a dead run left RUNNING are `stopped`: the next run trains them again.
        """
        states = [state.name.lower() for state in TrialState] + ["interrupted"]
        found = self.all_counts or Counter(state_of(trial) for trial in self.frozen_trials)
        counts = {state: found.get(state, 0) for state in states}
        counts["stopped"] = counts.pop("running") if self.has_ended else 0
        return {state: count for state, count in counts.items() if count}

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
                f"objective: study {self.name!r} has no objective {objective!r}; "
                f"allowed: {', '.join(self.objectives)}"
            )
        return self.objectives.index(objective)

    def ranked(self, objective: str | None = None) -> list[FrozenTrial]:
        """The COMPLETE trials that satisfy their constraints, best first by one objective.

        A value that is not finite is no score: such a training diverged.
        """
        sign = -1.0 if self.directions[self.index_of(objective)] == MAXIMIZE else 1.0
        known = {t.number: t for t in (*self.complete, *self.leaders)}
        feasible = [t for t in known.values() if is_feasible(t)]
        ranked = [t for t in feasible if math.isfinite(self.value(t, objective))]
        return sorted(ranked, key=lambda t: (sign * self.value(t, objective), t.number))

    @cached_property
    def best_trial(self) -> FrozenTrial | None:
        """The best COMPLETE trial by the first objective; None where there is none."""
        return next(iter(self.ranked()), None)

    @property
    def best_params(self) -> dict[str, Any] | None:
        """The parameters of the best trial by the first objective; None where there is none."""
        return None if self.best_trial is None else dict(self.best_trial.params)

    @property
    def best_value(self) -> float | None:
        """The best value of the first objective; None where no trial is COMPLETE."""
        return None if self.best_trial is None else self.value(self.best_trial)

    @property
    def best_in_words(self) -> str:
        """What `best_trial` is: "best", or where there are several objectives "best by BLEU"."""
        return "best" if len(self.objectives) == 1 else f"best by {label_of(self.objective)}"

    @cached_property
    def pareto_trials(self) -> list[FrozenTrial]:
        """The trials that no other trial beats in every objective, best by the first one first."""
        ranked = self.ranked()
        signs = [-1.0 if d == MAXIMIZE else 1.0 for d in self.directions]
        losses = np.array([t.values for t in ranked]) * signs if ranked else np.empty((0, 1))
        return [
            trial
            for trial, own in zip(ranked, losses, strict=True)
            if not ((losses <= own).all(axis=1) & (losses < own).any(axis=1)).any()
        ]

    # ------------------------------------------------------------ the frames

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial: number, state, objectives, parameters, attributes, seconds."""
        from analysis.studies.frames import trials_frame

        return trials_frame(self.frozen_trials, self.objectives, tuple(self.distributions))

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per stored score: role, name, trial, seed, split, metric, score, signature."""
        from analysis.studies.frames import scores_frame

        return scores_frame(self.evaluations, self.score_rows)

    def outputs(
        self,
        who: Who = "best",
        split: str = "dev",
        *,
        role: str | None = None,
        seed: int | None = None,
    ) -> pd.DataFrame:
        """One row per example: source, target, output, and each metric's score of that example.

        `who` is a trial's number, a baseline's name or "best".  Raises LookupError if not stored.
        """
        from analysis.studies.frames import outputs_frame

        row = self.evaluation(who, split, role=role, seed=seed)
        assert self.database is not None
        return outputs_frame(self.database, row, self.examples[row.split], self.score_rows)

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
        return self.statistics_of(self.evaluation(who, split, role=role, seed=seed), metric)

    def statistics_of(self, row: EvaluationRow, metric: str) -> Statistics:
        """The statistics (N, S) of one evaluation; KeyError if it does not have this metric."""
        assert self.database is not None
        found = records.read_statistics(self.database, row.evaluation_id, metric)
        return replace(found, clusters=self.clusters(row.split, len(found.values)))

    def clusters(self, split: str, count: int) -> Clusters | None:
        """Which of a split's N examples belong together; None where each stands alone."""
        texts = self.examples.get(split)
        if texts is None or len(texts.sources) != count:
            return None
        if split not in self._clusters:
            self._clusters[split] = clusters_of(texts.sources, texts.targets, texts.groups)
        return self._clusters[split]

    @cached_property
    def _clusters(self) -> dict[str, Clusters | None]:
        return {}

    def score(self, who: Who, metric: str, split: str = "dev") -> float | None:
        """One stored corpus score; None if it is not stored.

        Raises InputError for a metric that the study has nowhere.
        """
        known = dict.fromkeys((*(row.metric for row in self.score_rows), *self.objectives))
        if known and metric not in known:
            raise InputError(
                f"metric: study {self.name!r} stores no scores by {metric!r}"
                f"{did_you_mean(metric, known)}; allowed: {', '.join(known)}"
            )
        try:
            wanted = self.evaluation(who, split).evaluation_id
        except LookupError:
            return None
        rows = (r for r in self.score_rows if (r.evaluation_id, r.metric) == (wanted, metric))
        return next((row.score for row in rows), None)

    def baseline_value(self, name: str, objective: str) -> float | None:
        """A baseline's value of an objective: a score (`general_…`: on that split) or a detail such
        as its seconds; None where neither is stored.
        """
        split = next((s for s in self.splits if objective.startswith(f"{s}_")), "dev")
        metric, stored = objective.removeprefix(f"{split}_"), {r.metric for r in self.score_rows}
        score = self.score(name, metric, split) if metric in stored else None
        if score is None and any(e.name == name and e.split == "dev" for e in self.evaluations):
            score = self.evaluation(name).details.get(objective)
        return score

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics with stored statistics, the objective first."""
        return tuple(sorted(self.metric_rows, key=lambda m: (m != self.objective, m)))

    @cached_property
    def metric_rows(self) -> dict[str, Metric]:
        """Each of these metrics with what is known about it; own ones as they were stored."""
        known = (row for row in self.score_rows if is_known(row.metric, row.signature))
        return {row.metric: metric_of(row.metric, row.signature) for row in known}

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the search evaluated, dev first."""
        splits = {e.split for e in self.evaluations if e.role != "confirm"}
        return tuple(sorted(splits, key=lambda s: (s != "dev", s)))

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__()} - INNER)

    def document(self) -> Document:
        """Return objectives, counts, best trial and baselines, and what to call next."""
        ways = zip(self.objectives, self.directions, strict=True)
        facts = {
            "objectives": ", ".join(f"{name} ({way})" for name, way in ways),
            "trials": counted(self.counts) or "none",
        }
        if (best := self.best_trial) is not None:
            given = f" with {configuration(best.params)}" if best.params else ""
            facts[self.best_in_words] = f"trial {best.number}: {number(self.value(best))}{given}"
        for name in self.baselines:
            if (score := self.score(name, self.objective)) is not None:
                facts[name] = number(score)
        facts |= {
            "look at": ".trials, .scores, .outputs('best'), .statistics('best', metric)",
            "ask": "optuna_study.importances(study), optuna_study.compare(study)",
            "draw": "optuna_study.plots.plot_slices(study), plot_history(study), …",
        }
        return Document(f"study {self.name}, read from {self.target}", (Facts("", facts),))
