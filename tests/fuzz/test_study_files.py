"""Wrong study files as `check` and `run` see them, absurd sizes and endless lines."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from study.bases import building
from study.errors import InputError
from study.spec.files import load_spec
from tests.fuzz.command import accepted, command
from tests.fuzz.mutants import KINDS, accepts

STUDY_FILE = KINDS["study-file"]


@pytest.mark.whole
def test_mutants_are_refused_by_the_commands(tmp_path: Path) -> None:
    """What is no study is refused by `check` and by `run` alike, in the same lines."""
    refused = [n for n in range(60) if not accepts(STUDY_FILE, STUDY_FILE.write(tmp_path, n))]
    for number in refused[:6]:
        path = STUDY_FILE.write(tmp_path, number)
        check, run = (command(name, path) for name in ("check", "run"))
        assert (check.status, check.out) == (2, "")
        assert check == run


@pytest.mark.slow
def test_mutants_that_are_studies_are_resolved_by_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check` says what an accepted mutant costs, or which data or model it lacks.

    The embedded bases stay untrained: mutants ask for many, and no weight matters to `check`.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPTUNA_STUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        building, "_trained", lambda miniature, tokenizer, _: miniature.new_model(tokenizer).eval()
    )
    paths = (STUDY_FILE.write(tmp_path, number) for number in range(2000))
    studies = (path for path in paths if accepts(STUDY_FILE, path))
    checked = [accepted("check", path) for path in itertools.islice(studies, 40)]
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
