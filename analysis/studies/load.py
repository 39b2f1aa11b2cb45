"""Any study database as one frozen object: the door to every analysis, report and notebook.

`load` reads what Optuna stored and, where this program ran the study, this program's tables too.
Any other Optuna database works as well, without scores, outputs and provenance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from analysis.importance.answers import (
    answer_of,
    capacity_of,
    confounding_of,
    importances_of,
    surface_of,
)
from analysis.studies.integrity import check_whole
from analysis.studies.study_data import MAXIMIZE, MINIMIZE, StudyData, Who, is_enqueued
from study.errors import InputError
from study.store import records, schema
from study.store.from_other_programs import as_read, silent_about_choices
from study.store.live_runs import is_any_alive
from study.store.storage import (
    database_of,
    hidden,
    left_out,
    named_damage,
    open_read_only,
    run_folder_of,
)
from study.store.trial_reading import best_ids, counts_by_state, read_trials, trial_ids

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = [
    "MAXIMIZE",
    "MINIMIZE",
    "StudyData",
    "Who",
    "answer_of",
    "capacity_of",
    "confounding_of",
    "importances_of",
    "is_enqueued",
    "load",
    "surface_of",
]

MOST_TRIALS = 10_000  # larger studies are not read whole
SAMPLED_TRIALS = 1_000  # drawn at random from a larger study: as many as a Gaussian process takes
BEST_TRIALS = 100  # also read from a larger study, by each objective


def of_optuna(study: Any) -> StudyData:
    """Return a study of Optuna, in memory or not, as it is now."""
    with silent_about_choices():
        data = StudyData(
            name=study.study_name,
            target=f"the Optuna study {study.study_name!r}",
            objectives=_objective_names(
                study.metric_names, study.user_attrs, len(study.directions)
            ),
            directions=_ways(study.directions),
            attributes=study.user_attrs,
            frozen_trials=tuple(map(as_read, study.get_trials(deepcopy=True))),
        )
    check_whole(data)
    return data


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
    distribution) and the name of its `objective` column.  From a study with more than MOST_TRIALS
    trials only a random sample and the best are read; the counts cover all.  Raises InputError,
    with one line per problem.
    """
    if str(target).lower().endswith(".csv") and "://" not in str(target):
        from analysis.studies.results_csv import load_csv

        return load_csv(Path(target), space, objective, direction, study_name)
    where = hidden(str(target))
    with named_damage(where), silent_about_choices():
        storage = open_read_only(str(target))
        database = database_of(storage)
        studies = storage.get_all_studies()
        frozen = _choose(studies, study_name, where)
        directions = _ways(frozen.directions)
        data = StudyData(
            name=frozen.study_name,
            target=where,
            objectives=_objective_names(
                frozen.system_attrs.get("study:metric_names"), frozen.user_attrs, len(directions)
            ),
            directions=directions,
            attributes=frozen.user_attrs,
            folder=(folder := run_folder_of(str(target))),
            is_one_of_several=len(studies) > 1,
            **(trials := _trials_of(storage, database, frozen._study_id, directions)),
            **_recorded(database, frozen._study_id, trials),
            has_ended=_has_ended(database, folder),
            incomplete=left_out(storage),
        )
        check_whole(data)
    return data


def _ways(directions: Sequence[Any]) -> tuple[str, ...]:
    """Return Optuna's directions as words; a study may have stored none."""
    ways = {"MAXIMIZE": MAXIMIZE, "MINIMIZE": MINIMIZE}
    if any(direction.name not in ways for direction in directions):
        raise ValueError("an objective without a direction")
    return tuple(ways[direction.name] for direction in directions)


def _has_ended(database: Engine | None, folder: Path | None) -> bool:
    """Whether this program ran the study, and no run works on it any more."""
    if database is None or not schema.has_tables(database):
        return False
    return not is_any_alive(database, folder)


def _trials_of(
    storage: Any, database: Engine | None, study_id: int, directions: Sequence[str]
) -> dict[str, Any]:
    """All trials, or for more than MOST_TRIALS a sample, the best, and the counts."""
    if database is None:
        read = storage.get_all_trials(study_id, deepcopy=False)
        return {"frozen_trials": tuple(map(as_read, read))}
    ids = trial_ids(database, study_id)
    if len(ids) <= MOST_TRIALS:
        return {"frozen_trials": tuple(read_trials(database, ids))}
    drawn = Random(len(ids)).sample(ids, SAMPLED_TRIALS)
    leaders = [
        best_ids(database, study_id, BEST_TRIALS, objective, way == MAXIMIZE)
        for objective, way in enumerate(directions)
    ]
    return {
        "frozen_trials": tuple(read_trials(database, drawn)),
        "leaders": tuple(read_trials(database, sorted(set().union(*leaders)))),
        "all_counts": counts_by_state(database, study_id),
    }


def _choose(studies: Sequence[Any], study_name: str | None, where: str) -> Any:
    names = [study.study_name for study in studies]
    if not studies:
        raise InputError(f"{where}: contains no study")
    if study_name is None and len(studies) == 1:
        return studies[0]
    if study_name not in names:
        problem = (
            "contains several studies" if study_name is None else f"has no study {study_name!r}"
        )
        raise InputError(f"{where}: {problem}; choose one with --study-name: {', '.join(names)}")
    return studies[names.index(study_name)]


def _objective_names(
    metric_names: Any, attributes: Mapping[str, Any], count: int
) -> tuple[str, ...]:
    """Optuna's metric names, those this program stored, or numbered names; always distinct."""
    for names in (metric_names, attributes.get("objectives")):
        if isinstance(names, list) and len(names) == count == len(set(map(str, names))):
            return tuple(map(str, names))
    return ("value",) if count == 1 else tuple(f"value_{i}" for i in range(count))


def _recorded(
    database: Engine | None, study_id: int, trials: Mapping[str, Sequence[Any]]
) -> dict[str, Any]:
    """What this program's tables say about the study; empty where there are none."""
    if database is None or not schema.has_tables(database):
        return {}
    read = [trial.number for name in ("frozen_trials", "leaders") for trial in trials.get(name, ())]
    numbers = read if "leaders" in trials else None
    return {
        "spec_text": records.read_spec(database, study_id),
        "provenance": records.read_provenance(database, study_id),
        "evaluations": tuple(records.read_evaluations(database, study_id, trials=numbers)),
        "score_rows": tuple(records.read_scores(database, study_id, trials=numbers)),
        "examples": records.read_examples(database, study_id),
        "database": database,
    }
