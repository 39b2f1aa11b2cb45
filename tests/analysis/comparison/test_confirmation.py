"""What fresh seeds and held-out examples say of a winner, on scores whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.comparison.confirmation import (
    Confirmation,
    Retrained,
    confirmation_among,
    interval_and_test,
    shared_variance,
)
from analysis.comparison.tied import best_retrained
from reports.sections.confirmation import confirmation_document, cost, headline, tie, verdict
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
    default = next(t for t in found.tested if t.b.name == "default")
    assert default.clear
    assert default.interval[0] < 0.2 < default.interval[1]
    assert headline(found).startswith("Confirmed")


def test_no_gain_is_not_confirmed() -> None:
    """Two equal models are not clearly different, and that is said plainly."""
    found = confirmed(0.0)
    assert headline(found).startswith("Not confirmed")


def test_a_loss_is_refuted() -> None:
    """A winner of the search that is worse is called so."""
    assert headline(confirmed(-0.2)).startswith("Refuted")


@pytest.mark.whole
def test_intervals_hold_the_truth_and_nulls_stand() -> None:
    """Over many studies 95 % intervals hold the true gain, and hardly a null is rejected."""
    inside = rejected = 0
    studies = 200
    for seed in range(studies):
        found = confirmed(0.0, seed, seed_noise=0.05)
        default = next(t for t in found.tested if t.b.name == "default")
        inside += default.interval[0] <= 0.0 <= default.interval[1]
        rejected += any(t.clear for t in found.tested)
    assert inside / studies > 0.92
    assert rejected / studies < 0.08


def test_seeds_that_vary_widen_the_interval() -> None:
    """The spread of trainings is part of the uncertainty, not only the examples'."""

    def width(seed_noise: float) -> float:
        found = confirmed(0.1, seed_noise=seed_noise)
        low, high = found.tested[0].interval
        return high - low

    assert width(0.2) > 2 * width(0.001)


def test_seeds_that_agree_by_chance_do_not_make_an_interval_narrow() -> None:
    """Where the seeds decide, two of them still hold the truth in 95 of 100 studies.

    Satterthwaite's degrees of freedom held it in 88: two seeds that agree made them many.
    """
    rng = np.random.default_rng(0)
    by_examples, by_seeds, studies = 1.0, 9.0, 500
    held = 0
    for _ in range(studies):
        gains = rng.normal(0, (2 * by_seeds) ** 0.5, size=2)
        mean = gains.mean() + rng.normal(0, by_examples**0.5)
        margin, p_value = interval_and_test(mean, by_examples, gains.var(ddof=1) / 2, 400, 2)
        held += abs(mean) <= margin
        assert (p_value < 0.05) == (abs(mean) > margin)
    assert held / studies > 0.93


def test_two_seeds_that_agree_exactly_leave_the_examples_doubt() -> None:
    """No interval is narrower than resampled examples allow, however well discrete scores agree."""
    false = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        right = (rng.random((2, 2, 60)) < 0.7).astype(float)  # model, seed, example
        right[:, 1] = right[:, 0][:, rng.permutation(60)]  # the same score under both seeds
        winner, other = (
            Retrained(
                name,
                trial,
                (0, 1),
                tuple(
                    Statistics("accuracy", np.stack([row, np.ones(60)], 1), "accuracy|case:exact")
                    for row in of_model
                ),
                np.zeros(2),
                None,
                {},
            )
            for (name, trial), of_model in zip(
                (("trial 1", 1), ("default", None)), right, strict=True
            )
        )
        (tested,) = confirmation_among("accuracy", winner, [other], seed).tested
        assert tested.interval[0] < tested.interval[1]
        false += tested.clear
    assert false <= 20  # the seeds repeat their scores here, so examples count only once


def test_examples_and_seeds_each_count_once() -> None:
    """What one seed alone owes to the examples is in the spread of the seeds already."""
    rng = np.random.default_rng(0)
    resamples, seeds = 20_000, 4
    shared = rng.normal(0, 2.0, resamples)
    own = rng.normal(0, 3.0, (seeds, resamples))
    assert shared_variance(shared + own) == pytest.approx(4.0, rel=0.1)
    assert shared_variance((shared + own)[:1]) == pytest.approx(13.0, rel=0.1)


def test_what_varies_nothing_is_certain() -> None:
    """Equal scores have no p-value below one, a constant difference one of nearly nothing."""
    assert interval_and_test(0.0, 0.0, 0.0, 100, 3) == (0.0, 1.0)
    margin, p_value = interval_and_test(0.5, 0.0, 0.0, 100, 3)
    assert margin == 0.0
    assert p_value < 1e-9


def test_the_cost_that_is_known_is_said() -> None:
    """Parameters always; the seconds only where they are known of both."""
    found = confirmed(0.1)
    assert cost(found) == (
        "It has as many parameters as the default (100) and trains 1.00 times as long.",
    )


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
    console.print(confirmation_document(found).to_rich())
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, written.splitlines())) <= 80
    assert "trial 7" in written
    json.dumps(found.to_json(), allow_nan=False)


def test_the_best_retrained_trial_is_the_winner_or_tied() -> None:
    """A clear lead names a winner, equal trials are tied, and the lead of the search counts not."""
    rng = np.random.default_rng(0)
    difficulty = 0.3 * rng.standard_normal(N)
    weak, strong, equal = (
        model(name, quality, rng, difficulty)
        for name, quality in (("trial 7", 0.5), ("trial 3", 0.8), ("trial 5", 0.8))
    )
    best = best_retrained(confirmation_among("accuracy", weak, [strong]))
    assert best is not None
    assert (best[0].name, best[1]) == ("trial 3", ())
    found = confirmation_among("accuracy", weak, [strong, equal])
    best = best_retrained(found)
    assert best is not None
    assert {best[0].name, *(other.name for other in best[1])} == {"trial 3", "trial 5"}
    assert f"they are tied, and {SEEDS} seeds each cannot say which is best" in tie(found)
    alone = confirmation_among("accuracy", weak, [model("default", 0.5, rng, difficulty)])
    assert best_retrained(alone) is None
    assert tie(alone) == ""
