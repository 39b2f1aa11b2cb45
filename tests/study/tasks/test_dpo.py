"""Direct preference optimization: the formula by hand, the reference, packs, a whole study."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import analysis
from study.bases.load import BaseModel
from study.data.corpora import corpus_of
from study.data.preference_rows import PreferenceExample
from study.engines.evaluation import Examiner
from study.errors import InputError
from study.metrics import preferences
from study.peft_methods.adapters import attach_adapter
from study.runner import run_study
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from study.store.saved_adapters import save_adapter
from study.tasks.dpo import PreferenceTask
from study.tasks.reference import sharing_weights
from study.trials import TrialConfig, baseline_configs, search_config
from tests.conftest import RecordingView
from tests.engine_runs import Bench, bench_of

MakeSpec = Callable[..., StudySpec]
DOUBLE = {"base.dtype": "float64"}


@pytest.fixture(scope="module")
def bench(make_dpo_spec: MakeSpec) -> Bench:
    """The tiny study in float64."""
    return bench_of(make_dpo_spec(DOUBLE))


def trial(bench: Bench, number: int, **values: Any) -> TrialConfig:
    """A trial of the study."""
    return search_config(bench.spec, number, {"learning_rate": 1e-2, **values}, number)


@torch.no_grad()
def log_p(model: Any, ids: np.ndarray, trained: np.ndarray) -> float:
    """Return a row's log-probability of its trained tokens, by the model's own logits."""
    row = torch.from_numpy(ids).long()
    logits = model(input_ids=row[None]).logits[0, :-1].log_softmax(dim=-1)
    each = logits.gather(1, row[1:, None])[:, 0]
    return float(each[torch.from_numpy(trained[1:])].sum())


def by_hand(base: Any, adapted: Any, example: PreferenceExample, beta: float) -> float:
    """Return TRL's sigmoid loss of a pair."""
    logratios = [
        log_p(adapted, side.ids, side.trained) - log_p(base, side.ids, side.trained)
        for side in example.rows
    ]
    margin = torch.tensor(beta * (logratios[0] - logratios[1]), dtype=torch.float64)
    return float(-torch.nn.functional.logsigmoid(margin))


def test_the_loss_is_trls_formula(bench: Bench) -> None:
    """With an adapter on the base, padded together, each pair has the loss that it has alone."""
    task, base = bench.task, bench.base
    assert isinstance(task, PreferenceTask)
    examples = task.examples("train")[:5]
    bare = sharing_weights(base.model)
    with_adapter(base, lambda: None)
    config = trial(bench, 0, beta=0.3)
    batch = task.collate(examples, config, torch.Generator())
    losses: list[Tensor] = []
    expected: list[float] = []

    def compare() -> None:
        losses.append(task.loss(base.model, batch))
        expected.extend(by_hand(bare, base.model, example, 0.3) for example in examples)

    with_adapter(base, compare)
    assert losses[0][:, 0].tolist() == pytest.approx(expected, rel=1e-9)
    assert losses[0][:, 1].tolist() == [1.0] * 5
    assert max(abs(loss - np.log(2)) for loss in expected) > 1e-3


def with_adapter(base: BaseModel, do: Callable[[], None]) -> None:
    """Do something while an adapter of random weights is on the base."""
    adapter = attach_adapter(base, MethodSpec(rank=4, target_modules="attention"), 0)
    generator = torch.Generator().manual_seed(1)
    for weight in adapter.lora_b:
        weight.data.normal_(std=0.3, generator=generator)
    try:
        do()
    finally:
        adapter.detach()


def test_the_reference_is_the_base_whatever_is_attached(make_dpo_spec: MakeSpec) -> None:
    """Margins are the bare base's, first asked for under an adapter, PiSSA's included."""
    spec = make_dpo_spec(DOUBLE)
    bench = bench_of(spec)
    examples = bench.task.examples("dev")
    bare = sharing_weights(bench.base.model)
    expected = [
        log_p(bare, e.chosen.ids, e.chosen.trained)
        - log_p(bare, e.rejected.ids, e.rejected.trained)
        for e in examples
    ]
    pissa = MethodSpec(name="pissa", rank=4, alpha=4, target_modules="attention")
    adapter = attach_adapter(bench.base, pissa, 0)
    batch = bench.task.collate(examples, trial(bench, 0), torch.Generator())
    adapter.detach()
    assert batch.rows["reference"].tolist() == pytest.approx(expected, rel=1e-9)


def test_a_copy_of_the_modules_costs_no_weights(bench: Bench) -> None:
    """Every weight of the copy lies where the model's does."""
    copied = dict(sharing_weights(bench.base.model).named_parameters())
    for name, weight in bench.base.model.named_parameters():
        assert copied[name].data_ptr() == weight.data_ptr()
        assert not copied[name].requires_grad


