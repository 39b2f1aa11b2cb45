"""optuna-dashboard opens the database of a run as it is."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis import load

pytestmark = pytest.mark.slow
PATIENCE_SECONDS = 90


@pytest.fixture(scope="module")
def address(petroleum_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a dashboard over a copy of the run listens."""
    pytest.importorskip(
        "optuna_dashboard", reason="optuna-dashboard is NOT tested: run `nox -s dashboard`"
    )
    database = tmp_path_factory.mktemp("dashboard") / "study.db"
    shutil.copy(petroleum_run / "study.db", database)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = str(Path(sys.executable).with_name("optuna-dashboard"))
    command = [program, f"sqlite:///{database}", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        yield f"http://127.0.0.1:{port}"
        server.terminate()


def _asked(address: str) -> Any:
    """The JSON document at an address, once the server is up."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < end, f"{address} does not answer"
            time.sleep(0.3)


def test_the_dashboard_shows_the_study_and_all_its_trials(
    address: str, petroleum_run: Path
) -> None:
    """Names, directions, values, intermediate values and parameters as they are stored."""
    data = load(petroleum_run)
    (summary,) = _asked(f"{address}/api/studies")["study_summaries"]
    assert summary["study_name"] == "petroleum"
    found = _asked(f"{address}/api/studies/{summary['study_id']}")
    assert len(found["trials"]) == len(data.frozen_trials)
    best = data.best_trial
    assert best is not None
    shown = next(t for t in found["trials"] if t["number"] == best.number)
    assert shown["values"] == best.values
    assert len(shown["intermediate_values"]) == len(best.intermediate_values)
    assert {p["name"] for p in shown["params"]} == set(best.params)
