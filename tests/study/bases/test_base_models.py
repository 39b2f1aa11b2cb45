"""A base model is loaded whole, or refused in one line before anything is trained."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from study.bases.hub import check_reachable
from study.bases.load import draw_fresh, head_names, load_base, locate_base
from study.errors import InputError
from study.peft_methods.adapters import token_layer
from study.preparing.trial_cost import trial_cost
from study.spec.base_and_data import BaseModelSpec
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.tasks.token_logits import last_logits, token_logits, token_states
from tests.tiny_architectures import random_base


def located(model: str | Path) -> str:
    """Where a study file's `base.model` leads."""
    return locate_base(load_spec("petroleum", {"base.model": str(model)}))


def problem(model: str | Path) -> str:
    """The one line with which a base is refused when it is located or loaded."""
    with pytest.raises(InputError) as refused:
        load_base(located(model), BaseModelSpec(model=str(model)))
    (line,) = refused.value.problems
    assert line.startswith("base.model: ")
    assert line.isprintable()
    assert len(line) < 600
    return line


@pytest.fixture
def copy(tiny_base: Path, tmp_path: Path) -> Path:
    """A checkpoint of one's own to damage."""
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


def test_a_base_is_frozen_and_in_evaluation_mode(tiny_base: Path) -> None:
    """What is loaded has no gradients, no dropout, the dtype asked for, and a tokenizer."""
    base = load_base(located(tiny_base), BaseModelSpec(dtype="float64"))
    assert not base.model.training
    assert not any(p.requires_grad for p in base.model.parameters())
    assert {p.dtype for p in base.model.parameters()} == {torch.float64}
    assert base.model_type == "m2m_100"
    assert base.tokenizer("the well")["input_ids"]


