"""What the tests of engines share: one tiny base in double precision, and its task."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from study.spec.sections import StudySpec
from tests.engine_runs import Bench, bench_of


@pytest.fixture(scope="module")
def bench(make_spec: Callable[..., StudySpec]) -> Bench:
    """Return a base and a task that engines take turns with; equal means equal to 1e-9."""
    changes = {
        "base.dtype": "float64",
        "search.space": "lora-wide",
        "training.steps": 5,
        "evaluation.objective": "loss",
    }
    return bench_of(make_spec(changes))
