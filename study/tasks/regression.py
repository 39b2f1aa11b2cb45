"""Regression: a number for each text or pair, as for ratings or similarity (STS-B).

The model is a classifier of transformers with one output, trained with squared error.  Labels are
not scaled, so that the exported model gives numbers on the scale of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from study.bases.load import BaseModel
from study.data.embedded import SentencePair
from study.data.readers import Corpus
from study.errors import InputError
from study.spec.sections import StudySpec
from study.tasks.base import Batch
from study.tasks.classification import LabelledTexts
from study.tasks.losses import squared_error
from study.trials import TrialConfig


class RegressionTask(LabelledTexts):
    """One text or two in, a number out."""

    loss_signature = "squared-error|mean:example"

    def __init__(self, spec: StudySpec, base: BaseModel, corpus: Corpus[SentencePair]) -> None:
        if (outputs := int(base.model.config.num_labels)) != 1:
            raise InputError(
                f"base.model: must have one output for the task {spec.task!r}, or no head; "
                f"{base.name!r} has {outputs}"
            )
        super().__init__(spec, base, corpus)

    def collate(
        self, examples: Sequence[SentencePair], config: TrialConfig, generator: torch.Generator
    ) -> Batch:
        """Return inputs (B, T) and labels (B, 1)."""
        labels = [[float(example.label)] for example in examples]
        return Batch(
            self._reader.inputs(examples),
            torch.tensor(labels, dtype=torch.float64),
            padding=self._reader.padding,
            tokens=sum(map(self.length, examples)),
        )

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Return (B, 2): a row's squared error, and 1."""
        return squared_error(model(**batch.inputs).logits, batch.labels)

    def predict(self, model: Any, batch: Batch) -> list[str]:
        """Return the number of each row, to six digits, more than which engines do not share."""
        return [f"{number:.6g}" for number in model(**batch.inputs).logits[:, 0].tolist()]
