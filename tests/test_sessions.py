"""Every check is run by `nox` alone or by `nox -s nightly`."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import nox.registry
import pytest
from _pytest.mark.expression import Expression

import noxfile

ROOT = Path(__file__).parent.parent


def test_every_session_is_run_by_nox_or_nightly() -> None:
    """A new session is in one of the two lists; only `bench`, which checks nothing, is in none."""
    listed = [*nox.options.sessions, *noxfile.NIGHTLY, "nightly", "bench"]
    assert sorted(listed) == sorted(nox.registry.get())


def test_the_tests_of_a_session_are_left_out_of_slow() -> None:
    """The files that `slow` passes over exist, and each belongs to one session that is run."""
    files = [file for own in noxfile.FILES.values() for file in own]
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert len(set(files)) == len(files)
    assert set(noxfile.FILES) <= {*nox.options.sessions, *noxfile.NIGHTLY}


def sessions_pytest(name: str) -> list[str]:
    """Return the arguments that a session gives to pytest."""
    ran: list[list[str]] = []

    class Recording:
        virtualenv = type("Environment", (), {"is_sandboxed": False})
        posargs: tuple[str, ...] = ()

        def run(self, *command: str, **_: Any) -> None:
            ran.append(list(command))

    noxfile_session: Any = getattr(noxfile, name).func
    noxfile_session(Recording())
    (command,) = [command for command in ran if command[0] == "pytest"]
    return command


@pytest.mark.parametrize("marks", [set(), {"whole"}, {"slow"}, {"whole", "slow"}])
def test_every_test_is_run_by_one_of_three_sessions(marks: set[str]) -> None:
    """`tests` takes what has no mark, `whole` and `slow` what has theirs; `slow` what has both."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    default = project["tool"]["pytest"]["ini_options"]["addopts"].split("'")[1]
    assert "-m" not in sessions_pytest("tests")
    chosen = [default]
    for name in ("whole", "slow"):
        arguments = sessions_pytest(name)
        chosen.append(arguments[arguments.index("-m") + 1])
    runs = [Expression.compile(text).evaluate(lambda mark: mark in marks) for text in chosen]
    assert runs == [not marks, marks == {"whole"}, "slow" in marks]


@pytest.mark.slow
def test_what_slow_leaves_out_by_name_is_run_by_ray() -> None:
    """`slow` passes over names that end in "ray]"; each of them is in a file that `ray` runs."""
    slow, ray = sessions_pytest("slow"), sessions_pytest("ray")
    left_out = slow[slow.index("-k") + 1].removeprefix("not ")
    others = [option for option in slow if option.startswith("--ignore=")]
    collecting = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "slow"]
    done = subprocess.run(
        [*collecting, "-k", left_out, *others], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = [line for line in done.stdout.splitlines() if "::" in line]
    assert names
    assert [name for name in names if name.split("::")[0] not in ray or "ray" not in name] == []
