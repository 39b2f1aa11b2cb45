"""Classification against transformers and PEFT by hand: losses, labels, teachers, heads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from study.bases.load import load_base
from study.data.corpora import corpus_of
from study.engines.build import make_engine, working_base
from study.engines.engine_choice import EngineChoice
from study.errors import InputError
from study.preparing.trial_cost import trial_cost
from study.runner import run_study
from study.spec.sections import StudySpec
from study.store.saved_adapters import save_adapter
from study.tasks import make_task
from study.tasks.base import stacked
from study.trials import TrialConfig, TrialResult, search_config
from tests import engine_runs
from tests.conftest import RecordingView

MakeSpec = Callable[..., StudySpec]
DOUBLE = {"base.dtype": "float64"}
POINTS = [
    {"learning_rate": 1e-2, "distillation_weight": 0.7},
    {"learning_rate": 3e-3, "distillation_weight": 0.0},
    {"learning_rate": 1e-3, "distillation_weight": 1.0},
]


def task_of(spec: StudySpec) -> tuple[Any, Any]:
    """The study's task and its base."""
    corpus = corpus_of(spec)
    base = working_base(spec, spec.base.model, corpus.labels)
    return make_task(spec, base, corpus), base


def batch_of(task: Any, spec: StudySpec, rows: int = 6, **values: Any) -> Any:
    """The first training examples as a trial's batch."""
    config = search_config(spec, 0, values, 0)
    return task.collate(task.examples("train")[:rows], config, torch.Generator())


def train_all(
    spec: StudySpec, configs: Sequence[TrialConfig], choice: EngineChoice
) -> dict[int, TrialResult]:
    """Train configurations as the runner does."""
    with closing(make_engine(spec, spec.base.model, None, choice)) as engine:
        return engine_runs.train_all(engine, configs)[0]


def configs_of(spec: StudySpec) -> list[TrialConfig]:
    """Three trials of one study."""
    return [search_config(spec, n, point, n) for n, point in enumerate(POINTS)]


def problem(spec: StudySpec) -> str:
    """The one line with which a study is refused."""
    with pytest.raises(InputError) as refused:
        task_of(spec)
    (line,) = refused.value.problems
    assert line.isprintable()
    return line


# ---------------------------------------------------------------- losses


def test_without_a_teacher_the_loss_is_transformers_own(make_pair_spec: MakeSpec) -> None:
    """One example at a time, unpadded, transformers gives the same cross-entropy."""
    spec = make_pair_spec(DOUBLE)
    task, base = task_of(spec)
    alone = replace(search_config(spec, 0, {}, 0), distillation=None)
    batch = task.collate(task.examples("train")[:6], alone, torch.Generator())
    found = task.loss(base.model, batch)
    for pair, (loss, weight) in zip(task.examples("train"), found.tolist(), strict=False):
        inputs = base.tokenizer(pair.first, pair.second, return_tensors="pt")
        label = torch.tensor([base.model.config.label2id[pair.label]])
        expected = base.model(**inputs, labels=label).loss
        assert (loss, weight) == (pytest.approx(expected.item(), rel=1e-9), 1)


def test_with_a_teacher_every_row_is_hintons_at_its_trials_values(make_pair_spec: MakeSpec) -> None:
    """Two trials' rows in one batch: each has its own T and a, and the teacher's own logits."""
    spec = make_pair_spec({**DOUBLE, "distillation.temperature": 3.0})
    task, base = task_of(spec)
    weights = [0.25, 1.0]
    batch = stacked([batch_of(task, spec, 2, distillation_weight=a) for a in weights])
    found = task.loss(base.model, batch)[:, 0].tolist()
    assert spec.distillation is not None
    teacher = load_base(spec.distillation.teacher, spec.base, "classification")
    rows = [(pair, a) for a in weights for pair in task.examples("train")[:2]]
    for (pair, a), loss in zip(rows, found, strict=True):
        own, other = (
            m.model(**m.tokenizer(pair.first, pair.second, return_tensors="pt")).logits[0]
            for m in (base, teacher)
        )
        p, q = ((logits / 3.0).softmax(0) for logits in (other, own))
        divergence = (p * (p / q).log()).sum()
        plain = F.cross_entropy(own, torch.tensor(base.model.config.label2id[pair.label]))
        assert loss == pytest.approx(((1 - a) * plain + a * 9.0 * divergence).item(), rel=1e-6)


