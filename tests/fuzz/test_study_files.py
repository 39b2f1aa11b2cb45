"""Thousands of wrong study files: each is a study that can be run, or lines without a traceback."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from study.errors import InputError
from study.make_sampler import pruner_for, sampler_for
from study.spec.files import load_spec
from study.spec.sections import StudySpec, spec_from_toml
from study.trials import baseline_configs, search_config
from tests.fuzz.command import accepted, command, in_time, is_problem
from tests.fuzz.study_files import mutant

SEED = 0


@pytest.fixture(autouse=True)
def quiet_optuna() -> Iterator[None]:
    """Optuna announces every study."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def read(path: Path, number: int) -> StudySpec | None:
    """Read a mutant; None where it is refused in lines."""
    path.write_bytes(mutant(SEED, number))
    try:
        with in_time():
            return load_spec(path)
    except InputError as refused:
        lines = refused.problems
    assert lines
    for line in lines:
        assert line.startswith((f"{path}: ", f"{path.parent}/"))
        assert is_problem(line)
    assert len(set(lines)) == len(lines)
    return None


def use(spec: StudySpec) -> None:
    """Do with a study what a run does before it trains: its files, its baselines, two trials."""
    content = spec.to_toml()
    again = spec_from_toml(content, "again")
    assert again == spec
    assert again.to_toml() == content
    assert baseline_configs(spec)[0].method is None
    assert 1 <= spec.search.budget <= spec.search.trials
    pruner_for(spec)
    directions = list(spec.evaluation.directions)
    study = optuna.create_study(directions=directions)
    for index in range(2):
        study.sampler = sampler_for(spec, index)
        trial = study.ask()
        values = spec.search.search_space.suggest(trial)
        assert search_config(spec, index, values, index).values.keys() >= values.keys()
        assert not any(isinstance(v, float) and math.isnan(v) for v in values.values())
        study.tell(trial, [1.0] * len(directions))


def try_all(folder: Path, numbers: range) -> int:
    """Read and use mutants; returns how many were accepted."""
    found = 0
    for number in numbers:
        try:
            spec = read(folder / "mine.toml", number)
            if spec is not None:
                found += 1
                with in_time():
                    use(spec)
        except Exception as error:
            error.add_note(f"mutant {number}: python -m tests.fuzz.study_files {number}")
            raise
    return found


def test_hundreds_of_mutants(tmp_path: Path) -> None:
    """Two hundred in every session; some are studies, most are refused."""
    assert 0 < try_all(tmp_path, range(200)) < 100


@pytest.mark.slow
def test_ten_thousand_mutants(tmp_path: Path) -> None:
    """Ten thousand of them, none with a traceback, none that hangs."""
    assert 0 < try_all(tmp_path, range(10_000)) < 5_000


def test_mutants_are_refused_by_the_commands(tmp_path: Path) -> None:
    """What is no study is refused by `check` and by `run` alike, in the same lines."""
    refused = [n for n in range(60) if read(tmp_path / "mine.toml", n) is None][:6]
    for number in refused:
        (tmp_path / "mine.toml").write_bytes(mutant(SEED, number))
        check, run = (command(name, tmp_path / "mine.toml") for name in ("check", "run"))
        assert (check.status, check.out) == (2, "")
        assert check == run


@pytest.mark.slow
def test_mutants_that_are_studies_are_resolved_by_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check` says what an accepted mutant costs, or which data or model it lacks."""
    monkeypatch.chdir(tmp_path)
    numbers = (n for n in range(2000) if read(tmp_path / "mine.toml", n) is not None)
    checked = [
        accepted("check", tmp_path / "mine.toml") for n, _ in zip(numbers, range(40), strict=False)
    ]
    assert len(checked) == 40
    assert any(checked)


ABSURD = {
    "training.steps": 10**9 + 1,
    "training.batch_size": 10**9,
    "training.report_every": 10**400,
    "evaluation.num_beams": 10**5,
    "evaluation.max_new_tokens": 10**9,
    "evaluation.batch_size": 10**12,
    "evaluation.report_examples": 10**40,
    "search.trials": 10**10,
    "search.keep_adapters": 2**63,
    "data.max_tokens": 10**10,
}


@pytest.mark.parametrize("key", ABSURD)
def test_absurd_sizes_are_refused(key: str) -> None:
    """A size that no machine has memory for is a line, not a machine that stands still."""
    with pytest.raises(InputError) as refused:
        load_spec("petroleum", {key: ABSURD[key]})
    (line,) = refused.value.problems
    assert line.startswith(f"petroleum.toml: {key}: must be at most ")


def test_a_long_line_is_cut_in_its_middle(tmp_path: Path) -> None:
    """A key of a hundred thousand characters is named by its beginning, and the rule still said."""
    (tmp_path / "mine.toml").write_text(f"{'x' * 100_000} = 1\n")
    ran = command("check", tmp_path / "mine.toml")
    (line,) = ran.err.splitlines()
    assert line.startswith(f"{tmp_path}/mine.toml: xxx")
    assert " … " in line
    assert "allowed: base, data" in line
    assert len(line) < 1100
