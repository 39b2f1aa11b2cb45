"""Study files are found by name or path, resolved, and refused in one line where they are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import tomli_w

from search_spaces import shipped_spaces
from study.errors import InputError
from study.kinds.methods import METHODS
from study.spec.files import DEFAULT_SPACE, described, load_spec, presets, read_toml
from study.spec.sections import spec_from_toml
from study.spec.toml_text import parse_toml

SPACE = "[parameters.alpha]\nchoices = [8, 16]\n"


def problem(target: str | Path, **overrides: object) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(InputError) as refused:
        load_spec(target, {k.replace("__", "."): v for k, v in overrides.items()})
    (line,) = refused.value.problems
    assert line.isprintable()
    return line


def write(folder: Path, content: str | bytes, name: str = "mine.toml") -> Path:
    """Write a study file."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_the_presets_that_ship() -> None:
    """These studies ship, and each says in its first line what it is."""
    assert set(presets()) == {
        "petroleum",
        "petroleum-wide",
        "nllb-600m",
        "distilbert-mnli",
        "distilbert-qqp",
        "distilbert-sweep",
        "eurollama",
        "eurollama-preferences",
        "eurollama-sweep",
        "llada",
        "method-shootout",
    }
    for text in described({**presets(), **shipped_spaces()}).values():
        assert len(text) > 20
        assert not text.startswith("#")


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_loads(name: str) -> None:
    """A preset is a study of its own name."""
    assert load_spec(name).name == name


def test_the_shootout_is_at_equal_budgets() -> None:
    """Every method has the same number of trials, and only the parameters that it has."""
    search = load_spec("method-shootout").search
    methods = search.parameters["method"].choices
    assert methods is not None
    assert search.balanced == ("method",)
    assert search.trials % len(methods) == 0
    for method in methods:
        held = {name for name in search.parameters if search.may_hold(name, str(method))}
        of_method = held - {"method", "learning_rate", *search.fixed}
        assert of_method <= set(METHODS[method].own)


def test_the_petroleum_presets_sample_at_random() -> None:
    """An importance wants an unbiased sample: 64 random trials, nothing pruned."""
    for name in ("petroleum", "petroleum-wide"):
        search = load_spec(name).search
        assert (search.sampler, search.pruner, search.trials) == ("random", "none", 64)


ONE_OF_TWO = {
    "translation": "",
    "classification": "",
    "sft": "",
    "dpo": "",
    "causal_translation": 'instruction = ""\n',
}


def split_study(folder: Path, task: str, more: str = "") -> Path:
    """Write a study whose dev set is a share of its training file."""
    data = f'[data]\ntrain = "t.jsonl"\ndev_share = 0.2\n{ONE_OF_TWO[task]}{more}'
    return write(folder, f'task = "{task}"\n[base]\nmodel = "m"\n{data}')


@pytest.mark.parametrize("task", ONE_OF_TWO)
def test_a_dev_file_of_the_command_line_wins_in_every_task(tmp_path: Path, task: str) -> None:
    """It replaces the file's share, and a line says so; in one file both are refused."""
    said: list[str] = []
    path = split_study(tmp_path, task)
    spec = load_spec(path, changes=[f"data.dev={tmp_path}/dev.jsonl"], remark=said.append)
    assert (spec.data.dev, spec.data.dev_share) == (tmp_path / "dev.jsonl", None)
    assert said == [f"data.dev of the command line replaces data.dev_share = 0.2 of {path}"]
    assert load_spec(path).data.dev_share == 0.2
    both = split_study(tmp_path, task, 'dev = "dev.jsonl"\n')
    assert "data.dev_share: takes the dev set from data.train, got 0.2 beside dev" in problem(both)
    again = load_spec(both, changes=["data.dev_share=0.3"], remark=said.append)
    assert (again.data.dev, again.data.dev_share) == (None, 0.3)


def test_epochs_of_the_command_line_replace_steps(tmp_path: Path) -> None:
    """`init` writes steps, and a person may want epochs; both on the command line are refused."""
    path = write(tmp_path, 'task = "translation"\n[training]\nsteps = 30\n')
    assert load_spec(path, {"training.epochs": 2}).training.epochs == 2
    assert "give steps or epochs" in problem(path, training__epochs=2, training__steps=3)


