"""Generation by a masked-diffusion model: LLaDA's semi-autoregressive blocks, for many rows.

Follows `generate.py` of Nie et al. 2025 (arXiv:2502.09992).  An answer begins as masks and is
filled block by block; a step predicts every mask of a block and keeps some of the predictions.  It
differs in five ways: a row's answer begins where its prompt ends; each row draws from its own seed;
a row stops once its text is decided up to an end; the mask token is never predicted; and no end is
predicted before the last fixed word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from study.seeds import derive_seed
from study.spec.diffusion import DiffusionSpec
from study.tasks.decoding import WORTH_DROPPING, alive_rows
from study.tasks.token_logits import token_logits


@dataclass(frozen=True)
class Decoding:
    """How answers are generated, in a model's own tokens."""

    settings: DiffusionSpec
    mask: int
    ends: tuple[int, ...]  # what ends an answer
    fixed: Mapping[int, int] = field(default_factory=dict)  # position in the answer -> token
    pad: int = 0
    width: int = 0  # fixed row length if the model reads its padding; else 0


@dataclass
class _Rows:
    """The rows still being computed: B rows of T tokens with answers of L tokens."""

    ids: Tensor  # (B, T)
    columns: Tensor  # (B, L): the positions of each answer
    given: Tensor  # (B, T): the tokens that guidance hides
    real: Tensor  # (B, T): not padding
    seeds: Tensor  # (B,)
    number: Tensor  # (B,): the index of each output
    masks: Tensor  # (B,): their number at the start of the block

    @property
    def answers(self) -> Tensor:
        """The current answers, (B, L)."""
        return self.ids.gather(1, self.columns)

    def keep(self, rows: Tensor) -> None:
        """Continue with only some rows."""
        for name, tensor in vars(self).items():
            setattr(self, name, tensor[rows])


@torch.no_grad()
def generate(
    model: Any, input_ids: Tensor, prompt_tokens: Tensor, seeds: Tensor, how: Decoding
) -> Tensor:
    """Return B answers (B, L); tokens after the first end have no meaning.

    Args:
        model: Returns logits (B, T, V).  If it packs trials, it has `keep_rows`, which chooses the
            rows to continue so that its slots stay even.
        input_ids: (B, T); the first `prompt_tokens` (B,) of each row are its prompt.
        prompt_tokens: (B,).
        seeds: The seed of each row's draws, (B,).
        how: Length, steps, temperature and so on.
    """
    rows = _begin(input_ids, prompt_tokens, seeds, how)
    answers = rows.answers
    keep_rows = getattr(model, "keep_rows", alive_rows)
    steps = how.settings.steps // how.settings.blocks
    for number in range(how.settings.steps):
        step = number % steps
        if step == 0:
            start = number // steps * how.settings.block_length
            block = slice(start, start + how.settings.block_length)
            rows.masks = (rows.answers[:, block] == how.mask).sum(dim=1)
        share = rows.masks // steps + (step < rows.masks % steps)  # (B,): predictions to keep
        if share.any():
            _fill(model, rows, block, share, number, how)
            answers[rows.number] = rows.answers
        alive = ~_is_decided(rows.answers, how)
        if not alive.any():
            break
        if alive.sum() <= WORTH_DROPPING * len(alive):
            rows.keep(keep_rows(alive))
    return answers


def _begin(input_ids: Tensor, prompt_tokens: Tensor, seeds: Tensor, how: Decoding) -> _Rows:
    """Return rows whose answers are masks except for the fixed words."""
    length, device = how.settings.length, input_ids.device
    widest = max(how.width, int(prompt_tokens.max()) + length)
    places = torch.arange(widest, device=device)  # (T,)
    ids = input_ids.new_full((len(input_ids), widest), how.pad)
    shared = min(widest, input_ids.shape[1])
    is_prompt = places < prompt_tokens[:, None]  # (B, T)
    ids[:, :shared] = input_ids[:, :shared].where(is_prompt[:, :shared], how.pad)
    columns = prompt_tokens[:, None] + torch.arange(length, device=device)  # (B, L)
    answer = input_ids.new_full((length,), how.mask)
    for position, token in how.fixed.items():
        answer[position] = token
    ids.scatter_(1, columns, answer.expand(len(ids), -1))
    real = places < prompt_tokens[:, None] + length
    number = torch.arange(len(ids), device=device)
    given = real & (ids != how.mask)
    return _Rows(ids, columns, given, real, seeds, number, masks=torch.zeros_like(number))


