"""What is said between a command and its first trial."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from study.engines import start
from study.engines.engine_choice import EngineChoice
from study.preparing.preparation import read_inputs
from study.spec.sections import StudySpec
from tests.conftest import RecordingView


@pytest.mark.parametrize("largest_small", [0, 10**9])
def test_a_large_base_is_said_to_take_its_time(
    largest_small: int, tiny_spec: StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before minutes of comparing passes there is a line; a small base needs none."""
    monkeypatch.setattr(start, "make_engine", lambda *_: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(start, "SMALL", largest_small)
    view = RecordingView()
    choice = EngineChoice("sequential", workers=1)
    with start.started_engine(tiny_spec, choice, view, read_inputs(tiny_spec)):
        assert (start.BEFORE_THE_FIRST_TRIAL in view.remarks) == (largest_small == 0)
