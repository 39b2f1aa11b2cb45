"""COMET through a stand-in for `comet-score`: same arguments, same JSON, its own environment."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from analysis import load
from analysis.comparison.adapters import against_baselines
from optuna_study.cli import app
from study.errors import InputError
from study.finished.comet import Comet, chosen, find_comet, score_study
from study.store.records import Examples
from tests.synthetic import Shape, write_study

# As unbabel-comet 2: -t takes several files, rows are keyed by file, and lines are stripped.
STAND_IN = """#!{python}
import argparse, json, os, sys
parser = argparse.ArgumentParser()
parser.add_argument("-s", "--sources", required=True)
parser.add_argument("-t", "--translations", nargs="+", required=True)
parser.add_argument("-r", "--references", required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--to_json", default="")
parser.add_argument("--quiet", action="store_true")
parser.add_argument("--gpus", type=int, default=1)
parser.add_argument("--batch_size", type=int, default=16)
asked = parser.parse_args()
if "PYTHONPATH" in os.environ:
    sys.exit("another environment's packages")
if not asked.model.endswith(".ckpt") or not os.path.exists(asked.model):
    parser.error(asked.model + " is not a valid checkpoint path or model choice.")
def lines(path):
    with open(path, encoding="utf-8") as file:
        return [line.strip() for line in file.readlines()]
def score(mt, ref):
    return len(set(mt.split()) & set(ref.split())) / len(set(ref.split()))
data = {{
    file: [
        {{"src": s, "mt": m, "ref": r, "COMET": score(m, r)}}
        for s, m, r in zip(lines(asked.sources), lines(file), lines(asked.references))
    ]
    for file in asked.translations
}}
{damage}
with open(asked.to_json, "w", encoding="utf-8") as file:
    json.dump(data, file, ensure_ascii=False, indent=4)
"""


def stand_in(folder: Path, damage: str = "") -> str:
    """Write the command."""
    path = folder / "comet-score"
    path.write_text(STAND_IN.format(python=sys.executable, damage=damage), encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder as the hub keeps COMET's models."""
    folder = tmp_path / "wmt22-comet-da"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "model.ckpt").write_bytes(b"weights")
    (folder / "hparams.yaml").write_text("class_identifier: regression_metric\n")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder of one's own."""
    return write_study(tmp_path / "run", Shape(complete=4, failed=0, pruned=0, examples=6))


def expected(output: str, reference: str) -> float:
    """What the stand-in says of a sentence."""
    return len(set(output.split()) & set(reference.split())) / len(set(reference.split()))


def test_scores_are_stored_beside_the_others(
    run: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Base, default and best get a score a sentence; comparison and outputs show it."""
    monkeypatch.setenv("PYTHONPATH", "/ours")
    before = load(run)
    rows = chosen(before.evaluations, before.best_trial.number)  # type: ignore[union-attr]
    comet = find_comet(stand_in(tmp_path), model)
    assert score_study(str(run), before.database, rows, before.examples, comet) == len(rows)
    data = load(run)
    assert "comet" in data.metrics
    shown = data.outputs("best")
    assert shown["comet"].tolist() == pytest.approx(
        [expected(o, t) for o, t in zip(shown.output, shown.target, strict=True)]
    )
    assert data.score("best", "comet") == pytest.approx(shown["comet"].mean())
    found = against_baselines(data, "comet")
    assert [c.b.name for c in found] == list(data.baselines)
    assert data.statistics("best", "comet").signature == comet.signature
    assert comet.signature.startswith("comet|model:wmt22-comet-da|sha256:")
    assert data.score("best", "bleu") == before.score("best", "bleu")


def test_scoring_again_replaces_what_was_there(run: Path, model: Path, tmp_path: Path) -> None:
    """A second run leaves one score an evaluation."""
    data = load(run)
    rows = chosen(data.evaluations, None)
    for damage in ("", "for row in sum(data.values(), []): row['COMET'] = 0.5"):
        comet = find_comet(stand_in(tmp_path, damage), model)
        score_study(str(run), data.database, rows, data.examples, comet)
    scores = [row for row in load(run).score_rows if row.metric == "comet"]
    assert len(scores) == len(data.evaluations)
    assert {row.score for row in scores} == {0.5}


def test_line_breaks_and_empty_outputs_shift_nothing(model: Path, tmp_path: Path) -> None:
    """Every sentence gets its own score, whatever white space it holds."""
    comet = find_comet(stand_in(tmp_path), model)
    texts = Examples(("a\nb", "c", "d"), ("x\ny", "y", "z"))
    (first, second) = comet.scores(texts, [["x\u2028y", "", "z"], ["", "y\n", ""]])
    np.testing.assert_array_equal(first, [1.0, 0.0, 1.0])
    np.testing.assert_array_equal(second, [0.0, 1.0, 0.0])


# ---------------------------------------------------------------- not set up, or broken


def test_without_the_command_the_line_says_how_to_set_it_up(model: Path) -> None:
    """COMET is no dependency of ours."""
    with pytest.raises(
        InputError, match=r"^--command: command not found, got 'no-comet'; .*unbabel-comet"
    ):
        find_comet("no-comet", model)


def test_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    """The folder is named, and what it should hold."""
    with pytest.raises(InputError, match=r"^--model: must be .* one \*\.ckpt file; got 0 in "):
        find_comet(stand_in(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("sys.exit('CUDA out of memory')", "exited with status 1 and wrote: CUDA out of memory"),
        ("sys.exit(0)", "wrote no scores"),
        (
            "data = {k: rows[1:] for k, rows in data.items()}",
            "must return 3 scores, one per sentence; got 2",
        ),
        (
            "data['system-0.txt'][0]['COMET'] = float('nan')",
            "must return 3 scores, one per sentence; got 2",
        ),
        ("data['system-0.txt'][0].pop('COMET')", "in an unknown format"),
        ("data = {}", "in an unknown format"),
    ],
)
def test_a_command_that_fails_is_told_in_one_line(
    model: Path, tmp_path: Path, damage: str, said: str
) -> None:
    """All scores or none: nothing is stored of a failed run."""
    comet = Comet(stand_in(tmp_path, damage), model / "checkpoints" / "model.ckpt")
    with pytest.raises(InputError, match=said) as refused:
        comet.scores(Examples(("a", "b", "c"), ("x", "y", "z")), [["x", "y", "z"]])
    (line,) = refused.value.problems
    assert "\n" not in line


def test_the_command_line(
    run: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`optuna-study comet` finds the command in the environment variable and prints the scores."""
    monkeypatch.setenv("OPTUNA_STUDY_COMET", stand_in(tmp_path))
    monkeypatch.setattr(sys, "argv", ["optuna-study", "comet", str(run), "--model", str(model)])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert not ended.value.code
    assert "COMET" in capsys.readouterr().out
