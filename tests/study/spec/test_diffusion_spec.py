"""What `[diffusion]` may say, and the keys that instructions brought: one line a problem."""

from __future__ import annotations

from typing import Any

import pytest

from study.errors import InputError
from study.spec.files import load_spec
from study.spec.hyperparameters import TrainingSpec, is_choice, is_integer
from study.spec.sections import StudySpec, parse_spec, spec_from_toml

PARAMETERS = {"rank": {"choices": [8, 16]}}


def document(**sections: Any) -> dict[str, Any]:
    """A study file of masked diffusion."""
    search = {"parameters": PARAMETERS} | sections.pop("search", {})
    return {"task": "masked_diffusion", "search": search, **sections}


def problem(**sections: Any) -> str:
    """Return the one line that a study file is refused with."""
    with pytest.raises(InputError) as refused:
        parse_spec(document(**sections), "x.toml")
    (line,) = refused.value.problems
    return line


BAD: list[tuple[dict[str, Any], str]] = [
    ({"block_length": 48}, "diffusion.block_length: must divide length = 128, got 48"),
    (
        {"steps": 30},
        "diffusion.steps: must be a multiple of the 4 blocks (length / block_length), got 30",
    ),
    ({"length": 0}, "diffusion.length: must be at least 1, got 0"),
    ({"eps": 1.0}, "diffusion.eps: must be below 1, got 1.0"),
    ({"temperature": -1.0}, "diffusion.temperature: must be at least 0"),
    ({"cfg_scale": -0.5}, "diffusion.cfg_scale: must be at least 0"),
    (
        {"remasking": "entropy"},
        "diffusion.remasking: must be 'low_confidence' or 'random', got 'entropy'",
    ),
    ({"fixed": {"128": "ya"}}, "diffusion.fixed: positions must be 0 to 127 (length - 1), got 128"),
    ({"fixed": {"0": " "}}, "diffusion.fixed: needs a word at position 0, got ' '"),
    ({"gen_length": 8}, "diffusion.gen_length: unknown key"),
]


@pytest.mark.parametrize(("section", "line"), BAD, ids=lambda value: str(value)[:30])
def test_a_wrong_value_is_one_line(section: dict[str, Any], line: str) -> None:
    """Where, which rule, what it got, what is allowed."""
    assert problem(diffusion=section).startswith(f"x.toml: {line}")


def test_the_section_belongs_to_its_task() -> None:
    """Masked diffusion has it, with defaults where the file says nothing; others have not."""
    spec = parse_spec(document(), "x.toml")
    assert spec.diffusion is not None
    assert (spec.diffusion.length, spec.diffusion.blocks) == (128, 4)
    assert spec.data.instruction == ""
    assert "works only with masked_diffusion, got the task 'translation'" in problem(
        task="translation", diffusion={}
    )


def test_the_resolved_file_reads_back() -> None:
    """`spec.toml` of a run says the same study, fixed words included."""
    spec = parse_spec(document(diffusion={"fixed": {"0": "Jawaban"}, "mask_token": "<m>"}), "x")
    assert spec.diffusion is not None
    assert spec.diffusion.fixed == {0: "Jawaban"}
    assert spec_from_toml(spec.to_toml(), "x") == spec


# ---------------------------------------------------------------- epochs, cut-off, optimizer


def test_epochs_become_steps_once_the_examples_are_counted() -> None:
    """Every example is seen so often, the last batch rounded up; without epochs steps stay."""
    assert TrainingSpec(epochs=2.0, batch_size=16).counted(100).steps == 13
    assert TrainingSpec(epochs=0.5, batch_size=8).counted(3).steps == 1
    assert TrainingSpec(steps=7).counted(100).steps == 7
    once = TrainingSpec(epochs=2.0).counted(100)
    assert once.counted(100) == once


@pytest.mark.parametrize("where", ["file", "search"])
def test_steps_and_epochs_exclude_each_other(where: str) -> None:
    """Exactly one of the two counts, wherever it is given."""
    epochs = {"choices": [1.0, 2.0]}
    changes: dict[str, Any] = (
        {"training": {"steps": 100, "epochs": 2.0}}
        if where == "file"
        else {"training": {"steps": 100}, "search": {"parameters": {"epochs": epochs}}}
    )
    assert problem(**changes) == "x.toml: training: give steps or epochs, not both"


@pytest.mark.parametrize("training", [{"epochs": 2.0}, {}, {"steps": 50}])
def test_a_count_survives_the_resolved_file(training: dict[str, Any]) -> None:
    """A run is continued from what `spec.toml` says, whichever of the two it counts."""
    spec = parse_spec(document(training=training), "x")
    again = spec_from_toml(spec.to_toml(), "x")
    assert again.training == spec.training


def test_what_a_trial_varies_has_its_kind() -> None:
    """Cut-offs are whole numbers, optimizers names, epochs may be halves."""
    assert is_integer("cutoff_tokens")
    assert not is_integer("epochs")
    assert is_choice("optimizer")
    assert not is_choice("cutoff_tokens")


def test_a_cut_off_is_of_instructions() -> None:
    """Other tasks cut all trials' texts at data.max_tokens."""
    line = problem(task="translation", training={"cutoff_tokens": 16})
    assert "training.cutoff_tokens: works only with masked_diffusion, got the task" in line


def llada() -> StudySpec:
    """The study that ships."""
    return load_spec("llada")


def test_llada_has_nine_configurations_two_of_them_the_same() -> None:
    """Every trial of its budget is enqueued; methods, cut-offs, epochs and optimizers vary."""
    search = llada().search
    assert len(search.enqueue) == search.trials == 9
    points = [tuple(sorted(point.items())) for point in search.enqueue]
    assert len(set(points)) == 8
    for name in ("method", "rank", "alpha", "epochs", "cutoff_tokens", "optimizer"):
        assert len({point[name] for point in search.enqueue}) > 1
    for point in search.enqueue:
        assert ("loraplus_lr_ratio" in point) == (point["method"] == "loraplus")