def test_a_searched_hyperparameter_of_the_command_line_is_fixed(tmp_path: Path) -> None:
    """Trials read it, a line says so, and the others are searched as before."""
    said: list[str] = []
    searched = "[search.parameters]\nlearning_rate = {low = 1e-4, high = 1e-2}\n"
    path = write(tmp_path, f'task = "translation"\n[search]\n{searched}rank.choices = [4, 8]\n')
    spec = load_spec(path, changes=["training.learning_rate=1e-3"], remark=said.append)
    assert spec.resolve({}).training.learning_rate == 1e-3
    assert "learning_rate" not in spec.search.search_space.distributions
    assert "rank" in spec.search.search_space.distributions
    fixed = "training.learning_rate = 0.001 of the command line"
    assert said == [f"{fixed} replaces the search of learning_rate in {path}"]
    assert "method.rank: must be at least 1" in problem(path, method__rank=0)


def test_a_wrong_change_hides_no_fault_of_the_file(tmp_path: Path) -> None:
    """The change, another change's value, a template and a key of the file: four lines at once."""
    write(tmp_path, "{% for %}", "bad.jinja")
    text = '[data]\ntrain = "t.jsonl"\nchat_template = "bad.jinja"\n'
    path = write(tmp_path, f'task = "sft"\nsede = 3\n[base]\nmodel = "m"\n{text}')
    with pytest.raises(InputError) as refused:
        load_spec(path, changes=["nonsense", "search.trials=0"])
    first, *others = refused.value.problems
    assert first == "--set: must be KEY=VALUE, e.g. training.steps=40, got 'nonsense'"
    assert len(others) == 3
    assert any("bad.jinja: must be a Jinja template" in line for line in others)
    assert any("sede: unknown key" in line for line in others)
    assert any("search.trials: must be" in line for line in others)


def test_a_study_that_an_earlier_version_stored_is_read() -> None:
    """It wrote a share beside a dev file, which it never took."""
    spec = load_spec("petroleum").model_copy(update={"task": "sft"})
    document = parse_toml(spec.to_toml()) | {"task": "sft", "base": {"model": "m"}}
    document["data"] = {"train": "t.jsonl", "dev": "d.jsonl", "dev_share": 0.1}
    document["evaluation"] = {"objective": "loss", "metrics": ["loss"]}
    assert spec_from_toml(tomli_w.dumps(document), "stored").data.dev_share is None


NO_TOML: dict[str, tuple[str | bytes, str]] = {
    "text": ("hello world", "not valid TOML: "),
    "a key twice": ("seed = 1\nseed = 2\n", "not valid TOML: Cannot overwrite"),
    "a NUL byte": (b"seed = 1\0", "not valid TOML: "),
    "Latin-1": ('name = "é"'.encode("latin-1"), "not UTF-8: byte 8"),
    "UTF-16": ("seed = 1".encode("utf-16"), "not UTF-8: byte 0"),
    "a key of many parts": (
        "seed = 1\n" + "a." * 200_000 + "a = 1",
        "not valid TOML: a dotted key of more than 32 parts (at line 2)",
    ),
    "millions of keys": (
        "# " * 2_000_001,
        "not valid TOML: must have at most 4,000,000 characters",
    ),
    "nested too deeply": ("a = " + "[" * 5000 + "]" * 5000, "not valid TOML: nested too deeply"),
    "a number of 5000 digits": ("seed = " + "1" * 5000, "not valid TOML: "),
    "binary": (bytes(range(256)), "not "),
}


@pytest.mark.parametrize("name", NO_TOML)
def test_what_is_no_toml_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    """A file that is no TOML in UTF-8 is refused with its path and the reason."""
    content, reason = NO_TOML[name]
    path = write(tmp_path, content)
    assert problem(path).startswith(f"{path}: {reason}")


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbfseed = 3\n", b"seed = 3\r\n[method]\r\nrank = 4\r\n", b"seed = 3"]
)
def test_editors_of_other_systems_write_study_files_too(tmp_path: Path, content: bytes) -> None:
    """A byte-order mark, CRLF line ends and a missing last line end are all fine."""
    assert load_spec(write(tmp_path, content)).seed == 3


@pytest.mark.parametrize("content", ["", 'name = "x"\n'])
def test_an_empty_file_is_no_study(tmp_path: Path, content: str) -> None:
    """A file that says nothing is refused with what to do, not run on the miniature."""
    line = problem(write(tmp_path, content))
    assert "needs base.model and data, got an empty study; `optuna-study init`" in line


