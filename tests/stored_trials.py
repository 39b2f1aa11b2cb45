"""Trials written into Optuna's tables at once; Optuna itself asks for each of their attributes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial


def add_at_once(study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
    """Add trials to a study that has none, as `study.add_trials` does, only quicker."""
    storage: Any = study._storage
    engine = getattr(storage, "_backend", storage).engine
    with engine.begin() as connection:
        table = models.TrialModel.__table__
        for number, trial in enumerate(trials):
            columns = {"study_id": study._study_id, "number": number, "state": trial.state}
            times = {
                "datetime_start": trial.datetime_start,
                "datetime_complete": trial.datetime_complete,
            }
            connection.execute(table.insert().values(**columns, **times))
        ids = dict(
            connection.execute(
                table.select()
                .with_only_columns(table.c.number, table.c.trial_id)
                .where(table.c.study_id == study._study_id)
            ).all()
        )
        for model, rows in _ROWS.items():
            made = [
                {"trial_id": ids[number], **row}
                for number, trial in enumerate(trials)
                for row in rows(trial)
            ]
            if made:
                connection.execute(model.__table__.insert(), made)


def _values(trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for objective, value in enumerate(trial.values or ()):
        stored, kind = models.TrialValueModel.value_to_stored_repr(value)
        yield {"objective": objective, "value": stored, "value_type": kind}


def _params(trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        yield {
            "param_name": name,
            "param_value": distribution.to_internal_repr(value),
            "distribution_json": distribution_to_json(distribution),
        }


def _user_attributes(trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for key, value in trial.user_attrs.items():
        yield {"key": key, "value_json": json.dumps(value)}


def _system_attributes(trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for key, value in trial.system_attrs.items():
        yield {"key": key, "value_json": json.dumps(value)}


def _reports(trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for step, value in trial.intermediate_values.items():
        model = models.TrialIntermediateValueModel
        stored, kind = model.intermediate_value_to_stored_repr(value)
        yield {"step": step, "intermediate_value": stored, "intermediate_value_type": kind}


_ROWS: dict[Any, Any] = {
    models.TrialValueModel: _values,
    models.TrialParamModel: _params,
    models.TrialUserAttributeModel: _user_attributes,
    models.TrialSystemAttributeModel: _system_attributes,
    models.TrialIntermediateValueModel: _reports,
}
