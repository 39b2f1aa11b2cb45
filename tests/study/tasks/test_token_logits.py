"""Heads are computed where they are needed, and give the logits that the model itself gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from study.tasks.token_logits import OUTPUT_HEADS, hides_padding, token_logits

SMALL: dict[str, dict[str, Any]] = {
    "hidden": {
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "pad_token_id": 0,
    },
    "distilbert": {"dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 16},
}
IDS = torch.tensor([[4, 5, 6, 7, 8], [9, 10, 11, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
CHOSEN = torch.tensor([[0, 1, 0, 1, 0], [1, 0, 0, 0, 0]]).bool()


def small_model(model_type: str) -> Any:
    """Return a masked-language model with random weights, larger than transformers draws them."""
    sizes = SMALL.get(model_type, SMALL["hidden"])
    config = transformers.AutoConfig.for_model(model_type, vocab_size=30, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForMaskedLM.from_config(config, dtype=torch.float64)
        for weight in model.parameters():
            weight.data += 0.2 * torch.randn_like(weight)
    return model.eval()


@pytest.mark.parametrize("model_type", [*OUTPUT_HEADS, "electra"])
@torch.no_grad()
def test_chosen_logits_are_the_models_own(model_type: str) -> None:
    """For every architecture in the table, and for one that is not in it."""
    model = small_model(model_type)
    inputs = {"input_ids": IDS, "attention_mask": MASK}
    found = token_logits(model, inputs, CHOSEN)
    torch.testing.assert_close(found, model(**inputs).logits[CHOSEN], rtol=1e-6, atol=1e-6)
    assert found.shape == (3, 30)


@pytest.mark.parametrize("model_type", [*OUTPUT_HEADS, "electra"])
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
