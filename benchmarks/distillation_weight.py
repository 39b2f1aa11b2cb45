"""What the teacher's weight does: the embedded students at several a, otherwise the same training.

Every seed trains one student a weight, all from the same initial weights on the same batches, in
one pass of the packed engine.  Prints the mean accuracy on dev over the seeds, and the difference
to plain training (a = 0) with a 95 % interval from resampling the examples, the seeds' answers to
one example together.

    python benchmarks/distillation_weight.py --language mnli --seeds 0 1 2
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from study.base_models import locate_base
from study.engines.choice import EngineChoice
from study.engines.process import be_one_quiet_thread
from study.engines.workspace import make_engine
from study.spec import StudySpec
from study.study_files import load_spec
from study.trials import Finished, TrialConfig, TrialResult, search_config

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
RESAMPLES = 2000


def main() -> None:
    """Train, and print a row a weight."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--language", choices=("mnli", "qqp"), default="mnli")
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
    correct = np.stack([answers(given.language, seed, values) for seed in given.seeds])
    print(f"{given.language}, {len(given.seeds)} seeds, {values}")
    print("| a | accuracy | against a = 0 | 95 % interval |\n|---|---|---|---|")
    for i, weight in enumerate(WEIGHTS):
        low, high = interval(correct[:, i] - correct[:, 0])
        gain, score = (correct[:, i] - correct[:, 0]).mean(), correct[:, i].mean()
        print(f"| {weight} | {score:.3f} | {gain:+.3f} | {low:+.3f} to {high:+.3f} |")


def answers(language: str, seed: int, values: dict[str, float]) -> NDArray[np.float64]:
    """Train a student a weight; return whether each answers each dev example rightly: (A, N)."""
    spec = load_spec(f"distilbert-{language}", {"seed": seed})
    configs = [
        search_config(spec, n, {**values, "distillation_weight": weight}, origin=0)
        for n, weight in enumerate(WEIGHTS)
    ]
    results = trained(spec, configs)
    return np.stack(
        [results[c.number].splits["dev"].statistics["accuracy"].values[:, 0] for c in configs]
    )


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


def interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Return the bootstrap interval of a mean of differences (seeds, N), by examples."""
    of_example = differences.mean(axis=0)
    drawn = np.random.default_rng(0).integers(len(of_example), size=(RESAMPLES, len(of_example)))
    low, high = np.quantile(of_example[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
