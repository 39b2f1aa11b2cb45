"""Files of the user's that have the names of our packages: they work beside us, or we say so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from optuna_study.shadowing import PACKAGES

ROOT = Path(__file__).parent.parent
SCRIPT = "from optuna_study import load_spec; print(load_spec('petroleum').name)"


def python(folder: Path, *arguments: str, after: bool = False) -> subprocess.CompletedProcess[str]:
    """Run Python in a user's folder, where this project is found as in an editable installation.

    Such an installation finds each package by a hook that Python asks last; `after` puts the
    project on the path instead, as an ordinary installation does.
    """
    start = folder.parent / "site"
    start.mkdir(exist_ok=True)
    packages = [*PACKAGES, "optuna_study"]
    hook = f"""
        import sys
        from importlib.machinery import PathFinder

        class Editable:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name in {packages!r}:
                    return PathFinder.find_spec(name, [{str(ROOT)!r}])

        # the hook of another installation in this environment would find its own packages
        names = {{f: getattr(f, "__name__", "") for f in sys.meta_path}}
        sys.meta_path[:] = [f for f, name in names.items() if "Editable" not in name]
        sys.meta_path.append(Editable)
    """
    sitecustomize = start / "sitecustomize.py"
    sitecustomize.write_text("" if after else textwrap.dedent(hook), encoding="utf-8")
    path = [str(start), str(ROOT)] if after else [str(start)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a user's folder."""
    made = tmp_path / "work"
    made.mkdir()
    return made


@pytest.mark.parametrize("name", PACKAGES)
@pytest.mark.parametrize("form", ["{}.py", "{}/__init__.py"])
def test_a_script_beside_a_module_of_our_name_gets_one_line(
    folder: Path, name: str, form: str
) -> None:
    """The door raises an ImportError that names the user's file and the package, and what to do."""
    own = folder / form.format(name)
    own.parent.mkdir(exist_ok=True)
    own.write_text("", encoding="utf-8")
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    ran = python(folder, "script.py")
    assert ran.returncode == 1
    last = ran.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: {str(own)!r}: hides the package {name!r}")
    assert "rename it" in last


def test_a_script_of_our_name_gets_the_line(folder: Path) -> None:
    """A user's `analysis.py` that imports the door would be imported in place of ours."""
    (folder / "analysis.py").write_text(SCRIPT, encoding="utf-8")
    ran = python(folder, "analysis.py")
    assert "hides the package 'analysis'" in ran.stderr.splitlines()[-1]


@pytest.mark.parametrize("form", ["analysis.py", "study/__init__.py"])
def test_the_command_ends_with_status_2_and_the_line(folder: Path, form: str) -> None:
    """`python -m optuna_study` looks in the working folder first; it says so without traceback."""
    own = folder / form
    own.parent.mkdir(exist_ok=True)
    own.write_text("", encoding="utf-8")
    ran = python(folder, "-m", "optuna_study", "list")
    assert (ran.returncode, ran.stdout) == (2, "")
    (line,) = ran.stderr.splitlines()
    assert repr(str(own)) in line


@pytest.mark.whole
def test_the_advice_works(folder: Path) -> None:
    """With -P, or in another folder, the same command and script run."""
    (folder / "analysis.py").write_text("", encoding="utf-8")
    script = folder.parent / "elsewhere.py"
    script.write_text(SCRIPT, encoding="utf-8")
    assert python(folder, "-P", "-m", "optuna_study", "list").returncode == 0
    assert python(folder, "-P", "-c", SCRIPT).stdout == "petroleum\n"
    assert python(folder, str(script)).stdout == "petroleum\n"


@pytest.mark.whole
@pytest.mark.parametrize("after", [False, True], ids=["editable", "installed"])
def test_folders_of_data_with_our_names_hide_nothing(folder: Path, after: bool) -> None:
    """`study/`, `reports/` and others without `__init__.py` hide nothing, however installed."""
    for name in PACKAGES:
        (folder / name).mkdir()
        (folder / name / "notes.txt").write_text("", encoding="utf-8")
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    for arguments in (["script.py"], ["-c", SCRIPT]):
        ran = python(folder, *arguments, after=after)
        assert (ran.stdout, ran.stderr) == ("petroleum\n", "")
    assert python(folder, "-m", "optuna_study", "list", after=after).returncode == 0


def test_a_folder_that_was_imported_already_gets_the_line(folder: Path) -> None:
    """What Python has loaded as `reports` cannot be taken back."""
    (folder / "reports").mkdir()
    ran = python(folder, "-c", f"import reports; {SCRIPT}")
    assert "hides the package 'reports'" in ran.stderr.splitlines()[-1]


@pytest.mark.whole
def test_the_installed_command_does_not_look_in_the_working_folder(folder: Path) -> None:
    """`optuna-study` works in a folder that has modules of all our names."""
    for name in PACKAGES:
        (folder / f"{name}.py").write_text("raise SystemExit('not ours')", encoding="utf-8")
    command = folder.parent / "bin" / "optuna-study"  # as pip writes it
    command.parent.mkdir()
    command.write_text(
        "import sys\nfrom optuna_study.__main__ import main\nsys.exit(main())\n", encoding="utf-8"
    )
    ran = python(folder, str(command), "list")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "petroleum" in ran.stdout


@pytest.mark.whole
def test_workers_find_the_packages_beside_folders_of_data(folder: Path) -> None:
    """A process that a study starts finds what its parent found."""
    for name in PACKAGES:
        (folder / name).mkdir()
    (folder / "script.py").write_text(
        textwrap.dedent(
            """
            import multiprocessing

            if __name__ == "__main__":
                from optuna_study import load_spec

                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    print(pool.apply(load_spec, ["petroleum"]).name)
            """
        ),
        encoding="utf-8",
    )
    ran = python(folder, "script.py")
    assert ran.stdout == "petroleum\n", ran.stderr


@pytest.mark.whole
def test_a_copy_of_the_project_finds_its_own_packages(tmp_path: Path) -> None:
    """In a clone, packages beside the door are ours, wherever another installation has its own."""
    clone = tmp_path / "clone"
    for name in (*PACKAGES, "optuna_study"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    ran = python(clone, "-c", f"{SCRIPT}; import study; print(study.__file__)")
    assert ran.stdout.splitlines()[-1] == str(clone / "study" / "__init__.py"), ran.stderr
