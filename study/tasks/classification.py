"""Sequence classification of texts and pairs, alone or with a teacher: DistilBERT's task on GLUE.

Labels are names everywhere.  A label's number is read from the model's configuration, so MNLI's
three labels are correct whatever order a checkpoint was trained with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from study.bases.load import BaseModel, load_teacher, names_of, padding_token
from study.data.embedded import SentencePair
from study.data.labels import normal_label
from study.data.readers import Corpus
from study.data.remarks import length_limit
from study.errors import InputError
from study.metrics import Statistics, text_scores
from study.spec.sections import StudySpec
from study.tasks.base import Batch
from study.tasks.losses import cross_entropy, distillation
from study.tasks.teacher_alone import TeacherAlone
from study.trials import TrialConfig

ASKED_TOGETHER = 16
"""Examples per pass of a teacher; passes are fixed, so that no result depends on the order."""


class LabelledTexts:
    """The part of a task that reads labelled texts: examples, their texts, lengths and scores."""

    def __init__(self, spec: StudySpec, base: BaseModel, corpus: Corpus[SentencePair]) -> None:
        self._corpus = corpus
        self._reader = PairReader(base, spec.data.max_tokens)
        self._evaluation = spec.evaluation

    def examples(self, split: str) -> Sequence[SentencePair]:
        """Return the texts or sentence pairs of a split."""
        return self._corpus.split(split)

    def texts(self, example: SentencePair) -> tuple[str, str]:
        """Return the text or both sentences, and the label."""
        return " ⏵ ".join(example.texts), example.label

    def length(self, example: SentencePair) -> int:
        """Return the number of tokens of all texts."""
        return self._reader.length(example)

    def score(
        self, outputs: Sequence[str], examples: Sequence[SentencePair]
    ) -> dict[str, Statistics]:
        """Return the statistics of the study's metrics of classes or numbers."""
        references = [example.label for example in examples]
        options = replace(self._evaluation.text_options, labels=self._corpus.labels)
        metrics = self._evaluation.metrics
        return text_scores(metrics, outputs, references, options)


class ClassificationTask(LabelledTexts):
    """One text or two in, the name of a label out."""

    loss_signature = "cross-entropy|mean:example|unit:nat"

    def __init__(self, spec: StudySpec, base: BaseModel, corpus: Corpus[SentencePair]) -> None:
        super().__init__(spec, base, corpus)
        self._labels = label_names(base, corpus.labels, "base.model")  # in the model's order
        self._teacher: SoftLabels | None = None
        self.teacher: TeacherAlone | None = None
        if spec.distillation is not None:
            teacher = load_teacher(spec, base)
            order = teacher_order(teacher, spec.distillation.labels, self._labels)
            self._teacher = SoftLabels(teacher, order, corpus.train, spec.data.max_tokens)
            self.teacher = TeacherAlone(teacher, spec, corpus)

    def collate(
        self, examples: Sequence[SentencePair], config: TrialConfig, generator: torch.Generator
    ) -> Batch:
        """Return inputs (B, T), labels (B, 1), and with a teacher its logits for each row."""
        inputs = self._reader.inputs(examples)
        labels = torch.tensor([[self._labels.index(example.label)] for example in examples])
        rows: dict[str, Tensor] = {}
        if config.distillation is not None and self._teacher is not None:
            ones = torch.ones(len(examples), dtype=torch.float64)
            rows = {
                "teacher_logits": self._teacher.logits(examples),  # (B, L)
                "temperature": ones * config.distillation.temperature,
                "distillation_weight": ones * config.distillation.distillation_weight,
            }
        tokens = sum(map(self.length, examples))
        return Batch(inputs, labels, rows, self._reader.padding, tokens)

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Return (B, 2): a row's loss, and 1."""
        logits = model(**batch.inputs).logits[:, None]  # (B, 1, L): one token per row
        rows = batch.rows
        if "teacher_logits" not in rows:
            return cross_entropy(logits, batch.labels)
        return distillation(
            logits,
            rows["teacher_logits"][:, None],
            batch.labels,
            rows["temperature"],
            rows["distillation_weight"],
        )

    def predict(self, model: Any, batch: Batch) -> list[str]:
        """Return the most probable label of each row."""
        return [self._labels[i] for i in model(**batch.inputs).logits.argmax(dim=1).tolist()]


