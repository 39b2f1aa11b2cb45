"""A study's adapters, tried on a text that is in none of its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import load
from study.finished.load_adapters import load_adapters
from study.runner import run_study
from study.spec.sections import StudySpec
from tests.conftest import RecordingView

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("maker", ["make_llama_spec", "make_masked_spec"])
def test_every_model_that_writes_answers_a_new_text(
    maker: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A chat model after its teacher, and a masked-diffusion model."""
    make: Callable[..., StudySpec] = request.getfixturevalue(maker)
    run_study(make({"search.trials": 2}), tmp_path, RecordingView())
    adapted = load_adapters(tmp_path, load(tmp_path).spec_text)
    assert list(adapted.answers("pump")) == ["base", "trial-00000", "trial-00001"]
