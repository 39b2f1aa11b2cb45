"""A teacher that computes each example once, however many trials learn from it.

Every trial of a study sees the same training examples, and a frozen teacher always answers the
same.  Its last hidden states at the answer's positions are therefore kept, (A, D) per example: one
matrix product away from the logits, exact at every temperature, and far smaller than the logits
(A, V).  benchmarks/teacher_logits.py compares this with recomputing and with keeping the top k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from study.bases.load import BaseModel, padding_token
from study.data.chat import Dialogue
from study.errors import InputError
from study.tasks.token_logits import (
    ROUNDING,
    head_proof,
    relative_difference,
    state_logits,
    token_states,
)

TOGETHER = 32
"""Dialogues per pass; passes are fixed, so that no result depends on the order."""
NEVER = -1e4  # a logit with probability 0 that stays finite at any temperature


class Teacher:
    """A frozen causal language model, and its hidden states so far."""

    def __init__(self, base: BaseModel, dialogues: Sequence[Dialogue], stop: int) -> None:
        """Take a model, all dialogues that will be used, and their stop token.

        Raises:
            InputError: the model's logits do not follow from its last hidden states.
        """
        self._model = base.model
        self._pad = padding_token(base, stop)
        self._stop, self._ends = stop, end_ids(base, stop)
        distinct = sorted(dict.fromkeys(dialogues), key=lambda d: len(d.prompt) + len(d.answer))
        groups = [tuple(distinct[at : at + TOGETHER]) for at in range(0, len(distinct), TOGETHER)]
        self._group_of = {dialogue: group for group in groups for dialogue in group}
        self._kept: dict[Dialogue, Tensor] = {}  # (A, D) per dialogue
        if not base.is_skeleton:
            check_states(self._model, padded_inputs(distinct[:2], self._pad))

    def states(self, dialogues: Sequence[Dialogue]) -> Tensor:
        """Return the last hidden states (B, A, D) from which each answer token is predicted."""
        for dialogue in dialogues:
            if dialogue not in self._kept:
                self._ask(self._group_of[dialogue])
        return pad_sequence([self._kept[d] for d in dialogues], batch_first=True)

    @torch.no_grad()
    def _ask(self, group: Sequence[Dialogue]) -> None:
        device = self._model.device
        input_ids = padded_inputs(group, self._pad).to(device)
        starts = torch.tensor([len(d.prompt) for d in group], device=device)
        longest = max(len(d.answer) for d in group)
        columns = answer_columns(input_ids, starts, longest)
        inputs = {"input_ids": input_ids, "use_cache": False}
        hidden = token_states(self._model, inputs, columns).cpu()
        for dialogue, states in zip(group, hidden, strict=True):
            self._kept[dialogue] = states[: len(dialogue.answer)].clone()

    @torch.no_grad()
    def logits(self, states: Tensor) -> Tensor:
        """Return the logits (..., V) of states (..., D).

        Any token that ends the teacher's turn counts as the stop token, which it may not know.
        """
        flat = states.reshape(1, -1, states.shape[-1])
        logits = state_logits(self._model, flat).view(*states.shape[:-1], -1)
        ending = logits[..., self._ends].logsumexp(dim=-1)  # (...)
        logits[..., self._ends] = NEVER
        logits[..., self._stop] = ending
        return logits


def end_ids(base: BaseModel, stop: int) -> list[int]:
    """Return the tokens that end an answer: the stop token and the model's own end tokens."""
    ends = base.model.generation_config.eos_token_id
    own = ends if isinstance(ends, list) else [ends]
    if not all(isinstance(token, int | None) for token in own):
        raise InputError(
            f"base.model: {base.name}: generation_config.json: eos_token_id: must be tokens' "
            f"numbers, got {ends!r:.60}"
        )
    return sorted({stop, base.tokenizer.eos_token_id, *own} - {None})


def padded_inputs(dialogues: Sequence[Dialogue], pad: int) -> Tensor:
    """Return a model's inputs (B, T): prompt and answer without its last token."""
    ids = [torch.tensor(d.prompt + d.answer[:-1]) for d in dialogues]
    return pad_sequence(ids, batch_first=True, padding_value=pad)


def answer_columns(input_ids: Tensor, prompt_tokens: Tensor, answer: int) -> Tensor:
    """Return the columns (B, A) from which `answer` tokens per row are predicted.

    `input_ids` (B, T) are padded on the right; the first `prompt_tokens` (B,) of each are given.
    """
    columns = (prompt_tokens - 1)[:, None] + torch.arange(answer, device=input_ids.device)
    return columns.clamp(max=input_ids.shape[1] - 1)


@torch.no_grad()
def check_states(model: Any, input_ids: Tensor) -> None:
    """Refuse a teacher whose logits do not follow from what its output head reads.

    Raises:
        InputError: they differ from those of its own forward for these inputs (B, T).
    """
    inputs = {"input_ids": input_ids.to(model.device), "use_cache": False}
    reason = head_proof(model, inputs).why_whole
    if reason is None:
        whole = model(**inputs).logits
        every = torch.arange(input_ids.shape[1], device=model.device).expand(len(input_ids), -1)
        ours = state_logits(model, token_states(model, inputs, every))
        difference = relative_difference(ours, whole)
        if difference <= ROUNDING.get(model.dtype, ROUNDING[torch.bfloat16]):
            return
        reason = f"computed from its last hidden states, they differ by {difference:.2g}"
    raise InputError(
        f"distillation.teacher: the logits of {model.config.model_type!r} models cannot be kept as "
        f"hidden states ({reason}); choose a teacher whose output head computes them, such as llama"
    )
