"""The self-check before the first trial: it finds what is broken, and raises no false alarm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from analysis.studies.load import load
from study.engines.build import engine_over, packable_methods
from study.engines.checking import comparisons
from study.engines.checking.comparisons import ALONE, FRESH, GRADIENTS, LOGITS, LOSSES, PEFT
from study.engines.checking.self_check import self_check
from study.engines.engine_choice import EngineChoice
from study.engines.mixed import MixedEngine
from study.engines.packed.copies import PackedTokenEmbedding
from study.engines.packed.linear import PackedLinear, _PackedLoRA
from study.engines.sequential import SequentialEngine
from study.errors import InputError
from study.runner import run_study
from study.spec.sections import StudySpec
from study.tasks import token_logits
from study.tasks.base import Batch
from study.tasks.losses import IGNORED, cross_entropy, language_model_loss
from study.tasks.vocabulary.after_head import AfterHead
from study.trials import Checked, SelfCheck, TrialConfig, search_config
from tests.engine_runs import Bench, train_all
from tests.tiny_architectures import random_base

CAUSAL = ("gpt2", "gemma2", "gemma3_text", "cohere", "granite", "qwen3_moe", "gpt_oss")
TYPES = (*CAUSAL, "albert", "distilbert", "m2m_100")
QUICK = ("gpt2", "gemma3_text", "qwen3_moe", "albert", "m2m_100")  # the others are slow tests


def type_param(model_type: str, *more: Any, quick: Any = ()) -> Any:
    """Return a parameter of a test, whose model type most runs leave out unless it is quick."""
    return pytest.param(model_type, *more, marks=quick if model_type in QUICK else pytest.mark.slow)


STOP = 7  # a token whose row is trained


class Tokens:
    """Random rows of tokens: the next one is learnt, or a class."""

    def __init__(self, model: Any) -> None:
        self._predicts_class = model.config.num_labels == 3 and "Sequence" in type(model).__name__
        self._reads_twice = model.config.is_encoder_decoder
        draws = torch.Generator().manual_seed(0)
        self._rows = [torch.randint(5, 64, (n,), generator=draws) for n in (9, 4, 6, 5)]
        for row in self._rows:
            row[1] = STOP

    def examples(self, split: str) -> Sequence[Tensor]:
        """Return the same few rows for every split."""
        return self._rows if split in ("train", "dev") else []

    def texts(self, example: Tensor) -> tuple[str, str]:
        """Return the numbers."""
        return str(example.tolist()), ""

    def length(self, example: Tensor) -> int:
        """Return the number of tokens."""
        return len(example)

    def collate(
        self, examples: Sequence[Tensor], config: TrialConfig, generator: torch.Generator
    ) -> Batch:
        """Return inputs (B, T) and labels (B, T) or (B, 1)."""
        pad = partial(nn.utils.rnn.pad_sequence, batch_first=True)
        ids = pad(list(examples), padding_value=1)
        inputs = {"input_ids": ids, "attention_mask": (ids != 1).long()}
        if self._reads_twice:
            inputs["decoder_input_ids"] = ids
        labels = F.pad(ids, (0, 1), value=1)[:, 1:]
        labels = ids[:, :1] % 3 if self._predicts_class else labels.masked_fill(labels == 1, -100)
        return Batch(inputs, labels, padding={"input_ids": 1, "decoder_input_ids": 1})

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Return (B, 2) by the shortcuts that the shipped tasks take."""
        if self._predicts_class:
            return cross_entropy(model(**batch.inputs).logits[:, None], batch.labels)
        return language_model_loss(model, batch.inputs, batch.labels)

    def predict(self, model: Any, batch: Batch) -> list[str]:
        """Return nothing for each row."""
        return [""] * len(batch.labels)

    def score(self, outputs: Sequence[str], examples: Sequence[Tensor]) -> dict[str, Any]:
        """Return no metric: the loss alone counts."""
        return {}


