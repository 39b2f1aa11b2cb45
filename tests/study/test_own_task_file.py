"""A task of one's own that a study file or an option names, from the file to the confirmation."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from analysis import load
from study.engines.engine_choice import EngineChoice
from study.errors import InputError
from study.preparing.preparation import read_inputs
from study.runner import run_study
from study.spec.files import load_spec, stored_spec
from study.tasks.own import own_task
from tests.command_line import Type
from tests.warm_workers import forked_workers

PAGE = Path(__file__).parents[2] / "docs" / "own-task.md"
STUDY = """
name = "mine"
task = "restore.py:RestoringTask"
base.model = "{base}"
data = {{ train = "train.tsv", dev = "dev.tsv", test = "dev.tsv" }}
training = {{ steps = 1, report_every = 1, batch_size = 2 }}
evaluation = {{ objective = "chrf", metrics = ["chrf", "loss"], max_new_tokens = 2 }}
search = {{ trials = 1, sampler = "random" }}
"""


def write_files(folder: Path, base: Path, text: Path) -> Path:
    """Write the class of docs/own-task.md, its data and a study file; return that."""
    (script,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (folder / "restore.py").write_text(script, encoding="utf-8")
    for split in ("train", "dev"):
        shutil.copy(text / f"{split}.tsv", folder)
    (folder / "mine.toml").write_text(STUDY.format(base=base), encoding="utf-8")
    return folder / "mine.toml"


@pytest.fixture(scope="module")
def run(
    tiny_base: Path, parallel_text: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A study file that names a task, and the folder of its run."""
    file = write_files(tmp_path_factory.mktemp("own-task"), tiny_base, parallel_text)
    run_study(load_spec(file), file.parent / "run", choice=EngineChoice())
    return file, file.parent / "run"


@pytest.mark.whole
def test_a_study_file_names_a_task_of_ones_own(run: tuple[Path, Path]) -> None:
    """Its class says which models it trains; the stored study names both, and the file's hash."""
    data = load(run[1])
    assert data.provenance["own_task"] == "RestoringTask"
    assert data.spec is not None
    assert data.spec["task"] == "translation"
    assert data.spec["own_task"]["name"] == "restore.py:RestoringTask"
    assert data.examples["dev"].sources[0] == data.examples["dev"].sources[0].lower()


@pytest.mark.whole
def test_several_workers_train_a_task_of_ones_own(
    tiny_base: Path, parallel_text: Path, tmp_path: Path
) -> None:
    """Each makes it from the file, whose class another process cannot find by name."""
    file = write_files(tmp_path, tiny_base, parallel_text)
    with forked_workers():
        run_study(load_spec(file), tmp_path / "run", choice=EngineChoice(workers=2))
    assert load(tmp_path / "run").counts == {"complete": 1}


def test_a_stored_study_does_not_decide_which_task_is_run(
    run: tuple[Path, Path], type_: Type, tmp_path: Path
) -> None:
    """It is refused in one line, unless this command trusts the study or names the class."""
    folder = Path(shutil.copytree(run[1], tmp_path / "theirs"))
    for command in ("confirm", "run"):
        ran = type_(command, folder)
        assert ran.status == 2
        (line,) = ran.problems
        assert 'names code to run: own_task.name = "restore.py:RestoringTask"' in line
        assert "--trust-study" in line
        assert "--task restore.py:RestoringTask" in line
    shutil.copy(run[0].with_name("restore.py"), tmp_path)
    for allowing in (["--trust-study"], ["--task", "restore.py:RestoringTask"]):
        options = ["--workers", 1, "--seeds", 2, "--top", 1, "--json", *allowing]
        assert type_("confirm", folder, *options).status == 0
    assert {row.role for row in load(folder).evaluations} == {"search", "baseline", "confirm"}


@pytest.mark.slow
def test_a_study_that_a_script_began_goes_on_with_an_option(
    run: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study names no file; the class that the option names is the one that began it."""
    monkeypatch.chdir(run[0].parent)
    spec = load_spec("mine.toml")
    plain = spec.model_copy(update={"own_task": None})
    run_study(plain, tmp_path / "run", task=own_task(spec), choice=EngineChoice())
    text = load(tmp_path / "run").spec_text
    more = stored_spec(
        text,
        str(tmp_path / "run"),
        overrides={"search.trials": 2},
        own_task="restore.py:RestoringTask",
    )
    run_study(more, tmp_path / "run", choice=EngineChoice())
    assert load(tmp_path / "run").counts == {"complete": 2}
    other = stored_spec(text, str(tmp_path / "run"), overrides={"search.trials": 3})
    with pytest.raises(InputError, match=r"was RestoringTask, now the one named in the study file"):
        run_study(other, tmp_path / "run", choice=EngineChoice())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("kind = ", "kin = "), r"RestoringTask\.kind: must name the shipped task .* got None"),
        (("import re\n", "import no_such_module\n"), "cannot import the file: ModuleNotFoundError"),
        (("class Restoring", "class Other"), "has no class 'RestoringTask'"),
        (("self.spec = spec", "1 / 0"), "RestoringTask: ZeroDivisionError"),
        (("def predict", "def predicts"), "a task needs predict; see docs"),
    ],
)
def test_a_task_that_cannot_be_used_is_refused_in_one_line(
    change: tuple[str, str], problem: str, tiny_base: Path, parallel_text: Path, tmp_path: Path
) -> None:
    """The line names the file, and what is wrong with it."""
    file = write_files(tmp_path, tiny_base, parallel_text)
    code = tmp_path / "restore.py"
    code.write_text(code.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    with pytest.raises(InputError, match=problem) as caught:
        read_inputs(load_spec(file)).faults.refuse()
    assert len(caught.value.problems) == 1
    assert str(code) in str(caught.value)


def test_a_file_that_changes_after_it_was_read_is_refused(
    tmp_path: Path, tiny_base: Path, parallel_text: Path
) -> None:
    """What is recorded is what trains: a worker that starts later finds the same file."""
    spec = load_spec(write_files(tmp_path, tiny_base, parallel_text))
    with (tmp_path / "restore.py").open("a") as code:
        code.write("\n# changed\n")
    with pytest.raises(InputError, match=r"^task: .*restore\.py: its content changed since the"):
        own_task(spec)


def test_a_changed_file_does_not_continue_a_study(
    run: tuple[Path, Path], tmp_path: Path, tiny_base: Path, parallel_text: Path
) -> None:
    """Old and new trials would not be comparable."""
    folder = Path(shutil.copytree(run[1], tmp_path / "run"))
    file = write_files(tmp_path, tiny_base, parallel_text)
    with (tmp_path / "restore.py").open("a") as code:
        code.write("\n# changed\n")
    with pytest.raises(InputError, match=r"own_task\.sha256: was"):
        run_study(load_spec(file, {"search.trials": 2}), folder, choice=EngineChoice())