def test_packed_trials_are_those_trained_one_by_one(bench: Bench) -> None:
    """Different β, ranks and dropout in one pack: each result is the sequential engine's."""
    configs = [
        trial(bench, 0, beta=0.1, rank=8, dropout=0.2),
        trial(bench, 1, beta=0.5, rank=16),
        trial(bench, 2, beta=0.5, rank=16, gradient_accumulation_steps=2),
    ]
    packed = bench.together(configs)
    for config in configs:
        alone = bench.alone(config)
        for name in ("preference_margin", "preference_accuracy", "loss"):
            ours, theirs = packed[config.number].metrics()[name], alone.metrics()[name]
            assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12), name
        assert packed[config.number].losses[0][1] == pytest.approx(alone.losses[0][1], rel=1e-9)
    margins = {packed[number].metrics()["preference_margin"] for number in range(3)}
    assert len(margins) == 3


def test_training_makes_the_chosen_answers_likelier(bench: Bench) -> None:
    """On the training pairs the loss falls below log 2 within twenty steps."""
    result = bench.alone(trial(bench, 0, steps=20, alpha=64, rank=8))
    first, last = result.losses[0][1], result.losses[-1][1]
    assert last < first < np.log(2) + 0.05
    assert last < 0.9 * np.log(2)


def test_an_evaluation_does_not_depend_on_beta(bench: Bench) -> None:
    """The untrained base has margin 0, ties everywhere, and fine-tuning's loss of the answers."""
    base = baseline_configs(bench.spec)[0]
    examiner = Examiner(bench.spec, bench.task, bench.base.model)
    (splits,) = examiner.splits([base])
    scores = splits["dev"].scores
    assert scores["preference_accuracy"] == 0.5
    assert scores["preference_margin"] == pytest.approx(0, abs=1e-9)
    sums = [
        (-log_p(bench.base.model, e.chosen.ids, e.chosen.trained), e.chosen.trained[1:].sum())
        for e in bench.task.examples("dev")
    ]
    assert scores["loss"] == pytest.approx(sum(a for a, _ in sums) / sum(b for _, b in sums))


@pytest.mark.parametrize(("dtype", "kept"), [("bfloat16", False), ("float32", True)])
def test_margins_that_rounding_alone_can_give_are_ties(
    make_dpo_spec: MakeSpec, dtype: str, kept: bool
) -> None:
    """In 16 bits the untrained base differs from itself in passes of other shapes."""
    bench = bench_of(make_dpo_spec({"base.dtype": dtype}))
    config = baseline_configs(bench.spec)[0].evaluated
    batch = bench.task.collate(bench.task.examples("dev"), config, torch.Generator())
    rows = {**batch.rows, "reference": batch.rows["reference"] + 0.3}
    margins = bench.task.loss(bench.base.model, replace(batch, rows=rows))[:, 2]
    assert torch.allclose(margins, torch.full_like(margins, -0.3 if kept else 0.0), atol=1e-3)


def test_accuracy_counts_ties_half_and_the_margin_is_a_mean() -> None:
    """Margins of 2, -1 and a rounding error: one right, one wrong, one tie."""
    losses = np.array([[1.0, 2.0, 2.0], [1.0, 2.0, -1.0], [1.0, 2.0, 1e-5]])
    assert preferences.accuracy(losses, [])[0][:, 0].tolist() == [1.0, 0.0, 0.5]
    assert preferences.margin(losses, [])[0].tolist() == [[2.0, 1.0], [-1.0, 1.0], [1e-5, 1.0]]


def test_a_continued_adapter_is_the_reference_too(
    bench: Bench, make_dpo_spec: MakeSpec, tmp_path: Path
) -> None:
    """The study begins where its reference is: the base with the adapter has margin 0."""
    result = bench.alone(trial(bench, 0, rank=4))
    assert result.adapter is not None
    folder = save_adapter(tmp_path, "first", result.adapter)
    space = tmp_path / "rates.toml"
    space.write_text("[parameters.beta]\nlow = 0.05\nhigh = 0.5\n", encoding="utf-8")
    changes = {"method.init_adapter": str(folder), "search.space": str(space), **DOUBLE}
    again = bench_of(make_dpo_spec(changes))
    begun = again.alone(baseline_configs(again.spec)[0]).metrics()
    assert begun["preference_margin"] == pytest.approx(0, abs=1e-9)
    assert begun["loss"] == pytest.approx(result.metrics()["loss"], rel=1e-6)


# ---------------------------------------------------------------- files


ROW = {"prompt": "Who?", "chosen": "The well.", "rejected": "A pump."}
USER = {"role": "user", "content": "Who?"}
TURNS = [{"role": "assistant", "content": text} for text in ("The well.", "A pump.")]
SAME = [
    ROW,
    {**ROW, "prompt": [USER]},
    {"prompt": [USER], "chosen": TURNS[:1], "rejected": TURNS[1:]},
    {"chosen": [USER, TURNS[0]], "rejected": [USER, TURNS[1]]},
    {"chosen": "Who? The well.", "rejected": "Who? A pump."},
]


