"""Heads are computed where they are needed, and give the logits that the model itself gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from study.tasks.token_logits import OUTPUT_HEADS, hides_padding, token_logits, token_states

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
}
AUTO_CLASSES = dict.fromkeys(("llama", "mistral", "qwen2"), "AutoModelForCausalLM") | {
    "m2m_100": "AutoModelForSeq2SeqLM"
}
BIDIRECTIONAL = [name for name in (*OUTPUT_HEADS, "electra") if name not in AUTO_CLASSES]
IDS = torch.tensor([[4, 5, 6, 7, 8], [9, 10, 11, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
COLUMNS = torch.tensor([[1, 3], [0, 0]])
CHOSEN = torch.tensor([[0, 1, 0, 1, 0], [1, 0, 0, 0, 0]]).bool()


def small_model(model_type: str) -> Any:
    """Return a language model with random weights, larger than transformers draws them."""
    sizes = SMALL.get(model_type, SMALL["hidden"])
    config = transformers.AutoConfig.for_model(model_type, vocab_size=30, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        auto_class = getattr(transformers, AUTO_CLASSES.get(model_type, "AutoModelForMaskedLM"))
        model = auto_class.from_config(config, dtype=torch.float64)
        for weight in model.parameters():
            weight.data += 0.2 * torch.randn_like(weight)
    return model.eval()


@pytest.mark.parametrize("model_type", [*OUTPUT_HEADS, "electra"])
@torch.no_grad()
def test_chosen_logits_are_the_models_own(model_type: str) -> None:
    """For every architecture in the table, and for one that is not in it."""
    model = small_model(model_type)
    inputs = {"input_ids": IDS, "attention_mask": MASK}
    if model_type == "m2m_100":
        inputs["decoder_input_ids"] = IDS
    logits = model(**inputs).logits
    close = {"rtol": 1e-5, "atol": 1e-5}  # the norms of Llama's kind compute in float32
    found = token_logits(model, inputs, CHOSEN)
    torch.testing.assert_close(found, logits[CHOSEN], **close)
    assert found.shape == (3, 30)
    by_column = token_logits(model, inputs, COLUMNS)
    torch.testing.assert_close(
        by_column, torch.stack([logits[0, [1, 3]], logits[1, [0, 0]]]), **close
    )


@torch.no_grad()
def test_the_head_is_computed_at_the_chosen_tokens_alone() -> None:
    """A mask of three tokens costs the head three rows; a caller's own head is used as it is."""
    model = small_model("llama")
    seen: list[torch.Size] = []
    model.lm_head.register_forward_hook(lambda module, given, found: seen.append(found.shape))
    token_logits(model, {"input_ids": IDS}, CHOSEN)
    given = token_logits(model, {"input_ids": IDS}, COLUMNS, [torch.nn.Identity()])
    assert seen == [(3, 30)]
    assert torch.equal(given, token_states(model, {"input_ids": IDS}, COLUMNS))


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


def test_an_adapted_head_sees_whole_rows() -> None:
    """Where an adapter stands in the head all logits are computed, for its dropout goes by rows."""
    from peft import LoraConfig, get_peft_model

    model = small_model("bert")
    get_peft_model(model, LoraConfig(r=2, target_modules=["transform.dense"]))
    seen: list[torch.Size] = []
    model.cls.register_forward_hook(lambda module, given, found: seen.append(found.shape))
    token_logits(model, {"input_ids": IDS}, CHOSEN)
    assert seen == [(2, 5, 30)]
