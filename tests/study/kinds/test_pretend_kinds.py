"""A kind is added by one row: a task, a method and a metric of one file each make a whole study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft import PeftConfig

from analysis import load
from study.engines.engine_choice import EngineChoice
from study.errors import InputError
from study.kinds.methods import METHODS
from study.kinds.tasks import TASKS
from study.metrics import METRICS
from study.runner import run_study
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from tests.command_line import Type
from tests.conftest import RecordingView
from tests.study.kinds import pretend_method, pretend_metric, pretend_task

STUDY = """
name = "lengths"
task = "length"
seed = 3

[base]
model = "{base}/base"
dtype = "float64"

[data]
train = "{text}/train.tsv"
dev = "{text}/dev.tsv"

[training]
steps = 6
batch_size = 8
report_every = 3

[evaluation]
objective = "error_rate"
metrics = ["error_rate", "accuracy", "loss"]

[search]
space = "none"
sampler = "random"
trials = 4
keep_adapters = 4

[search.parameters.method]
choices = ["lora", "norms"]
balanced = true

[search.parameters.learning_rate]
low = 1e-3
high = 1e-1
log = true

[search.parameters.rank]
choices = [2, 4]
when = {{ method = "lora" }}
"""


@pytest.fixture
def lengths(
    monkeypatch: pytest.MonkeyPatch, tiny_classifiers: Path, parallel_text: Path, tmp_path: Path
) -> StudySpec:
    """Return a study of a task, a method and a metric that are in the tables for this test."""
    monkeypatch.setitem(TASKS, "length", pretend_task.ROW)
    monkeypatch.setitem(METHODS, "norms", pretend_method.ROW)
    monkeypatch.setitem(METRICS, "error_rate", pretend_metric.ROW)
    path = tmp_path / "lengths.toml"
    path.write_text(STUDY.format(base=tiny_classifiers, text=parallel_text))
    return load_spec(path)


@pytest.mark.whole
def test_pretend_kinds_make_a_whole_study(
    lengths: StudySpec, view: RecordingView, tmp_path: Path, type_: Type
) -> None:
    """Trained one by one and packed alike, shown, exported, reported: no other file knows them."""
    values = {}
    for engine in ("sequential", "packed"):
        out = tmp_path / engine
        run_study(lengths, out, view, choice=EngineChoice(engine, None, 1))  # type: ignore[arg-type]
        data = load(out)
        assert data.counts == {"complete": 4}
        assert {trial.params["method"] for trial in data.complete} == {"lora", "norms"}
        values[engine] = [trial.values for trial in data.complete]
        for trial in data.complete:
            accuracy = data.score(trial.number, "accuracy")
            assert accuracy is not None
            assert trial.value == pytest.approx(100 * (1 - accuracy))
    np.testing.assert_allclose(values["packed"], values["sequential"])
    shown = type_("show", tmp_path / "packed")
    assert shown.status == 0
    assert "error_rate" in shown.out
    assert "norms" in shown.out
    for trial in data.complete:
        assert type_("export", tmp_path / "packed", "--trial", trial.number).status == 0
        exported = tmp_path / "packed" / "export" / f"trial-{trial.number:05d}"
        kind = METHODS[trial.params["method"]].peft_type
        assert PeftConfig.from_pretrained(str(exported)).peft_type == kind
    assert type_("report", tmp_path / "packed").status == 0
    page = (tmp_path / "packed" / "report.html").read_text(encoding="utf-8")
    assert "errors (%)" in page
    assert "norms" in page


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"task": "lenght"}, "task: must be 'translation', 'causal_translation', "),
        ({"task": "lenght"}, "or 'length', got 'lenght'; did you mean length?"),
        ({"task": "translation"}, "'error_rate' does not apply to the task 'translation'"),
        ({"method.name": "norm"}, "or 'norms', got 'norm'; did you mean norms?"),
        ({"evaluation.objective": "eror_rate"}, "got 'eror_rate'; did you mean error_rate?"),
        ({"distillation.teacher": "embedded"}, "got the task 'length'"),
        ({"search.sampler": "tp"}, "'gp' or 'grid', got 'tp'; did you mean tpe?"),
    ],
)
def test_errors_know_pretend_kinds(
    lengths: StudySpec, tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    """What is allowed is read from the tables, whatever was added to them."""
    with pytest.raises(InputError) as raised:
        load_spec(tmp_path / "lengths.toml", changes)
    assert any(expected in line for line in raised.value.problems), raised.value.problems


def test_a_method_says_on_which_models_it_works(lengths: StudySpec, tmp_path: Path) -> None:
    """A method that is made for classifiers is refused for a translation."""
    changes = {
        "task": "translation",
        "evaluation.objective": "bleu",
        "evaluation.metrics": ["bleu"],
    }
    with pytest.raises(
        InputError, match="'norms' does not support the task 'translation'"
    ) as raised:
        load_spec(tmp_path / "lengths.toml", changes)
    assert "supported: classification, regression, length" in str(raised.value)
