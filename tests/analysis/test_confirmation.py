"""What fresh seeds and held-out examples say of a winner, on scores whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.confirmation import Confirmation, Retrained, confirmation_among
from reports.confirmation import confirmation_table, headline, verdict
from study.metrics import Statistics

N, SEEDS = 120, 5


def model(
    name: str,
    quality: float,
    rng: np.random.Generator,
    difficulty: np.ndarray,
    *,
    seed_noise: float = 0.02,
    search_score: float | None = None,
) -> Retrained:
    """Return a model whose examples score quality + their difficulty + noise; each seed shifts."""
    trial = int(name.split()[1]) if name.startswith("trial") else None
    shifts = quality + seed_noise * rng.standard_normal(SEEDS)
    test = tuple(
        Statistics(
            "accuracy",
            np.stack([difficulty + s + 0.3 * rng.standard_normal(N), np.ones(N)], axis=1),
            "accuracy|case:exact",
        )
        for s in shifts
    )
    cost = {"trainable_parameters": 100.0, "train_seconds": 2.0}
    return Retrained(name, trial, tuple(range(SEEDS)), test, shifts, search_score, cost)


def confirmed(
    gain: float, seed: int = 0, search_score: float | None = None, seed_noise: float = 0.02
) -> Confirmation:
    """Return a winner against the default that it is better than by `gain`, and a runner-up."""
    rng = np.random.default_rng(seed)
    difficulty = 0.3 * rng.standard_normal(N)
    winner = model(
        "trial 7", 0.5 + gain, rng, difficulty, search_score=search_score, seed_noise=seed_noise
    )
    others = [
        model("trial 3", 0.5 + gain, rng, difficulty, seed_noise=seed_noise),
        model("default", 0.5, rng, difficulty, seed_noise=seed_noise),
    ]
    return confirmation_among("accuracy", winner, others)


def test_a_real_gain_is_confirmed() -> None:
    """A gain far above what examples and seeds vary by is found, with an interval around it."""
    found = confirmed(0.2)
    default = next(t for t in found.tested if t.other == "default")
    assert default.clear
    assert default.ci[0] < 0.2 < default.ci[1]
    assert headline(found).startswith("Confirmed")


def test_no_gain_is_not_confirmed() -> None:
    """Two equal models are not clearly different, and that is said plainly."""
    found = confirmed(0.0)
    assert headline(found).startswith("Not confirmed")


def test_a_loss_is_refuted() -> None:
    """A winner of the search that is worse is called so."""
    assert headline(confirmed(-0.2)).startswith("Refuted")


def test_intervals_hold_the_truth_and_nulls_stand() -> None:
    """Over many studies 95 % intervals hold the true gain, and hardly a null is rejected."""
    inside = rejected = 0
    studies = 200
    for seed in range(studies):
        found = confirmed(0.0, seed, seed_noise=0.05)
        default = next(t for t in found.tested if t.other == "default")
        inside += default.ci[0] <= 0.0 <= default.ci[1]
        rejected += any(t.clear for t in found.tested)
    assert inside / studies > 0.92
    assert rejected / studies < 0.08


def test_seeds_that_vary_widen_the_interval() -> None:
    """The spread of trainings is part of the uncertainty, not only the examples'."""

    def width(seed_noise: float) -> float:
        found = confirmed(0.1, seed_noise=seed_noise)
        low, high = found.tested[0].ci
        return high - low

    assert width(0.2) > 2 * width(0.001)


def test_luck_is_what_does_not_come_again() -> None:
    """What the search had above the mean of fresh seeds is luck, where these do not explain it."""
    lucky = confirmed(0.1, search_score=0.75).luck
    assert lucky is not None
    assert lucky.amount == pytest.approx(0.15, abs=0.05)
    assert lucky.ci is not None
    assert lucky.ci[0] > 0
    said = " ".join(verdict(confirmed(0.1, search_score=0.75)))
    assert "was luck" in said
    fair = confirmed(0.1, search_score=0.6).luck
    assert fair is not None
    assert fair.ci is not None
    assert fair.ci[0] < 0


def test_the_table_fits_a_terminal() -> None:
    """Eighty columns are enough, and the document for programs has no NaN."""
    import io
    import json

    from rich.console import Console

    found = confirmed(0.1, search_score=0.6)
    console = Console(file=io.StringIO(), width=80)
    console.print(confirmation_table(found))
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, written.splitlines())) <= 80
    assert "trial 7" in written
    json.dumps(found.to_json(), allow_nan=False)
