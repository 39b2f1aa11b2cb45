"""Heads are computed where they are needed, and give the logits that the model itself gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from study.tasks.token_logits import (
    hides_padding,
    linear_head,
    proof_of,
    state_logits,
    token_logits,
    token_states,
    whole_logits,
)
from tests.tiny_architectures import random_base

CAUSAL = ("llama", "mistral", "qwen2", "gemma2", "gemma3_text", "cohere", "granite", "gpt2")
SEQ2SEQ = ("m2m_100", "bart", "t5")
BIDIRECTIONAL = (
    "eurobert",
    "bert",
    "roberta",
    "xlm-roberta",
    "distilbert",
    "modernbert",
    "electra",
    "albert",
)
AFTER_THE_HEAD = {
    "gemma2": {"cap": 3.0},
    "gemma3_text": {"cap": 3.0},
    "cohere": {"factor": 0.25},
    "granite": {"divisor": 4.0},
}
IDS = torch.tensor([[4, 5, 6, 7, 8], [9, 10, 11, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
COLUMNS = torch.tensor([[1, 3], [0, 0]])
CHOSEN = torch.tensor([[0, 1, 0, 1, 0], [1, 0, 0, 0, 0]]).bool()


def small_model(model_type: str) -> Any:
    """Return a language model with random weights in double precision."""
    loader = "AutoModelForMaskedLM" if model_type in BIDIRECTIONAL else None
    return random_base(model_type, "cpu", loader, torch.float64, spread=0.2).model


def inputs_of(model: Any) -> dict[str, torch.Tensor]:
    """Return two rows of unequal length."""
    inputs = {"input_ids": IDS, "attention_mask": MASK}
    return inputs | ({"decoder_input_ids": IDS} if model.config.is_encoder_decoder else {})


@pytest.mark.parametrize("model_type", [*CAUSAL, *SEQ2SEQ, *BIDIRECTIONAL])
@torch.no_grad()
def test_chosen_logits_are_the_models_own(model_type: str) -> None:
    """With soft caps, scaled logits and tied heads that are scaled, without naming any of them."""
    model = small_model(model_type)
    inputs = inputs_of(model)
    logits = model(**inputs).logits
    close = {"rtol": 1e-9, "atol": 1e-12}
    found = token_logits(model, inputs, CHOSEN)
    torch.testing.assert_close(found, logits[CHOSEN], **close)
    assert found.shape == (3, 64)
    by_column = token_logits(model, inputs, COLUMNS)
    torch.testing.assert_close(
        by_column, torch.stack([logits[0, [1, 3]], logits[1, [0, 0]]]), **close
    )
    proof = proof_of(model)
    assert proof is not None
    assert proof.selects, proof
    assert proof.after is not None
    known = {name: value for name, value in vars(proof.after).items() if value is not None}
    assert known == AFTER_THE_HEAD.get(model_type, {})


@torch.no_grad()
def test_the_head_is_computed_at_the_chosen_tokens_alone() -> None:
    """Once proved, a mask of three tokens costs the head three rows; a state costs it one."""
    model = small_model("llama")
    token_logits(model, {"input_ids": IDS}, CHOSEN)
    seen: list[torch.Size] = []
    model.lm_head.register_forward_hook(lambda module, given, found: seen.append(found.shape))
    found = token_logits(model, {"input_ids": IDS}, CHOSEN)
    states = token_states(model, {"input_ids": IDS}, CHOSEN)
    assert seen == [(3, 64), (1, 1, 64)]
    torch.testing.assert_close(model.lm_head(states), found, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("model_type", ["llama", "gemma2", "cohere"])
@torch.no_grad()
def test_kept_states_give_the_logits_again(model_type: str) -> None:
    """A teacher's states pass through whatever its model computes after the head."""
    model = small_model(model_type)
    expected = token_logits(model, {"input_ids": IDS}, COLUMNS)
    states = token_states(model, {"input_ids": IDS}, COLUMNS)
    torch.testing.assert_close(state_logits(model, states), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_a_soft_cap_is_seen_in_every_precision(dtype: torch.dtype) -> None:
    """A cap is used if the model has it, and only then, whatever its configuration says."""
    inputs = {"input_ids": IDS}
    capped, plain = small_model("gemma2").to(dtype), small_model("llama").to(dtype)
    plain.config.final_logit_softcapping = 3.0  # Llama's code does not read it
    found = [linear_head(model, inputs) for model in (capped, plain)]
    assert [head and head.after.cap for head in found] == [3.0, None]


@torch.no_grad()
def test_what_follows_the_head_is_never_guessed() -> None:
    """A model that does something else to its logits has no head that the loss may use."""
    model = small_model("gemma2")
    model.config.final_logit_softcapping = 4.0
    assert linear_head(model, {"input_ids": IDS}) is not None
    other = small_model("cohere")
    other.config.logit_scale = 0.26  # its code has a copy of 0.25
    assert linear_head(other, {"input_ids": IDS}) is None
    proof = proof_of(other)
    assert proof is not None
    assert proof.selects


def test_a_head_that_mixes_its_tokens_is_computed_whole() -> None:
    """Fewer tokens would give other logits: the proof fails, and the whole forward is used."""
    model = small_model("llama")
    plain = model.lm_head.forward
    model.lm_head.forward = lambda states: plain(states - states.mean(dim=-2, keepdim=True))
    with torch.no_grad():
        found = token_logits(model, {"input_ids": IDS}, COLUMNS)
        logits = model(input_ids=IDS).logits
    assert torch.equal(found, torch.stack([logits[0, [1, 3]], logits[1, [0, 0]]]))
    proof = proof_of(model)
    assert proof is not None
    assert "its logits differ by" in str(proof.why_whole)


@torch.no_grad()
def test_the_shortcut_can_be_left_out() -> None:
    """Within `whole_logits` the head sees every token, and nothing is proved."""
    model = small_model("llama")
    seen: list[torch.Size] = []
    model.lm_head.register_forward_hook(lambda module, given, found: seen.append(found.shape))
    with whole_logits():
        token_logits(model, {"input_ids": IDS}, CHOSEN)
    assert seen == [(2, 5, 64)]
    assert proof_of(model) is None


@pytest.mark.parametrize("model_type", BIDIRECTIONAL)
def test_bidirectional_models_hide_their_padding(model_type: str) -> None:
    """Their attention masks do what they say, so rows of any lengths share a batch."""
    assert hides_padding(small_model(model_type), mask=5, end=6)


def test_a_model_that_ignores_its_mask_is_found_out() -> None:
    """It would answer otherwise beside a longer row."""
    model = small_model("bert")
    plain = model.forward
    model.forward = lambda input_ids, attention_mask=None: plain(input_ids=input_ids)
    assert not hides_padding(model, mask=5, end=6)


def test_adapted_layers_before_the_head_see_whole_rows() -> None:
    """A pack of trials divides a layer's input by rows, and dropout is drawn by rows."""
    from peft import LoraConfig, get_peft_model

    model = small_model("bert")
    get_peft_model(model, LoraConfig(r=2, target_modules=["transform.dense"]))
    seen: list[torch.Size] = []
    dense = model.cls.predictions.transform.dense
    dense.register_forward_hook(lambda module, given, found: seen.append(found.shape))
    token_logits(model, {"input_ids": IDS}, CHOSEN)
    assert set(seen) == {(2, 5, 16)}


def test_an_adapted_head_sees_whole_rows_of_a_mask() -> None:
    """Rows with unequally many tokens could not be divided among the trials."""
    model = small_model("llama")
    model.lm_head.forward = model.lm_head.forward  # as in a pack of trials
    seen: list[torch.Size] = []
    model.lm_head.register_forward_hook(lambda module, given, found: seen.append(found.shape))
    token_logits(model, {"input_ids": IDS}, CHOSEN)
    assert seen[-1] == (2, 5, 64)
