"""What a number of trials can find."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from analysis.importance.power import POWER, Power, _share_at, drawn, power_of, simulated
from search_spaces import SearchSpace

SPACE = SearchSpace(
    {
        "rate": FloatDistribution(1e-5, 1e-2, log=True),
        "method": CategoricalDistribution(["lora", "pissa", "dora"]),
    },
    {},
)


def test_the_share_with_a_power_is_read_off_a_logistic_curve() -> None:
    """Where the odds of being found grow with those of the share, the right share is returned."""
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.05, 0.7, 4000)
    odds = np.log(shares / (1 - shares))
    found = rng.random(4000) < 1 / (1 + np.exp(-(2 * odds + 3)))  # 0.8 at odds of -0.807
    assert _share_at(POWER, shares, found) == pytest.approx(0.309, abs=0.02)
    assert _share_at(POWER, shares, np.zeros(4000, dtype=bool)) is None


@pytest.mark.whole
def test_more_trials_find_smaller_effects_and_give_narrower_intervals() -> None:
    """And what nothing can find is said."""
    few, many = (power_of(SPACE, trials, studies=48) for trials in (20, 80))
    assert many.smallest is not None
    assert few.smallest is None or few.smallest > many.smallest
    assert many.width < few.width
    assert many.sentence.startswith("80 random trials find a smooth effect")
    assert Power(8, 2, None, 0.6).sentence == (
        "8 random trials are too few to find any effect with 80 % power"
    )


def test_a_large_effect_is_found_and_none_is_not() -> None:
    """A simulated study holds the effect that it claims."""
    pool = drawn(SPACE, 160, 0)
    assert simulated(pool, SPACE, 40, 0.9, [0, 1])
    assert not simulated(pool, SPACE, 40, 0.0, [0, 1])


def test_too_few_trials_are_refused() -> None:
    """Nothing can be simulated with a handful."""
    with pytest.raises(ValueError, match="trials: must be at least 8 to find an effect, got 7"):
        power_of(SPACE, 7)