@pytest.fixture(scope="module")
def spec(make_spec: Callable[..., StudySpec]) -> StudySpec:
    """Return a study over a space with ranks, targets and dropout."""
    return make_spec(
        {
            "search.space": None,
            "search.parameters": {
                "rank": {"choices": [2, 4]},
                "dropout": {"low": 0.0, "high": 0.3},
                "target_modules": {"choices": ["attention", "all-linear"]},
            },
            "training.steps": 3,
            "evaluation.metrics": ["loss"],
            "evaluation.objective": "loss",
            "data.general": None,
        }
    )


def bench_over(spec: StudySpec, model_type: str, dtype: torch.dtype = torch.float32) -> Bench:
    """Return a random model with large weights; a decoder trains a token's row as well."""
    base = random_base(model_type, "cpu", dtype=dtype, spread=0.2)
    if model_type in CAUSAL:
        base = replace(base, trained_tokens=(STOP,))
    return Bench(spec, base, Tokens(base.model))  # type: ignore[arg-type]


def checked(bench: Bench, packs: bool = True) -> SelfCheck:
    """Return a self-check as an engine makes it."""
    methods = packable_methods(bench.spec, bench.base)
    return self_check(bench.spec, bench.base, bench.task, methods, packs=packs)


def own_losses(bench: Bench, batch: Batch) -> Tensor:
    """Return the losses (B,) of the model's own forward."""
    logits = bench.base.model(**batch.inputs).logits
    return F.cross_entropy(logits.mT, batch.labels, reduction="none", ignore_index=IGNORED).sum(1)


# ---------------------------------------------------------------- no false alarms


@pytest.mark.parametrize(
    ("model_type", "dtype"),
    [
        *(type_param(model_type, torch.float32) for model_type in TYPES),
        ("gemma3_text", torch.bfloat16),
        pytest.param("gpt_oss", torch.bfloat16, marks=pytest.mark.whole),
        pytest.param("m2m_100", torch.bfloat16, marks=pytest.mark.whole),
    ],
)
def test_rounding_raises_no_alarm(spec: StudySpec, model_type: str, dtype: torch.dtype) -> None:
    """Large random weights amplify rounding, and every comparison still agrees."""
    bench = bench_over(spec, model_type, dtype)
    found = checked(bench)
    assert found.remarks == ()
    assert found.packs
    tokens = set() if model_type in ("albert", "distilbert") else {LOGITS}
    assert {c.what for c in found.compared} == {PEFT, FRESH, ALONE, LOSSES, GRADIENTS} | tokens


