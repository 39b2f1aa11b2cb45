"""What a study says is text: in the terminal, in JSON, in a notebook."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from analysis import load
from tests.fuzz.command import Ran, command, quiet
from tests.security.hostile import HOSTILE, write_hostile
from tests.synthetic import Shape, write_study

STYLE = re.compile(r"\x1b\[[0-9;]*m")  # rich's own colours
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
SLOW = pytest.mark.slow
READING = (
    ("show",),
    pytest.param(("importance", "--surrogate", "forest", "--resamples", "2"), marks=SLOW),
    pytest.param(("importance", "--question", "local"), marks=SLOW),
    pytest.param(("compare",), marks=SLOW),
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose every text is hostile."""
    return write_hostile(tmp_path_factory.mktemp("hostile") / "run")


def ask(folder: Path, name: str, *options: str) -> Ran:
    """Run a reading command on the hostile study, `compare` with itself."""
    targets = (folder, folder) if name == "compare" else (folder,)
    with quiet():
        return command(name, *targets, *options)


@pytest.mark.parametrize("asked", READING)
def test_no_text_steers_the_terminal(
    hostile: Path, asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No control sequence comes through, but the colours that the program itself chooses."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "4000")
    ran = ask(hostile, *asked)
    assert ran.status == 0, ran.err
    assert not STEERING.search(STYLE.sub("", ran.out).replace("\n", ""))


def test_markup_in_a_name_is_a_name(hostile: Path) -> None:
    """Square brackets are neither colours nor links nor errors."""
    out = "".join(ask(hostile, "show").out.split())
    assert "[red]markup[/red][/][link=http://127.0.0.1:9/]x[/link]" in out


@pytest.mark.parametrize("asked", READING[:2])
def test_json_escapes_what_steers(hostile: Path, asked: tuple[str, ...]) -> None:
    """JSON holds every text unchanged, and no byte of it steers a terminal."""
    ran = ask(hostile, *asked, "--json")
    assert not STEERING.search(ran.out.replace("\n", ""))
    assert json.loads(ran.out)["study"] == HOSTILE


def test_an_error_names_a_hostile_study_in_one_line(hostile: Path) -> None:
    """What is escaped in tables is escaped in the lines of errors too."""
    ran = command("importance", hostile, "--objective", HOSTILE)
    assert ran.status == 2
    (line,) = ran.err.splitlines()
    assert line.isprintable()


@pytest.mark.slow
def test_paths_that_look_like_markup(tmp_path: Path) -> None:
    """A folder named like a tag is printed as it is."""
    thin = write_study(tmp_path / "[red]x[", Shape(complete=2, failed=0, enqueued=0, examples=4))
    out = thin / "r.html"
    with quiet():
        ran = command("report", thin, "--out", out, "--surrogate", "forest")
    assert (ran.status, ran.out.strip()) == (0, str(out))


def test_notebooks_show_text(hostile: Path) -> None:
    """The study's own table and every frame escape what they show."""
    data = load(hostile)
    assert "&lt;script&gt;alert(1)" in data._repr_html_()
    frames = (data.trials, data.scores, data.outputs("best"))
    for shown in (data._repr_html_(), *(frame._repr_html_() for frame in frames)):  # type: ignore[operator]
        assert not re.search(r"<(script|img|a|base|meta)\b", shown)
