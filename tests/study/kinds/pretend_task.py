"""A task that no study file knows: to say of a text whether it is long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from study.bases.load import BaseModel
from study.data.embedded import Pair
from study.data.readers import Corpus, load_corpus
from study.kinds.tasks import TaskKind
from study.metrics import Statistics, text_scores
from study.spec.base_and_data import DataSpec
from study.spec.sections import StudySpec
from study.tasks.base import Batch
from study.tasks.losses import cross_entropy
from study.trials import TrialConfig

LABELS = ("long", "short")
LONG = 45  # characters


def read_lengths(data: DataSpec) -> Corpus[Pair]:
    """Read the sources of parallel text, each with its label."""
    read = load_corpus(data)
    train, dev = (
        tuple(Pair(p.source, LABELS[len(p.source) < LONG]) for p in pairs)
        for pairs in (read.train, read.dev)
    )
    return Corpus(train, dev, labels=LABELS)


class LengthTask:
    """A text in, `long` or `short` out."""

    def __init__(self, spec: StudySpec, base: BaseModel, corpus: Corpus[Pair]) -> None:
        self._metrics = spec.evaluation.metrics
        self._tokenizer = base.tokenizer
        self._corpus = corpus

    def examples(self, split: str) -> Sequence[Pair]:
        return self._corpus.split(split)

    def texts(self, example: Pair) -> tuple[str, str]:
        return example.source, example.target

    def length(self, example: Pair) -> int:
        return len(example.source)

    def collate(
        self, examples: Sequence[Pair], config: TrialConfig, generator: torch.Generator
    ) -> Batch:
        texts = [example.source for example in examples]
        read = self._tokenizer(texts, padding=True, return_tensors="pt")
        labels = torch.tensor([[LABELS.index(example.target)] for example in examples])
        inputs = {name: read[name] for name in ("input_ids", "attention_mask")}
        return Batch(inputs, labels, padding={"input_ids": self._tokenizer.pad_token_id})

    def loss(self, model: Any, batch: Batch) -> Tensor:
        return cross_entropy(model(**batch.inputs).logits[:, None], batch.labels)

    def predict(self, model: Any, batch: Batch) -> list[str]:
        return [LABELS[i] for i in model(**batch.inputs).logits.argmax(dim=-1).tolist()]

    def score(self, outputs: Sequence[str], examples: Sequence[Pair]) -> dict[str, Statistics]:
        return text_scores(self._metrics, outputs, [example.target for example in examples])


ROW = TaskKind(
    implementation=f"{__name__}:LengthTask",
    reader=f"{__name__}:read_lengths",
    model_class="AutoModelForSequenceClassification",
    miniature="distilbert",
    outputs="classes",
    defaults={"evaluation": {"objective": "accuracy", "metrics": ["accuracy", "loss"]}},
    has_general=False,
)
