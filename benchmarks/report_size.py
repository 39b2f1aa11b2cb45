"""How large is a page, and how long does it take?  Studies of 200, 1,000 and 5,000 trials.

    python benchmarks/report_size.py

The databases are synthetic: Optuna's tables and ours as a run writes them, pruned, failed and
enqueued trials among the others, four reports a trial.  No model is trained: the outputs are the
references with words spoiled at one of a few rates, and trials of a rate share their statistics.
The aims: under 5 MB for 200 trials, under 20 MB for 5,000, and with 10 metrics under 10 s for 1,000
trials on 1,000 examples and under 15 s for 200 trials on 5,000.  `--trials` and `--examples` ask
about another size, `--folder` keeps the databases, which take longer to write than their pages, for
another run.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text
from synthetic_trials import synthetic_trial

from analysis.parallel import every_core
from reports import build_report
from search_spaces.unit_cube import from_unit
from study.metrics import LOSS_SIGNATURE, Statistics, text_statistics
from study.store import records, schema
from study.store.records import Evaluation, Examples
from study.store.storage import close_after_writing, open_for_writing, sqlite_url

TEXT = ("bleu", "bleu1", "bleu2", "bleu3", "bleu4", "chrf", "rouge1", "rouge2", "rougeL")
METRICS = (*TEXT, "loss")
SPACE: dict[str, BaseDistribution] = {
    "alpha": CategoricalDistribution([2**i for i in range(9)]),
    "rank": CategoricalDistribution([4, 8, 16, 32]),
    "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
    "dropout": FloatDistribution(0.0, 0.3),
    "weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
    "target_modules": CategoricalDistribution(["qv", "attention", "attention+ffn"]),
}
SPLITS, RATES = ("dev", "general"), (0.35, 0.5, 0.6, 0.7, 0.8, 0.9)
WORDS = ("le", "puits", "boue", "atteint", "traverse", "réservoir", "sous", "la", "mer", "piège")
SPEC = 'name = "{name}"\ntask = "translation"\n[base]\nmodel = "embedded"\n[search]\ntrials = {n}\n'


@dataclass(frozen=True)
class Size:
    """What a study holds, and the most that its page may be and take."""

    trials: int
    examples: int
    megabytes: float = math.inf
    seconds: float = math.inf


AIMS = (
    Size(200, 200, megabytes=5),
    Size(200, 5000, seconds=15),
    Size(1000, 1000, seconds=10),
    Size(5000, 100, megabytes=20),
)


def main() -> None:
    """Print one line a size."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--trials", type=int)
    options.add_argument("--examples", type=int, default=200)
    options.add_argument("--folder", type=Path)
    given = options.parse_args()
    sizes = (Size(given.trials, given.examples),) if given.trials else AIMS
    print(f"{len(METRICS)} metrics, {len(SPACE)} parameters, {os.cpu_count()} cores")
    print("| trials | examples | page, MB | aim | wall, s | CPU, s | aim |")
    print("|---|---|---|---|---|---|---|")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            print(measured(size, given.folder or Path(folder)), flush=True)


def measured(size: Size, folder: Path) -> str:
    """Write a study of this size, build its page and say what that took."""
    folder = folder / f"{size.trials}-{size.examples}"
    if not (folder / "study.db").exists():
        write(size, folder)
    wall, cpu = time.perf_counter(), cpu_seconds()
    with every_core():
        page = build_report(folder, folder / "report.html")
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    large, slow = (f"< {aim:g}" * math.isfinite(aim) for aim in (size.megabytes, size.seconds))
    megabytes = f"{page.stat().st_size / 1e6:.1f}"
    cells = (size.trials, size.examples, megabytes, large, f"{wall:.1f}", f"{cpu:.1f}", slow)
    return f"| {' | '.join(map(str, cells))} |"


def cpu_seconds() -> float:
    """Return what this process and its finished children have used."""
    return sum(os.times()[:4])


def write(size: Size, folder: Path) -> None:
    """Write `study.db` as a run of this size leaves it."""
    folder.mkdir(parents=True)
    storage = open_for_writing(sqlite_url(folder / "study.db"))
    name = f"synthetic-{size.trials}"
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
    study.set_user_attr("objectives", ["bleu"])
    schema.create_tables(storage.engine)
    spec = SPEC.format(name=name, n=size.trials)
    records.write_study(storage.engine, study._study_id, spec, {"hardware": {"cpu": "none"}})
    texts = {split: sentences(split, size.examples) for split in SPLITS}
    for split, given in texts.items():
        records.write_examples(storage.engine, study._study_id, split, given)
    models = {rate: evaluations(rate, texts) for rate in RATES}
    trials = [trial(number, models) for number in range(size.trials)]
    study.add_trials(trials)
    write_models(storage.engine, study._study_id, models, trials)
    close_after_writing(storage)