def test_weak_adapters_decide_where_strong_ones_amplify_rounding(
    spec: StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients that are all rounding beside strong random adapters say nothing of packing."""
    layers = {"num_hidden_layers": 6, "layer_types": ["full_attention"] * 6}
    base = random_base("gemma3_text", "cpu", dtype=torch.bfloat16, spread=0.05, **layers)
    bench = Bench(spec, base, Tokens(base.model))  # type: ignore[arg-type]
    monkeypatch.setattr(comparisons, "STRENGTHS", (2.0, 2.0))
    assert not checked(bench).packs
    monkeypatch.setattr(comparisons, "STRENGTHS", (2.0, 0.02))
    found = checked(bench)
    assert found.packs
    assert all(compared.agrees for compared in found.compared)


@pytest.mark.parametrize(
    "model_type",
    ["gpt2", *(type_param(name, quick=pytest.mark.whole) for name in TYPES if name != "gpt2")],
)
def test_what_passes_is_trained_rightly(spec: StudySpec, model_type: str) -> None:
    """Trials are packed, or trained alone for a reason, and give what they give alone."""
    bench = bench_over(spec, model_type)
    points = [
        {"rank": 4, "dropout": 0.2, "target_modules": "attention"},
        {"rank": 2, "dropout": 0.0, "target_modules": "all-linear"},
        {"rank": 2, "dropout": 0.0, "target_modules": "attention"},
    ]
    rate = {"learning_rate": 1e-3}
    configs = [search_config(spec, i, {**point, **rate}, i) for i, point in enumerate(points)]
    reasons: list[str] = []
    with closing(bench.engine(EngineChoice(slots=3))) as engine:
        assert isinstance(engine, MixedEngine)
        together, _ = train_all(engine, configs, reasons)
    assert len(reasons) == (model_type == "qwen3_moe")  # its experts are not linear layers
    for config in configs:
        alone, found = bench.alone(config), together[config.number]
        assert alone.failure is found.failure is None
        losses = [loss for _, loss in found.losses]
        assert losses == pytest.approx([loss for _, loss in alone.losses], rel=1e-3)


def test_the_check_leaves_no_trace(spec: StudySpec) -> None:
    """The base is the same bit by bit, and PyTorch's global generator stands where it stood."""
    bench = bench_over(spec, "gemma3_text")
    model = bench.base.model
    modules = dict(model.named_modules())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    checked(bench)
    assert torch.equal(torch.get_rng_state(), state)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert dict(model.named_modules()) == modules
    hooks = [*modules.values()]
    assert not any("forward" in vars(m) or m._forward_hooks or m._forward_pre_hooks for m in hooks)
    assert not any(weight.requires_grad or weight.grad is not None for weight in model.parameters())


# ---------------------------------------------------------------- what is broken is found


def checked_with_embeddings(
    spec: StudySpec, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Any, Any], None]
) -> SelfCheck:
    """Return what the check says of Gemma when every packed embedding is spoiled."""
    begin = PackedTokenEmbedding.__init__

    def spoiled(self: Any, embedding: Any, tokens: Any, copies: Any) -> None:
        begin(self, embedding, tokens, copies)
        spoil(self, embedding)

    monkeypatch.setattr(PackedTokenEmbedding, "__init__", spoiled)
    return checked(bench_over(spec, "gemma3_text"))


