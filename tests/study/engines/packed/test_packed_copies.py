"""What trials train in full beside their adapters: a classifier's head, a stop token's row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from study.data.embedded import Pair
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.trials import TrialConfig, search_config
from tests.engine_runs import (
    Bench,
    assert_same_result,
    bench_of,
    dev_losses,
    losses_with_peft,
    train_all,
)

POINTS = [
    {"rank": 4, "alpha": 16.0, "learning_rate": 1e-2, "dropout": 0.2, "batch_size": 3},
    {"rank": 8, "alpha": 8.0, "learning_rate": 3e-3, "target_modules": "qv", "steps": 3},
    {"rank": 2, "alpha": 32.0, "learning_rate": 1e-3, "init_lora_weights": "pissa"},
]
LLAMA_STUDY = """
task = "causal_translation"

[base]
model = "{base}"
dtype = "float64"

[data]
train = "{text}/train.tsv"
dev = "{text}/dev.tsv"

[training]
steps = 4
batch_size = 4
report_every = 2

[evaluation]
objective = "loss"
max_new_tokens = 4

[search]
space = "lora-wide"
"""


def _llama(folder: Path, text: Path, is_tied: bool) -> Path:
    """Write a tiny Llama with random weights."""
    from transformers import LlamaForCausalLM

    from study.bases.llama import LlamaRecipe, new_config, train_tokenizer

    recipe = LlamaRecipe(width=16, layers=1, heads=2, ffn=32, vocabulary_size=300, init_std=0.2)
    lines = (text / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]
    tokenizer = train_tokenizer([Pair(*line.split("\t")) for line in lines], recipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = new_config(recipe, tokenizer)
        config.tie_word_embeddings = is_tied
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _norm(self: Any, x: Tensor) -> Tensor:
    """Normalise as Llama does, but in the precision of x: Llama's own is single precision."""
    scaled: Tensor = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
    return self.weight * scaled


@pytest.fixture(scope="module", params=["classifier", "tied llama", "untied llama"])
def copies(
    request: pytest.FixtureRequest,
    parallel_text: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bench]:
    """Yield a DistilBERT with a new head, or a Llama with a stop token to learn."""
    if request.param == "classifier":
        make_pair_spec: Callable[..., StudySpec] = request.getfixturevalue("make_pair_spec")
        yield bench_of(make_pair_spec({"base.dtype": "float64"}))
        return
    folder = tmp_path_factory.mktemp("llama")
    base = _llama(folder / "base", parallel_text, request.param == "tied llama")
    file = folder / "llama.toml"
    file.write_text(LLAMA_STUDY.format(base=base, text=parallel_text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transformers.models.llama.modeling_llama.LlamaRMSNorm.forward", _norm)
        yield bench_of(load_spec(file))


def configs_of(bench: Bench) -> list[TrialConfig]:
    """Return a trial a point."""
    return [search_config(bench.spec, n, point, n) for n, point in enumerate(POINTS)]


def test_something_is_trained_in_full(copies: Bench) -> None:
    """The bases of these tests have what they are about."""
    is_classifier = copies.base.model_type == "distilbert"
    assert copies.base.head == (["pre_classifier", "classifier"] if is_classifier else [])
    assert len(copies.base.trained_tokens) == (0 if is_classifier else 1)


def test_packed_trials_are_those_trained_one_by_one(copies: Bench) -> None:
    """Every slot has a copy of its own, which begins and moves as PEFT's does."""
    together = copies.together(configs_of(copies))
    for config in configs_of(copies):
        assert_same_result(together[config.number], copies.alone(config))


def test_the_order_of_trials_does_not_matter(copies: Bench) -> None:
    """PEFT leaves its trained copy in the base; no later trial may begin with it."""
    first, second, _ = configs_of(copies)
    alone = [copies.alone(first), copies.alone(second)]
    swapped = [copies.alone(second), copies.alone(first)][::-1]
    for one, other in zip(alone, swapped, strict=True):
        assert other.adapter == one.adapter
        assert other.splits["dev"].scores == one.splits["dev"].scores


@pytest.mark.parametrize("engine", ["sequential", "packed"])
def test_the_base_is_given_back_as_it_was(copies: Bench, engine: str) -> None:
    """Modules, weights and outputs: a closed engine leaves nothing behind."""
    model = copies.base.model
    modules, before = dict(model.named_modules()), dev_losses(copies, model)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if engine == "packed":
        copies.together(configs_of(copies))
    else:
        copies.alone(configs_of(copies)[0])
    assert dict(model.named_modules()) == modules
    assert not any("forward" in vars(module) for module in modules.values())
    assert "keep_rows" not in vars(model)
    after = model.state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in weights.items())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert dev_losses(copies, model) == before


def test_adapters_load_with_peft_to_the_stored_losses(copies: Bench, tmp_path: Path) -> None:
    """Head or row is saved beside LoRA, and PEFT puts both on a base that has never seen them."""
    for config in configs_of(copies):
        result = copies.together([config])[config.number]
        found = losses_with_peft(copies, result.adapter, tmp_path / str(config.number))
        stored = result.splits["dev"].statistics["loss"].values[:, 0].tolist()
        assert found == pytest.approx(stored, rel=1e-9)


def test_the_untrained_base_has_no_copies(copies: Bench) -> None:
    """In a slot that a trial has left it is evaluated as it is, and a trial beside it goes on."""
    first, second, _ = configs_of(copies)
    untrained = replace(first, number=-1, method=None)
    trained = replace(first, training=first.training.model_copy(update={"steps": 1}))
    with closing(copies.packed([first, second], slots=2)) as engine:
        results, _ = train_all(engine, [trained, second, untrained])
    found = results[-1].splits["dev"].statistics["loss"].values[:, 0].tolist()
    assert found == pytest.approx(dev_losses(copies, copies.base.model), rel=1e-9)
    assert_same_result(results[second.number], copies.alone(second))
