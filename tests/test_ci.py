"""`.ci/run` tests the last commit somewhere else, by the README's own line."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = """<!-- test command -->
```sh
mkdir .venv && cp notes.txt "$RESULT" && pwd > "$RESULT.folder" && test -d "$OPTUNA_STUDY_CACHE"
```
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a small clone with the script, a `.venv` of the user's and an unfinished change."""
    clone = tmp_path / "clone"
    (clone / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", clone / ".ci")
    (clone / "README.md").write_text(README, encoding="utf-8")
    (clone / "notes.txt").write_text("committed", encoding="utf-8")
    (clone / ".gitignore").write_text(".venv/\n", encoding="utf-8")
    (clone / ".venv").mkdir()
    (clone / ".venv" / "mine").write_text("", encoding="utf-8")
    return clone


def run(clone: Path) -> subprocess.CompletedProcess[str]:
    """Run the script where PostgreSQL needs no installing and temporary files are watched."""
    tools, temporary = clone.parent / "bin", clone.parent / "tmp"
    tools.mkdir()
    temporary.mkdir()
    (tools / "apt-get").write_text("#!/bin/sh\n", encoding="utf-8")
    (tools / "apt-get").chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    result = str(clone.parent / "result")
    environment = {**os.environ, "PATH": path, "TMPDIR": str(temporary), "RESULT": result}
    return subprocess.run([clone / ".ci" / "run"], env=environment, capture_output=True, text=True)


def commit(clone: Path) -> None:
    """Commit everything, whoever the user is."""
    author = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=clone, check=True)


@pytest.mark.skipif(
    shutil.which("git") is None, reason="the copy of the last commit is NOT tested: needs git"
)
def test_the_last_commit_is_tested_in_a_folder_that_is_removed(clone: Path) -> None:
    """A `.venv` and an unfinished change stay as they are, and nothing is left behind."""
    commit(clone)
    (clone / "notes.txt").write_text("unfinished", encoding="utf-8")
    ran = run(clone)
    assert ran.returncode == 0, ran.stderr
    assert (clone.parent / "result").read_text(encoding="utf-8") == "committed"
    assert (clone.parent / "result.folder").read_text(encoding="utf-8").strip() != str(clone)
    assert (clone / "notes.txt").read_text(encoding="utf-8") == "unfinished"
    assert [path.name for path in (clone / ".venv").iterdir()] == ["mine"]
    assert list((clone.parent / "tmp").iterdir()) == []


def test_an_unpacked_archive_is_tested_too(clone: Path) -> None:
    """Without git the folder itself is copied, except its `.venv`."""
    ran = run(clone)
    assert ran.returncode == 0, ran.stderr
    assert [path.name for path in (clone / ".venv").iterdir()] == ["mine"]


def test_a_failing_command_fails(clone: Path) -> None:
    """The status is the command's, and a README without the command is an error."""
    readme = clone / "README.md"
    readme.write_text(README.replace("mkdir .venv", "false"), encoding="utf-8")
    assert run(clone).returncode == 1
    readme.write_text("no command", encoding="utf-8")
    shutil.rmtree(clone.parent / "bin")
    shutil.rmtree(clone.parent / "tmp")
    ran = run(clone)
    assert (ran.returncode, "no command" in ran.stderr) == (1, True)
