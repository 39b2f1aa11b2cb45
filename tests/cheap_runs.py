"""What a storage holds of the runs of `benchmarks.storage_runs`, and what must hold of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text

from benchmarks.storage_runs import cheap_spec, start
from study.store import records
from study.store.storage import database_of, open_read_only


@dataclass(frozen=True)
class Found:
    """What a storage holds of the cheap study."""

    trials: list[FrozenTrial]
    claims: list[tuple[Any, ...]]  # claim, state, attempt
    parents: int
    evaluations: list[tuple[str, str, int | None]]  # role, name, trial

    def counted(self) -> list[FrozenTrial]:
        """The trials that are part of the total."""
        return [t for t in self.trials if not t.user_attrs.get("interrupted")]

    def complete(self) -> dict[int, list[float]]:
        """The values of the COMPLETE trials by number."""
        return {t.number: t.values for t in self.trials if t.state == TrialState.COMPLETE}

    def table(self) -> list[tuple[Any, ...]]:
        """What must be the same whoever ran the study: seed, point and values of every claim."""
        rows = [
            (t.system_attrs["run:claim"][0], t.user_attrs["seed"], t.params, t.values)
            for t in self.trials
            if t.state == TrialState.COMPLETE
        ]
        return sorted(rows, key=lambda row: row[0])


def look(target: str) -> Found:
    """Read a storage as anybody would."""
    storage = open_read_only(target)
    database = database_of(storage)
    assert database is not None
    (study,) = storage.get_all_studies()  # ValueError where there is none yet
    trials = storage.get_all_trials(study._study_id, deepcopy=False)
    with database.connect() as connection:
        claims = connection.execute(text("SELECT claim, state, attempt FROM run_claims")).all()
        alive = connection.execute(text("SELECT count(*) FROM run_parents")).scalar()
    rows = records.read_evaluations(database, study._study_id)
    evaluations = [(row.role, row.name, row.trial_number) for row in rows]
    database.dispose()
    return Found(list(trials), [tuple(row) for row in claims], int(alive or 0), evaluations)


def assert_whole(found: Found, total: int) -> None:
    """Every unit of the budget is there once, and nothing is left of what was interrupted."""
    assert [t.number for t in found.trials] == list(range(len(found.trials)))
    assert all(t.state.is_finished() for t in found.trials)
    numbers = [t.system_attrs["run:claim"][0] for t in found.counted()]
    assert sorted(numbers) == list(range(total))
    assert {state for _, state, _ in found.claims} == {"done"}
    assert sorted(claim for claim, _, _ in found.claims if claim >= 0) == list(range(total))
    tried = Counter(t.system_attrs["run:claim"][0] for t in found.trials)
    assert max(tried.values()) <= 3  # a kill between claim and trial is no try
    evaluated = Counter(found.evaluations)
    wanted = {("baseline", name, None) for name in ("base", "default")}
    wanted |= {("search", "", number) for number in found.complete()}
    assert evaluated == Counter(wanted)
    failed = [t for t in found.counted() if t.state == TrialState.FAIL]
    assert all(t.user_attrs["failure"].startswith("interrupted ") for t in failed)
    assert found.parents == 0


def assert_best_kept(found: Found, out: Path, count: int = 3) -> None:
    """A folder holds the adapters of the best trials, whole, and no others."""
    best = sorted(found.complete().items(), key=lambda item: (item[1], item[0]))[:count]
    folders = {
        path.name for path in (out / "adapters").iterdir() if path.name.strip(".")[:5] == "trial"
    }
    assert folders == {f"trial-{number:05d}" for number, _ in best}
    for number, _ in best:
        files = {p.name for p in (out / "adapters" / f"trial-{number:05d}").iterdir()}
        assert files == {"adapter_config.json", "adapter_model.safetensors"}


def expected_table(total: int, out: Path) -> list[tuple[Any, ...]]:
    """What one run that nothing interrupts gives."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    assert start(cheap_spec(total), out, seconds=0.0).join() is None
    return look(str(out)).table()
