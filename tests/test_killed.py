"""A run that the system kills leaves a line that says so."""

from __future__ import annotations

import subprocess
import sys

import pytest

from optuna_study.cli.killed import KILLED


@pytest.mark.parametrize(
    ("does", "line"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", KILLED),
        ("pass", ""),
        ("sys.exit(3)", ""),
        ("signal.raise_signal(signal.SIGINT)", ""),
    ],
)
def test_only_a_run_that_is_killed_leaves_a_line(does: str, line: str) -> None:
    """Nothing is said of one that ends, fails or is stopped from the keyboard."""
    program = (
        "import os, signal, sys\n"
        "from optuna_study.cli.killed import said_if_killed\n"
        f"with said_if_killed():\n    {does}\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stderr.strip().endswith(line)
    assert (KILLED in ran.stderr) == bool(line)
