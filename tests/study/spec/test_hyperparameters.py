"""Which hyperparameters there are, which may be searched, and what scale they make."""

from __future__ import annotations

import pytest

from study.spec.hyperparameters import (
    NOT_SEARCHED,
    SECTIONS,
    MethodSpec,
    is_integer,
    searchable,
    with_values,
)


def test_names_are_unique_over_the_sections() -> None:
    """A searched name belongs to exactly one section, so it never has to say which."""
    searched = [n for s in SECTIONS for n in s.model_fields if n not in NOT_SEARCHED]
    assert {*searched, "method"} == set(searchable())
    assert len(searched) == len(set(searched)) == len(searchable()) - 1


def test_what_belongs_to_the_whole_study_is_not_searched() -> None:
    """Report steps and the teacher are the same for all trials; a method is named `method`."""
    assert {"rank", "alpha", "dropout", "learning_rate", "target_modules"} <= set(searchable())
    assert not {"report_every", "base_dropout", "name", "teacher"} & set(searchable())


def test_whole_numbers_are_known() -> None:
    """Ranges of these become integer distributions, of the others float ones."""
    integers = {name for name in searchable() if is_integer(name)}
    counts = {
        "steps",
        "batch_size",
        "gradient_accumulation_steps",
        "warmup_steps",
        "cutoff_tokens",
        "pissa_niter",
        "num_virtual_tokens",
    }
    assert integers == {"rank", *counts}


def test_the_scale_is_alpha_over_rank() -> None:
    """LoRA divides by the rank, rsLoRA by its square root."""
    assert MethodSpec(alpha=64, rank=16).scale == 4
    assert MethodSpec(alpha=64, rank=16, use_rslora=True).scale == 16


def test_a_methods_name_decides_what_it_stands_for() -> None:
    """rsLoRA scales by the root, PiSSA begins in the weight; a contradiction is refused."""
    assert MethodSpec(name="rslora", alpha=64, rank=16).scale == 16
    assert MethodSpec(name="olora").begins_in_weight
    with pytest.raises(
        ValueError, match="the method 'pissa' implies 'pissa', got 'olora'; leave it"
    ):
        MethodSpec(name="pissa", init_lora_weights="olora")


def test_what_a_name_decides_goes_with_the_name() -> None:
    """A trial of another method than the study file's gets nothing of what that one decides."""
    pissa = MethodSpec(name="pissa", rank=4)
    assert with_values(pissa, {"method": "lora"}) == MethodSpec(name="lora", rank=4)
    assert with_values(MethodSpec(rank=4), {"method": "pissa"}) == pissa
    assert with_values(MethodSpec(use_rslora=True), {"method": "pissa"}).use_rslora


def test_a_method_shows_what_it_has() -> None:
    """Hyperparameters of other methods are not shown, those that the name decides are."""
    assert MethodSpec(name="prefix", rank=4).own == {"num_virtual_tokens": 8}
    assert MethodSpec(name="full").own == {}
    assert MethodSpec(name="rslora").own == {
        "rank": 8,
        "alpha": 8.0,
        "dropout": 0.0,
        "target_modules": "default",
        "use_rslora": True,
    }


@pytest.mark.parametrize(
    "field", [{"rank": 0}, {"alpha": 0}, {"dropout": 1.0}, {"target_modules": ""}]
)
def test_impossible_values_are_refused(field: dict[str, object]) -> None:
    """A rank of 0, α of 0, a dropout of everything and no modules are no LoRA."""
    with pytest.raises(ValueError, match="validation error"):
        MethodSpec.model_validate(field)
