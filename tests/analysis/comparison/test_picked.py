"""The best of many trials is tested as such, on the examples that picked it."""

from __future__ import annotations

import numpy as np
import pytest

from analysis import StudyData
from analysis.comparison.contrast import compare, contrasts_document
from analysis.comparison.picked import Field, allowing_for_pick, field_of
from analysis.comparison.within_study import compare_trials
from study.metrics import Statistics

TRIALS = 64


def accuracy(right: np.ndarray) -> Statistics:
    """Return answers that are right or wrong."""
    return Statistics(
        "accuracy", np.stack([right, np.ones(len(right))], axis=1), "accuracy|case:exact"
    )


def study(seed: int, lift: float = 0.0, trials: int = TRIALS) -> tuple[Statistics, ...]:
    """Return a base and trials on 100 examples; the first trial is right more often by `lift`."""
    rng = np.random.default_rng(seed)
    easy = rng.beta(2, 1, size=100)
    lifts = [0.0, lift, *[0.0] * (trials - 1)]
    return tuple(accuracy((rng.random(100) < easy + up).astype(float)) for up in lifts)


def p_of(base: Statistics, *trials: Statistics) -> tuple[float, float]:
    """Return p of the best trial against the base, as if chosen beforehand and as picked."""
    best = max(trials, key=lambda s: s.score)
    plain = compare(best, base, resamples=50)
    field = Field(len(trials), lambda: trials)
    return plain.p, allowing_for_pick(plain, (best, base), (field, None)).p


def test_the_best_of_equal_trials_is_rarely_clear() -> None:
    """Of 40 studies of 64 equal trials at most two have a clear winner; uncorrected, many have."""
    p = np.array([p_of(*study(seed)) for seed in range(40)])
    plain, picked = (p < 0.05).sum(axis=0)
    assert plain >= 6
    assert picked <= 2
    assert (p[:, 1] >= p[:, 0]).all()


def test_a_trial_that_is_better_is_still_found() -> None:
    """One of 64 trials that is nearly always right is clear."""
    assert all(p_of(*study(seed, lift=0.5))[1] < 0.05 for seed in range(5))


def test_more_trials_need_a_larger_difference() -> None:
    """The same winner is less sure among 64 than among 4, and surest if it was chosen first."""
    base, best, *others = study(1, lift=0.25)
    plain, of_few = p_of(base, best, *others[:3])
    of_many = p_of(base, best, *others)[1]
    assert plain < of_few < of_many


def test_the_interval_agrees_with_the_p_value_and_the_table_says_why() -> None:
    """A lucky winner is clear only if chosen beforehand; as picked its interval includes zero."""
    base, *trials = study(10)
    best = max(trials, key=lambda s: s.score)
    field = Field(TRIALS, lambda: trials)
    plain = compare(best, base, resamples=500)
    found = allowing_for_pick(plain, (best, base), (field, None))
    assert plain.clear
    assert not found.clear
    assert found.interval[0] < 0 < plain.interval[0]
    assert "the best of 64 trials by these very examples" in str(contrasts_document([found]))
    backwards = compare(base, best, resamples=500)
    turned = allowing_for_pick(backwards, (base, best), (None, field))
    assert (turned.p, turned.picked_from) == (found.p, 64)


def test_a_model_that_leads_without_having_been_picked_is_tested_as_it_is() -> None:
    """The default that beats the best trial was chosen beforehand."""
    base, best, *others = study(2, lift=-0.3)
    field = Field(TRIALS, lambda: [best, *others])
    plain = compare(best, base, resamples=50)
    assert allowing_for_pick(plain, (best, base), (field, None)) is plain


def test_a_study_picks_on_its_objectives_examples_alone(petroleum: StudyData) -> None:
    """Trials on dev were picked, baselines and other splits were not."""
    found = field_of(petroleum, "best", "bleu", "dev")
    assert found is not None
    assert found.count >= len(found.statistics) == len(petroleum.complete)
    assert field_of(petroleum, "default", "bleu", "dev") is None
    assert field_of(petroleum, "best", "bleu", "general") is None
    assert compare_trials(petroleum, "best", "base").picked_from == found.count
    assert compare_trials(petroleum, "best", "base", split="general").picked_from == 0
    assert compare_trials(petroleum, "default", "base").picked_from == 0
    assert compare_trials(petroleum, "best", "base").p == pytest.approx(
        compare_trials(petroleum, petroleum.best_trial.number, "base").p  # type: ignore[union-attr]
    )
