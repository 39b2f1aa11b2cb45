"""Optuna's storage on a server that may go away and come back."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from study.store.other_versions import CLAIM
from study.store.outlasting import is_repeating, outlasting

CALLED = BaseStorage.__abstractmethods__ | {"_get_best_trial_id", "_get_trials", "_set_trial_param"}
"""What Optuna's cache calls: the interface, and three methods that only some versions have."""


class PatientStorage(RDBStorage):
    """Optuna's tables on a server, with every call repeated while it is away."""

    @outlasting
    def _create_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None = None
    ) -> FrozenTrial:
        """Create a trial, unless an attempt before this one did."""
        if template_trial is not None and is_repeating(self.engine):
            claim = list(template_trial.system_attrs[CLAIM])
            for trial in self.get_all_trials(study_id, states=(TrialState.RUNNING,)):
                if trial.system_attrs.get(CLAIM) == claim:
                    return trial
        return super()._create_new_trial(study_id, template_trial)

    @outlasting
    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Tell a trial, unless an attempt before this one did."""
        try:
            return super().set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError:
            if is_repeating(self.engine) and self.get_trial(trial_id).state == state:
                return True
            raise


for _name in CALLED & set(dir(RDBStorage)) - set(vars(PatientStorage)):
    setattr(PatientStorage, _name, outlasting(getattr(RDBStorage, _name)))
