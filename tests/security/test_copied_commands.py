"""A command that is shown to be copied runs itself and nothing else, whoever named its values."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from analysis import load
from reports.results import Results, analyse
from reports.sections.commands import commands, run_names
from reports.shell import argument, command_line, comment, file_name, option
from reports.swaps import swap_text
from study.spec.files import load_spec
from tests.synthetic import Shape, write_study

HOSTILE = (
    "x\ntouch ran",
    "x\rtouch ran",
    "x; touch ran",
    "x$(touch ran)",
    "x`touch ran`",
    "x' ; touch ran ; '",
    'x" ; touch ran ; "',
    "x & touch ran #",
    "x\x1b[201~\ntouch ran\n",
    "x\u2028touch ran",
    "x\u202e\ntouch ran",
    "-rf",
    "--out=ran",
    "~",
    "../../ran",
    "*",
    "",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A small study of ours."""
    shape = Shape(complete=2, failed=0, enqueued=0, examples=4)
    data = load(write_study(tmp_path_factory.mktemp("c") / "r", shape))
    return analyse(data, surrogate="forest", resamples=2)


@pytest.mark.parametrize("name", HOSTILE)
def test_the_commands_of_a_report_run_nothing_else(
    results: Results, tmp_path: Path, name: str
) -> None:
    """Pasted into a shell, every line is a comment or optuna-study with whole values."""
    engine = {"engine": name, "workers": name}
    data = replace(results.data, name=name, target=name, provenance=engine)
    found = commands([replace(results, data=data)] * 2)
    assert found is not None
    assert all(line.isprintable() for line in found.text.split("\n"))
    harmless = f"optuna-study() {{ :; }}\n{found.text}"
    ran = subprocess.run(
        ["bash", "-c", harmless], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []
    for line in found.text.split("\n"):
        words = shlex.split(line.removeprefix("# "))  # also where a shell takes no comments
        assert line.startswith("# ") or words[0] == "optuna-study"


@pytest.mark.parametrize("name", HOSTILE)
def test_files_that_a_command_names_lie_here(results: Results, name: str) -> None:
    """The study's file and run folder are named after it, and stay in their folders."""
    strange = replace(results, data=replace(results.data, name=name))
    (found,) = run_names([strange])
    assert found == file_name(name)
    assert Path(found).name == found
    assert not found.startswith(("-", "."))


def test_a_value_with_control_characters_gives_a_sentence() -> None:
    """No quoting keeps a terminal from acting on them."""
    line = command_line(["optuna-study", "report", "a\x1b[2Jb"])
    assert line == "# no command here, because of control characters in 'a\\x1b[2Jb'"


def test_invisible_characters_are_called_so() -> None:
    """A no-break space is quoted, as any space; a zero-width one gives a sentence."""
    assert command_line(["report", "a\xa0b"]) == "report 'a\xa0b'"
    line = command_line(["report", "a\u200bb"])
    assert line == "# no command here, because of invisible characters in 'a\\u200bb'"


def test_files_of_several_studies_have_names_of_their_own(results: Results) -> None:
    """Also where one study is called as another would be numbered."""
    named = [replace(results, data=replace(results.data, name=n)) for n in ("a", "a", "a-1", "a-2")]
    assert run_names(named) == ["a-3", "a-4", "a-1", "a-2"]


@pytest.mark.parametrize(
    ("target", "asks"),
    [
        ("postgresql://me:***@host/db", True),
        ("postgresql://host/db?password=***&x=1", True),
        ("***.db", False),
        ("sqlite:///***.db", False),
    ],
)
def test_a_password_is_asked_for_where_one_is_hidden(
    results: Results, target: str, asks: bool
) -> None:
    """A file may be called like a hidden password."""
    found = commands([replace(results, data=replace(results.data, target=target))])
    assert found is not None
    assert ("with the storage password" in found.text) == asks


def test_a_value_that_looks_like_an_option_is_a_value() -> None:
    """It is joined to its option, or made a path."""
    assert option("--study-name", "-x") == ["--study-name=-x"]
    assert option("--study-name", "x") == ["--study-name", "x"]
    assert argument("-x.db") == "./-x.db"
    assert argument("x.db") == "x.db"


@pytest.mark.parametrize("shell", [["bash"], ["sh"]])
def test_a_comment_is_harmless_where_comments_are_off(shell: list[str], tmp_path: Path) -> None:
    """An interactive zsh runs what follows `#`; so values are quoted there too."""
    for text in HOSTILE:
        line = comment(text, "again").replace("# ", ": ", 1)
        subprocess.run([*shell, "-c", line], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_report_says_that_a_study_file_names_code(results: Results) -> None:
    """Who copies the study file is told to review what it would run."""
    spec = load_spec("petroleum", {"base.model": "evil/x", "base.trust_remote_code": True})
    data = replace(results.data, spec_text=spec.to_toml())
    found = commands([replace(results, data=data)])
    assert found is not None
    assert "review the code that this study file names" in found.text
    assert "base.trust_remote_code = true" in found.text


@pytest.mark.parametrize("name", ['a"b', "a\\", 'x"); import os; ("', "a\nb", "é", "a\x1b"])
def test_a_python_snippet_holds_names_as_literals(name: str) -> None:
    """The lines that show how to swap adapters are Python, whatever the folder is called."""
    folders = [Path(name) / "adapters" / f"trial-{n:05d}" for n in range(2)]
    code = "\n".join(swap_text(folders, 1.0, 1.0, 1.0).split("\n")[1:4])
    calls: list[object] = []

    class Model:
        """Keeps what it is asked to load."""

        def from_pretrained(self, base: object, folder: str, adapter_name: str) -> Model:
            calls.append(folder)
            return self

        def load_adapter(self, folder: str, adapter_name: str) -> None:
            calls.append(folder)

        def set_adapter(self, name: str, inference_mode: bool) -> None:
            calls.append(name)

    exec(code, {"PeftModel": Model(), "base": None})
    assert calls == [str(folders[0]), str(folders[1]), "trial-00001"]
