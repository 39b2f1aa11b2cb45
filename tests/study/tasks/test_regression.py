"""Regression against transformers by hand: the loss, the numbers, and what leaves the study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from analysis import load
from analysis.comparison.constant import constant_name, constant_scores
from analysis.document import Table
from reports.study_document import study_document
from study.bases.load import load_base
from study.data.corpora import corpus_of
from study.engines.engine_choice import EngineChoice
from study.errors import InputError
from study.finished.export import export_trial
from study.runner import run_study
from study.spec.sections import parse_spec
from study.tasks import make_task
from study.trials import search_config
from tests.conftest import RecordingView
from tests.engine_runs import bench_of
from tests.tiny_studies import MakeSpec, scored_spec_maker


@pytest.fixture(scope="module")
def make_scored_spec(tiny_classifiers: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeSpec:
    """Return a function that makes studies of texts with numbers, over a base without a head."""
    return scored_spec_maker(tmp_path_factory.mktemp("scored"), tiny_classifiers)


def test_the_loss_is_transformers_own(make_scored_spec: MakeSpec) -> None:
    """One example at a time, unpadded, transformers gives the same squared error."""
    bench = bench_of(make_scored_spec({"base.dtype": "float64"}))
    task, base = bench.task, bench.base
    examples = task.examples("train")[:6]
    config = search_config(bench.spec, 0, {}, 0)
    batch = task.collate(examples, config, torch.Generator())
    assert base.model.config.problem_type == "regression"
    numbers = task.predict(base.model, batch)
    for example, (loss, weight), number in zip(
        examples, task.loss(base.model, batch).tolist(), numbers, strict=True
    ):
        inputs = base.tokenizer(example.first, return_tensors="pt")
        labels = torch.tensor([[float(example.label)]], dtype=torch.float64)
        wanted = base.model(**inputs, labels=labels)
        assert (loss, weight) == (pytest.approx(wanted.loss.item(), rel=1e-9), 1)
        assert float(number) == pytest.approx(wanted.logits.item(), rel=1e-5)


def test_a_base_with_other_outputs_is_refused(
    make_scored_spec: MakeSpec, tiny_classifiers: Path
) -> None:
    """A classifier of three classes has no number to train."""
    spec = make_scored_spec({"base.model": str(tiny_classifiers / "teacher")})
    base = load_base(spec.base.model, spec.base, spec.task)
    with pytest.raises(InputError, match=r"base.model: must have one output .* has 3"):
        make_task(spec, base, corpus_of(spec))


def test_what_does_not_apply_to_numbers(make_scored_spec: MakeSpec) -> None:
    """Names of classes, their metrics, a comma, and an embedded corpus are refused in one line."""
    document = make_scored_spec().model_dump(mode="json", exclude_none=True)
    for section, values, line in (
        ("data", {"labels": ["a", "b"]}, "data.labels: names classes"),
        ("evaluation", {"metrics": ["accuracy"], "objective": ["accuracy"]}, "'accuracy' does not"),
        ("evaluation", {"numeric": {"decimal_comma": True}}, "decimal_comma: is for texts"),
        ("base", {"model": "embedded"}, "'regression' has neither a base nor data embedded"),
    ):
        changed = {**document, section: {**document[section], **values}}
        with pytest.raises(InputError, match=line) as refused:
            parse_spec(changed, "x.toml")
        assert len(refused.value.problems) == 1


@pytest.mark.whole
def test_a_study_minimises_the_error_and_exports_the_number(
    make_scored_spec: MakeSpec, view: RecordingView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both forms of the exported model give the stored error without this program."""
    from peft import AutoPeftModelForSequenceClassification
    from transformers import pipeline

    spec = make_scored_spec()
    assert spec.evaluation.objective == ("mse",)
    assert spec.evaluation.directions == ("minimize",)
    run_study(spec, tmp_path, view, choice=EngineChoice(slots=3))
    assert any(line.startswith("data: train: numbers from -1 to 1: mean ") for line in view.remarks)
    scores = {o.config.number: o.value for o in view.outcomes if o.config.role == "search"}
    (number, error), *_ = sorted(scores.items(), key=lambda item: item[1] or 0.0)
    exported = export_trial(tmp_path, spec, number)
    assert exported.arguments == "num_labels=1, problem_type='regression'"
    monkeypatch.setattr("peft.auto.check_file_exists_on_hf_hub", lambda **_: False)
    adapter = AutoPeftModelForSequenceClassification.from_pretrained(
        exported.folder, num_labels=1, problem_type="regression"
    ).eval()
    merged = export_trial(tmp_path, spec, number, merge=True).folder
    examples = corpus_of(spec).dev
    base = load_base(spec.base.model, spec.base, spec.task)
    with torch.no_grad():
        numbers = [
            adapter(**base.tokenizer(e.first, return_tensors="pt")).logits.item() for e in examples
        ]
    answers = pipeline("text-classification", str(merged))([e.first for e in examples])
    for found in (numbers, [answer["score"] for answer in answers]):
        pairs = zip(found, examples, strict=True)
        errors = [(answer - float(e.label)) ** 2 for answer, e in pairs]
        assert sum(errors) / len(errors) == pytest.approx(error, rel=1e-4)
    wanted = np.array([float(example.label) for example in examples])
    data = load(tmp_path)
    assert constant_scores(data) == {"mse": pytest.approx(wanted.var(), rel=1e-4)}
    assert constant_name(data) == f"always {wanted.mean():.6g} (mean)"
    (table,) = (
        part
        for part in study_document(data).parts
        if isinstance(part, Table) and "baselines" in part.caption
    )
    assert table.rows[0][0].text == constant_name(data)
