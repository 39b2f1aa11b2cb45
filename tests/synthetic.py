"""A study database shaped like the petroleum study, written in about a second without training.

The score of a trial follows the scale α/r (best near 8) and a little the learning rate and the
dropout; its outputs are the references with words spoiled in proportion, so that scores,
statistics and outputs agree as they do in a real study.
"""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from benchmarks.synthetic_trials import STEPS, synthetic_trial
from search_spaces import shipped_spaces
from search_spaces.unit_cube import from_unit
from study.metrics import LOSS_SIGNATURE, Statistics, text_statistics
from study.store import records, schema
from study.store.provenance import DRAWS
from study.store.records import Evaluation, Examples
from study.store.storage import close_after_writing, open_for_writing, sqlite_url
from tests.stored_trials import add_at_once

SPACE: dict[str, BaseDistribution] = {
    "alpha": CategoricalDistribution([1, 2, 4, 8, 16, 32, 64, 128, 256]),
    "rank": CategoricalDistribution([8, 16]),
    "learning_rate": FloatDistribution(2e-4, 5e-4, log=True),
    "dropout": FloatDistribution(0.0, 0.3),
    "target_modules": CategoricalDistribution(["attention"]),
}
DEFAULT = {"alpha": 8, "rank": 8, "learning_rate": 3e-4, "dropout": 0.0, "target_modules": "qv"}

SUBJECTS = {"the well": "le puits", "the drill bit": "le trépan", "the mud": "la boue"}
VERBS = {"reaches": "atteint", "crosses": "traverse", "damages": "endommage", "fills": "remplit"}
OBJECTS = {"the reservoir": "le réservoir", "the casing": "le cuvelage", "a trap": "un piège"}
PLACES = {"": "", "below the sea": "sous la mer", "at high pressure": "à haute pression"}
SPOILED = ("bien", "chose", "mal", "fait")


@dataclass(frozen=True)
class Shape:
    """How many trials of which kind, and what the study is called."""

    complete: int = 64
    failed: int = 2
    pruned: int = 0
    enqueued: int = 1
    name: str = "petroleum"
    examples: int = 72
    seed: int = 0


def write_study(folder: Path, shape: Shape = Shape()) -> Path:
    """Write a run folder with `study.db` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "study.db"
    if path.exists():
        _add_study(path, shape)
    else:
        path.write_bytes(_database(shape))
    return folder


@cache
def _database(shape: Shape) -> bytes:
    """Many tests ask for a study of the same shape: it is computed once."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "study.db"
        _add_study(path, shape)
        return path.read_bytes()


def _add_study(path: Path, shape: Shape) -> None:
    storage = without_waiting(open_for_writing(sqlite_url(path)))
    study = optuna.create_study(storage=storage, study_name=shape.name, direction="maximize")
    with warnings.catch_warnings():  # Optuna calls metric names experimental
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(["bleu"])
    study.set_user_attr("task", "translation")
    study.set_user_attr("objectives", ["bleu"])
    schema.create_tables(storage.engine)
    records.write_study(storage.engine, study._study_id, spec_toml(shape.name), provenance())
    splits = {split: examples(split, shape.examples) for split in ("dev", "general")}
    for split, texts in splits.items():
        records.write_examples(storage.engine, study._study_id, split, texts)
    trials, evaluations = _everything(shape, splits)
    add_at_once(study, trials)
    records.write_evaluations(storage.engine, study._study_id, evaluations)
    close_after_writing(storage)


def without_waiting(storage: RDBStorage) -> RDBStorage:
    """Let SQLite not wait for the disk at every commit: tests write, nobody needs it later."""
    storage.remove_session()
    storage.engine.dispose()
    sqlalchemy.event.listen(
        storage.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=0")
    )
    return storage


def quality(params: Mapping[str, Any]) -> float:
    """The share of words that a trial leaves unspoiled, 0 to 1."""
    scale = math.log2(params["alpha"] / params["rank"] * params["learning_rate"] / 3e-4)
    falling = 0.05 if scale < 3 else 0.12  # too large a step harms more than one too small
    return max(0.93 - falling * abs(scale - 3) ** 1.2 * 0.7 - 0.1 * params["dropout"], 0.12)


def examples(split: str, count: int) -> Examples:
    """Source and reference sentences; the splits differ in their random choice."""
    rng = np.random.default_rng([7, len(split)])
    sources, targets = [], []
    for index in range(count):
        parts = [list(p.items())[rng.integers(len(p))] for p in (SUBJECTS, VERBS, OBJECTS, PLACES)]
        sources.append(" ".join([*[a for a, _ in parts if a], f"in test {index}"]))
        targets.append(" ".join([*[b for _, b in parts if b], f"dans l’essai {index}"]))
    return Examples(tuple(sources), tuple(targets))


def evaluate(
    good: float, texts: Examples, seed: int
) -> tuple[dict[str, Statistics], tuple[str, ...]]:
    """Outputs with a share `good` of their words unspoiled, and their statistics."""
    rng = np.random.default_rng([11, seed])
    outputs = tuple(
        " ".join(w if rng.random() < good else SPOILED[rng.integers(4)] for w in target.split())
        for target in texts.targets
    )
    tokens = np.array([len(t.split()) + 1.0 for t in texts.targets])
    loss = tokens * (2.5 * (1.02 - good)) * rng.uniform(0.8, 1.2, len(tokens))
    statistics = {m: text_statistics(m, outputs, texts.targets) for m in ("bleu", "chrf")}
    statistics["loss"] = Statistics("loss", np.stack([loss, tokens], axis=1), LOSS_SIGNATURE)
    return statistics, outputs


