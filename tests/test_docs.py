"""What README and docs say is what the program does."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import pytest

from analysis import load
from search_spaces import Parameter
from study.spec.problems import fields_in
from study.spec.sections import StudySpec
from tests.chat_fixtures import tiny_chat

__all__ = ["tiny_chat"]

ROOT = Path(__file__).parent.parent
TUTORIAL = ROOT / "docs" / "tutorial.md"
OWN_TASK = ROOT / "docs" / "own-task.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_RUN = "<!-- not run:"
FIRST = "optuna-study run"
"""The command that the README begins with; it trains for minutes."""
SHORTER = {
    FIRST: "--trials 32 --set training.steps=40",
    "optuna-study run petroleum-wide --trials 8": "--set training.steps=40 --workers 1",
    "optuna-study run my-study.toml": "--trials 4 --workers 1",
    "optuna-study confirm runs/petroleum --top 1 --seeds 2": "--workers 1",
}
"""Commands that train for long -> what the tests add to them; a second worker would import anew."""


def shell_commands(page: Path) -> Iterator[str]:
    """Yield the `optuna-study` and `python` commands of a page that are meant to be run."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"(?P<before>[^\n]*)\n```sh\n(?P<code>.*?)```", text, re.DOTALL):
        if not match["before"].startswith(NOT_RUN):
            for line in match["code"].splitlines():
                command = line.split("#")[0].strip()
                if command.startswith("optuna-study "):
                    yield command


def test_the_study_file_page_names_every_key() -> None:
    """docs/study-file.md has a row for each key that a study file can hold."""
    page = (ROOT / "docs" / "study-file.md").read_text(encoding="utf-8")
    written = (key for key in fields_in(StudySpec) if not key.startswith("own_task."))
    keys = {key.split(".")[-1] for key in written} | set(Parameter.model_fields)
    missing = sorted(key for key in keys if not re.search(rf"`(\w+\.)?{key}`", page))
    assert missing == []


def test_links_between_the_pages_lead_somewhere() -> None:
    """Every relative link of README and docs names a file of the project."""
    broken = [
        f"{page.name}: {link}"
        for page in PAGES
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []


NAME = re.compile(r"[./\w*-]*/[./\w*-]*|[\w*-]+\.(?:py|md|toml)\b|(?<![*\w])[A-Za-z_]\w+")
"""A path, a file's name, or an identifier."""
PROGRAMS = ("nox", "pip", "python", "optuna-study")
FOLDERS = ("search_spaces", "study", "analysis", "reports", "optuna_study", "tests", "benchmarks")


def named_in(page: Path) -> Iterator[str]:
    """Yield what a page writes between single back-quotes: names, and the paths of commands."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for span in re.findall(r"`([^`]+)`", prose):
        is_command = span.startswith(("-", *PROGRAMS))
        yield from (name for name in NAME.findall(span) if not is_command or "/" in name)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_what_the_recipes_name_is_in_the_code(page: str) -> None:
    """Every file, class, field and function that a recipe names exists under that name."""
    inside = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    paths = [
        f"/{path.relative_to(ROOT)}" for path in (*inside, *ROOT.glob("*"), *ROOT.glob(".*/*"))
    ]
    code = [path for path in inside if path.suffix in (".py", ".toml") and path != Path(__file__)]
    code += [ROOT / "noxfile.py", ROOT / "pyproject.toml"]
    words = {word for path in code for word in re.findall(r"\w+", path.read_text("utf-8"))}
    lost = [
        name
        for name in dict.fromkeys(named_in(ROOT / page))
        if name not in words and not fnmatch.filter(paths, f"*/{name.strip('/')}")
    ]
    assert lost == []


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would, with this environment's programs."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
    return done


@pytest.mark.whole
def test_the_task_of_ones_own_runs_as_it_stands(
    tiny_base: Path, parallel_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script of its page, over the study file of its page with fewer steps and trials."""
    text = OWN_TASK.read_text(encoding="utf-8")
    (study_file,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (script,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    small = {"steps = 120": "steps = 2\nreport_every = 2", "trials = 16": "trials = 1"}
    for page, test in {
        **small,
        '"base-model"': f'"{tiny_base}"',
        "tokens = 40": "tokens = 2",
    }.items():
        assert page in study_file
        study_file = study_file.replace(page, test)
    for split in ("train", "dev"):
        shutil.copy(parallel_text / f"{split}.tsv", tmp_path)
    (tmp_path / "restore.toml").write_text(study_file, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(compile(script, str(OWN_TASK), "exec"), {"__name__": "__main__"})
    assert load("runs/restore").provenance["own_task"] == "RestoringTask"


@pytest.mark.whole
def test_the_commands_in_readme_and_docs_run(tiny_chat: Path, tmp_path: Path) -> None:
    """Every command that README and docs show ends with status 0, in the order they stand in.

    A page's study is the README's, here with fewer trials and steps; then two processes share the
    pages.  `tests/test_tutorial.py` runs the first command with all of its trials.
    """
    shutil.copytree(tiny_chat / "base", tmp_path / "my-model")
    shutil.copy(tiny_chat / "train.jsonl", tmp_path / "chat.jsonl")
    seen: set[str] = set()
    readme, *pages = filter(None, (_not_yet_run(page, seen) for page in PAGES if page != TUTORIAL))
    assert set(SHORTER) <= set(readme)
    _run_all([f"{command} {SHORTER.get(command, '')}" for command in readme], tmp_path)
    middle = len(pages) // 2
    halves = [[c for page in half for c in page] for half in (pages[:middle], pages[middle:])]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda commands: _run_all(commands, tmp_path), halves))


def _not_yet_run(page: Path, seen: set[str]) -> list[str]:
    """The commands of a page that no earlier page shows."""
    commands = [c for c in dict.fromkeys(shell_commands(page)) if c not in seen]
    seen.update(commands)
    return commands


IN_ONE_PROCESS = """
import shlex, sys
from optuna_study.cli.app import main
for command in sys.argv[1:]:
    sys.argv = shlex.split(command)
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            sys.exit(f"{command}: status {ended.code}")
"""
"""Commands one after another as `optuna-study` runs them, but imported only once."""


def _run_all(commands: list[str], folder: Path) -> None:
    """Run commands in order; those that train have processes of their own."""
    for is_alone, some in groupby(commands, lambda c: c.split()[1] in ("run", "confirm", "train")):
        if is_alone:
            for command in some:
                run(command, folder)
        else:
            run(shlex.join([sys.executable, "-c", IN_ONE_PROCESS, *some]), folder)
