"""Studies with metrics of one's own: run, failing, continued, confirmed, and read without them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis import load
from analysis.comparison.within_study import compare_trials
from analysis.studies.targets import target_of
from study.engines.engine_choice import EngineChoice
from study.engines.evaluation import Examiner
from study.engines.passes import TokenBudget
from study.errors import InputError
from study.metrics.own import own_scores
from study.runner import run_study
from study.spec.sections import StudySpec
from study.trials import search_config
from tests.command_line import Type
from tests.conftest import RecordingView
from tests.engine_runs import bench_of

pytestmark = pytest.mark.whole

LENGTHS = """
def score(outputs, examples):
    return [abs(len(o) - len(e["reference"])) / len(e["source"]) for o, e in zip(outputs, examples)]
"""
JUDGE = """
import json, sys
for line in sys.stdin:
    row = json.loads(line)
    print(float(row["output"][:1] == row["reference"][:1]))
"""
METRICS = ["mine.py:score", "judge", "perplexity", "loss", "exact_match"]


@pytest.fixture(scope="module")
def make_own(
    make_spec: Callable[..., StudySpec], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., StudySpec]:
    """Return a function that makes a tiny study of own metrics."""

    def make(code: str = LENGTHS, **more: Any) -> StudySpec:
        folder = tmp_path_factory.mktemp("metrics")
        (folder / "mine.py").write_text(code)
        (folder / "judge.py").write_text(JUDGE)
        changes = {
            "evaluation.objective": "mine.py:score",
            "evaluation.metrics": METRICS,
            "evaluation.minimize": ["mine.py:score"],
            "evaluation.command": {"name": "judge", "run": [sys.executable, "judge.py"]},
            "evaluation.metric_folder": str(folder),
            "search.trials": 2,
        }
        return make_spec({**changes, **{k.replace("__", "."): v for k, v in more.items()}}, "own")

    return make


@pytest.fixture(scope="module")
def own_run(make_own: Callable[..., StudySpec], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run folder of such a study; its metrics' files are gone."""
    spec, out = make_own(), tmp_path_factory.mktemp("own-run")
    run_study(spec, out, choice=EngineChoice("packed"))
    (spec.evaluation.folder / "mine.py").unlink()
    (spec.evaluation.folder / "judge.py").unlink()
    return out


def test_own_metrics_are_scores_like_all_others(
    own_run: Path, make_own: Callable[..., StudySpec]
) -> None:
    """Stored example by example under both baselines and each trial, and compared in pairs."""
    data = load(own_run)
    assert data.metrics[0] == data.objective == "mine.py:score"
    assert set(data.metrics) == set(METRICS)
    frame = data.outputs("best")
    texts = list(zip(frame.source, frame.target, strict=True))
    again = own_scores(make_own().evaluation, ["mine.py:score", "judge"], list(frame.output), texts)
    for name, statistics in again.items():
        assert frame[name].tolist() == statistics.example_scores().tolist()
        assert data.score("best", name) == pytest.approx(statistics.score)
    assert data.best_trial is not None
    assert data.best_trial.value == min(t.value for t in data.complete if t.value is not None)
    found = compare_trials(data, "best", "base", resamples=50)
    assert found.gain == pytest.approx(-found.difference)
    assert found.row.label == "score"
    assert target_of(data, "judge").direction == "maximize"
    assert target_of(data, "general_mine.py:score").direction == "minimize"


@pytest.mark.slow
def test_workers_find_the_metrics(
    own_run: Path, make_own: Callable[..., StudySpec], tmp_path: Path
) -> None:
    """Processes of their own score the trials as one process does."""
    run_study(make_own(), tmp_path, choice=EngineChoice("packed", None, 2))
    for metric in ("mine.py:score", "judge"):
        alone, beside = (load(run).score("best", metric) for run in (own_run, tmp_path))
        assert alone is not None
        assert beside == pytest.approx(alone)


def test_perplexity_is_that_of_the_stored_loss(own_run: Path) -> None:
    """e to the power of the loss per token, on each split."""
    data = load(own_run)
    for split in ("dev", "general"):
        loss, perplexity = (data.score("best", m, split) for m in ("loss", "perplexity"))
        assert loss is not None
        assert perplexity == pytest.approx(math.exp(loss))


@pytest.mark.usefixtures("one_figure")
def test_reading_commands_need_no_metric(own_run: Path, type_: Type, tmp_path: Path) -> None:
    """Name, direction and mean come from what is stored; the files are gone."""
    shown = type_("show", own_run)
    assert (shown.status, "mine.py:score" in shown.out) == (0, True)
    table = tmp_path / "numbers.csv"
    found = type_("compare", own_run, "--metric", "mine.py:score", "--json", "--csv", table)
    assert found.status == 0
    assert "mine.py:score" in table.read_text(encoding="utf-8")
    assert json.loads(found.out)["metrics"] == ["mine.py:score"]
    page = tmp_path / "page.html"
    assert type_("report", own_run, "--out", page).status == 0
    text = page.read_text(encoding="utf-8")
    assert "best score" in text


def test_a_stored_metric_is_not_run_unasked(
    make_own: Callable[..., StudySpec], own_run: Path, parallel_text: Path, type_: Type
) -> None:
    """`confirm` says which code the study names, and runs it only with --trust-study."""
    test = parallel_text / "dev.tsv"
    refused = type_("confirm", own_run, "--test", test, "--seeds", 2)
    assert refused.status == 2
    assert "evaluation.metrics = [" in refused.err
    assert "evaluation.command.run = [" in refused.err
    assert "--trust-study" in refused.err
    trusted = type_("confirm", own_run, "--test", test, "--seeds", 2, "--trust-study")
    assert trusted.status == 2  # its file is gone
    assert "mine.py: cannot read the file" in trusted.err


