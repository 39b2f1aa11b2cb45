"""`optuna-study check`: what a run refuses, and what it will take on this machine."""

from __future__ import annotations

from typing import Any

from study.bases.dtypes import with_dtype
from study.engines.estimate import estimated
from study.preparing import Inputs, StepCallback, prepare
from study.spec.sections import StudySpec
from study.store.provenance import available_cores
from study.trial_cost import cost_of


def checked(
    spec: StudySpec, inputs: Inputs, progress: StepCallback | None = None
) -> dict[str, Any]:
    """Prepare a study as a run does, count its parameters and estimate its cost.

    Raises:
        InputError: with every problem.
    """
    prepared = prepare(spec, inputs, progress)
    cost = cost_of(spec, inputs, prepared)
    workers = available_cores()
    remarks: list[str] = []
    spec = with_dtype(spec, prepared.skeleton.model, workers, remarks.append)
    assert inputs.corpus is not None
    trained = max(size["parameters"] for size in cost["adapters"].values())
    estimate = estimated(spec, prepared, inputs.corpus, trained, workers)
    lines = [*cost["lines"], *(f"base     {r.partition(': ')[2]}" for r in remarks)]
    return {
        **cost,
        "dtype": spec.base.dtype,
        "estimate": estimate.to_json(),
        "lines": [*lines, *estimate.lines()],
    }