@pytest.mark.whole
def test_the_dev_loss_knows_no_teacher(make_pair_spec: MakeSpec) -> None:
    """Trials that differ in T alone, and learn nothing, have one dev loss: they compare."""
    results = []
    for temperature in (1.0, 8.0):
        spec = make_pair_spec(
            {**DOUBLE, "distillation.temperature": temperature, "training.warmup_fraction": 1.0}
        )
        config = search_config(spec, 0, {"learning_rate": 1e-4}, 0)
        still = config.training.model_copy(update={"learning_rate": 1e-30})
        config = TrialConfig(0, 1, still, config.method, distillation=config.distillation)
        results.append(train_all(spec, [config], EngineChoice("sequential"))[0])
    one, other = (r.splits["dev"].statistics["loss"].values for r in results)
    np.testing.assert_allclose(one, other, rtol=1e-12)
    assert 0.5 < one[:, 0].mean() < 2.0  # about log 3 for an untrained head


def test_rows_do_not_depend_on_their_batch(make_pair_spec: MakeSpec) -> None:
    """Padding and neighbours change no loss and no prediction."""
    spec = make_pair_spec(DOUBLE)
    task, base = task_of(spec)
    whole = batch_of(task, spec, 8)
    parts = [
        task.collate([pair], search_config(spec, 0, {}, 0), torch.Generator())
        for pair in task.examples("train")[:8]
    ]
    alone = torch.cat([task.loss(base.model, part) for part in parts])
    torch.testing.assert_close(task.loss(base.model, whole), alone, rtol=1e-9, atol=0)
    assert task.predict(base.model, whole) == [task.predict(base.model, p)[0] for p in parts]


# ---------------------------------------------------------------- labels


def reordered(folder: Path, to: Path, order: list[int], names: list[str]) -> Path:
    """A copy of a classifier whose outputs stand in another order, under given names."""
    shutil.copytree(folder, to)
    weights = load_file(to / "model.safetensors")
    for part in ("weight", "bias"):
        weights[f"classifier.{part}"] = weights[f"classifier.{part}"][order].clone()
    save_file(weights, to / "model.safetensors", {"format": "pt"})
    config = json.loads((to / "config.json").read_text())
    config |= {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }
    (to / "config.json").write_text(json.dumps(config))
    return to


ROTATED = ["Contradiction", "ENTAILMENT", "neutral"]


InTwoOrders = Callable[[str, Callable[[Any, Any, Any], Any]], tuple[Any, Any]]


@pytest.fixture
def in_two_orders(make_pair_spec: MakeSpec, tiny_classifiers: Path, tmp_path: Path) -> InTwoOrders:
    """Return a function that asks two studies for one thing of (task, model, batch).

    One is over the teacher, the other over a copy whose outputs have another order.
    """
    model = tiny_classifiers / "teacher"
    models = (model, reordered(model, tmp_path / "t", [2, 0, 1], ROTATED))

    def asked(key: str, ask: Callable[[Any, Any, Any], Any]) -> tuple[Any, Any]:
        specs = [make_pair_spec({**DOUBLE, key: str(model)}) for model in models]
        made = [(spec, *task_of(spec)) for spec in specs]
        one, other = (ask(task, base.model, batch_of(task, spec, 20)) for spec, task, base in made)
        return one, other

    return asked


def test_a_teachers_own_order_of_labels_changes_nothing(in_two_orders: InTwoOrders) -> None:
    """A teacher whose configuration names its outputs in another order says the same."""
    one, other = in_two_orders(
        "distillation.teacher", lambda task, model, batch: task.loss(model, batch)
    )
    torch.testing.assert_close(one, other, rtol=1e-9, atol=0)


def test_a_teacher_that_names_nothing_needs_the_study_files_names(
    make_pair_spec: MakeSpec, tiny_classifiers: Path, tmp_path: Path
) -> None:
    """LABEL_0 tells nobody what it means: it is refused unless `distillation.labels` says it."""
    names = ["LABEL_0", "LABEL_1", "LABEL_2"]
    other = reordered(tiny_classifiers / "teacher", tmp_path / "t", [2, 0, 1], names)
    changes = {**DOUBLE, "distillation.teacher": str(other)}
    line = problem(make_pair_spec(changes))
    assert "does not name its outputs; set distillation.labels to entailment, neutral" in line
    known = task_of(make_pair_spec(DOUBLE))
    named = task_of(
        make_pair_spec({**changes, "distillation.labels": [n.lower() for n in ROTATED]})
    )
    spec = make_pair_spec(DOUBLE)
    first, second = (task.loss(base.model, batch_of(task, spec)) for task, base in (known, named))
    torch.testing.assert_close(first, second, rtol=1e-9, atol=0)


