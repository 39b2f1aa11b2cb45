"""Direct preference optimization of a decoder on pairs of answers.

Rafailov et al. 2023 (arXiv:2305.18290), TRL's `loss_type = "sigmoid"`: with the margin
m = (log p(chosen) − log r(chosen)) − (log p(rejected) − log r(rejected)), a pair's loss is
−log σ(β·m).  The reference r is the base with its adapters off (`reference.py`).  Log-probabilities
are sums over the answer's tokens, its end included.

A row of a batch is a pair: the model reads its chosen side, then its rejected side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation
from torch.nn.utils.rnn import pad_sequence

from study.bases.load import BaseModel
from study.data.preference_rows import PreferenceExample
from study.data.readers import Corpus
from study.metrics import Statistics
from study.metrics.preferences import TIE_IN_16_BITS
from study.spec.base_and_data import SPLITS
from study.spec.sections import StudySpec
from study.tasks.base import Batch
from study.tasks.losses import IGNORED, language_model_loss
from study.tasks.reference import Reference
from study.tasks.sft import FineTuningTask
from study.trials import TrialConfig


class PreferenceTask:
    """Pairs in; the chosen answer is made likelier than the rejected one, and is generated."""

    sequences_per_row = 2  # a pass needs the memory of both

    def __init__(self, spec: StudySpec, base: BaseModel, corpus: Corpus[PreferenceExample]) -> None:
        """Take the study; the chosen answers are those of fine-tuning.

        Raises:
            InputError: as for fine-tuning.
        """
        self._corpus = corpus
        chosen = {split: tuple(e.chosen for e in corpus.split(split)) for split in SPLITS}
        answers = Corpus(chosen["train"], chosen["dev"], chosen["general"], chosen["test"])
        self._answers = FineTuningTask(spec, base, answers)
        every = [example for split in SPLITS for example in corpus.split(split)]
        self._rounding = (
            TIE_IN_16_BITS if base.model.dtype in (torch.bfloat16, torch.float16) else 0.0
        )
        self._reference = Reference(base, spec.method, every, self._pairs, self._sides)

    def examples(self, split: str) -> Sequence[PreferenceExample]:
        """Return the pairs of a split."""
        return self._corpus.split(split)

    def texts(self, example: PreferenceExample) -> tuple[str, str]:
        """Return everything before the last answer, and the chosen answer."""
        return example.source, example.target

    def loss_text(self, example: PreferenceExample) -> str:
        """Return the chosen answer, which the evaluation's loss is of."""
        return example.chosen.trained_text

    def length(self, example: PreferenceExample) -> int:
        """Return the number of tokens of the longer side."""
        return max(len(side.ids) for side in example.rows)

    def collate(
        self, examples: Sequence[PreferenceExample], config: TrialConfig, generator: torch.Generator
    ) -> Batch:
        """Return the chosen side as `sft` has it, and the rejected side in `rows`, each (B, T).

        `reference` (B,) is the reference's margin; `beta` (B,) is there in training alone.
        """
        batch = self._pairs(examples)
        rows = {**batch.rows, "reference": self._reference.margins(examples)}
        if config.training.beta is not None:
            rows["beta"] = torch.full((len(examples),), config.training.beta, dtype=torch.float64)
        return replace(batch, rows=rows)

    def _pairs(self, examples: Sequence[PreferenceExample]) -> Batch:
        """Return both sides of B pairs."""
        batch = self._answers.rows([example.chosen for example in examples])
        ids = [torch.from_numpy(example.rejected.ids).long() for example in examples]
        trained = [torch.from_numpy(example.rejected.trained) for example in examples]
        rows = {
            **batch.rows,
            "rejected": pad_sequence(ids, batch_first=True),
            "rejected_trained": pad_sequence(trained, batch_first=True),
        }
        return replace(batch, rows=rows, tokens=int(batch.tokens or 0) + sum(map(len, ids)))

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Return (B, 2), a pair's loss and 1; in an evaluation (B, 3).

        Those are the chosen answer's cross-entropy, its number of tokens, and the margin, none of
        which depends on β.  A margin that rounding alone can give in 16 bits counts as 0.
        """
        rows = batch.rows
        chosen, rejected = self._sides(model, batch)  # (B, 2) each: cross-entropy and tokens
        margins = rejected[:, 0] - chosen[:, 0] - rows["reference"].to(chosen)
        if "beta" not in rows:
            margins = margins.where(margins.abs() > self._rounding, 0.0)
            return torch.cat([chosen, margins[:, None]], dim=1)
        losses = -F.logsigmoid(rows["beta"].to(margins) * margins)
        return torch.stack([losses, torch.ones_like(losses)], dim=1)

    def _sides(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy of both answers and their tokens, each (B, 2)."""
        chosen = self._answers.loss(model, batch)
        ids, trained = batch.rows["rejected"], batch.rows["rejected_trained"].bool()
        labels = ids[:, 1:].masked_fill(~trained[:, 1:], IGNORED)
        inputs = {"input_ids": ids[:, :-1], "use_cache": False}
        return chosen, language_model_loss(model, inputs, labels)

    def predict(self, model: Any, batch: Batch) -> list[str]:
        """Generate the last answer of each row."""
        return self._answers.predict(model, batch)

    def score(
        self, outputs: Sequence[str], examples: Sequence[PreferenceExample]
    ) -> dict[str, Statistics]:
        """Return the statistics of every text metric, against the chosen answers."""
        return self._answers.score(outputs, [example.chosen for example in examples])