# ---------------------------------------------------------------- trials that fail

FRAGILE = """
from pathlib import Path
CALLS = Path(__file__).with_name("calls")
def score(outputs, examples):
    calls = int(CALLS.read_text()) if CALLS.exists() else 0
    CALLS.write_text(str(calls + 1))
    if calls >= 5:
        return [1.0] * (len(outputs) - 1) + [float("nan")]
    return [1.0] * len(outputs)
"""


@pytest.mark.parametrize("engine", ["sequential", "packed"])
def test_a_metric_that_fails_costs_only_its_trial(
    make_own: Callable[..., StudySpec], view: RecordingView, tmp_path: Path, engine: str
) -> None:
    """The trial fails with the example's number and one line, and the study goes on."""
    spec = make_own(
        FRAGILE,
        evaluation__objective="loss",
        evaluation__minimize=None,
        evaluation__metrics=["mine.py:score", "loss"],
        evaluation__command=None,
    )
    run_study(spec, tmp_path, view, choice=EngineChoice(engine, None, 1))  # type: ignore[arg-type]
    data = load(tmp_path)
    assert data.counts == {"fail": 2}
    for trial in data.frozen_trials:
        reason = trial.user_attrs["failure"]
        assert "mine.py:score: example 12: must be a finite number, got nan" in reason
        assert "\n" not in reason


def test_a_report_computes_no_other_metric_of_ones_own(
    make_own: Callable[..., StudySpec],
) -> None:
    """However small the passes are: a judge may be slow, and a report asks only for one score."""
    wanted = {"evaluation__objective": "exact_match", "evaluation__minimize": None}
    named = {"evaluation__metrics": ["mine.py:score", "exact_match"], "evaluation__command": None}
    bench = bench_of(make_own("raise SystemError", **wanted, **named))
    configs = [search_config(bench.spec, number, {}, number) for number in range(3)]
    budget = TokenBudget(evaluation=1)
    found = Examiner(bench.spec, bench.task, bench.base.model, budget=budget).report(configs)
    assert [one["exact_match"].score for one in found] == [0.0] * 3


# ---------------------------------------------------------------- continuing


def test_a_changed_metric_does_not_continue_a_study(
    make_own: Callable[..., StudySpec], own_run: Path
) -> None:
    """Trials have scores by the old one: a sentence says so; the file's place may change."""
    with pytest.raises(InputError) as raised:
        run_study(make_own(LENGTHS + "# changed\n", search__trials=3), own_run)
    (changed, advice) = raised.value.problems
    assert "evaluation.metrics: mine.py changed after trials were scored with it" in changed
    assert "would not be comparable" in advice
    run_study(make_own(), own_run)  # elsewhere, but the same: nothing is left to do


def test_a_mended_metric_continues_a_study_without_scored_trials(
    make_own: Callable[..., StudySpec], view: RecordingView, tmp_path: Path
) -> None:
    """All trials failed by it: the baselines are scored again, and more trials may be run."""
    only = {"evaluation__objective": "loss", "evaluation__minimize": None}
    named = {"evaluation__metrics": ["mine.py:score", "loss"], "evaluation__command": None}
    run_study(make_own(FRAGILE, **only, **named), tmp_path, choice=EngineChoice("packed"))
    assert load(tmp_path).counts == {"fail": 2}
    mended = make_own(
        "def score(outputs, examples):\n    return [1.0] * len(outputs)\n", **only, **named
    )
    more = mended.model_copy(update={"search": mended.search.model_copy(update={"trials": 3})})
    before = load(tmp_path).baselines
    with pytest.raises(InputError, match="was 7, now 4"):  # and nothing is lost
        run_study(more.model_copy(update={"seed": 4}), tmp_path, choice=EngineChoice("packed"))
    assert load(tmp_path).baselines == before
    run_study(more, tmp_path, view, choice=EngineChoice("packed"))
    data = load(tmp_path)
    assert data.counts == {"fail": 2, "complete": 1}
    assert {
        data.statistics(who, "mine.py:score").signature for who in (*data.baselines, "best")
    } == {data.statistics("best", "mine.py:score").signature}
    assert any("2 failed trials count: give more with --trials" in line for line in view.remarks)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("return [1 / 0 for _ in outputs]", "example 1: ZeroDivisionError: "),
        ("return [float('nan')] * len(outputs)", "example 1: must be a finite number, got nan"),
        ("return 0.5", "must return a number per example, got float"),
    ],
)
def test_a_metric_that_cannot_score_is_refused_before_anything_is_trained(
    make_own: Callable[..., StudySpec],
    view: RecordingView,
    tmp_path: Path,
    body: str,
    problem: str,
) -> None:
    """It is tried on references; no base is evaluated, and no trial is begun."""
    spec = make_own(
        f"def score(outputs, examples):\n    {body}\n",
        evaluation__minimize=None,
        evaluation__objective="mine.py:score",
        evaluation__metrics=["mine.py:score", "loss"],
        evaluation__command=None,
    )
    with pytest.raises(InputError, match="tried on 2 references of dev") as error:
        run_study(spec, tmp_path / "run", view, choice=EngineChoice("packed", None, 1))
    assert f"evaluation.metrics: mine.py:score: {problem}" in str(error.value)
    assert not (tmp_path / "run" / "study.db").exists()
