"""Instructions for a masked-diffusion language model: LLaDA's supervised fine-tuning.

Nie et al. 2025, "Large language diffusion models" (arXiv:2502.09992).  A row is a prompt and an
answer of `length` tokens, padded with end tokens, which are learnt too.  In training a share
t ~ U(0, 1) of the answer is masked, never the prompt, and the masked tokens are predicted from both
sides.  A row's loss is the cross-entropy at its masks, divided by the probability of a mask and by
the answer's length; a batch's is the mean over its rows.

In evaluation, draws depend only on the study's seed and the example: every configuration gets the
same masks and the same generation.  The number of masks is drawn instead of t, which has the same
expectation and varies far less (study/tasks/noise.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from study.bases.load import BaseModel
from study.bases.own_code import refusing_base
from study.data.chat_rows import stretches_of
from study.data.embedded import Pair
from study.data.instructions import InstructionFormat, Row
from study.data.readers import Corpus
from study.data.remarks import length_limit
from study.errors import InputError
from study.metrics import Statistics, text_scores
from study.seeds import derive_seed
from study.spec.sections import StudySpec
from study.tasks.base import Batch
from study.tasks.diffusion_decoding import Decoding, generate
from study.tasks.losses import IGNORED, token_losses
from study.tasks.noise import bernoulli_masks, counted_masks
from study.tasks.token_logits import hides_padding
from study.trials import TrialConfig

EVALUATION_DRAWS = 4
"""Draws per example in evaluation, one from each quarter of the mask counts."""


@dataclass(frozen=True)
class InstructionExample:
    """A pair of the corpus; outside `train` also the seed of its draws."""

    pair: Pair
    seed: int | None = None


class MaskedDiffusionTask:
    """Instruction in, answer out, all tokens at once or block by block."""

    loss_signature = f"masked-cross-entropy/p|mean:answer,row|draws:{EVALUATION_DRAWS}|unit:nat"

    def __init__(self, spec: StudySpec, base: BaseModel, corpus: Corpus[Pair]) -> None:
        assert spec.diffusion is not None, "the study is not one of masked diffusion"
        self._settings = spec.diffusion
        self._form = form = InstructionFormat(base.tokenizer, spec.data, spec.diffusion)
        self._evaluation = spec.evaluation
        self._splits = {"train": [InstructionExample(pair) for pair in corpus.train]}
        for split in ("dev", "general", "test"):
            pairs = corpus.split(split)
            self._splits[split] = [
                InstructionExample(
                    pair, derive_seed(spec.seed, "evaluation", pair.source, pair.target)
                )
                for pair in pairs
            ]
        longest = self._check_lengths(base)
        with refusing_base(base, "fails on a short text"):
            hides = hides_padding(base.model, form.mask, form.end)
        width = 0 if hides else longest
        ends = tuple(form.ends)
        self._how = Decoding(spec.diffusion, form.mask, ends, form.fixed, form.end, width)

    def _check_lengths(self, base: BaseModel) -> int:
        """Return the length of the longest row; raise InputError if it does not fit the model."""
        tokens = {
            (split, number): self.length(example) + self._settings.length
            for split, examples in self._splits.items()
            for number, example in enumerate(examples, 1)
        }
        most = length_limit(base.tokenizer, base.model.config, max(tokens.values()))
        for (split, number), count in tokens.items():
            if count > most:
                raise InputError(
                    f"{split}: example {number}: at most {most} tokens fit the base model, got "
                    f"{count} with the answer; lower data.max_tokens or diffusion.length"
                )
        return max(tokens.values())

    def examples(self, split: str) -> Sequence[InstructionExample]:
        """Return the examples of a split."""
        return self._splits[split]

    def texts(self, example: InstructionExample) -> tuple[str, str]:
        """Return the instruction and the answer."""
        return example.pair.source, example.pair.target

    def shown(self) -> tuple[tuple[str, bool], ...]:
        """Return the first training pair as the model sees it: text, and whether it is trained."""
        row = self._form.row(self._splits["train"][0].pair)
        trained = [False] * len(row.prompt) + [True] * len(row.answer)
        return tuple(stretches_of(row.prompt + row.answer, trained, self._form.tokenizer))

    def length(self, example: InstructionExample) -> int:
        """Return the number of tokens in the prompt."""
        return len(self._form.row(example.pair).prompt)

    # ------------------------------------------------------------ training

    def collate(
        self,
        examples: Sequence[InstructionExample],
        config: TrialConfig,
        generator: torch.Generator,
    ) -> Batch:
        """Return inputs and labels (B, T), masks (B, T, S) of S draws and their weights (B, S)."""
        rows = [self._row(example, config) for example in examples]
        drawn = [
            self._drawn(row, example, generator)
            for row, example in zip(rows, examples, strict=True)
        ]
        end = self._form.end
        input_ids = self._padded([torch.tensor(r.prompt + r.answer) for r in rows], end)
        labels = self._padded(
            [torch.tensor((IGNORED,) * len(r.prompt) + r.answer) for r in rows], IGNORED
        )
        needed = {
            "masked": self._padded([masks for masks, _ in drawn], False),
            "scale": torch.stack([scale for _, scale in drawn]),
            "prompt_tokens": torch.tensor([len(row.prompt) for row in rows]),
            "seed": torch.tensor([example.seed or 0 for example in examples]),
        }
        inputs = {"input_ids": input_ids}
        if not self._how.width:
            lengths = torch.tensor([len(row.prompt) + len(row.answer) for row in rows])
            inputs["attention_mask"] = (torch.arange(labels.shape[1]) < lengths[:, None]).long()
        tokens = sum(len(row.prompt) + len(row.answer) for row in rows)
        return Batch(inputs, labels, needed, {"input_ids": end}, tokens)

    def _row(self, example: InstructionExample, config: TrialConfig) -> Row:
        """Return an example's ids, cut as in the trial if it is a training example."""
        is_evaluated = example.seed is not None
        return self._form.row(example.pair, None if is_evaluated else config.training.cutoff_tokens)

    def _drawn(
        self, row: Row, example: InstructionExample, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return a row's masks (T, S) and the weights of the draws (S,)."""
        tokens = len(row.answer)
        if example.seed is None:
            masks, scale = bernoulli_masks(tokens, self._settings.eps, generator)
        else:
            seeded = torch.Generator().manual_seed(example.seed)
            masks, scale = counted_masks(tokens, EVALUATION_DRAWS, seeded)
        return torch.cat([masks.new_zeros(len(row.prompt), masks.shape[1]), masks]), scale

    def _padded(self, rows: Sequence[Tensor], value: float) -> Tensor:
        """Return rows (B, T, ...), all of one fixed width if the model reads its padding."""
        widest = rows[0].new_zeros(self._how.width, *rows[0].shape[1:])
        return pad_sequence([*rows, widest], batch_first=True, padding_value=value)[:-1]

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Return (B, 2): a row's loss, normalised by its length, and 1."""
        total = torch.zeros(len(batch.labels), device=batch.labels.device)
        for draw in range(batch.rows["scale"].shape[1]):
            masked = batch.rows["masked"][..., draw]  # (B, T)
            noisy = batch.inputs["input_ids"].masked_fill(masked, self._form.mask)
            labels = batch.labels.masked_fill(~masked, IGNORED)
            losses = token_losses(model, {**batch.inputs, "input_ids": noisy}, labels)  # (B, T)
            total = total + losses.sum(dim=1) * batch.rows["scale"][:, draw].to(losses)
        return torch.stack([total, torch.ones_like(total)], dim=1)

    # ------------------------------------------------------------ evaluation

    def predict(self, model: Any, batch: Batch) -> list[str]:
        """Generate one answer per row, cut at its end."""
        ids = generate(
            model,
            batch.inputs["input_ids"],
            batch.rows["prompt_tokens"],
            batch.rows["seed"],
            self._how,
        )
        return self._form.texts(ids.tolist())

    def score(
        self, outputs: Sequence[str], examples: Sequence[InstructionExample]
    ) -> dict[str, Statistics]:
        """Return the statistics of every text metric of the study."""
        references = [example.pair.target for example in examples]
        metrics, options = self._evaluation.metrics, self._evaluation.text_options
        return text_scores(metrics, outputs, references, options)
