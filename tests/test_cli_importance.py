"""`optuna-study importance` as a user types it: every question, every option, every refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.surrogates.original import is_installed
from tests.command_line import Type
from tests.synthetic import Shape, write_study

pytestmark = pytest.mark.whole

FEW = ("--surrogate", "gp", "--resamples", "4")
PROMISED = (
    "study",
    "objective",
    "direction",
    "evaluator",
    "surrogate",
    "trials",
    "reliable",
    "reasons",
    "held_out_r2",
    "parameters",
    "interactions",
    "unexplained",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with pruned trials."""
    folder = tmp_path_factory.mktemp("importance") / "petroleum"
    return write_study(folder, Shape(complete=50, pruned=8, examples=24))


@pytest.fixture(scope="module")
def thin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder whose trials are soon analysed."""
    folder = tmp_path_factory.mktemp("thin") / "petroleum"
    return write_study(folder, Shape(complete=12, pruned=0, examples=8))


def asked(type_: Type, *arguments: object) -> Any:
    """Return the JSON document of `importance` with these arguments."""
    ran = type_("importance", *arguments, "--json")
    assert ran.status == 0, ran.err
    return json.loads(ran.out)


def test_the_document_begins_as_promised_and_holds_all_evidence(type_: Type, run: Path) -> None:
    """The promised keys come first, then question, policies, sampler, curves and the product."""
    found = asked(type_, run, *FEW)
    assert tuple(found)[: len(PROMISED)] == PROMISED
    assert set(found["policies"]) == {"drop", "last", "worst"}
    assert found["trials"]["pruned"] == 8
    assert found["sampler"] == "random"
    assert "where does the variance of BLEU come from" in found["question"]
    assert {m["name"] for m in found["marginals"]} == {p["name"] for p in found["parameters"]}
    assert "effective_lr" in found["confounding"]["columns"][0]["name"]


def test_the_table_fits_the_terminal_and_shows_the_evidence(type_: Type, run: Path) -> None:
    """Question, belief, shares, what pruning does, sample, stability and remarks: 80 columns."""
    ran = type_("importance", run, *FEW)
    assert ran.status == 0
    assert max(map(len, ran.out.splitlines())) <= 80
    for text in (
        "here does the variance of BLEU",
        "Reliable: functional ANOVA",
        "beyond chance",
        "left out",
        "worst value",
        "50 complete, 8 pruned",
        "random",
        "uniform: largest distance",
        "stability",
        "learning_rate · alpha / ",
        "target_modules is left out",
        "1 trial was enqueued by hand",
    ):
        assert text in ran.out, text


def test_pruned_trials_can_count(type_: Type, run: Path) -> None:
    """With `last` they are used, and the document says so."""
    found = asked(type_, run, *FEW, "--pruned", "last")
    assert found["trials"]["used"] == 49 + 8
    assert found["policy"] == "last"


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("chrf", "maximize"),
        ("general_loss", "minimize"),
        ("seconds", "minimize"),
        ("tokens_per_second", "maximize"),
    ],
)
def test_any_number_of_the_trials_can_be_explained(
    type_: Type, thin: Path, name: str, direction: str
) -> None:
    """A metric, another split's, a cost: each with its own direction."""
    found = asked(type_, thin, "--metric", name, *FEW)
    assert (found["objective"], found["direction"]) == (name, direction)


def test_what_a_number_of_one_value_says(type_: Type, thin: Path) -> None:
    """A constant cost has no importances, and the reason is printed instead of bars."""
    found = asked(type_, thin, "--metric", "train_seconds")
    assert found["parameters"] == []
    assert "constant" in found["reasons"][0]
    assert "constant" in type_("importance", thin, "--metric", "train_seconds").out


def test_a_direction_that_is_told_is_taken(type_: Type, thin: Path) -> None:
    """Of a number whose direction nobody knows the user may say it."""
    found = asked(type_, thin, "--metric", "evaluation_seconds", "--direction", "maximize")
    assert found["direction"] == "maximize"


def test_the_good_configurations(type_: Type, run: Path) -> None:
    """With --best the question names the fraction, and a remark the edge."""
    found = asked(type_, run, *FEW, "--best", "0.3")
    assert "among the best 30 %" in found["question"]
    assert found["quantile"] == 0.3
    assert any("count as" in remark for remark in found["remarks"])
    assert found["confounding"] is None


def test_larger_subsets(type_: Type, run: Path) -> None:
    """Each subset has a share with a real interval, whatever blanks its names stand between."""
    options = ("--subset", "alpha,rank,learning_rate", "--subset", "alpha, rank, dropout")
    found = asked(type_, run, *FEW, *options)
    larger = [i for i in found["interactions"] if len(i["names"]) == 3]
    assert len(larger) == 2
    assert all(i["ci"] != [0.0, 1.0] and i["ci"][0] <= i["importance"] for i in larger)


