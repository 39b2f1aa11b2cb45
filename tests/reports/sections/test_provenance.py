"""The section on where the numbers come from: the row of the engine's self-check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.document import Facts
from analysis.studies.load import load
from reports.results import Results, analyse
from reports.sections.provenance import provenance_section
from study.trials import Compared, SelfCheck
from tests.synthetic import Shape, write_study

LOSSES, GRADIENTS = "packed losses and PEFT's", "packed gradients and PEFT's"
AGREES = SelfCheck(
    dtype="float32",
    rows=7,
    compared=(Compared(LOSSES, 2e-7, 1e-4), Compared(GRADIENTS, 3e-6, 1e-4)),
    seconds=0.284,
    packs=True,
)
DIFFERS = replace(
    AGREES, compared=(Compared(LOSSES, float("nan"), 1e-4),), packs=False, why_alone="it is broken"
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Return a small study that was run before engines checked themselves."""
    shape = Shape(complete=2, failed=0, enqueued=0, examples=4)
    folder: Path = write_study(tmp_path_factory.mktemp("p") / "r", shape)
    return analyse(load(folder), resamples=2)


def facts_of_run(results: Results, **recorded: Any) -> Mapping[str, str]:
    """Return the facts on how the study was run."""
    provenance = {**results.data.provenance, **recorded}
    parts = provenance_section(
        replace(results, data=replace(results.data, provenance=provenance))
    ).parts
    (run,) = [part for part in parts if isinstance(part, Facts) and part.title == "Run"]
    return run.facts


def test_a_self_check_is_one_row(results: Results) -> None:
    """Verdict, largest differences with their tolerances, rows and seconds."""
    facts = facts_of_run(
        results, self_check=AGREES.to_json(), confirmation_self_check=DIFFERS.to_json()
    )
    assert facts["self-check"] == (
        "packs; losses and gradients equal PEFT's within 3e-06 (tolerance 0.0001); "
        f"{LOSSES}: 2e-7 (tolerance 1e-4); {GRADIENTS}: 3e-6 (tolerance 1e-4); "
        "7 rows in float32, 0.28 s"
    )
    assert facts["self-check of the confirmation"] == (
        "trains one trial at a time: it is broken; "
        f"{LOSSES}: not finite (tolerance 1e-4); 7 rows in float32, 0.28 s"
    )


def test_an_older_study_has_no_such_row(results: Results) -> None:
    """It shows the rest as before."""
    assert "seed" in facts_of_run(results)
    assert "self-check" not in facts_of_run(results)


@pytest.mark.parametrize(
    "stored",
    [
        {},
        [1],
        "text",
        None,
        {"compared": [1]},
        {"compared": {"a": 1, "b": {}}},
        {"rows": {"x": []}},
    ],
    ids=str,
)
def test_whatever_is_stored_is_shown_as_text(results: Results, stored: Any) -> None:
    """A database may hold anything; no page fails for it."""
    facts = facts_of_run(results, self_check=stored)
    assert all(isinstance(text, str) for text in facts.values())
