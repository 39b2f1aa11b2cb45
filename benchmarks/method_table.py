"""What each method reached in a study that searched over methods.

    optuna-study run method-shootout
    python benchmarks/method_table.py runs/method-shootout

Prints, per method, best first: its best trial, how many of its trials beat the untrained base, and
the spread of those; then what the best one forgot and cost.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd

import analysis


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target")
    asked = parser.parse_args()
    study = analysis.load(asked.target)
    base = _score(study, "base")
    rows = [_row(study, str(name), base) for name in study.distributions["method"].choices]
    table = pd.DataFrame(rows).sort_values("best", ascending=False)
    print(
        f"{study.objective}: untrained base {base:.1f}, default LoRA {_score(study, 'default'):.1f}"
    )
    print(table.to_string(index=False))


def _score(study: Any, baseline: str) -> float:
    scores = study.scores
    found = scores[
        (scores.role == "baseline") & (scores.name == baseline) & (scores.split == "dev")
    ]
    return float(found[found.metric == study.objective].score.iloc[0])


def _row(study: Any, method: str, base: float) -> dict[str, Any]:
    trials = [t for t in study.ranked() if t.params["method"] == method]
    best, values = trials[0], np.array([t.value for t in trials])
    cost = next(e.details for e in study.evaluations if e.trial_number == best.number)
    scores = study.scores
    own = scores[(scores.trial == best.number) & (scores.split == "general")]
    return {
        "method": method,
        "trials": len(trials),
        "best": round(best.value, 1),
        "above base": int((values > base).sum()),
        "median": round(float(np.median(values)), 1),
        "general": round(float(own[own.metric == study.objective].score.iloc[0]), 1),
        "trained": f"{cost['trainable_parameters']:,.0f}",
        "learning rate": f"{best.params['learning_rate']:.1e}",
    }


if __name__ == "__main__":
    main()