def test_a_short_file_is_a_study_of_defaults(tmp_path: Path) -> None:
    """A file is named after itself and searches the wide space."""
    spec = load_spec(write(tmp_path, "seed = 1\n"))
    assert (spec.name, spec.search.space) == ("mine", DEFAULT_SPACE)


def test_paths_that_are_none(tmp_path: Path) -> None:
    """A folder, a missing file, a misspelt preset, a loop and an impossible name: one line each."""
    loop = tmp_path / "loop.toml"
    loop.symlink_to(loop)
    for target in (tmp_path, tmp_path / "none.toml", loop, "a" * 5000, "a\0b", ""):
        assert "no such study file or shipped study" in problem(target)
    assert "did you mean petroleum?" in problem("petrolum")


IMPOSSIBLE = {
    '[data]\ntrain = "\\u0000"\ndev = "b"': "data.train: invalid path, got '\\x00'",
    '[data]\ntrain = "loop/x"\ndev = "b"': "data.train: invalid path, got 'loop/x'",
    '[base]\nmodel = "\\u0000"': "base.model: invalid path, got '\\x00'",
    '[search]\nspace = "\\u0000"': "search.space: neither a shipped space nor a file, got '\\x00'",
    f'[search]\nspace = "{"a" * 5000}"': "search.space: neither a shipped space nor a file",
    '[search]\nspace = ""': "search.space: neither a shipped space nor a file, got ''",
    '[search]\nspace = "."': "search.space: neither a shipped space nor a file, got '.'",
    '[search]\nspace = "lora-wid"': "neither a shipped space nor a file, got 'lora-wid'; did you",
    "search = 5": "search: must be a table, got 5",
}


@pytest.mark.parametrize("content", list(IMPOSSIBLE))
def test_impossible_paths_in_a_file(tmp_path: Path, content: str) -> None:
    """A path that no system has is refused with its key, before anything is opened."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert IMPOSSIBLE[content] in problem(write(tmp_path, content))


def test_paths_are_relative_to_the_study_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data, a base folder, a dataset folder and a space are found beside the study file."""
    folder = tmp_path / "study"
    (folder / "base").mkdir(parents=True)
    (folder / "texts").mkdir()
    write(folder, SPACE, "own.toml")
    monkeypatch.chdir(tmp_path)
    files = write(
        folder,
        '[base]\nmodel = "base"\n[data]\ntrain = "t.tsv"\ndev = "../d.tsv"\n'
        '[search]\nspace = "own.toml"\n',
    )
    spec = load_spec(Path("study") / files.name)
    assert spec.base.model == str(folder / "base")
    assert spec.data.files == {"train": folder / "t.tsv", "dev": tmp_path / "d.tsv"}
    assert list(spec.search.parameters) == ["alpha"]
    hub = write(folder, '[base]\nmodel = "base"\n[data]\ncorpus = "texts"\n', "hub.toml")
    assert load_spec(hub).data.corpus == str(folder / "texts")


def test_a_presets_data_is_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`optuna-study run nllb-600m` takes the `train.tsv` that lies here."""
    monkeypatch.chdir(tmp_path)
    files = load_spec("nllb-600m").data.files
    assert files == {"train": tmp_path / "train.tsv", "dev": tmp_path / "dev.tsv"}


def test_a_hub_name_stays_a_name(tmp_path: Path) -> None:
    """What is no folder beside the study file is left for the hub."""
    spec = load_spec(write(tmp_path, '[base]\nmodel = "facebook/nllb-200-distilled-600M"\n'))
    assert spec.base.model == "facebook/nllb-200-distilled-600M"


def test_a_folder_named_embedded_does_not_hide_the_embedded_base(tmp_path: Path) -> None:
    """`embedded` always means the project's own."""
    (tmp_path / "embedded").mkdir()
    spec = load_spec(write(tmp_path, '[base]\nmodel = "embedded"\n[data]\ncorpus = "embedded"\n'))
    assert (spec.base.model, spec.data.origin) == ("embedded", "embedded")


