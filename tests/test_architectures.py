"""The sweep over model types: what it reports, and a few kinds of architecture in full."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from benchmarks import architectures
from benchmarks.one_architecture import Outcome


def test_a_type_that_hangs_or_dies_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process alone ends; the outcome says how, and the next type is tried."""

    def tried(model_type: str, task: str, folder: Path) -> Outcome:
        if model_type == "hangs":
            while True:
                pass
        if model_type == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        return Outcome(model_type, task, "packed")

    monkeypatch.setattr(architectures, "tried", tried)
    jobs = [("hangs", "translation"), ("dies", "translation"), ("works", "translation")]
    architectures.run(jobs, tmp_path / "found.jsonl", processes=2, seconds=1)
    found = architectures.read(tmp_path / "found.jsonl")
    assert found[jobs[0]].reason == "took longer than 1 s"
    assert found[jobs[1]].reason == "died (signal 9)"
    assert found[jobs[2]].verdict == "packed"


def test_the_page_counts_types_once(tmp_path: Path) -> None:
    """A type that trains in one of its tasks counts as one that trains; reasons are shown."""
    rows = [
        Outcome("a", "translation", "packed", model_class="A"),
        Outcome("a", "classification", "cannot", "no | head", "B"),
        Outcome("b", "translation", "alone", "experts", "C"),
        Outcome("c", "translation", "not built", "too large"),
    ]
    text = " ".join(architectures.page(rows).split())
    assert "Of the 3 model types" in text
    assert "**2 of them train, 1 of these packed**; 0 gave a wrong" in text
    assert "| a | B | cannot | no \\| head |" in text
    assert "| c | translation | too large |" in text


def test_the_last_outcome_of_a_type_counts(tmp_path: Path) -> None:
    """A type that is tried again has its new outcome."""
    file = tmp_path / "found.jsonl"
    rows = [Outcome("a", "translation", verdict) for verdict in ("wrong", "packed")]
    file.write_text("".join(json.dumps(vars(row)) + "\n" for row in rows))
    assert [row.verdict for row in architectures.read(file).values()] == ["packed"]


@pytest.mark.slow
def test_ten_kinds_of_architecture_train_and_reload(tmp_path: Path) -> None:
    """Each is packed or trained alone, and is the same packed, alone and reloaded by PEFT."""
    architectures.preload()
    architectures.run(architectures.QUICK, tmp_path / "found.jsonl", processes=2)
    found = architectures.read(tmp_path / "found.jsonl")
    assert {job: row.reason for job, row in found.items() if row.verdict != "packed"} == {}
    assert set(found) == set(architectures.QUICK)