def test_a_student_that_is_a_classifier_keeps_its_order(in_two_orders: InTwoOrders) -> None:
    """Predictions are names: the model's order of outputs is read from its configuration."""
    one, other = in_two_orders("base.model", lambda task, model, batch: task.predict(model, batch))
    assert one == other
    assert set(one) <= {"entailment", "neutral", "contradiction"}


def test_labels_that_the_model_has_not(
    make_pair_spec: MakeSpec, tiny_classifiers: Path, tmp_path: Path
) -> None:
    """A model of other labels is refused with both lists."""
    names = ["positive", "negative", "neutral"]
    other = reordered(tiny_classifiers / "teacher", tmp_path / "t", [0, 1, 2], names)
    line = problem(make_pair_spec({"base.model": str(other)}))
    assert line.startswith("base.model: ")
    assert "must have the labels of the data, entailment, neutral" in line
    assert line.endswith("has positive, negative, neutral")
    line = problem(make_pair_spec({"distillation.teacher": str(other)}))
    assert line.startswith("distillation.teacher: ")
    assert "3 outputs, positive, negative, neutral; the student has entailment" in line


def test_a_teacher_of_another_vocabulary(
    make_pair_spec: MakeSpec, tiny_classifiers: Path, tmp_path: Path
) -> None:
    """Teacher and student must read the same tokens; the line names one that differs."""
    from transformers import AutoTokenizer

    other = Path(shutil.copytree(tiny_classifiers / "teacher", tmp_path / "t"))
    tokenizer = AutoTokenizer.from_pretrained(other)
    tokenizer.add_tokens(["zebras"])
    tokenizer.save_pretrained(other)
    line = problem(make_pair_spec({"distillation.teacher": str(other)}))
    assert line.startswith("distillation.teacher: ")
    assert "the vocabulary must be that of the base model" in line
    assert "'zebras'; choose a teacher with the same tokenizer" in line


# ---------------------------------------------------------------- heads


@pytest.fixture(scope="module")
def alone(make_pair_spec: MakeSpec) -> dict[int, TrialResult]:
    """Return three trials of different T and a, trained one after the other."""
    spec = make_pair_spec(DOUBLE)
    return train_all(spec, configs_of(spec), EngineChoice("sequential"))


def test_a_new_head_comes_from_the_trials_seed_alone(
    make_pair_spec: MakeSpec, alone: dict[int, TrialResult]
) -> None:
    """Trials in any order give the same weights; trials of other seeds other heads."""
    spec = make_pair_spec(DOUBLE)
    forward = alone
    backward = train_all(spec, configs_of(spec)[::-1], EngineChoice("sequential"))
    for number, result in forward.items():
        assert result.adapter is not None
        assert backward[number].adapter is not None
        assert result.adapter.weights == backward[number].adapter.weights
    untouched = working_base(spec, spec.base.model, corpus_of(spec).labels)
    assert {n.split(".")[0] for n in untouched.fresh} == {"pre_classifier", "classifier"}


def test_the_packed_engine_distils_to_the_same(
    make_pair_spec: MakeSpec, alone: dict[int, TrialResult]
) -> None:
    """Three trials of different T and a in one pass end as each does alone."""
    spec = make_pair_spec(DOUBLE)
    packed = train_all(spec, configs_of(spec), EngineChoice(slots=3))
    for number, result in alone.items():
        found = packed[number].splits["dev"]
        assert found.outputs == result.splits["dev"].outputs
        for metric, statistics in result.splits["dev"].statistics.items():
            values = found.statistics[metric].values
            np.testing.assert_allclose(values, statistics.values, rtol=1e-7, atol=1e-9)


