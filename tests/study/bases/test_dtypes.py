"""`base.dtype = "auto"` is decided once per study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.bases import dtypes
from study.bases.dtypes import with_dtype
from study.runner import run_study
from study.spec.base_and_data import BaseModelSpec
from study.spec.sections import StudySpec
from study.store import records
from study.store.storage import database_of, open_read_only
from tests.engine_runs import skeleton_of

MakeSpec = Callable[..., StudySpec]
FASTER = {"float32": 100.0, "bfloat16": 300.0}


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let any base count as large, on a processor without an accelerator."""
    monkeypatch.setattr(dtypes, "SMALL", 0)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(dtypes, "speeds", lambda: FASTER)
    return monkeypatch


def test_embedded_bases_are_float32() -> None:
    """Their results do not depend on the machine; own bases leave the choice to it."""
    assert BaseModelSpec().dtype == "float32"
    assert BaseModelSpec(dtype="auto").dtype == "float32"
    assert BaseModelSpec(model="folder").dtype == "auto"
    assert BaseModelSpec(model="folder", dtype="float64").dtype == "float64"


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        (FASTER, "bfloat16"),
        ({"float32": 100.0, "bfloat16": 110.0}, "float32"),
        ({"float32": 100.0, "bfloat16": 50.0}, "float32"),
    ],
)
def test_a_processor_takes_the_clearly_faster(
    tiny_spec: StudySpec, large: pytest.MonkeyPatch, speeds: dict[str, float], expected: str
) -> None:
    """A few percent are noise; the choice is said in one line."""
    large.setattr(dtypes, "speeds", lambda: speeds)
    said: list[str] = []
    chosen = with_dtype(tiny_spec, skeleton_of(tiny_spec).model, 1, said.append)
    assert chosen.base.dtype == expected
    assert len(said) == 1
    assert said[0].startswith(f"base: computes in {expected}: ")


def test_what_does_not_fit_is_halved(tiny_spec: StudySpec, large: pytest.MonkeyPatch) -> None:
    """bfloat16 where the workers' float32 bases exceed memory, however slow."""
    large.setattr(dtypes, "SHARE_OF_MEMORY", 0.0)
    large.setattr(dtypes, "speeds", None)
    chosen = with_dtype(tiny_spec, skeleton_of(tiny_spec).model, 2)
    assert chosen.base.dtype == "bfloat16"


def test_an_accelerator_takes_the_checkpoints(
    make_spec: MakeSpec, large: pytest.MonkeyPatch
) -> None:
    """float16, which overflows in training, becomes bfloat16."""
    large.setattr("torch.cuda.is_available", lambda: True)
    spec = make_spec()
    model: Any = skeleton_of(spec).model
    for own, expected in (("float32", "float32"), ("bfloat16",) * 2, ("float16", "bfloat16")):
        model.config.dtype = own
        assert with_dtype(spec, model, 1).base.dtype == expected


def test_a_small_base_is_not_measured(
    tiny_spec: StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is gained, so nothing is said."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(dtypes, "speeds", None)
    assert with_dtype(tiny_spec, skeleton_of(tiny_spec).model, 1).base.dtype == "float32"


def test_both_dtypes_are_measured() -> None:
    """In products per second."""
    assert all(speed > 0 for speed in dtypes.speeds().values())


def stored(out: Path) -> tuple[str, str]:
    """Return the dtype in the stored study and in its provenance."""
    database = database_of(open_read_only(str(out)))
    assert database is not None
    text = records.read_spec(database, 1)
    assert text is not None
    return text.split('dtype = "')[1].split('"')[0], records.read_provenance(database, 1)["dtype"]


@pytest.mark.whole
def test_a_resumed_run_keeps_the_dtype(
    make_spec: MakeSpec, tmp_path: Path, view: Any, large: pytest.MonkeyPatch
) -> None:
    """What the study began with counts, not what this machine measures today."""
    run_study(make_spec({"search.trials": 1}), tmp_path, view)
    assert stored(tmp_path) == ("bfloat16", "bfloat16")
    large.setattr(dtypes, "speeds", lambda: {"float32": 2.0, "bfloat16": 1.0})
    run_study(make_spec({"search.trials": 2}), tmp_path, view)
    assert stored(tmp_path) == ("bfloat16", "bfloat16")
    assert len([o for o in view.outcomes if o.config.role == "search"]) == 2