class PairReader:
    """Tokenises texts and sentence pairs for a model, and cuts those that are too long."""

    def __init__(self, base: BaseModel, max_tokens: int) -> None:
        self._tokenizer = base.tokenizer
        self._limit = length_limit(base.tokenizer, base.model.config, max_tokens)
        self._ids: dict[SentencePair, Mapping[str, list[int]]] = {}
        self.padding = {
            "input_ids": float(padding_token(base)),
            "token_type_ids": float(base.tokenizer.pad_token_type_id),
        }

    def _tokens(self, pair: SentencePair) -> Mapping[str, list[int]]:
        """Tokenise a pair once."""
        if pair not in self._ids:
            self._ids[pair] = self._tokenizer(*pair.texts, truncation=True, max_length=self._limit)
        return self._ids[pair]

    def length(self, pair: SentencePair) -> int:
        """Return a pair's number of tokens."""
        return len(self._tokens(pair)["input_ids"])

    def inputs(self, pairs: Sequence[SentencePair]) -> dict[str, Tensor]:
        """Return what the model reads, each (B, T), padded on the right."""
        rows = [self._tokens(pair) for pair in pairs]
        return {
            name: pad_sequence(
                [torch.tensor(row[name]) for row in rows],
                batch_first=True,
                padding_value=self.padding.get(name, 0),
            )
            for name in self._tokenizer.model_input_names
        }


class SoftLabels:
    """A frozen teacher's logits for the training examples, computed once for all trials."""

    def __init__(
        self,
        teacher: BaseModel,
        order: Sequence[int],
        examples: Sequence[SentencePair],
        max_tokens: int,
    ) -> None:
        self._model = teacher.model
        self._order = list(order)  # the teacher's output for each of the student's labels
        self._reader = PairReader(teacher, max_tokens)
        distinct = sorted(dict.fromkeys(examples), key=lambda pair: len(pair.first + pair.second))
        self._groups = [
            distinct[at : at + ASKED_TOGETHER] for at in range(0, len(distinct), ASKED_TOGETHER)
        ]
        self._group_of = {pair: group for group in self._groups for pair in group}
        self._kept: dict[SentencePair, Tensor] = {}  # (L,) each

    def logits(self, examples: Sequence[SentencePair]) -> Tensor:
        """Return the teacher's logits (B, L), its outputs in the student's order."""
        for example in examples:
            if example not in self._kept:
                self._ask(self._group_of[example])
        return torch.stack([self._kept[example] for example in examples])

    @torch.no_grad()
    def _ask(self, group: Sequence[SentencePair]) -> None:
        inputs = {n: t.to(self._model.device) for n, t in self._reader.inputs(group).items()}
        logits = self._model(**inputs).logits[:, self._order].cpu()  # (B, L)
        self._kept |= dict(zip(group, logits, strict=True))


# ---------------------------------------------------------------- labels


def label_names(base: BaseModel, wanted: Sequence[str], key: str) -> list[str]:
    """Return the study's labels in the order of a model's outputs.

    A model without output names takes the study's order, which it is trained for.

    Raises:
        InputError: the model has other labels, or another number of them.
    """
    names = names_of(base.model.config)
    if names is None and len(base.model.config.id2label) == len(wanted):
        return list(wanted)
    by_name = {normal_label(name): name for name in wanted}
    if names is None or set(map(normal_label, names)) != set(by_name):
        outputs = ", ".join(names or base.model.config.id2label.values())
        raise InputError(
            f"{key}: must have the labels of the data, {', '.join(wanted)}; "
            f"{base.name!r} has {outputs}"
        )
    return [by_name[normal_label(name)] for name in names]


def teacher_order(teacher: BaseModel, named: Sequence[str], student: Sequence[str]) -> list[int]:
    """Return the teacher's output for each of the student's labels.

    Raises:
        InputError: the teacher's outputs are unnamed, or do not match the student's labels.
    """
    names = named or names_of(teacher.model.config)
    if names is None:
        raise InputError(
            f"distillation.teacher: {teacher.name!r} does not name its outputs; set "
            f"distillation.labels to {', '.join(student)} in the order of the teacher's"
        )
    normal = [normal_label(name) for name in names]
    if sorted(normal) != sorted(map(normal_label, student)) or len(names) != _outputs(teacher):
        raise InputError(
            f"distillation.teacher: {teacher.name!r} has {_outputs(teacher)} outputs, "
            f"{', '.join(names)}; the student has {', '.join(student)}"
        )
    return [normal.index(normal_label(label)) for label in student]


def _outputs(base: BaseModel) -> int:
    return int(base.model.config.num_labels)