def test_an_embedding_without_its_scale_is_found(
    spec: StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gemma multiplies its embeddings; a packed one that does not is named."""

    def unscale(made: Any, embedding: Any) -> None:
        made._forward = lambda ids: F.embedding(ids, embedding.weight)

    found = checked_with_embeddings(spec, monkeypatch, unscale)
    assert not found.packs
    (remark,) = found.remarks
    assert remark.startswith(f"trains one trial at a time: {FRESH} differ by ")
    assert "beginning in model.embed_tokens with" in remark
    assert checked(bench_over(spec, "granite")).packs  # it has no scale


def test_a_trained_row_without_its_scale_is_found(
    spec: StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frozen rows may be right and the trained ones wrong."""

    def unscale(made: Any, embedding: Any) -> None:
        made._scale = None

    found = checked_with_embeddings(spec, monkeypatch, unscale)
    assert "beginning in model.embed_tokens with" in str(found.why_alone)


def test_a_head_without_its_soft_cap_is_found(spec: StudySpec) -> None:
    """The loss is computed from all logits from then on, and is the model's own."""
    bench = bench_over(spec, "gemma2")
    token_logits._PROOFS[bench.base.model] = token_logits.HeadProof(after=AfterHead())
    batch = bench.task.collate(bench.task.examples("dev"), search_config(spec, 0, {}, 0), None)  # type: ignore[arg-type]
    own = own_losses(bench, batch)
    assert not torch.allclose(bench.task.loss(bench.base.model, batch)[:, 0], own, rtol=1e-3)
    found = checked(bench)
    assert found.packs
    (remark,) = found.remarks
    assert remark.startswith(f"computes all logits: {LOGITS} differ by ")
    torch.testing.assert_close(bench.task.loss(bench.base.model, batch)[:, 0], own)


@pytest.mark.parametrize("matrix", ["A", "B"])
def test_a_gradient_that_is_wrong_by_one_percent_is_found(
    spec: StudySpec, monkeypatch: pytest.MonkeyPatch, matrix: str
) -> None:
    """Losses are right, and the gradient's matrix is named."""
    backward = _PackedLoRA.backward

    def wrong(ctx: Any, *grads: Tensor) -> Any:
        total = getattr(ctx.layer.grads, matrix)
        before = total.clone()
        result = backward(ctx, *grads)
        total.copy_(before + 1.01 * (total - before))
        return result

    monkeypatch.setattr(_PackedLoRA, "backward", staticmethod(wrong))
    found = checked(bench_over(spec, "m2m_100"))
    assert str(found.why_alone).startswith(f"{GRADIENTS} differ by 0.01")
    assert f".lora_{matrix}.weight with 0.01" in str(found.why_alone)


def test_a_layer_that_fails_when_packed_is_named(
    spec: StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it raises, trials train alone; control characters of its message are escaped."""

    def failing(self: PackedLinear, x: Tensor) -> Tensor:
        raise RuntimeError("no such\nview \x1b[31m")

    monkeypatch.setattr(PackedLinear, "__call__", failing)
    bench = bench_over(spec, "cohere")
    (remark,) = checked(bench).remarks
    where, _, why = remark.removeprefix("trains one trial at a time: ").partition(" fails when ")
    assert where in dict(bench.base.model.named_modules())
    assert why == "packed: no such view \\x1b[31m"
    with closing(engine_over(spec, bench.base, bench.task, EngineChoice())) as engine:
        assert isinstance(engine, SequentialEngine)


def test_a_layer_whose_rows_are_reordered_is_found(spec: StudySpec) -> None:
    """Experts may get tokens in another order, so that a pack cannot tell whose they are."""
    bench = bench_over(spec, "granite")
    mlp = bench.base.model.model.layers[1].mlp
    plain = mlp.forward

    def reordered(x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)
        order = torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))
        result: Tensor = plain(flat[order])[order.argsort()].view_as(x)
        return result

    mlp.forward = reordered
    (remark,) = checked(bench).remarks
    assert f"{LOSSES} differ by" in remark
    assert "beginning in model.layers.1.mlp" in remark


def test_a_layer_that_fails_in_training_alone_is_named(spec: StudySpec) -> None:
    """With fewer rows than the pack has, only dropout's masks make it fail."""
    bench = bench_over(spec, "granite")
    mlp = bench.base.model.model.layers[1].mlp
    plain = mlp.forward

    def by_token(x: Tensor) -> Tensor:
        rows = [plain(token[None]) for token in x.flatten(0, 1)]
        return torch.cat(rows).view_as(x)

    mlp.forward = by_token
    (remark,) = checked(bench).remarks
    assert "model.layers.1.mlp." in remark
    assert "fails when packed: " in remark


def test_a_loss_that_depends_on_padding_is_found(spec: StudySpec) -> None:
    """Beside longer rows a trial would learn something else than alone."""

    class Means(Tokens):
        def loss(self, model: Any, batch: Batch) -> Tensor:
            states = model.base_model(**batch.inputs).last_hidden_state
            losses = (states.mean(dim=(1, 2)) - 1) ** 2  # over padding too
            return torch.stack([losses, torch.ones_like(losses)], dim=1)

    bench = bench_over(spec, "granite")
    task: Any = Means(bench.base.model)
    (remark,) = checked(replace(bench, task=task)).remarks
    assert remark.endswith("since a row's loss depends on how it is padded")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("expected Float32"), "Float32"),
        (ValueError("expected Float32"), "Float32"),
        (AssertionError(), "got AssertionError"),
    ],
)
def test_a_base_that_fails_is_refused(spec: StudySpec, error: Exception, reason: str) -> None:
    """Some models do not compute in every precision: one line says so, before any trial."""
    bench = bench_over(spec, "granite")

    def fails(*_: Any, **__: Any) -> None:
        raise error

    bench.base.model.model.forward = fails
    wanted = rf"^base\.model: this 'granite' model fails .*{reason}; "
    with pytest.raises(InputError, match=wanted):
        checked(bench)


