"""What a result rests on is recorded, and survives JSON."""

from __future__ import annotations

import json
import os

import pytest

from study.hardware import available_cores
from study.store import provenance as module
from study.store.provenance import provenance


def test_provenance_is_json_and_names_what_matters() -> None:
    """Versions of what computes, hardware, data and base are there and come back from JSON."""
    found = provenance("sequential", 2, "embedded", {"train": "abc"})
    assert json.loads(json.dumps(found)) == found
    assert {"python", "torch", "transformers", "peft", "optuna"} <= set(found["versions"])
    assert "not installed" not in found["versions"].values()
    assert found["hardware"]["memory_bytes"] > 2**20
    assert found["hardware"]["cores"] >= 1
    assert found["data_sha256"] == {"train": "abc"}
    assert (found["engine"], found["workers"], found["base"]) == ("sequential", 2, "embedded")


def test_a_missing_package_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without a package is recorded as such and no failure."""
    monkeypatch.setattr(module, "PACKAGES", ("no-such-package",))
    versions = provenance("sequential", 1, "x", {})["versions"]
    assert versions["no-such-package"] == "not installed"


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is confined to one core has one."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert available_cores() == 1


def test_no_secret_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the environment's variables goes into a study that may be shared."""
    monkeypatch.setenv("HF_TOKEN", "hf_s3cret")
    assert "s3cret" not in json.dumps(provenance("sequential", 1, "x", {}))
