"""Heads are computed where they are needed, and give the logits that the model itself gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from study.tasks.token_logits import (
    hides_padding,
    plain_head,
    proof_of,
    state_logits,
    token_logits,
    token_states,
    whole_logits,
)

SMALL: dict[str, dict[str, Any]] = {
    "hidden": {
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 16,
        "pad_token_id": 0,
    },
    "distilbert": {"dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 16},
    "m2m_100": {
        "d_model": 8,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "encoder_layerdrop": 0.0,
        "decoder_layerdrop": 0.0,
    },
    "gemma": {"head_dim": 4, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 4},
    "gpt2": {"n_embd": 8, "n_layer": 2, "n_head": 2},
    "t5": {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2},
    "scaled": {"logit_scale": 0.25, "logits_scaling": 4.0},
}
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
CHANGED_AFTER_THE_HEAD = ("gemma2", "gemma3_text", "cohere", "granite")
AUTO_CLASSES = dict.fromkeys(CAUSAL, "AutoModelForCausalLM") | dict.fromkeys(
    SEQ2SEQ, "AutoModelForSeq2SeqLM"
)
IDS = torch.tensor([[4, 5, 6, 7, 8], [9, 10, 11, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
COLUMNS = torch.tensor([[1, 3], [0, 0]])
CHOSEN = torch.tensor([[0, 1, 0, 1, 0], [1, 0, 0, 0, 0]]).bool()


def small_model(model_type: str) -> Any:
    """Return a language model with random weights, larger than transformers draws them."""
    sizes = SMALL.get(model_type.replace("bart", "m2m_100"), SMALL["hidden"])
    sizes |= SMALL["gemma"] if model_type.startswith("gemma") else {}
    sizes |= SMALL["scaled"] if model_type in ("cohere", "granite") else {}
    config = transformers.AutoConfig.for_model(model_type, vocab_size=30, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        auto_class = getattr(transformers, AUTO_CLASSES.get(model_type, "AutoModelForMaskedLM"))
        model = auto_class.from_config(config, dtype=torch.float64)
        for weight in model.parameters():
            weight.data += 0.2 * torch.randn_like(weight)
    return model.eval().requires_grad_(False)


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
    assert found.shape == (3, 30)
    by_column = token_logits(model, inputs, COLUMNS)
    torch.testing.assert_close(
        by_column, torch.stack([logits[0, [1, 3]], logits[1, [0, 0]]]), **close
    )
    proof = proof_of(model)
    assert proof is not None
    assert proof.selects, proof
    assert proof.is_last == (model_type not in CHANGED_AFTER_THE_HEAD)


@torch.no_grad()
def test_the_head_is_computed_at_the_chosen_tokens_alone() -> None:
    """Once proved, a mask of three tokens costs the head three rows; a state costs it one."""
    model = small_model("llama")
    token_logits(model, {"input_ids": IDS}, CHOSEN)
    seen: list[torch.Size] = []
    model.lm_head.register_forward_hook(lambda module, given, found: seen.append(found.shape))
    found = token_logits(model, {"input_ids": IDS}, CHOSEN)
    states = token_states(model, {"input_ids": IDS}, CHOSEN)
    assert seen == [(3, 30), (1, 1, 30)]
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
    """A head whose outputs are changed at all is never taken for the last step."""
    inputs = {"input_ids": IDS}
    assert plain_head(small_model("gemma2").to(dtype), inputs) is None
    assert plain_head(small_model("llama").to(dtype), inputs) is not None


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
    assert seen == [(2, 5, 30)]
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
    assert set(seen) == {(2, 5, 8)}


def test_an_adapted_head_sees_whole_rows_of_a_mask() -> None:
    """Rows with unequally many tokens could not be divided among the trials."""
    model = small_model("llama")
    model.lm_head.forward = model.lm_head.forward  # as in a pack of trials
    seen: list[torch.Size] = []
    model.lm_head.register_forward_hook(lambda module, given, found: seen.append(found.shape))
    token_logits(model, {"input_ids": IDS}, CHOSEN)
    assert seen[-1] == (2, 5, 30)