def sentences(split: str, count: int) -> Examples:
    """Return sentences of 6 to 12 words."""
    rng = np.random.default_rng([1, len(split)])
    made = [" ".join(rng.choice(WORDS, rng.integers(6, 13))) + f" {i}" for i in range(count)]
    return Examples(tuple(f"source of {line}" for line in made), tuple(made))


def evaluations(rate: float, texts: dict[str, Examples]) -> list[Evaluation]:
    """Return one model that leaves this share of the words unspoiled, on every split."""
    made = []
    for split, given in texts.items():
        rng = np.random.default_rng([2, len(split)])
        outputs = [
            " ".join(w if rng.random() < rate else "mal" for w in target.split())
            for target in given.targets
        ]
        statistics = {m: text_statistics(m, outputs, given.targets) for m in TEXT}
        tokens = np.array([len(t.split()) for t in given.targets], dtype=float)
        loss = np.stack([tokens * (1.1 - rate) * rng.uniform(0.5, 1.5, len(tokens)), tokens], 1)
        statistics["loss"] = Statistics("loss", loss, LOSS_SIGNATURE)
        made.append(Evaluation("search", "", 0, 0, split, {}, {}, statistics, outputs))
    return made


def rate_of(params: dict[str, Any]) -> float:
    """Return the quality of a trial: best where learning rate · alpha / rank is right."""
    product = math.log10(params["learning_rate"] * params["alpha"] / params["rank"])
    good = 0.95 - 0.12 * abs(product + 3.0) - 0.2 * params["dropout"]
    return min(RATES, key=lambda rate: abs(rate - good))


def trial(number: int, models: dict[float, list[Evaluation]]) -> FrozenTrial:
    """Return one trial with its scores as attributes; a few failed, a few were pruned."""
    rng = np.random.default_rng([3, number])
    params = {name: from_unit(d, rng.random()) for name, d in SPACE.items()}
    dev, general = models[rate_of(params)]
    state = TrialState.COMPLETE
    if number % 40 in (3, 17):
        state = TrialState.FAIL if number % 40 == 3 else TrialState.PRUNED
    value = dev.scores["bleu"] + float(rng.normal(0, 1.0))
    attributes: dict[str, Any] = {"seed": number, "train_seconds": float(rng.uniform(1, 2))}
    attributes |= {"trainable_parameters": 3072 * params["rank"], "peak_memory_bytes": 412_000_000}
    if state == TrialState.COMPLETE:
        attributes |= dev.scores | {f"general_{m}": s for m, s in general.scores.items()}
    return synthetic_trial(number, state, value, params, SPACE, attributes)


def write_models(
    engine: Any,
    study_id: int,
    models: dict[float, list[Evaluation]],
    trials: Sequence[FrozenTrial],
) -> None:
    """Write baselines and one evaluation of each rate, then copy that for every trial of it."""
    for name, rate in (("base", RATES[0]), ("default", RATES[2])):
        named = [replace(e, role="baseline", name=name, trial_number=None) for e in models[rate]]
        records.write_evaluations(engine, study_id, named)
    known: dict[float, int] = {}
    with_scores = [t for t in trials if t.state == TrialState.COMPLETE]
    for t in with_scores:
        known.setdefault(rate_of(t.params), t.number)
    for rate, number in known.items():
        first = [replace(e, trial_number=number, seed=number) for e in models[rate]]
        records.write_evaluations(engine, study_id, first)
    with engine.begin() as connection:
        for t in with_scores:
            if (source := known[rate_of(t.params)]) != t.number:
                copy(connection, source, t.number)


def copy(connection: Any, source: int, number: int) -> None:
    """Store a trial's evaluations with the rows of one whose outputs it shares."""
    key = "evaluation_id || ':' || :n"
    of = "evaluation_id IN (SELECT evaluation_id FROM run_evaluations WHERE trial_number = :s)"
    columns = "study_id, role, name, :n, :n, split, config, details"
    scores = "metric, score, signature, n_examples, n_statistics, statistics"
    for table, rest in (
        ("run_scores", scores),
        ("run_outputs", "outputs"),
        ("run_evaluations", columns),
    ):
        select = f"SELECT {key}, {rest} FROM {table} WHERE {of}"
        connection.execute(text(f"INSERT INTO {table} {select}"), {"s": source, "n": number})


if __name__ == "__main__":
    main()
