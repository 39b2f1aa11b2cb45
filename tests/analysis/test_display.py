"""What a prompt and a notebook show, and what the Tab key offers there."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import fields, replace
from pathlib import Path

import pytest

import analysis
from analysis import StudyData, load
from analysis.comparison import compare_trials
from analysis.importance.confounding import Confounding, Explanation
from analysis.importance.other_questions import Answer, Step
from analysis.importance.result import Importances, InteractionImportance, ParameterImportance

DRAWING = ("study_figures", "overview", "surface", "trade_offs", "side_by_side")
RESULT = Importances(
    study="s",
    objective="bleu",
    direction="maximize",
    evaluator="fanova",
    surrogate="gp",
    trials={"complete": 64},
    reliable=False,
    reasons=("too few",),
    held_out_r2=0.5,
    parameters=(ParameterImportance("alpha", 0.9, (0.8, 0.95), 0.1, True),),
    interactions=(
        InteractionImportance(("alpha", "rank"), 0.04, (0.0, 0.1)),
        InteractionImportance(("alpha", "dropout"), 0.001, (0.0, 0.1)),
        InteractionImportance(("alpha", "rank", "dropout"), 0.03, None),
    ),
    unexplained=0.06,
)


def test_importances_are_a_table_with_verdict_and_pairs() -> None:
    """One row per parameter, the pairs that are worth one, and what is left."""
    assert repr(RESULT).splitlines() == [
        "Importance for bleu",
        "Not reliable: too few. Based on: functional ANOVA on a Gaussian process, 64 trials, "
        "held-out R² 0.50. A parameter beyond chance has an effect in these trials; how large it "
        "is over the whole space, they do not show.",
        "Share of the variance of BLEU",
        "parameter               share  95 % interval  verdict",
        "alpha                    0.90  0.80 to 0.95   beyond chance",
        "alpha × rank             0.04  0.00 to 0.10",
        "alpha × rank × dropout   0.03  –",
        "unexplained              0.06",
    ]
    assert RESULT._repr_html_().count("<tr") == 5
    assert "table" not in replace(RESULT, parameters=(), interactions=())._repr_html_()


def test_another_question_has_its_answer_below_it() -> None:
    """Shares, or the changes of a way with what each bought."""
    share = Answer("PED-ANOVA", "what leads into the best?", {"alpha": 0.7}, reasons=("noise",))
    assert repr(share).splitlines() == [
        "What leads into the best? (PED-ANOVA)",
        "Not reliable: noise.",
        "parameter  share",
        "alpha       0.70",
    ]
    step = Step("rank", 8, 16, predicted=67.12, gain=1.2)
    way = replace(share, steps=(step,), reasons=(), objective="bleu")
    assert repr(way).splitlines()[1:] == [
        "Gain in BLEU",
        "change  from  to   gain  predicted",
        "rank    8     16  +1.20       67.1",
    ]


def test_a_joint_effect_names_its_coordinates() -> None:
    """The joint share above, a row per coordinate."""
    product = Explanation("scale", "alpha / rank", ("alpha", "rank"), 0.9, (0.8, 1.0), 0.7)
    found = Confounding(("alpha", "rank"), 0.95, (0.9, 1.0), 0.8, (product,))
    assert repr(found).splitlines() == [
        "alpha and rank together account for 0.95 of the variance (95 % interval 0.90 to 1.00); "
        "alpha / rank explains 0.90 of that (95 % interval 0.80 to 1.00).",
        "One coordinate instead of alpha and rank",
        "coordinate    explains  95 % interval  held-out R²",
        "alpha / rank      0.90  0.80 to 1.00          0.70",
    ]
    assert found._repr_html_().count("<tr") == 2


def test_a_study_says_where_to_look_next(petroleum: StudyData) -> None:
    """Best trial in few digits, baselines, and calls that can be made as they stand there."""
    shown = repr(petroleum)
    assert shown.startswith(f"study petroleum, read from {petroleum.target}\nobjectives  bleu")
    assert petroleum.best_trial is not None
    assert "learning_rate" in shown
    assert max(map(len, shown.splitlines()[-3:])) <= 100
    looked_at = ("trials", "scores", "outputs", "statistics")
    assert all(f".{name}" in shown and hasattr(petroleum, name) for name in looked_at)


def test_a_comparison_is_a_table(petroleum: StudyData) -> None:
    """Both scores and the verdict."""
    title, method, head, row = repr(compare_trials(petroleum, 0, "base")).splitlines()
    assert title == "BLEU on 72 dev examples"
    assert method.startswith("intervals from the paired bootstrap")
    assert head.split()[:4] == ["model", "score", "against", "its"]
    assert row.startswith("trial 0")
    assert row.endswith("better")


def test_the_tab_key_offers_what_a_person_looks_for(petroleum: StudyData) -> None:
    """Of a study no database; of each name that is no field, a first line of what it is."""
    offered = [name for name in dir(petroleum) if not name.startswith("_")]
    assert {"trials", "scores", "outputs", "best_trial", "metrics"} <= set(offered)
    assert not {"database", "score_rows", "index_of"} & set(offered)
    for name in set(offered) - {field.name for field in fields(StudyData)}:
        assert inspect.getdoc(getattr(StudyData, name)), name


@pytest.mark.parametrize("module", [*(f"plots.{name}" for name in DRAWING), "comparison.adapters"])
def test_the_tab_key_offers_what_a_module_defines(module: str) -> None:
    """Functions and classes of its own, each with a docstring; no imports."""
    found = importlib.import_module(f"analysis.{module}")
    assert "np" not in dir(found)
    offered = [getattr(found, name) for name in dir(found)]
    assert offered
    assert all(each.__module__ == found.__name__ and inspect.getdoc(each) for each in offered)


def test_the_package_offers_questions_plots_and_the_door() -> None:
    """What the notebook uses."""
    assert {"load", "importances_of", "answer_of", "plots", "comparison"} <= set(dir(analysis))


def test_adapters_against_their_base_are_a_table(tmp_path: Path) -> None:
    """A prompt shows all metrics at a glance, a notebook the same as HTML."""
    from analysis.comparison.adapters import against_base
    from tests.adapter_study import write_adapter_study

    found = against_base(load(write_adapter_study(tmp_path, 12)), resamples=50)
    title, tests, caption, head, *rows = repr(found).splitlines()
    assert title.endswith("on 12 dev examples")
    assert "corrected for" in tests
    assert caption == "The base's scores and each adapter's difference"
    assert head.split()[0] == "model"
    assert len(rows) == 1 + len(found.adapters)
    assert found._repr_html_().count("<tr") == 2 + len(found.adapters)
