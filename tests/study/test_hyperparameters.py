"""Which hyperparameters there are, which may be searched, and what scale they make."""

from __future__ import annotations

import pytest

from study.hyperparameters import NOT_SEARCHED, SECTIONS, MethodSpec, is_integer, searchable


def test_names_are_unique_over_the_sections() -> None:
    """A searched name belongs to exactly one section, so it never has to say which."""
    searched = [n for s in SECTIONS for n in s.model_fields if n not in NOT_SEARCHED]
    assert len(searched) == len(set(searched)) == len(searchable())


def test_what_belongs_to_the_whole_study_is_not_searched() -> None:
    """Report steps and the method's name are the same for all trials."""
    assert {"rank", "alpha", "dropout", "learning_rate", "target_modules"} <= set(searchable())
    assert not {"report_every", "base_dropout", "name", "teacher"} & set(searchable())


def test_whole_numbers_are_known() -> None:
    """Ranges of these become integer distributions, of the others float ones."""
    integers = {name for name in searchable() if is_integer(name)}
    assert integers == {"rank", "steps", "batch_size"}


def test_the_scale_is_alpha_over_rank() -> None:
    """LoRA divides by the rank, rsLoRA by its square root."""
    assert MethodSpec(alpha=64, rank=16).scale == 4
    assert MethodSpec(alpha=64, rank=16, use_rslora=True).scale == 16


@pytest.mark.parametrize(
    "field", [{"rank": 0}, {"alpha": 0}, {"dropout": 1.0}, {"target_modules": ""}]
)
def test_impossible_values_are_refused(field: dict[str, object]) -> None:
    """A rank of 0, α of 0, a dropout of everything and no modules are no LoRA."""
    with pytest.raises(ValueError, match="validation error"):
        MethodSpec.model_validate(field)