def test_a_space_on_the_command_line_is_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--space own.toml` with a preset means the file here, not one beside the preset."""
    write(tmp_path, SPACE, "own.toml")
    monkeypatch.chdir(tmp_path)
    spec = load_spec("petroleum", {"search.space": "own.toml"})
    assert list(spec.search.parameters) == ["alpha"]
    assert "neither a shipped space" in problem("petroleum", search__space="other.toml")


def test_the_resolved_file_is_a_study_file_itself(tmp_path: Path) -> None:
    """`spec.toml` of a run folder runs the same study, also where its space's file is gone."""
    write(tmp_path, SPACE, "own.toml")
    own = write(tmp_path, '[search]\nspace = "own.toml"\n')
    specs = [load_spec(target) for target in (*presets(), own)]
    (tmp_path / "own.toml").unlink()
    for spec in specs:
        assert load_spec(write(tmp_path, spec.to_toml(), "spec.toml")) == spec


def test_a_files_own_parameters_replace_the_spaces(tmp_path: Path) -> None:
    """Parameters of the study file win by name; the others of the space stay."""
    content = (
        '[search]\nspace = "lora-narrow"\n[search.parameters.alpha]\nchoices = [3]\n'
        "[search.parameters.batch_size]\nlow = 4\nhigh = 8\n"
    )
    parameters = load_spec(write(tmp_path, content)).search.parameters
    assert list(parameters)[-1] == "batch_size"
    assert parameters["alpha"].choices == (3,)
    assert parameters["rank"].choices == (8, 16)


def test_one_more_parameter_is_added_to_the_default_space(tmp_path: Path) -> None:
    """A file that names no space and one parameter searches the default space with it."""
    spec = load_spec(write(tmp_path, "[search.parameters.batch_size]\nlow = 4\nhigh = 8\n"))
    default = load_spec(write(tmp_path, f'[search]\nspace = "{DEFAULT_SPACE}"\n'))
    assert {*spec.search.parameters} == {*default.search.parameters, "batch_size"}


def test_a_study_of_no_space_searches_its_own_parameters_alone(tmp_path: Path) -> None:
    """With `space = "none"` nothing is added to the file's own parameters."""
    content = '[search]\nspace = "none"\n[search.parameters.alpha]\nlow = 1\nhigh = 2\n'
    assert list(load_spec(write(tmp_path, content)).search.parameters) == ["alpha"]


def test_the_default_space_does_not_hide_why_a_method_lacks_a_parameter(tmp_path: Path) -> None:
    """The line says how to search only one's own parameters: rank comes from the space."""
    path = write(
        tmp_path,
        '[method]\nname = "full"\n[search.parameters.learning_rate]\nlow = 1e-6\nhigh = 1e-4\n',
    )
    with pytest.raises(InputError, match=r"or set search\.space = 'none' to search only your own"):
        load_spec(path)


@pytest.mark.parametrize("content", ["[alpha]\nlow = 1\n", "", SPACE + "[other]\n", "parameters=3"])
def test_a_space_file_of_another_form_is_refused(tmp_path: Path, content: str) -> None:
    """A space's file holds `[parameters.NAME]` tables and nothing else."""
    write(tmp_path, content, "own.toml")
    line = problem(write(tmp_path, '[search]\nspace = "own.toml"\n'))
    assert "own.toml: a search space contains only [parameters.NAME] tables" in line


def test_overrides_reach_into_sections(tmp_path: Path) -> None:
    """The command line's values win over the file's, and None leaves the file's own."""
    path = write(tmp_path, "seed = 1\n[search]\ntrials = 5\n")
    spec = load_spec(path, {"search.trials": 9, "seed": None, "training.steps": 60})
    assert (spec.search.trials, spec.seed, spec.training.steps) == (9, 1, 60)


def test_overrides_are_validated_like_the_file(tmp_path: Path) -> None:
    """A wrong value from the command line is the same one line."""
    path = write(tmp_path, "seed = 1\n")
    assert problem(path, search__trials=0).startswith(f"{path}: search.trials: ")
    assert "method: must be a table" in problem(write(tmp_path, "method = 3"), method__rank=3)


@pytest.mark.skipif(
    os.geteuid() == 0,
    reason="a file without read permission is NOT tested: root may read every file",
)
def test_a_file_without_permission(tmp_path: Path) -> None:
    """A file that may not be read is refused with the system's reason."""
    path = write(tmp_path, "")
    path.chmod(0)
    assert "cannot read the file: Permission denied" in problem(path)


def test_read_toml_of_a_folder(tmp_path: Path) -> None:
    """What cannot be opened is refused with the system's reason."""
    with pytest.raises(InputError, match="cannot read the file: Is a directory"):
        read_toml(tmp_path)
