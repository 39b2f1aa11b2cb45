"""Generation: greedy for encoder-decoders without finished rows, and answers of decoders.

Hugging Face's `generate` computes every row until the last one ends; in a batch with the rows of
many trials, one long output would delay all.  Beams and decoders are left to `generate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from study.data.chat import up_to_the_end
from study.spec.evaluation import EvaluationSpec
from study.tasks.base import Batch
from study.tasks.token_logits import MOST, last_logits, relative_difference

WORTH_DROPPING = 0.75  # finished rows are dropped when at most this share is left
BEYOND_GREEDY = (
    "bad_words_ids",
    "begin_suppress_tokens",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "guidance_scale",
    "min_length",
    "min_new_tokens",
    "no_repeat_ngram_size",
    "repetition_penalty",
    "sequence_bias",
    "suppress_tokens",
)
_WHY_ROW_BY_ROW: WeakKeyDictionary[Any, str | None] = WeakKeyDictionary()  # by model

NEUTRAL = (None, 0, 1)  # except in settings that name a token, where 0 and 1 are tokens


def is_plain(model: Any) -> bool:
    """Return whether `greedy` does everything that a model's generation settings ask for."""
    options = {name: getattr(model.generation_config, name, None) for name in BEYOND_GREEDY}
    return all(
        value is None if name.endswith("_token_id") else value in NEUTRAL
        for name, value in options.items()
    )


@torch.no_grad()
def greedy(
    model: Any, inputs: Mapping[str, Tensor], first: int | None, max_new_tokens: int
) -> Tensor:
    """Return what an encoder-decoder model generates for B inputs, (B, T), as `generate` does.

    `first` is the token that every output begins with, if any.  A model that packs trials has
    `keep_rows`, which chooses the rows to continue so that its slots stay even.
    """
    config = model.generation_config
    ends = torch.tensor(config.eos_token_id, device=model.device)
    keep_rows = getattr(model, "keep_rows", alive_rows)
    outputs = inputs["input_ids"].new_full(
        (len(inputs["input_ids"]), max_new_tokens + 1), config.pad_token_id
    )
    outputs[:, 0] = model.config.decoder_start_token_id
    going = torch.arange(len(outputs), device=outputs.device)  # rows still computed
    alive = torch.ones_like(going, dtype=torch.bool)  # those of them that have not ended
    states = model.get_encoder()(**inputs, return_dict=True)
    encoded = states.last_hidden_state
    mask, cache = inputs["attention_mask"], None
    for step in range(1, max_new_tokens + 1):
        output = model(
            encoder_outputs=replace(states, last_hidden_state=encoded),
            attention_mask=mask,
            decoder_input_ids=outputs[going, step - 1, None],
            past_key_values=cache,
            use_cache=True,
        )
        token = output.logits[:, -1].argmax(dim=-1)
        if step == 1 and first is not None:
            token = torch.full_like(token, first)
        outputs[going[alive], step] = token[alive]
        alive &= ~torch.isin(token, ends)
        left = int(alive.sum())
        if left == 0:
            return outputs[:, : step + 1]
        cache = output.past_key_values
        if left <= WORTH_DROPPING * len(alive):
            kept = keep_rows(alive)
            cache.batch_select_indices(kept)
            going, alive, encoded, mask = going[kept], alive[kept], encoded[kept], mask[kept]
    return outputs


def alive_rows(alive: Tensor) -> Tensor:
    """Return which of B rows continue in a model that packs nothing."""
    return alive.nonzero()[:, 0]


def generated_answers(
    model: Any, batch: Batch, evaluation: EvaluationSpec, *, pad: int, ends: Sequence[int]
) -> list[Sequence[int]]:
    """Return what a decoder answers to the prompts of a batch: its rows' first `prompt_tokens`.

    Each answer stops before the first token of `ends`.
    """
    ids, prompt_tokens = batch.inputs["input_ids"], batch.rows["prompt_tokens"]
    parts = [(ids, prompt_tokens)]
    if len(ids) > 1 and why_row_by_row(model, ids, prompt_tokens, pad):
        parts = list(zip(ids[:, None], prompt_tokens[:, None], strict=True))  # of one row each
    answers: list[Sequence[int]] = []
    for part in parts:
        prompts, mask = left_padded(*part, pad)
        with last_logits(model):
            made = model.generate(
                input_ids=prompts,
                attention_mask=mask,
                num_beams=evaluation.num_beams,
                max_new_tokens=evaluation.max_new_tokens,
                do_sample=False,
                eos_token_id=list(ends),
                pad_token_id=pad,
            )
        answers += [up_to_the_end(row, ends) for row in made[:, prompts.shape[1] :].tolist()]
    return answers


@torch.no_grad()
def why_row_by_row(model: Any, input_ids: Tensor, prompt_tokens: Tensor, pad: int) -> str | None:
    """Return why rows of a decoder must be generated one by one; None if they can be together.

    RWKV's cache mixes rows, and models that count positions from the first column count padding.
    At first it is proved on the shortest and the longest prompt: the second token's logits must be
    those of a forward pass over the row alone.  It is not proved on a model that packs trials.
    """
    if model not in _WHY_ROW_BY_ROW:
        if hasattr(model, "keep_rows"):
            return None
        few = prompt_tokens.argsort()[[0, -1]]
        _WHY_ROW_BY_ROW[model] = _difference_together(
            model, input_ids[few], prompt_tokens[few], pad
        )
    return _WHY_ROW_BY_ROW[model]


def _difference_together(
    model: Any, input_ids: Tensor, prompt_tokens: Tensor, pad: int
) -> str | None:
    prompts, mask = left_padded(input_ids, prompt_tokens, pad)
    made = model.generate(
        input_ids=prompts,
        attention_mask=mask,
        max_new_tokens=2,
        min_new_tokens=2,
        do_sample=False,
        pad_token_id=pad,
        output_logits=True,
        return_dict_in_generate=True,
    )
    together = made.logits[1]  # (2, V)
    first = made.sequences[:, prompts.shape[1], None]
    rows = zip(input_ids, prompt_tokens.tolist(), first, strict=True)
    whole = [torch.cat([row[:count], token])[None] for row, count, token in rows]
    alone = torch.cat([model(input_ids=ids).logits[:, -1] for ids in whole]).to(together)
    difference = relative_difference(together, alone)
    if difference <= MOST.get(model.dtype, MOST[torch.bfloat16]):
        return None
    return f"logits of rows generated together and alone differ by {difference:.2g}"


def left_padded(input_ids: Tensor, prompt_tokens: Tensor, pad: int) -> tuple[Tensor, Tensor]:
    """Return only the prompts, padded on the left, and their mask: each (B, P)."""
    width = int(prompt_tokens.max())
    columns = torch.arange(width, device=input_ids.device) - (width - prompt_tokens)[:, None]
    mask = columns >= 0  # (B, P)
    prompts = input_ids.gather(1, columns.clamp(min=0)).masked_fill(~mask, pad)
    return prompts, mask.long()