def test_an_error_of_the_task_stays_one(spec: StudySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails outside the model's code is no fault of the base, and is not said to be."""
    bench = bench_over(spec, "granite")

    def fails(*_: Any) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(bench.task, "loss", fails)
    with pytest.raises(ValueError, match=r"^a bug$"):
        checked(bench)


def test_adapters_without_a_gradient_are_refused(
    spec: StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reformer's layers pass no gradient to frozen embeddings: nothing would be learnt."""
    bench = bench_over(spec, "granite")
    loss = bench.task.loss
    monkeypatch.setattr(bench.task, "loss", lambda model, batch: loss(model, batch).detach())
    with pytest.raises(InputError, match=r"^base\.model: the loss of this 'granite' model does "):
        checked(bench, packs=False)


def test_adapters_of_peft_that_change_the_base_are_refused(
    spec: StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No engine could train them; one line names the model, the module and the number."""
    bench = bench_over(spec, "m2m_100")
    layer = "peft.tuners.lora.layer.Linear.forward"
    plain = __import__("peft").tuners.lora.layer.Linear.forward
    monkeypatch.setattr(layer, lambda self, x, *args, **kwargs: 1.1 * plain(self, x))
    with pytest.raises(InputError, match=r"base\.model: .* differ by .*, beginning in .*_proj"):
        checked(bench)


# ---------------------------------------------------------------- engines and studies


def test_without_packing_only_the_loss_and_peft_are_compared(spec: StudySpec) -> None:
    """The sequential engine takes no packed shortcut, so none is checked."""
    bench = bench_over(spec, "m2m_100")
    choice = EngineChoice("sequential")
    with closing(engine_over(spec, bench.base, bench.task, choice)) as engine:
        engine.start(search_config(spec, 0, {}, 0))
        (check,) = [event.check for event in engine.advance() if isinstance(event, Checked)]
    assert {c.what for c in check.compared} == {LOGITS, PEFT}
    assert check.verdict.startswith("trains one trial at a time; losses equal the model's own ")


def test_adapters_that_cannot_be_packed_are_compared_with_peft(spec: StudySpec) -> None:
    """What trains alone is checked too: PEFT's fresh adapters change nothing."""
    dora = spec.model_copy(update={"method": spec.method.model_copy(update={"name": "dora"})})
    bench = bench_over(dora, "gpt2")
    assert not packable_methods(dora, bench.base)
    with closing(engine_over(dora, bench.base, bench.task, EngineChoice())) as engine:
        engine.start(search_config(dora, 0, {}, 0))
        (check,) = [event.check for event in engine.advance() if isinstance(event, Checked)]
    assert {c.what for c in check.compared} == {LOGITS, PEFT}


@pytest.mark.whole
def test_a_broken_module_is_said_and_recorded_and_results_are_right(
    tiny_spec: StudySpec, tmp_path: Path, view: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run says once why it trains alone; its trials are those of `--engine sequential`."""
    run_study(tiny_spec, tmp_path / "alone", view, choice=EngineChoice("sequential"))
    assert not [line for line in view.remarks if "one trial at a time" in line]
    frozen = PackedLinear.frozen
    monkeypatch.setattr(PackedLinear, "frozen", lambda self, x: 1.1 * frozen(self, x))
    run_study(tiny_spec, tmp_path / "broken", view)
    (line,) = [line for line in view.remarks if "one trial at a time" in line]
    assert line.startswith(f"trains one trial at a time: {FRESH} differ by ")
    assert "beginning in model.encoder.layers.0.self_attn." in line
    broken, alone = load(tmp_path / "broken"), load(tmp_path / "alone")
    assert [trial.values for trial in broken.frozen_trials] == [
        trial.values for trial in alone.frozen_trials
    ]
    assert broken.provenance["self_check"]["verdict"] == line
    assert set(alone.provenance["self_check"]["compared"]) == {LOGITS, PEFT}
