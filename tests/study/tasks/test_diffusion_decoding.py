"""Generation is LLaDA's, row by row: held against a slow program that is written to be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from study.seeds import derive_seed
from study.spec.diffusion import DiffusionSpec
from study.tasks.diffusion_decoding import Decoding, generate

MASK, END, WORDS = 9, 8, 10
PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 1, 2], [3, 3]]
SEEDS = [11, 12, 13, 14]
SETTINGS = DiffusionSpec(length=8, steps=4, block_length=4)


class TinyModel(torch.nn.Module):
    """Logits that depend on every token within sight, and on where it stands."""

    config = SimpleNamespace(model_type="tiny")

    def __init__(self, sharpness: float = 3.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self._of_words = torch.randn(WORDS, WORDS, generator=generator, dtype=torch.float64)
        self._of_places = torch.randn(64, WORDS, generator=generator, dtype=torch.float64)
        self._sharpness = sharpness
        self.rows: list[int] = []  # of every pass

    def forward(self, input_ids: torch.Tensor, attention_mask: Any = None) -> Any:
        """Return logits (B, T, V)."""
        self.rows.append(len(input_ids))
        T = input_ids.shape[1]
        seen = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        distance = (torch.arange(T)[:, None] - torch.arange(T)).double()
        near = (1.7 * distance).cos() / (1 + distance.abs())
        read = near * seen[:, None, :]  # (B, T, T)
        logits = read @ self._of_words[input_ids] + self._of_places[:T]
        return SimpleNamespace(logits=self._sharpness * logits)


def slow_answer(model: Any, prompt: Sequence[int], seed: int, how: Decoding) -> list[int]:
    """LLaDA's `generate` for one prompt: every mask looked at alone, up to the first end."""
    settings = how.settings
    row = [*prompt, *[MASK] * settings.length]
    for position, token in how.fixed.items():
        row[len(prompt) + position] = token
    given = [token != MASK for token in row]
    steps = settings.steps // settings.blocks
    for block in range(settings.blocks):
        start = len(prompt) + block * settings.block_length
        places = range(start, start + settings.block_length)
        masks = sum(row[place] == MASK for place in places)
        for step in range(steps):
            number = block * steps + step
            logits = model(torch.tensor([row])).logits[0]
            if settings.cfg_scale:
                hidden = [MASK if g else token for g, token in zip(given, row, strict=True)]
                without = model(torch.tensor([hidden])).logits[0]
                logits = without + (settings.cfg_scale + 1) * (logits - without)
            noise = uniform(seed, "token", number, settings.block_length, WORDS)
            order = uniform(seed, "order", number, settings.block_length, 1)
            found = []  # (how sure, place, token)
            for place in places:
                if row[place] != MASK:
                    continue
                allowed = logits[place].clone()
                allowed[MASK] = -torch.inf
                if how.fixed and place - len(prompt) < max(how.fixed):
                    allowed[END] = -torch.inf
                gumbel = (-noise[place - start].log()) ** settings.temperature
                token = int((allowed.exp() / gumbel).argmax())
                sure = float(allowed.softmax(dim=0)[token])
                if settings.remasking == "random":
                    sure = float(order[place - start, 0])
                found.append((sure, place, token))
            kept = masks // steps + (step < masks % steps)
            for _, place, token in sorted(found, reverse=True)[:kept]:
                row[place] = token
    return up_to_the_end(row[len(prompt) :])


def slow_answers(model: Any, how: Decoding) -> list[list[int]]:
    """Each prompt's answer, one after the other."""
    return [slow_answer(model, p, s, how) for p, s in zip(PROMPTS, SEEDS, strict=True)]


def uniform(seed: int, name: str, number: int, rows: int, columns: int) -> torch.Tensor:
    """What a row draws in one step."""
    generator = torch.Generator().manual_seed(derive_seed(seed, name, number))
    return torch.rand(rows, columns, generator=generator, dtype=torch.float64)


def up_to_the_end(answer: Sequence[int]) -> list[int]:
    """Return what is read of an answer."""
    return list(answer[: answer.index(END)] if END in answer else answer)


def fast_answers(
    model: Any, how: Decoding, prompts: Sequence[Sequence[int]] = PROMPTS
) -> list[list[int]]:
    """All answers at once, from a batch that is padded on the right."""
    longest = max(map(len, prompts)) + 3
    ids = torch.tensor([[*prompt, *[7] * (longest - len(prompt))] for prompt in prompts])
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    found = generate(model, ids, lengths, torch.tensor(SEEDS[: len(prompts)]), how)
    return [up_to_the_end(answer) for answer in found.tolist()]


