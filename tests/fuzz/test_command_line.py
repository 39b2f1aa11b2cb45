"""The commands' own options, wrong in every way: status 2 with a reason, nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fuzz.command import command, quiet
from tests.fuzz.texts import place_to_work

pytestmark = pytest.mark.whole

WRONG: dict[str, tuple[str, ...]] = {
    "--trials": ("0", "-1", "1e9", "1.5", "x", "", "9" * 40),
    "--workers": ("0", "-1", "x", "1.5", ""),
    "--slots": ("0", "-1", "x", "1.5", "", "²", "auto ", "1025", "9" * 5000),
    "--seed": ("-1", str(2**31), "x", "1.5"),
    "--timeout": ("0", "-1", "nan", "inf", "x"),
    "--engine": ("", "packd", "PACKED"),
    "--space": ("", "x", ".", "\x1b[31m"),
    "--storage": ("x", "sqlite://", "sqlite:///.", "a://b", "://", "sqlite:////dev/null/x"),
    "--out": ("file", "file/x", "/dev/null", "/dev/null/x", "/proc/x", "loop", "x" * 300),
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder to work in, with a tiny study file, a file and a loop of links."""
    monkeypatch.chdir(tmp_path)
    place_to_work(tmp_path)


@pytest.mark.parametrize("option", WRONG)
def test_a_wrong_option_of_run_is_refused(option: str) -> None:
    """Every value ends with status 2, a line that names the option or what it stands for."""
    before = sorted(os.listdir())
    for value in WRONG[option]:
        with quiet():
            ran = command("run", "mine.toml", "--workers", "1", option, value)
        assert (ran.status, ran.out) == (2, ""), (value, ran)
        assert ran.err.strip(), value
    made = set(os.listdir()) - {*before, "runs"}  # the default run folder, before its storage
    assert made == set()
    assert Path("file").read_text() == "keep me\n"


def test_more_workers_than_any_machine_has() -> None:
    """A million processes are refused before one is started."""
    ran = command("run", "mine.toml", "--workers", "1000000")
    assert ran.status == 2
    (line,) = ran.err.splitlines()
    assert line.startswith("--workers: must be 1 to ")


@pytest.mark.parametrize("slots", ["0", "-3", "many"])
def test_slots_are_a_number_or_auto(slots: str) -> None:
    """What is no number of slots is named with what is allowed."""
    ran = command("run", "mine.toml", "--slots", slots)
    assert ran.err.strip() == f"--slots: must be auto or 1 to 1024, got {slots!r}"