QUESTIONS = {  # with the method and some words of the question that is shown
    "best": ("PED-ANOVA", "what puts a trial among the best 10 %?"),
    "gain": ("ablation", "configuration produced the gain?"),
    "local": ("local importance", "around the best configuration"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_other_questions_are_labelled(type_: Type, run: Path, question: str) -> None:
    """Document and table name the method and the question that it answers."""
    method, words = QUESTIONS[question]
    options = (run, "--question", question, *FEW)
    found = asked(type_, *options)
    assert found["method"] == method
    assert words in found["question"]
    assert found["parameters"]
    shown = type_("importance", *options).out
    assert words.split()[-1] in shown
    assert method in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80


def test_the_way_to_the_best_starts_at_the_default_lora(type_: Type, run: Path) -> None:
    """Its steps name each change, before and after, and what it is worth."""
    found = asked(type_, run, "--question", "gain", *FEW)
    first = found["steps"][0]
    assert first["name"] == "alpha"
    assert first["before"] == 8
    assert first["gain"] > 5
    assert "gains are over the default LoRA" in found["remarks"]


def test_what_tuning_gains_is_in_units_of_the_score(type_: Type, run: Path) -> None:
    """Each parameter's gain over the default LoRA has an interval; the margin is the one given."""
    found = asked(type_, run, "--question", "tuning", "--margin", "1.5")
    gains = {gain["name"]: gain for gain in found["gains"]}
    assert gains["alpha"]["default"] == 8
    low, high = gains["alpha"]["ci"]
    assert 0 < low <= gains["alpha"]["gain"] <= high
    assert found["margin"] == 1.5
    shown = type_("importance", run, "--question", "tuning").out
    assert "Gain in BLEU over the default" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_the_front_leads_from_one_value_to_another(type_: Type, run: Path) -> None:
    """A second value is named with --against where the study has one objective."""
    found = asked(type_, run, "--question", "front", "--against", "chrf", *FEW)
    assert found["objectives"] == ["bleu", "chrf"]
    assert [one["objective"] for one in found["importances"]][::4] == ["bleu", "chrf"]
    refused = type_("importance", run, "--question", "front")
    assert refused.status == 2
    assert "against: must name a second value beside bleu" in refused.err


def test_a_region_has_its_own_trials_and_search_space(type_: Type, run: Path) -> None:
    """`--where` cuts both, and what is no region is refused in one line."""
    found = asked(type_, run, "--where", "alpha >= 16", *FEW)
    assert 0 < found["trials"]["used"] < 50
    assert any("where alpha >= 16" in remark for remark in found["remarks"])
    assert found["question"].endswith("come from, where alpha >= 16?")
    shown = type_("importance", run, "--where", "alpha >= 16", "--question", "tuning").out
    assert shown.startswith("What is tuning worth, over the default, where alpha >= 16?")
    refused = type_("importance", run, "--where", "alpha >= lora")
    assert refused.status == 2
    assert "where: 'alpha >= lora': write a text in quotes" in refused.err


def test_the_best_fraction_can_be_chosen(type_: Type, run: Path) -> None:
    """PED-ANOVA asks about the fraction that was given."""
    found = asked(type_, run, "--question", "best", "--best", "0.25")
    assert "best 25 %" in found["question"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--surrogate", "crystal"), "--surrogate: must be one of auto, gp, forest, got 'crystal'"),
        (("--evaluator", "mdi"), "--evaluator: must be one of fanova, fanova-original, got 'mdi'"),
        (("--pruned", "keep"), "--pruned: must be one of drop, last, worst, got 'keep'"),
        (("--question", "why"), "--question: must be one of variance, best, gain, local"),
        (("--direction", "up"), "--direction: must be one of maximize, minimize, got 'up'"),
        (("--best", "1.5"), "--best: must be between 0 and 1, got 1.5"),
        (
            ("--best", "0.2", "--question", "gain"),
            "--best: applies only to the question variance or best",
        ),
        (
            ("--pruned", "last", "--question", "local"),
            "--pruned: applies only to the question variance",
        ),
        (("--subset", "alpha,colour,rank"), "no share for colour"),
        (("--subset", "alpha,rank"), "pairs are always reported"),
        (("--metric", "comet"), "no number 'comet'; allowed: bleu, chrf, loss"),
        (("--metric", "chrf", "--pruned", "last"), "the trials report bleu; allowed: drop"),
    ],
)
def test_what_is_refused(type_: Type, thin: Path, options: tuple[str, ...], problem: str) -> None:
    """One line that says what was wrong and what is allowed, and status 2."""
    ran = type_("importance", thin, *options)
    assert ran.status == 2
    (line,) = ran.problems
    assert problem in line


@pytest.mark.skipif(is_installed(), reason="an absent fANOVA is NOT tested: it is installed")
def test_the_original_names_its_extra(type_: Type, thin: Path) -> None:
    """Where it is not installed, the line says what to install."""
    ran = type_("importance", thin, "--evaluator", "fanova-original")
    assert ran.status == 2
    (line,) = ran.problems
    assert "extra `fanova`" in line


def test_a_report_with_an_unknown_surrogate_is_refused(type_: Type, thin: Path) -> None:
    """Nothing is written."""
    ran = type_("report", thin, "--surrogate", "crystal")
    assert ran.status == 2
    assert len(ran.problems) == 1
    assert not (thin / "report.html").exists()
