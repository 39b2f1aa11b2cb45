"""What an adaptive sampler loses when it is asked for many trials at once, as packed slots ask.

Every round asks for as many trials as there are slots before any of them is told.  The objective
is made up after what LoRA does: a ridge over learning_rate · alpha / sqrt(rank) with an optimum
inside, a cliff behind it, small effects of the rest, and noise.  Prints the median regret (distance
of the best trial's noiseless value from the optimum) after all trials, over the seeds.

    python benchmarks/parallel_proposals.py
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
import optuna

from study.make_sampler import sampler_for
from study.spec.files import load_spec
from study.spec.sections import StudySpec

SLOTS = (1, 2, 4, 8, 16, 32, 64)
OPTIMUM = 70.0


def main() -> None:
    """Print a row for each number of slots, and one for random search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=40)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"median regret after {options.trials} trials of lora-wide, {options.seeds} seeds")
    for name, slots in [*(("tpe", slots) for slots in SLOTS), ("random", 1)]:
        regrets = [_regret(name, slots, options.trials, seed) for seed in range(options.seeds)]
        low, middle, high = np.quantile(regrets, [0.25, 0.5, 0.75])
        print(f"{name:7} {slots:3} at once: {middle:6.2f}  (quartiles {low:.2f} to {high:.2f})")


def _regret(sampler: str, slots: int, trials: int, seed: int) -> float:
    spec = load_spec(
        "petroleum-wide", {"seed": seed, "search.sampler": sampler, "search.trials": trials}
    )
    study = optuna.create_study(direction="maximize")
    noise = np.random.default_rng(seed)
    values: list[float] = []
    while len(values) < trials:
        asked = [
            _asked(study, spec, len(values) + i) for i in range(min(slots, trials - len(values)))
        ]
        for trial, point in asked:
            values.append(_score(point))
            study.tell(trial, values[-1] + noise.normal(0, 1.0))
    best = study.best_trial.number
    return OPTIMUM - values[best]


def _asked(
    study: optuna.Study, spec: StudySpec, number: int
) -> tuple[optuna.Trial, dict[str, Any]]:
    study.sampler = sampler_for(spec, number)
    trial = study.ask()
    return trial, spec.search.search_space.suggest(trial)


def _score(point: dict[str, Any]) -> float:
    """Return a BLEU-like value without noise."""
    step = math.log10(point["learning_rate"] * point["alpha"] / math.sqrt(point["rank"]))
    ridge = 20.0 * math.exp(-(((step + 2.0) / 0.8) ** 2))
    cliff = -45.0 / (1.0 + math.exp(-6.0 * (step + 0.9)))
    targets = {"qv": -2.0, "attention": 0.0, "attention+ffn": 0.0}[point["target_modules"]]
    return OPTIMUM - 20.0 + ridge + cliff + targets - 3.0 * abs(point["dropout"] - 0.1)


if __name__ == "__main__":
    main()
