"""Which adapters a run folder keeps: those of the best k trials by the first objective."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from study.spec.sections import StudySpec
from study.store import trial_rows
from study.store.saved_adapters import remove_adapters, save_adapter, saved_trials, trial_name
from study.trials import AdapterFiles


class KeptAdapters:
    """The saved adapters of one study in one run folder."""

    def __init__(self, database: Engine, study_id: int, spec: StudySpec, out: Path) -> None:
        self._database = database
        self._study_id = study_id
        self._out = out
        self._count = spec.search.keep_adapters
        self._maximize = spec.evaluation.directions[0] == "maximize"
        self._worst_kept: float | None = None  # of the best k, once there are k

    def save(self, number: int, value: float, adapter: AdapterFiles | None) -> bool:
        """Save the adapter of a trial that will be among the best k; returns whether it will."""
        if adapter is None or not self._is_better(value):
            return False
        best = self._best()
        if len(best) == self._count:
            self._worst_kept = best[-1][1]
        if not self._is_better(value):
            return False
        save_adapter(self._out, trial_name(number), adapter)
        return True

    def remove_the_rest(self) -> None:
        """Delete what is told and not among the best; another run may be about to tell the rest."""
        saved = saved_trials(self._out)
        told = trial_rows.finished_among(self._database, self._study_id, saved)
        remove_adapters(self._out, told - {number for number, _ in self._best()})

    def _is_better(self, value: float) -> bool:
        worst = self._worst_kept
        return worst is None or (value > worst if self._maximize else value < worst)

    def _best(self) -> list[tuple[int, float]]:
        """Return the numbers and values of the best k trials so far, best first."""
        found = trial_rows.best(
            self._database, self._study_id, self._count, maximize=self._maximize
        )
        return [(number, value) for _, number, value in found]