def _fill(model: Any, rows: _Rows, block: slice, share: Tensor, number: int, how: Decoding) -> None:
    """Predict every mask of the block, and keep the `share` (B,) best of each row's predictions."""
    columns = rows.columns[:, block]
    is_open = rows.ids.gather(1, columns) == how.mask  # (B, b)
    logits = _logits(model, rows, columns, is_open, how)  # (n, V)
    if how.fixed:
        early = is_open.nonzero()[:, 1] + block.start < max(how.fixed)  # (n,)
        ends = torch.tensor(how.ends, device=logits.device)
        logits[early.nonzero(), ends] = -torch.inf
    token, confidence = _predicted(logits, _Noise(rows.seeds, number, is_open), how)
    scores = confidence.new_full(is_open.shape, -torch.inf).masked_scatter(is_open, confidence)
    order = scores.argsort(dim=1, descending=True, stable=True)  # (B, b)
    kept = order.argsort(dim=1) < share[:, None]
    predicted = torch.zeros_like(columns).masked_scatter(is_open, token)
    rows.ids.scatter_(1, columns, torch.where(kept, predicted, rows.ids.gather(1, columns)))


def _logits(model: Any, rows: _Rows, columns: Tensor, is_open: Tensor, how: Decoding) -> Tensor:
    """Return the logits (n, V) at the block's masks, guided away from the unprompted ones."""
    chosen = torch.zeros_like(rows.real).scatter_(1, columns, is_open)
    inputs = {} if how.width else {"attention_mask": rows.real.long()}
    logits = token_logits(model, {"input_ids": rows.ids, **inputs}, chosen)
    scale = how.settings.cfg_scale
    if scale:
        hidden = rows.ids.masked_fill(rows.given, how.mask)
        without = token_logits(model, {"input_ids": hidden, **inputs}, chosen)
        logits = without + (scale + 1) * (logits - without)
    logits = logits.double()
    logits[:, how.mask] = -torch.inf
    return logits


def _predicted(logits: Tensor, noise: _Noise, how: Decoding) -> tuple[Tensor, Tensor]:
    """Return n tokens and the confidence in each."""
    settings = how.settings
    noisy = logits
    if settings.temperature:
        gumbel = -(-noise.uniform("token", logits.shape[1]).log()).log()  # (n, V)
        noisy = logits + settings.temperature * gumbel
    token = noisy.argmax(dim=1)
    if settings.remasking == "random":
        return token, noise.uniform("order", 1)[:, 0]
    return token, logits.softmax(dim=1).gather(1, token[:, None])[:, 0]


@dataclass
class _Noise:
    """The draws of one step: each row uses its own seed, independent of other rows."""

    seeds: Tensor  # (B,)
    number: int  # of the step
    is_open: Tensor  # (B, b)

    def uniform(self, name: str, size: int) -> Tensor:
        """Return numbers (n, size) in [0, 1), drawn for the whole block, selected at its masks."""
        drawn = []
        for seed, is_open in zip(self.seeds.tolist(), self.is_open.cpu(), strict=True):
            generator = torch.Generator().manual_seed(derive_seed(seed, name, self.number))
            shape = (len(is_open), size)
            whole = torch.rand(shape, generator=generator, dtype=torch.float64)
            drawn.append(whole[is_open])
        return torch.cat(drawn).to(self.is_open.device)


def _is_decided(answers: Tensor, how: Decoding) -> Tensor:
    """Return which answers (B, L) have an end and no mask before it."""
    is_end = torch.isin(answers, torch.tensor(how.ends, device=answers.device))
    before = is_end.cumsum(dim=1) == 0
    return is_end.any(dim=1) & ~((answers == how.mask) & before).any(dim=1)
