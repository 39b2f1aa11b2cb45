"""The box at the top of the page: what to do with the result."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from analysis.comparison.adapters import against_baselines
from analysis.document import Prose
from analysis.plots.marks import keep_in_view, tick
from analysis.plots.overview import _along
from analysis.plots.palette import new_axes
from analysis.plots.study_figures import plot_history, plot_slice
from analysis.plots.trade_offs import shared_costs, trade_offs
from analysis.studies.load import StudyData, load
from analysis.surrogates.encoding import make_column
from reports.page.parts import Code, Page
from reports.page.render import render
from reports.page.trial_tables import trial_table
from reports.results import Results
from reports.sections.answer import answer
from reports.sections.samples import chosen, first_of_each
from reports.sections.trade_offs import cost_section
from reports.sections.use_this import use_this
from study.store.saved_adapters import adapter_folder, trial_name
from tests.synthetic import Shape, spec_toml, write_foreign_study, write_study

BASE = "some/base"


def _results(data: StudyData, **more: Any) -> Results:
    """Results without an analysis, which the box does not need."""
    nothing: dict[str, Any] = dict.fromkeys(
        ("confounding", "capacity", "surface", "confirmation", "proposal", "metric")
    )
    empty: dict[str, Any] = dict.fromkeys(("importances", "all_comparisons", "model_scores"), ())
    empty |= {"comparisons": (), "importance_problem": "", "example_scores": {}}
    return Results(data=data, **(nothing | empty | more))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the adapter of its best trial."""
    shape = Shape(complete=12, failed=1, examples=8)
    folder = write_study(tmp_path_factory.mktemp("use") / "a run", shape)
    (folder / "spec.toml").write_text(spec_toml("petroleum"), encoding="utf-8")
    best = load(folder).best_trial
    assert best is not None
    adapter = adapter_folder(folder, trial_name(best.number))
    adapter.mkdir(parents=True)
    config = {"peft_type": "LORA", "base_model_name_or_path": BASE}
    (adapter / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _codes(results: Results) -> dict[str, str]:
    return {part.title: part.text for part in use_this(results) if isinstance(part, Code)}


def test_a_saved_adapter_is_named_loaded_and_exported(run: Path) -> None:
    """The Python names its folder and base, and the commands are those of this very study."""
    data = load(run)
    assert data.best_trial is not None
    adapter = str(adapter_folder(run, trial_name(data.best_trial.number)))
    codes = _codes(_results(data, proposal=object()))
    compile(codes["Load it with PEFT"], "page", "exec")
    assert f"PeftModel.from_pretrained(model, {adapter!r})" in codes["Load it with PEFT"]
    assert f"base = {BASE!r}" in codes["Load it with PEFT"]
    assert eval(codes["Its parameters, exactly"]) == data.best_trial.params
    lines = [line for line in codes["What to run next"].splitlines() if line[0] != "#"]
    assert lines == [f"optuna-study {c} '{run}'" for c in ("export", "confirm", "next")]


def test_the_box_names_no_command_that_would_refuse(run: Path) -> None:
    """Without held-out examples `confirm` needs a file, and `next` trials drawn at random."""
    data = load(run)
    hashes = dict.fromkeys(("train", "dev"), "0")
    data = replace(data, provenance={**data.provenance, "data_sha256": hashes})
    *_, confirm = _codes(_results(data))["What to run next"].splitlines()
    assert confirm == f"optuna-study confirm '{run}' --test HELD_OUT_FILE"


def test_the_box_doubts_a_winner_that_beats_nothing(run: Path) -> None:
    """Where the best is not clearly better than a baseline, the box says so before its use."""
    data = load(run)
    unclear = [replace(c, p_adjusted=0.9) for c in against_baselines(data)]
    (lead, *_) = use_this(_results(data, comparisons=tuple(unclear)))
    assert isinstance(lead, Prose)
    assert "not clearly better than the untrained base or default LoRA" in lead.paragraphs[1]


def test_the_box_says_that_a_baseline_is_better(run: Path) -> None:
    """A clear loss is no mere doubt."""
    data = load(run)
    found = against_baselines(data)
    lost = [replace(c, difference=-abs(c.difference), p_adjusted=0.001) for c in found]
    (lead, *_) = use_this(_results(data, comparisons=tuple(lost)))
    assert isinstance(lead, Prose)
    assert lead.paragraphs[1].startswith(
        "But the untrained base and default LoRA are clearly better"
    )


def test_the_box_says_that_a_baseline_scores_higher(run: Path) -> None:
    """A loss that is not clear is no reason to confirm alone: both scores are named."""
    data = load(run)
    base, default = against_baselines(data)
    lost = replace(
        default,
        a=replace(default.a, score=50.0),
        b=replace(default.b, score=60.0),
        difference=-10.0,
        p_adjusted=0.2,
    )
    (lead, *_) = use_this(_results(data, comparisons=(replace(base, p_adjusted=0.001), lost)))
    assert isinstance(lead, Prose)
    assert lead.paragraphs[1].startswith("But default LoRA (60) has a higher BLEU than trial")
    level = replace(base, difference=1.0, p_adjusted=0.9)
    (lead, *_) = use_this(_results(data, comparisons=(level, lost)))
    assert isinstance(lead, Prose)
    assert "Nor is it clearly better than the untrained base." in lead.paragraphs[1]


@pytest.mark.parametrize(
    ("ends", "p", "adjusted", "picked", "said"),
    [
        (
            (-0.304, -0.074),
            0.01,
            0.162,
            0,
            "0.190 worse than that of default LoRA (95 % interval −0.304 to −0.074; not clear once "
            "corrected for the number of comparisons: p 0.162)",
        ),
        ((-0.304, -0.074), 0.162, 0.162, 64, "once corrected for the choice among 64 trials: p"),
        ((-0.304, -0.074), 0.06, 0.06, 0, "(95 % interval −0.304 to −0.074; not clear: p 0.060)"),
        ((-0.4, 0.02), 0.03, 0.03, 0, "(95 % interval −0.400 to +0.020; clear: p 0.030)"),
        ((-0.304, -0.074), 0.001, 0.001, 0, "LoRA (95 % interval −0.304 to −0.074)."),
        ((-0.4, 0.02), 0.2, 0.2, 0, "is not clearly different from that of default LoRA (95 % "),
    ],
)
def test_no_interval_contradicts_its_verdict(
    run: Path, ends: tuple[float, float], p: float, adjusted: float, picked: int, said: str
) -> None:
    """Where p and interval disagree, the headline gives the p that decides and its correction."""
    data = load(run)
    found = replace(
        against_baselines(data)[-1],
        difference=-0.19,
        interval=ends,
        p=p,
        p_adjusted=adjusted,
        p_is_bound=False,
        picked_from=picked,
    )
    headline = " ".join(answer(_results(data, comparisons=(found,))))
    assert said in headline
    assert ("not clearly different" in headline) == ("not clearly different" in said)


def test_scores_of_nothing_are_called_so(run: Path) -> None:
    """BLEU 0 of both is no tie of two models that work."""
    data = load(run)
    zero = [
        replace(c, a=replace(c.a, score=0.0), b=replace(c.b, score=0.0), difference=0.0)
        for c in against_baselines(data)
    ]
    said = " ".join(answer(_results(data, comparisons=tuple(zero), metric="bleu")))
    assert (
        "BLEU is 0, like that of the untrained base and default LoRA (none of them scored anything)"
        in said
    )


def test_without_an_adapter_the_box_gives_the_parameters(tmp_path: Path) -> None:
    """A study of another program has no adapter, and none of our commands."""
    write_foreign_study(f"sqlite:///{tmp_path / 'x.db'}")
    data = load(tmp_path / "x.db")
    assert data.best_trial is not None
    codes = _codes(_results(data))
    assert list(codes) == ["Its parameters, exactly"]
    assert eval(codes["Its parameters, exactly"]) == data.best_trial.params
    assert use_this(_results(replace(data, frozen_trials=()))) == ()


def test_a_study_on_a_server_names_its_storage(run: Path) -> None:
    """Its commands take the run folder and the storage, and the study's name among several."""
    data = replace(load(run), target="postgresql://h/x", is_one_of_several=True)
    codes = _codes(_results(data, proposal=object()))
    export, confirm, next_ = codes["What to run next"].splitlines()[1::2]
    for line in (export, confirm):
        assert line.endswith(f"'{run}' --study-name petroleum --storage postgresql://h/x")
    assert next_ == "optuna-study next postgresql://h/x --study-name petroleum"


def test_the_page_shows_the_box_and_allows_its_own_script_only(run: Path) -> None:
    """The policy names the hash of the one script, and no form or base address may be added."""
    page = Page("a", "b", (), (), (), (), "f", use=use_this(_results(load(run))))
    document = render(page)
    assert '<h2 id="use-this">Use this</h2>' in document
    (script,) = re.findall(r"<script>(.*?)</script>", document, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', document)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["base-uri"] == rules["form-action"] == "'none'"


def test_the_table_of_trials_begins_with_the_best(run: Path) -> None:
    """Finished trials come best first, the others last."""
    data = load(run)
    table = trial_table(data)
    assert table is not None
    numbers = [row[0].key for row in table.rows]
    assert numbers[: len(data.ranked())] == [t.number for t in data.ranked()]
    assert sorted(numbers) == [t.number for t in data.frozen_trials]
    assert table.marked == {0}


def test_every_trial_that_set_a_new_best_can_be_pointed_at(run: Path) -> None:
    """The stepped line's dots know their trials, and dots of levels lie on their ticks."""
    data = load(run)
    assert data.best_trial is not None
    best, leads = -1.0, []
    for trial in data.complete:
        if data.value(trial) > best:
            best, leads = data.value(trial), [*leads, trial.number]
    gids = [c.get_gid() for c in plot_history(data).collections]
    assert f"trial:{' '.join(map(str, leads))}" in gids
    drawn = plot_slice(data, "rank").collections
    places = {x for dots in drawn for x, _ in dots.get_offsets()}  # type: ignore[union-attr]
    assert places == {0.0, 1.0}


def test_one_bad_trial_does_not_flatten_the_others() -> None:
    """Of six trials the one that failed to learn leaves the axis, and a note says so."""
    values = [50.0, 52.0, 51.0, 53.0, 50.5, 40.0]
    trials = tuple(create_trial(params={}, distributions={}, value=value) for value in values)
    for number, trial in enumerate(trials):
        trial.number = number
    data = StudyData("s", "s", ("bleu",), ("maximize",), trials)
    ax = new_axes(None)
    keep_in_view(ax, values, [data], "bleu")
    assert ax.get_ylim()[0] > 45
    assert [text.get_text() for text in ax.texts] == ["1 point beyond the axis"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e4, "1e4"), (25_000.0, "2.5e4"), (1e-4, "1e-4"), (0.01, "0.01"), (128, "128")],
)
def test_ticks_are_short_powers(value: float, text: str) -> None:
    """Large and small places on an axis are powers without padding."""
    assert tick(value) == text


