"""A node trains what the parent would, or says in one line what it lacks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.engines.engine_choice import EngineChoice
from study.engines.pool import nodes
from study.engines.pool.nodes import make_on_node, node_requirements
from study.errors import InputError
from study.spec.sections import StudySpec
from tests.patient_engine import PatientEngine, make_patient_engine

CHOICE = EngineChoice(slots=3)


def made(spec: StudySpec, parents: Any) -> PatientEngine:
    """An engine made on a node."""
    engine = make_on_node(make_patient_engine, "node 10.0.0.5", spec, parents, None, CHOICE)
    assert isinstance(engine, PatientEngine)
    return engine


def problem_of(spec: StudySpec, parents: Any) -> str:
    """The one line with which a node refuses."""
    with pytest.raises(InputError) as error:
        made(spec, parents)
    (problem,) = error.value.problems
    return problem


@pytest.fixture
def own_spec(
    make_spec: Callable[..., StudySpec], tiny_base: Path, parallel_text: Path, tmp_path: Path
) -> StudySpec:
    """A study over copies of base and texts, which may be spoilt."""
    shutil.copytree(tiny_base, tmp_path / "base")
    shutil.copytree(parallel_text, tmp_path / "text")
    files = {f"data.{s}": str(tmp_path / "text" / f"{s}.tsv") for s in ("train", "dev", "general")}
    return make_spec({"base.model": str(tmp_path / "base"), **files})


def test_a_node_that_has_all_makes_its_engine(own_spec: StudySpec) -> None:
    """Slots and all."""
    assert made(own_spec, node_requirements(own_spec, own_spec.base.model)).free_slots == 3


def test_other_versions_are_refused(own_spec: StudySpec) -> None:
    """Another torch is another arithmetic; another build of it for the device is none."""
    parents = node_requirements(own_spec, own_spec.base.model)
    here = parents.versions["torch"]
    rebuilt = here.split("+")[0] + "+cu999"
    assert made(own_spec, replace(parents, versions={**parents.versions, "torch": rebuilt}))
    other = replace(parents, versions={**parents.versions, "torch": "1.13.1"})
    assert problem_of(own_spec, other) == (
        "on node 10.0.0.5: torch: trials of different versions cannot be compared; "
        f"got {here}, the run has 1.13.1"
    )


def test_data_that_is_not_there_or_not_the_same(own_spec: StudySpec) -> None:
    """The file is named."""
    parents = node_requirements(own_spec, own_spec.base.model)
    dev = own_spec.data.files["dev"]
    dev.write_text(dev.read_text(encoding="utf-8") + "a\tb\n", encoding="utf-8")
    assert "dev.tsv: differs from the run's file" in problem_of(own_spec, parents)
    dev.unlink()
    assert "dev.tsv: no such file; the data must be at" in problem_of(own_spec, parents)


def test_a_model_that_is_not_there_or_not_the_same(own_spec: StudySpec) -> None:
    """The folder is named, and what it differs in."""
    parents = node_requirements(own_spec, own_spec.base.model)
    folder = Path(own_spec.base.model)
    with (folder / "config.json").open("a", encoding="utf-8") as file:
        file.write("\n")
    problem = problem_of(own_spec, parents)
    assert problem.endswith("base: differs from the run's model in config.json")
    shutil.rmtree(folder)
    assert "base: no such folder; a model must be at" in problem_of(own_spec, parents)


def test_an_embedded_model_is_brought_once(
    own_spec: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is put into the node's cache, whole, and not built there; a damaged one is put anew."""
    monkeypatch.setenv("OPTUNA_STUDY_CACHE", str(tmp_path / "cache"))
    there = Path(own_spec.base.model)
    kept = tmp_path / "cache" / there.name
    monkeypatch.setattr(nodes, "locate_base", lambda spec: str(kept))
    files = {file.name: file.read_bytes() for file in there.iterdir()}
    parents = replace(node_requirements(own_spec, str(there)), embedded={there.name: files})
    made(own_spec, parents)
    assert {file.name: file.read_bytes() for file in kept.iterdir()} == files
    was = (kept / "config.json").stat().st_mtime_ns
    made(own_spec, parents)
    assert (kept / "config.json").stat().st_mtime_ns == was
    (kept / "model.safetensors").write_bytes(b"damaged")
    made(own_spec, parents)
    assert {file.name: file.read_bytes() for file in kept.iterdir()} == files


def test_the_embedded_base_is_what_the_parent_brings(
    make_spec: Callable[..., StudySpec], tiny_base: Path
) -> None:
    """Its files travel; a folder that is named stays where it is, and only sizes are compared."""
    embedded = make_spec({"base.model": "embedded"})
    found = node_requirements(embedded, str(tiny_base))
    assert set(found.embedded) == {tiny_base.name}
    assert found.models == {}
    named = node_requirements(make_spec(), str(tiny_base))
    assert named.embedded == {}
    assert "model.safetensors" in named.models[str(tiny_base)]
