"""What the teacher's weight does: the embedded students at several a, otherwise the same training.

Every seed trains one student a weight, all from the same initial weights on the same batches, in
one pass of the packed engine.  Prints the preset's objective on dev over all seeds together, and
the difference to plain training (a = 0) with a 95 % interval from resampling the examples, the
seeds' answers to one example together.

    python benchmarks/distillation_weight.py --preset distilbert-mnli --seeds 0 1 2
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from study.bases.load import locate_base
from study.engines.build import make_engine
from study.engines.engine_choice import EngineChoice
from study.engines.process_settings import be_one_quiet_thread
from study.metrics import METRICS
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.trials import Finished, TrialConfig, TrialResult, search_config

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
RESAMPLES = 2000


def main() -> None:
    """Train, and print a row a weight."""
    parser = argparse.ArgumentParser(description=__doc__)
    presets = ("distilbert-mnli", "distilbert-qqp", "eurollama")
    parser.add_argument("--preset", choices=presets, default=presets[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=float, default=16.0)
    given = parser.parse_args()
    be_one_quiet_thread()
    values = {
        "temperature": given.temperature,
        "learning_rate": given.learning_rate,
        "rank": given.rank,
        "alpha": given.alpha,
    }
    metric = load_spec(given.preset).evaluation.objective[0]
    found = np.stack([statistics(given.preset, metric, seed, values) for seed in given.seeds])
    summed = found.sum(axis=0)  # (A, N, S)
    print(f"{given.preset}, {len(given.seeds)} seeds, {values}")
    print(f"| a | {metric} | against a = 0 | 95 % interval |\n|---|---|---|---|")
    scores = resampled(metric, summed)  # (A, resamples)
    whole = [METRICS[metric].aggregate(of_weight.sum(axis=0)) for of_weight in summed]
    for weight, score, drawn in zip(WEIGHTS, whole, scores, strict=True):
        low, high = np.quantile(drawn - scores[0], [0.025, 0.975])
        print(f"| {weight} | {score:.3f} | {score - whole[0]:+.3f} | {low:+.3f} to {high:+.3f} |")


def statistics(
    preset: str, metric: str, seed: int, values: dict[str, float]
) -> NDArray[np.float64]:
    """Train a student a weight; return each one's statistics of each dev example: (A, N, S)."""
    spec = load_spec(preset, {"seed": seed})
    configs = [
        search_config(spec, n, {**values, "distillation_weight": weight}, seed_index=0)
        for n, weight in enumerate(WEIGHTS)
    ]
    results = trained(spec, configs)
    return np.stack([results[c.number].splits["dev"].statistics[metric].values for c in configs])


def trained(spec: StudySpec, configs: Sequence[TrialConfig]) -> dict[int, TrialResult]:
    """Train all configurations side by side."""
    engine = make_engine(spec, locate_base(spec), None, EngineChoice(slots=len(configs)))
    for config in configs:
        engine.start(config)
    results: dict[int, TrialResult] = {}
    while len(results) < len(configs):
        events = [event for event in engine.advance() if isinstance(event, Finished)]
        results |= {event.number: event.result for event in events}
    engine.close()
    return results


def resampled(metric: str, summed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the score of every weight on the same resampled examples: (A, resamples)."""
    count = summed.shape[1]
    drawn = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    aggregate = METRICS[metric].aggregate
    return np.array([[aggregate(one[rows].sum(axis=0)) for rows in drawn] for one in summed])


if __name__ == "__main__":
    main()