# ---------------------------------------------------------------- costs


def _timed(gap: float, **provenance: Any) -> StudyData:
    """Five trials of 10 to 50 s that start `gap` s apart."""
    start = datetime(2026, 1, 1)
    trials = []
    for i in range(5):
        trial = create_trial(
            params={"x": i / 5},
            distributions={"x": FloatDistribution(0, 1)},
            value=float(i),
            user_attrs={"train_seconds": 10.0 * (i + 1), "trainable_parameters": 100 * (i + 1)},
        )
        trial.number, trial.datetime_start = i, start + timedelta(seconds=gap * i)
        trial.datetime_complete = trial.datetime_start + timedelta(seconds=10 * (i + 1))
        trials.append(trial)
    return StudyData("s", "s", ("a",), ("maximize",), tuple(trials), provenance=provenance)


@pytest.mark.parametrize(
    ("data", "own"),
    [
        (_timed(100), True),
        (_timed(5), False),
        (_timed(100, engine="packed", workers=1), False),
        (_timed(100, engine="sequential", workers=2), False),
        (_timed(5, engine="sequential", workers=1), True),
    ],
)
def test_only_a_trials_own_costs_are_drawn(data: StudyData, own: bool) -> None:
    """Seconds that trials shared are named in a sentence; parameters are always their own."""
    drawn = [found.cost for found in trade_offs(data)]
    assert drawn == ["trainable_parameters", *(["train_seconds"] if own else [])]
    assert shared_costs(data) == ([] if own else ["train_seconds"])
    section = cost_section(_results(data, trade_offs=tuple(trade_offs(data))))
    assert section is not None
    said = [p for part in section.parts if isinstance(part, Prose) for p in part.paragraphs]
    assert any("Not drawn: seconds of training" in sentence for sentence in said) is not own