def how_of(**changes: Any) -> Decoding:
    """How answers are generated, changed in the settings."""
    return Decoding(DiffusionSpec(**{**SETTINGS.model_dump(), **changes}), MASK, (END,))


OPTIONS: list[dict[str, Any]] = [
    {},
    {"block_length": 8},
    {"block_length": 2},
    {"steps": 8},
    {"steps": 2},
    {"length": 12, "block_length": 4, "steps": 9},
    {"length": 6, "block_length": 6, "steps": 4},
    {"temperature": 0.7},
    {"temperature": 3.0, "steps": 8},
    {"cfg_scale": 1.5},
    {"remasking": "random"},
    {"remasking": "random", "temperature": 1.0, "cfg_scale": 0.5, "steps": 8},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_row_is_what_llada_generates_alone(options: dict[str, Any]) -> None:
    """A padded batch of unequal prompts gives each row's own answer, under every option."""
    model, how = TinyModel(), how_of(**options)
    slow = slow_answers(model, how)
    assert fast_answers(model, how) == slow
    assert len({tuple(answer) for answer in slow}) > 1


@pytest.mark.parametrize("options", [{}, {"block_length": 8}, {"temperature": 1.0}], ids=str)
def test_fixed_words_stand_in_every_answer(options: dict[str, Any]) -> None:
    """They are given, they are read by the others, and no answer ends before the last of them."""
    model = TinyModel()
    how = replace(how_of(**options), fixed={0: 2, 5: 3, 6: 4})
    slow = slow_answers(model, how)
    assert fast_answers(model, how) == slow
    assert all([answer[0], *answer[5:7]] == [2, 3, 4] for answer in slow)
    free = [
        slow_answer(model, p, s, how_of(**options)) for p, s in zip(PROMPTS, SEEDS, strict=True)
    ]
    assert slow != free


def test_the_options_change_what_is_generated() -> None:
    """No option is without effect on this model."""
    found = [str(fast_answers(TinyModel(), how_of(**options))) for options in OPTIONS]
    assert len(set(found)) == len(OPTIONS)


class Ending(TinyModel):
    """Ends soon: every second token is an end."""

    def forward(self, input_ids: torch.Tensor, attention_mask: Any = None) -> Any:
        """Return logits (B, T, V)."""
        found = super().forward(input_ids, attention_mask)
        found.logits[:, 1::2, END] += 1e3
        return found


def test_rows_whose_text_is_decided_are_computed_no_further() -> None:
    """What stands behind an end is never read, so it is not generated either."""
    model = Ending()
    how = how_of(length=16, steps=16)
    slow = slow_answers(model, how)
    model.rows.clear()
    assert fast_answers(model, how) == slow
    assert len(model.rows) < 16
    assert model.rows[0] == 4


def test_a_packing_model_says_which_rows_go_on() -> None:
    """`keep_rows` decides, in whatever order: finished rows that it keeps do not change."""
    model = Ending()
    model.keep_rows = lambda alive: torch.arange(len(alive)).flip(0)  # type: ignore[assignment]
    how = how_of(length=16, steps=16)
    assert fast_answers(model, how) == fast_answers(Ending(), how)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    """Alone, first or last: the draws are the row's own."""
    how = how_of(temperature=1.0, remasking="random")
    together = fast_answers(TinyModel(), how)
    assert fast_answers(TinyModel(), how, PROMPTS[:1]) == together[:1]
    assert fast_answers(TinyModel(), how, PROMPTS[:3]) == together[:3]


def test_a_model_that_reads_its_padding_gets_rows_of_one_width() -> None:
    """With a width every row is filled up to it, and no mask is passed."""
    seen: list[tuple[int, Any]] = []

    class Watched(TinyModel):
        def forward(self, input_ids: torch.Tensor, attention_mask: Any = None) -> Any:
            seen.append((input_ids.shape[1], attention_mask))
            return super().forward(input_ids, attention_mask)

    how = replace(how_of(), width=20, pad=END)
    together = fast_answers(Watched(), how)
    assert fast_answers(Watched(), how, PROMPTS[:2]) == together[:2]
    assert set(seen) == {(20, None)}


def test_the_mask_itself_is_never_an_answer() -> None:
    """Not even where the model finds it most probable."""

    class Masking(TinyModel):
        def forward(self, input_ids: torch.Tensor, attention_mask: Any = None) -> Any:
            found = super().forward(input_ids, attention_mask)
            found.logits[..., MASK] += 1e3
            return found

    assert not any(MASK in answer for answer in fast_answers(Masking(), how_of()))
