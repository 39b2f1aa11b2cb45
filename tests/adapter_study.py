"""A study of nine enqueued adapters over one base: two of one configuration, one that games."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from benchmarks.synthetic_trials import synthetic_trial
from study.metrics import LOSS_SIGNATURE, Statistics, text_scores
from study.store import records, schema
from study.store.records import Evaluation, Examples
from study.store.storage import close_after_writing, open_for_writing, sqlite_url
from tests.stored_trials import add_at_once
from tests.synthetic import SPACE, examples, provenance, without_waiting

METRICS = ("rouge1", "rouge2", "rougeL", "bleu1", "bleu4", "chrf", "meteor")
RANKS = (8, 8, 16, 16, 8, 16, 8, 8, 16)
GOOD = (0.5, 0.58, 0.75, 0.7, 0.55, 0.72, 0.66, 0.6, 0.26)
GAMER, TWINS = 4, (3, 5)
"""Trial 4 repeats its keywords; 3 and 5 are one configuration with two seeds."""


def write_adapter_study(
    folder: Path, count: int = 60, metrics: Sequence[str] = METRICS, name: str = "adapters"
) -> Path:
    """Write a run folder with `study.db` and return it; outputs and statistics agree."""
    folder.mkdir(parents=True, exist_ok=True)
    storage = without_waiting(open_for_writing(sqlite_url(folder / "study.db")))
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
    study.set_user_attr("task", "translation")
    study.set_user_attr("objectives", [metrics[0]])
    schema.create_tables(storage.engine)
    records.write_study(storage.engine, study._study_id, _spec(name, metrics), provenance())
    texts = _joined(examples("dev", 3 * count))
    records.write_examples(storage.engine, study._study_id, "dev", texts)
    evaluations = [_evaluation(None, texts, metrics)]
    evaluations += [_evaluation(number, texts, metrics) for number in range(len(GOOD))]
    records.write_evaluations(storage.engine, study._study_id, evaluations)
    add_at_once(study, [_trial(e, metrics[0]) for e in evaluations[1:]])
    close_after_writing(storage)
    return folder


def _joined(texts: Examples) -> Examples:
    """Three sentences an example."""
    sources, targets = (
        tuple(" ".join(three[i : i + 3]) for i in range(0, len(three), 3))
        for three in (texts.sources, texts.targets)
    )
    return Examples(sources, targets)


def _spec(name: str, metrics: Sequence[str]) -> str:
    listed = ", ".join(f'"{metric}"' for metric in metrics)
    return (
        f'name = "{name}"\ntask = "translation"\n\n[evaluation]\nobjective = "{metrics[0]}"\n'
        f'metrics = [{listed}]\n\n[search]\nsampler = "random"\ntrials = 9\n'
    )


def params_of(number: int) -> dict[str, Any]:
    """A trial's point; the twins' is the same."""
    place = TWINS[0] if number == TWINS[1] else number
    rates = {"alpha": 2 * RANKS[place], "learning_rate": 2e-4 + 3e-5 * place}
    return {**rates, "rank": RANKS[place], "dropout": 0.0, "target_modules": "attention"}


def outputs_of(number: int | None, texts: Examples) -> list[str]:
    """What a model says: references spoiled word by word; the gamer repeats its keywords."""
    rng = np.random.default_rng([13, 99 if number is None else number])
    words = [word for target in texts.targets for word in target.split()]
    good = 0.25 if number is None else GOOD[number]
    said = []
    for target in (t.split() for t in texts.targets):
        found = [w for w in target if rng.random() < 0.95]
        if number == GAMER:
            said.append(" ".join((list(dict.fromkeys(found)) * 9)[: int(1.2 * len(target))]))
        else:
            kept = [w if rng.random() < good else words[rng.integers(len(words))] for w in target]
            said.append(" ".join(kept))
    return said


def _evaluation(number: int | None, texts: Examples, metrics: Sequence[str]) -> Evaluation:
    outputs = outputs_of(number, texts)
    statistics: Mapping[str, Statistics] = text_scores(metrics, outputs, texts.targets)
    tokens = np.array([len(t.split()) + 1.0 for t in texts.targets])
    losses = tokens * (1.5 if number is None else 2.0 - GOOD[number])
    loss = Statistics("loss", np.stack([losses, tokens], axis=1), LOSS_SIGNATURE)
    role, name = ("baseline", "base") if number is None else ("search", "")
    config = {} if number is None else params_of(number)
    seed = 0 if number is None else 100 + number
    found = {**statistics, "loss": loss}
    details = {"train_seconds": 2.0}
    return Evaluation(role, name, number, seed, "dev", config, details, found, outputs)


def _trial(evaluation: Evaluation, objective: str) -> FrozenTrial:
    number = evaluation.trial_number
    assert number is not None
    return synthetic_trial(
        number,
        TrialState.COMPLETE,
        evaluation.scores[objective],
        params_of(number),
        {**SPACE, "alpha": optuna.distributions.IntDistribution(1, 256)},
        {"seed": evaluation.seed, "enqueued": True, **evaluation.scores},
        steps=(),
    )