def test_a_head_reads_no_view(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen head would copy its weight for every row of a view such as generation makes."""
    random_base("gemma3_text", "cpu").model.save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_base / file, tmp_path)
    model = load_base(located(tmp_path), BaseModelSpec(model=str(tmp_path)), "sft").model
    head = model.get_output_embeddings()
    read: list[bool] = []
    own = head.forward

    def forward(states: torch.Tensor) -> torch.Tensor:
        read.append(states.stride() == torch.empty(states.shape).stride())
        return own(states)

    monkeypatch.setattr(head, "forward", forward)
    ids = torch.randint(5, 60, (3, 6))
    chosen = torch.ones_like(ids, dtype=torch.bool)
    token_logits(model, {"input_ids": ids}, chosen)  # which proves the shortcut
    token_states(model, {"input_ids": ids}, chosen)
    with last_logits(model):
        model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=2)
    model(input_ids=ids, logits_to_keep=1)
    model(input_ids=ids[:1], logits_to_keep=1)  # which calls itself contiguous
    assert len(read) > 5
    assert all(read)


def test_folders_that_are_no_checkpoint(tmp_path: Path) -> None:
    """A missing folder, an empty one and one of pickles are named for what they are."""
    assert "no such folder" in problem(tmp_path / "none")
    assert "no such folder" in problem("./none")
    assert "no config.json; not a Hugging Face checkpoint" in problem(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "no *.safetensors file; pickled weights are not loaded" in problem(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    assert "got pytorch_model.bin; pickled weights are not loaded" in problem(tmp_path)
    assert not Path("owned").exists()


def test_a_model_without_the_head_of_a_task_names_what_it_can_do(
    tiny_masked: Path, tmp_path: Path
) -> None:
    """An encoder without an output layer cannot write texts, but it can read labels."""
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_masked / "base", folder)
    weights = load_file(folder / "model.safetensors")
    kept = {name: w for name, w in weights.items() if not name.startswith("cls.")}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertModel"]}))
    with pytest.raises(InputError) as refused:
        load_base(str(folder), BaseModelSpec(model=str(folder)), "masked_diffusion")
    (line,) = refused.value.problems
    assert "is a BertModel and has no weights for cls." in line
    assert "allowed: another model, or classification and regression, which need texts" in line


def test_a_truncated_checkpoint(copy: Path) -> None:
    """Half a weights file is refused."""
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    assert "cannot load" in problem(copy)


def test_weights_of_another_model(copy: Path) -> None:
    """Missing weights are refused: transformers would draw them at random and only warn."""
    weights = load_file(copy / "model.safetensors")
    gone = next(name for name in weights if "fc1.weight" in name)
    del weights[gone]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    assert "has no weights for" in problem(copy)
    save_file({"x": torch.zeros(2)}, copy / "model.safetensors", {"format": "pt"})
    assert "has no weights for" in problem(copy)


@pytest.mark.parametrize(
    "config",
    ["", "{", "[]", "null", "{}", '{"model_type": "no-such"}', '{"model_type": "bert"}', "\0"],
)
def test_configurations_that_are_none(copy: Path, config: str) -> None:
    """No JSON, no model type, an unknown one and one that cannot translate are all refused."""
    (copy / "config.json").write_text(config)
    assert "cannot load" in problem(copy)


def test_a_checkpoint_without_its_tokenizer(copy: Path) -> None:
    """Weights without a tokenizer are no base."""
    for file in copy.glob("*token*"):
        file.unlink()
    assert "cannot load" in problem(copy)
    assert "it has no tokenizer; copy the original model's tokenizer files" in problem(copy)


def test_a_width_that_does_not_fit_the_weights(copy: Path) -> None:
    """A configuration of other sizes than the weights is refused."""
    config = json.loads((copy / "config.json").read_text())
    config |= {"d_model": 32}
    (copy / "config.json").write_text(json.dumps(config))
    assert "cannot load" in problem(copy)


# ---------------------------------------------------------------- the hub


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network, and an empty hub cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("offline")
def test_a_hub_name_without_a_network_is_refused_at_once() -> None:
    """One clear line, well before the libraries' own retries are over."""
    started = time.monotonic()
    line = problem("facebook/nllb-200-distilled-600M")
    assert (
        "'facebook/nllb-200-distilled-600M' is neither a folder nor in the Hugging Face cache"
        in line
    )
    assert "the hub cannot be reached" in line
    assert time.monotonic() - started < 5


def test_a_copy_in_the_cache_needs_no_network(offline: Path) -> None:
    """What was downloaded before is used without asking."""
    (offline / "models--some--model" / "snapshots").mkdir(parents=True)
    check_reachable("some/model", "model", "base.model")
    assert located("some/model") == "some/model"


def test_a_name_that_no_repository_can_have() -> None:
    """The hub's own rule for names is passed on."""
    assert "no model 'a b' on the hub: Repo id must use" in problem("a b")


# ---------------------------------------------------------------- what a trial costs


def test_costs_are_counted_without_weights(tiny_spec: StudySpec) -> None:
    """Pairs and parameters are those of the adapters that a trial would train."""
    cost = trial_cost(tiny_spec)
    # one layer each: 3 attentions of 4 linears, 16 x 16, at rank 8 and 16
    assert cost["adapters"] == {
        "default": {"pairs": 12, "parameters": 12 * 8 * 32},
        "least": {"pairs": 12, "parameters": 12 * 8 * 32},
        "most": {"pairs": 12, "parameters": 12 * 16 * 32},
    }
    base = load_base(tiny_spec.base.model, tiny_spec.base)
    assert cost["base_parameters"] == base.model.num_parameters()
    assert cost["trials"] == tiny_spec.search.trials


def test_costs_of_what_is_no_model(tmp_path: Path, copy: Path) -> None:
    """`check` refuses a base in the same words as `run`."""
    (copy / "config.json").write_text('{"model_type": "bert"}')
    for model in (tmp_path / "none", copy):
        with pytest.raises(InputError, match=r"^base\.model: "):
            trial_cost(load_spec("petroleum", {"base.model": str(model)}))


def test_modules_that_the_model_has_not(tiny_base: Path) -> None:
    """Target modules of another architecture are refused with the name."""
    changes = {"base.model": str(tiny_base), "search.space": None}
    spec = load_spec("petroleum-wide", changes)
    parameters = {**spec.search.parameters}
    parameters["target_modules"] = parameters["target_modules"].model_copy(
        update={"choices": ("query,value",)}
    )
    search = spec.search.model_copy(update={"parameters": parameters})
    with pytest.raises(InputError, match=r"^method\.target_modules: 'query', 'value' matches no "):
        trial_cost(spec.model_copy(update={"search": search}))


def test_a_fresh_heads_norm_begins_as_the_identity() -> None:
    """Weights of norms are one, biases zero, matrices drawn with the model's spread."""
    weights = {"head.norm.weight": torch.zeros(4), "head.norm.bias": torch.ones(4)}
    weights["head.dense.weight"] = torch.zeros(64, 64)
    draw_fresh(weights, SimpleNamespace(initializer_range=0.5), seed=0)
    assert weights["head.norm.weight"].tolist() == [1.0] * 4
    assert weights["head.norm.bias"].tolist() == [0.0] * 4
    assert float(weights["head.dense.weight"].std()) == pytest.approx(0.5, rel=0.1)


def test_a_classifiers_head_is_what_stands_beside_its_body() -> None:
    """Whatever it is called; layers without weights are none."""
    model = nn.Module()
    model.base_model_prefix = "body"  # type: ignore[assignment]
    model.body, model.logits_proj, model.drop = nn.Linear(2, 2), nn.Linear(2, 2), nn.Dropout()
    assert head_names(model, "AutoModelForSequenceClassification") == ["logits_proj"]
    assert head_names(model, "AutoModelForCausalLM") == []


def test_a_tied_heads_tokens_are_trained_in_the_embedding() -> None:
    """Ties are read from the weights, whatever the configuration says."""
    for tied, expected in ((True, "model.embed_tokens"), (False, "lm_head")):
        base = replace(random_base("llama", "cpu"), trained_tokens=(7,))
        head, embedding = base.model.lm_head, base.model.model.embed_tokens
        head.weight = embedding.weight if tied else nn.Parameter(head.weight.detach().clone())
        base.model.config.tie_word_embeddings = not tied
        assert token_layer(base) == expected