def test_the_adapter_loads_with_peft_on_the_original_base(
    make_pair_spec: MakeSpec, alone: dict[int, TrialResult], tmp_path: Path
) -> None:
    """On the pretrained body, with any new head, PEFT restores LoRA and the trained head."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    spec = make_pair_spec(DOUBLE)
    result = alone[0]
    assert result.adapter is not None
    folder = save_adapter(tmp_path, "trial-00000", result.adapter)
    plain = AutoModelForSequenceClassification.from_pretrained(
        spec.base.model, num_labels=3, dtype=torch.float64
    )
    model = PeftModel.from_pretrained(plain, folder).eval()
    assert _dev_losses(spec, model) == pytest.approx(_stored(result), rel=1e-9)


@pytest.mark.whole
def test_full_fine_tuning_gives_a_whole_model_and_the_base_back(
    make_pair_spec: MakeSpec, tmp_path: Path
) -> None:
    """Every weight is trained, saved as a plain checkpoint, and the base is as it was."""
    from transformers import AutoModelForSequenceClassification

    changes = {**DOUBLE, "method.name": "full", "search.parameters.learning_rate.low": 1e-5}
    spec = make_pair_spec(changes)
    configs = configs_of(spec)
    results = train_all(spec, configs, EngineChoice("sequential"))
    _, base = task_of(spec)
    assert results[0].details["trainable_parameters"] == base.model.num_parameters()
    adapter = results[0].adapter
    assert adapter is not None
    folder = save_adapter(tmp_path, "trial-00000", adapter)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float64)
    assert _dev_losses(spec, model) == pytest.approx(_stored(results[0]), rel=1e-9)
    assert model.config.id2label == {0: "entailment", 1: "neutral", 2: "contradiction"}
    again = train_all(spec, configs[2:], EngineChoice("sequential"))
    assert _stored(again[2]) == _stored(results[2])


def _stored(result: TrialResult) -> list[float]:
    values: list[float] = result.splits["dev"].statistics["loss"].values[:, 0].tolist()
    return values


def _dev_losses(spec: StudySpec, model: Any) -> list[float]:
    """Transformers' own loss of every dev pair, unpadded."""
    task, base = task_of(spec)
    labels = ["entailment", "neutral", "contradiction"]
    found = []
    for pair in task.examples("dev"):
        inputs = base.tokenizer(pair.first, pair.second, return_tensors="pt")
        with torch.no_grad():
            label = torch.tensor([labels.index(pair.label)])
            found.append(model(**inputs, labels=label).loss.item())
    return found


# ---------------------------------------------------------------- a whole study


def test_long_texts_are_cut_for_student_and_teacher(make_pair_spec: MakeSpec) -> None:
    """No row is longer than `max_tokens`, the end mark stays, and the teacher's are cut alike."""
    spec = make_pair_spec({"data.max_tokens": 8})
    task, base = task_of(spec)
    ids = batch_of(task, spec, 40).inputs["input_ids"]
    assert ids.shape[1] == 8
    ends = [row[row != base.tokenizer.pad_token_id][-1].item() for row in ids]
    assert set(ends) == {base.tokenizer.sep_token_id}


@pytest.mark.whole
def test_a_study_says_what_it_cuts_and_trains_plain_beside_the_default(
    make_pair_spec: MakeSpec, view: RecordingView, tmp_path: Path
) -> None:
    """One remark with the counts; four baselines; every trial with its own T and a."""
    spec = make_pair_spec({"data.max_tokens": 12})
    run_study(spec, tmp_path, view)
    *_, remark = view.remarks
    assert "examples have more than 12 tokens and are cut" in remark
    names = [o.config.name for o in view.outcomes if o.config.role == "baseline"]
    assert sorted(names) == ["base", "default", "plain", "teacher"]
    assert [o.state for o in view.outcomes] == ["complete"] * 7
    searched = [o.config for o in view.outcomes if o.config.role == "search"]
    assert len({c.values["distillation_weight"] for c in searched}) == 3


def test_refused_lengths_are_refused_before_anything_is_trained(
    make_pair_spec: MakeSpec, view: RecordingView, tmp_path: Path
) -> None:
    """With `too_long = "refuse"` the run ends in one line and has no trial."""
    spec = make_pair_spec({"data.max_tokens": 12, "data.too_long": "refuse"})
    with pytest.raises(InputError, match=r"more than 12 tokens; allowed: data\.too_long"):
        run_study(spec, tmp_path, view)
    assert view.outcomes == []


def test_the_cost_counts_the_head_beside_the_adapter(make_pair_spec: MakeSpec) -> None:
    """`check` says what a trial trains: LoRA and head, or with `full` every weight."""
    lora = trial_cost(make_pair_spec())
    _, base = task_of(make_pair_spec())
    head = sum(base.model.get_submodule(n).weight.numel() for n in base.head)
    head += sum(base.model.get_submodule(n).bias.numel() for n in base.head)
    default = lora["adapters"]["default"]
    assert default == {"pairs": 2, "parameters": 2 * 8 * (16 + 16) + head}
    assert not any("cut" in line for line in lora["lines"])
    cut = trial_cost(make_pair_spec({"data.max_tokens": 12}))
    assert any("examples have more than 12 tokens and are cut" in line for line in cut["lines"])
    full = trial_cost(make_pair_spec({"method.name": "full"}))
    assert full["adapters"]["full"]["parameters"] == base.model.num_parameters()