def spec_of(rows: list[dict[str, Any]], make: MakeSpec, folder: Path) -> StudySpec:
    """Return a study of these rows, and of another pair so that there is a dev set."""
    other = {**ROW, "prompt": "What?"} if "prompt" in rows[0] else None
    more = other or {"chosen": "What? The well.", "rejected": "What? A pump."}
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (*rows, more)), encoding="utf-8")
    return make({"data.train": str(path)})


@pytest.mark.parametrize("row", SAME)
def test_trls_formats_are_the_same_pair(
    row: dict[str, Any], make_dpo_spec: MakeSpec, tmp_path: Path
) -> None:
    """With a prompt of its own or without, texts or turns: the same prompt and answers."""
    corpus = corpus_of(spec_of([row], make_dpo_spec, tmp_path))
    found = next(e for e in (*corpus.train, *corpus.dev) if "Who" in e.source)
    assert (found.source, found.target) == ("Who?", "The well.")
    answers = [json.loads(side.conversation)[-1]["content"] for side in found.rows]
    assert answers == ["The well.", "A pump."]
    shared = int((~found.chosen.trained).sum())
    assert (found.chosen.ids[:shared] == found.rejected.ids[:shared]).all()


def test_pairs_of_equal_answers_are_counted(make_dpo_spec: MakeSpec, tmp_path: Path) -> None:
    """They teach nothing and are left out with a line."""
    same = {**ROW, "prompt": "Why?", "rejected": ROW["chosen"]}
    corpus = corpus_of(spec_of([ROW, same], make_dpo_spec, tmp_path))
    assert "pairs with equal answers left out: 1" in corpus.remarks
    assert len(corpus.train) + len(corpus.dev) == 2
    assert corpus.shown


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (
            {"chosen": [USER, TURNS[0]], "rejected": [{**USER, "content": "Why?"}, TURNS[1]]},
            "must differ in the last answer alone, got 2 and 2 turns that differ from turn 1 on",
        ),
        ({"question": "Who?"}, "no columns of pairs, got 'question'; allowed: prompt, chosen"),
        ({"chosen": "Yes", "rejected": "No"}, "must begin as the other side does, got 'Yes'"),
    ],
)
def test_other_rows_are_refused(
    row: dict[str, Any], rule: str, make_dpo_spec: MakeSpec, tmp_path: Path
) -> None:
    """One line says what a pair must be."""
    with pytest.raises(InputError, match=rule):
        corpus_of(spec_of([row], make_dpo_spec, tmp_path))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"method.name": "full"}, "'full' changes the reference"),
        ({"data.train_on": "assistant"}, "pairs differ in the last answer, so it must be 'last'"),
        ({"training.beta": 0}, "training.beta: must be above 0, got 0"),
    ],
)
def test_what_dpo_cannot_do_is_refused(
    changes: dict[str, Any], rule: str, make_dpo_spec: MakeSpec
) -> None:
    """Each contradiction in a study file is one line."""
    with pytest.raises(InputError, match=rule):
        make_dpo_spec(changes)


def test_only_dpo_has_beta_and_margins(make_chat_spec: MakeSpec) -> None:
    """Other tasks refuse both, and say which task has them."""
    with pytest.raises(
        InputError, match=r"training\.beta: works only with dpo, got the task 'sft'"
    ):
        make_chat_spec({"training.beta": 0.1})
    with pytest.raises(InputError, match="'preference_margin' does not apply to the task 'sft'"):
        make_chat_spec({"evaluation.metrics": ["loss", "preference_margin"]})


# ---------------------------------------------------------------- a whole study


@pytest.mark.whole
def test_a_study_of_pairs_is_run_and_stored(
    make_dpo_spec: MakeSpec, view: RecordingView, tmp_path: Path
) -> None:
    """β is searched, answers are generated, and every metric is stored."""
    space = tmp_path / "space.toml"
    space.write_text(
        "[parameters.beta]\nlow = 0.05\nhigh = 0.5\nlog = true\n"
        "[parameters.learning_rate]\nlow = 1e-3\nhigh = 1e-2\nlog = true\n",
        encoding="utf-8",
    )
    metrics = ["preference_accuracy", "preference_margin", "loss", "chrf"]
    changes = {"search.space": str(space), "evaluation.metrics": metrics}
    run_study(make_dpo_spec(changes), tmp_path / "run", view)
    assert {o.state for o in view.outcomes} == {"complete"}
    data = analysis.load(tmp_path / "run")
    assert data.objective == "preference_accuracy"
    assert set(data.metrics) == set(metrics)
    assert data.score("base", "preference_accuracy") == 0.5
    assert len({t.params["beta"] for t in data.complete}) == 2
