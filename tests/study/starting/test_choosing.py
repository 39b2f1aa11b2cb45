"""The values that a first study file proposes, from plain numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from study.starting.choosing import (
    FEWEST_STEPS,
    FEWEST_TRIALS,
    LONGEST_HOURS,
    learning_rates,
    lengths_of,
    pace_of,
    within_a_night,
)
from study.starting.languages import spoken


def config(model_type: str, width: int) -> Any:
    """A configuration that knows its width."""
    return SimpleNamespace(model_type=model_type, hidden_size=width)


def test_the_learning_rate_is_ten_times_that_of_full_fine_tuning() -> None:
    """At a width of 2,000 it is 5e-4; narrower Llamas need more, Qwens hardly (Schulman 2025)."""
    assert learning_rates(config("llama", 2000)) == (1e-4, 5e-4, 2.5e-3)
    assert learning_rates(config("llama", 500))[1] == pytest.approx(5e-4 * 4**0.781, rel=0.05)
    assert learning_rates(config("qwen2", 500))[1] == pytest.approx(5e-4 * 4**0.0775, rel=0.05)
    between = learning_rates(config("gemma3", 500))[1]
    assert (
        learning_rates(config("qwen2", 500))[1] < between < learning_rates(config("llama", 500))[1]
    )
    assert learning_rates(config("llama", 2000), 0.1)[1] == 5e-5  # for preferences
    assert learning_rates(config("llama", 16)) == learning_rates(config("llama", 256))


def test_the_cut_leaves_nearly_all_examples_whole() -> None:
    """The least usual size for 99 % of the examples, and never more than the model reads."""
    lengths = lengths_of([*[100] * 990, *[5000] * 10], 8192)
    assert (lengths.middle, lengths.high, lengths.largest) == (100, 100, 5000)
    assert (lengths.cut, lengths.kept) == (128, 0.99)
    assert lengths_of([700] * 10, 512).cut == 512
    assert lengths_of([7], 8192).cut == 32


@pytest.mark.parametrize(("examples", "steps"), [(10, 30), (200, 75), (1000, 188), (100_000, 300)])
def test_a_trial_trains_about_three_epochs(examples: int, steps: int) -> None:
    """Few examples get at least 30 steps, many at most 300."""
    assert pace_of(examples, 128).steps == steps


def measured(step: float | None, trial: float | None) -> dict[str, Any]:
    """The cost of a study for two workers, of so many seconds per step and per trial."""
    return {
        "seconds_per_step": step,
        "seconds_per_trial": trial,
        "seconds_to_start": 0.0,
        "memory": {"workers": 2},
    }


def test_a_study_is_made_to_fit_a_night() -> None:
    """Steps are lowered before trials, to their least; what fits stays as it is."""
    pace = pace_of(100_000, 128)
    kept, hours = within_a_night(pace, measured(0.1, 31.0))
    assert kept == pace
    assert hours == pytest.approx(26 * 31 / 2 / 3600)
    lower, hours = within_a_night(pace, measured(20.0, 6010.0))
    assert lower.trials == pace.trials
    assert FEWEST_STEPS < lower.steps < pace.steps
    assert hours is not None
    assert hours <= LONGEST_HOURS
    least, hours = within_a_night(pace, measured(900.0, 3e5))
    assert (least.steps, least.trials) == (FEWEST_STEPS, FEWEST_TRIALS)
    assert hours is not None
    assert hours > LONGEST_HOURS
    assert within_a_night(pace, measured(None, None)) == (pace, None)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The pump was checked before the storm, and it is ready for the night.", "eng"),
        ("La pompe a été contrôlée avant la tempête et elle est prête pour la nuit.", "fra"),
        ("Die Pumpe wurde vor dem Sturm geprüft und ist für die Nacht bereit.", "deu"),
        ("ポンプは嵐の前に点検されました。", "jpn"),
        ("水泵在暴风雨前已经检查过。", "zho"),
        ("qaz wsx edc", None),
        ("", None),
    ],
)
def test_the_language_of_a_text(text: str, language: str | None) -> None:
    """Frequent words or the script tell it; where neither does, nobody guesses."""
    assert spoken([text]) == language
