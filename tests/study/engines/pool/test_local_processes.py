"""A worker as a process of its own, whatever becomes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DIES = """
import os, signal

from study.engines.pool.local_processes import ProcessChannel

def make_engine(*_):
    from tqdm import tqdm
    list(tqdm([1], disable=False))
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    channel = ProcessChannel(make_engine)
    channel.send("load", ())
    try:
        channel.receive()
    except EOFError:
        print(channel.death().was_killed)
"""


def test_a_killed_worker_leaves_no_warning_of_a_semaphore(tmp_path: Path) -> None:
    """Bars of progress make one, which Python misses when the whole run ends."""
    script = tmp_path / "dies.py"
    script.write_text(DIES, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True, timeout=120
    )
    assert ran.stdout == "True\n"
    assert "leaked" not in ran.stderr
