"""The commands' own options, wrong in every way: status 2 with a reason, nothing left behind."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.fuzz.command import command, quiet

NUMBERS = ("0", "-1", "1e9", "1.5", "x", "", "nan", "inf", "9" * 40, "0x10", " 1", "１", "\x00")
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
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a tiny study file, a file and a loop of links."""
    monkeypatch.chdir(tmp_path)
    for name in ("train", "dev"):
        Path(f"{name}.tsv").write_text("source\ttarget\na\tb\n")
    Path("mine.toml").write_text('[data]\ntrain = "train.tsv"\ndev = "dev.tsv"\n')
    Path("file").write_text("keep me\n")
    Path("loop").symlink_to("loop")
    return tmp_path


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


OPTIONS = {
    "show": ("--study-name", "--space", "--objective", "--direction", "--json"),
    "importance": ("--best", "--surrogate", "--question", "--pruned", "--resamples", "--subset"),
    "report": ("--out", "--surrogate", "--objective"),
    "compare": ("--metric", "--split"),
    "export": ("--trial", "--out", "--merge"),
    "comet": ("--model", "--command", "--gpus", "--batch-size"),
    "base": ("--out", "--steps", "--width", "--vocabulary", "--layers", "--seed"),
    "check": ("--json",),
    "list": ("--json", "--all"),
    "nothing": ("--help",),
}
WORDS = (*NUMBERS, "file", "mine.toml", "loop", "/dev/null", "--", "-", "--json", "a" * 5000)


def test_commands_of_any_words() -> None:
    """Any command with any options and values is refused, or does its work."""
    try_words(range(30))


@pytest.mark.slow
def test_many_commands_of_any_words() -> None:
    """The same for a thousand."""
    try_words(range(1000))


def try_words(numbers: range) -> None:
    """Run commands of any words."""
    for number in numbers:
        rng = random.Random(f"words/{number}")
        name = rng.choice(sorted(OPTIONS))
        words = [rng.choice([*OPTIONS[name], *WORDS]) for _ in range(rng.randrange(5))]
        if name == "list" and words == ["--json"]:
            continue
        try:
            with quiet():
                ran = command(name, *words)
        except Exception as error:
            error.add_note(f"{name} {words}")
            raise
        assert ran.status in (0, 2), (name, words, ran)
        if ran.status == 0:
            assert name in ("list", "check"), (name, words)
    assert Path("file").read_text() == "keep me\n"


@pytest.mark.parametrize("slots", ["0", "-3", "many"])
def test_slots_are_a_number_or_auto(slots: str) -> None:
    """What is no number of slots is named with what is allowed."""
    ran = command("run", "mine.toml", "--slots", slots)
    assert ran.err.strip() == f"--slots: must be auto or 1 to 1024, got {slots!r}"