def test_a_classifier_is_loaded_with_its_outputs(run: Path, tmp_path: Path) -> None:
    """The head, which the base lacks, gets as many outputs as were saved; a lie gives no code."""
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    data = load(folder)
    assert data.best_trial is not None
    weights = adapter_folder(folder, trial_name(data.best_trial.number))
    assert data.spec_text is not None
    labelled = data.spec_text.replace('task = "translation"', 'task = "classification"')
    data = replace(data, spec_text=labelled)

    def loading(header: Any) -> str:
        text = json.dumps(header).encode()
        length = len(text).to_bytes(8, "little")
        (weights / "adapter_model.safetensors").write_bytes(length + text)
        parts = [part for part in use_this(_results(data)) if isinstance(part, Code)]
        return "".join(part.text for part in parts if "PEFT" in part.title)

    head = {"base_model.model.score.weight": {"shape": [4, 8]}, "x.lora_A.weight": {"shape": [2]}}
    assert "AutoPeftModelForSequenceClassification" in loading(head)
    assert "num_labels=4" in loading(head)
    one = {"base_model.model.score.weight": {"shape": [1, 8]}}
    assert 'num_labels=1, problem_type="regression"' in loading(one)
    for lie in ([], {}, {"score.weight": {"shape": "x"}}, {"score.weight": {"shape": ["x", 1]}}):
        assert loading(lie) == ""


def test_texts_that_stand_twice_are_shown_once() -> None:
    """Of examples with the same texts and outputs only the first is a sample."""
    frame = pd.DataFrame(
        {"source": ["a", "a", "b"], "target": ["x", "x", "y"], "output": ["x", "x", "x"]}
    )
    kept = first_of_each({"base": frame, "trial 1": frame})
    assert kept.tolist() == [True, False, True]
    assert set(chosen(np.zeros(3), np.ones(3), kept)) == {0, 2}
    assert set(chosen(np.zeros(3), np.ones(3))) == {0, 1, 2}


def test_the_highest_level_lies_at_the_end_of_its_range(run: Path) -> None:
    """The slider's ends are the lowest and the highest level, not the edges of their shares."""
    column = make_column("rank", CategoricalDistribution((8, 16, 32)))
    assert column.positions is not None
    along = [_along(column, float(unit)) for unit in column.positions]
    assert (along[0], along[-1]) == (0.0, 1.0)
    plain = make_column("x", FloatDistribution(0, 1))
    assert _along(plain, 0.25) == 0.25