def _everything(
    shape: Shape, splits: Mapping[str, Examples]
) -> tuple[list[FrozenTrial], list[Evaluation]]:
    rng = np.random.default_rng(shape.seed)
    trials: list[FrozenTrial] = []
    evaluations = _baselines(splits)
    states = ["enqueued"] * shape.enqueued + ["complete"] * (shape.complete - shape.enqueued)
    for position, state in [(5, "fail")] * shape.failed + [(9, "pruned")] * shape.pruned:
        states.insert(position, state)
    for number, state in enumerate(states):
        params = {name: from_unit(d, rng.random()) for name, d in SPACE.items()}
        if state == "enqueued":
            params |= {"alpha": 8, "rank": 8}
        made = (
            []
            if state in ("fail", "pruned")
            else _evaluations("search", "", number, quality(params), params, splits)
        )
        evaluations += made
        trials.append(_trial(number, state, params, made))
    return trials, evaluations


def _baselines(splits: Mapping[str, Examples]) -> list[Evaluation]:
    base = _evaluations("baseline", "base", None, 0.42, {}, splits)
    return base + _evaluations("baseline", "default", None, quality(DEFAULT), DEFAULT, splits)


def _evaluations(
    role: str,
    name: str,
    number: int | None,
    good: float,
    config: Mapping[str, Any],
    splits: Mapping[str, Examples],
) -> list[Evaluation]:
    seed = 1000 if number is None else number
    result = []
    for split, texts in splits.items():
        # what the petroleum study forgets: the general domain suffers a little from every step
        kept = good if split == "dev" else 0.97 - 0.1 * abs(good - 0.42)
        statistics, outputs = evaluate(kept, texts, seed + len(name))
        details = {"train_seconds": 1.5, "trainable_parameters": 24_576}
        result.append(
            Evaluation(role, name, number, seed, split, dict(config), details, statistics, outputs)
        )
    return result


def _trial(number: int, state: str, params: dict[str, Any], made: list[Evaluation]) -> FrozenTrial:
    scores = {
        ("" if e.split == "dev" else "general_") + metric: score
        for e in made
        for metric, score in e.scores.items()
    }
    steps = STEPS if made else STEPS[:2]
    level = scores.get("bleu", 30.0 if state == "pruned" else 8.0)
    attributes: dict[str, Any] = {"seed": number, **scores}
    if made:
        attributes |= {"train_seconds": 1.4, "evaluation_seconds": 0.5, "tokens_per_second": 9100.0}
        attributes |= {"trainable_parameters": 3072 * params["rank"]}
        attributes |= {"peak_memory_bytes": 412_000_000}
    if state == "enqueued":
        attributes["enqueued"] = True
    ended = {"fail": TrialState.FAIL, "pruned": TrialState.PRUNED}.get(state, TrialState.COMPLETE)
    return synthetic_trial(number, ended, level, params, SPACE, attributes, steps)


def provenance() -> dict[str, Any]:
    """Like what the runner records."""
    return {
        "draws": DRAWS,
        "versions": {"python": "3.11.2", "torch": "2.13.0", "peft": "0.21.2", "optuna": "5.0.0"},
        "hardware": {"cpu": "2 cores", "memory_bytes": 8_000_000_000},
        "seed": 0,
        "data": {"train": "sha256:4f1d…", "dev": "sha256:9ac0…"},
    }


def spec_toml(name: str) -> str:
    """A resolved study file, as the runner stores it."""
    narrow = shipped_spaces()["lora-narrow"].read_text(encoding="utf-8")
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return (
        f'name = "{quoted}"\ntask = "translation"\nseed = 0\n\n[base]\nmodel = "embedded"\n\n'
        '[training]\nsteps = 120\nbatch_size = 16\n\n[evaluation]\nobjective = "bleu"\n\n'
        '[search]\nspace = "lora-narrow"\nsampler = "random"\ntrials = 64\n'
        + narrow.replace("[parameters.", "[search.parameters.")
    )


def write_foreign_study(url: str, name: str = "somebody's") -> None:
    """A study of two objectives that this program did not run: every state, a condition."""
    directions = ["minimize", "maximize"]
    study = optuna.create_study(
        directions=directions, sampler=optuna.samplers.RandomSampler(seed=1)
    )
    for number in range(30):
        trial = study.ask()
        kind = trial.suggest_categorical("optimizer", ["adam", "sgd"])
        rate = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
        if kind == "sgd":
            trial.suggest_float("momentum", 0.0, 0.99)
        layers = trial.suggest_int("layers", 1, 4)
        if number % 10 == 3:
            study.tell(trial, state=TrialState.FAIL)
        elif number % 10 == 7:
            study.tell(trial, state=TrialState.PRUNED)
        elif number < 28:  # the last two are left running
            study.tell(trial, [abs(math.log10(rate) + 3) + 0.1 * layers, -float(layers)])
    study.enqueue_trial({"lr": 1e-3})
    stored = optuna.create_study(
        storage=without_waiting(RDBStorage(url)), study_name=name, directions=directions
    )
    add_at_once(stored, study.trials)
