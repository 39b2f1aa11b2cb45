"""Translation with a decoder-only chat model, alone or with a teacher: Llama's task.

Only the answer counts in the loss.  Rows are prompt and answer, padded on the right, so attention
needs no mask: nothing that counts comes after padding.  The output head, half of a small model's
work, is computed only where an answer is predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from study.bases.load import BaseModel, load_teacher, padding_token
from study.data.chat import ChatFormat, Dialogue
from study.data.chat_rows import stretches_of
from study.data.embedded import Pair
from study.data.readers import Corpus
from study.data.remarks import positions_of
from study.errors import InputError
from study.metrics import Statistics, text_scores
from study.spec.base_and_data import SPLITS
from study.spec.sections import StudySpec
from study.tasks.base import Batch
from study.tasks.decoding import generated_answers
from study.tasks.losses import IGNORED, language_model_loss
from study.tasks.teacher_alone import TeacherAlone
from study.tasks.teachers import (
    Teacher,
    answer_columns,
    end_ids,
    padded_inputs,
)
from study.tasks.vocabulary.linear_loss import SoftTargets
from study.trials import TrialConfig


class CausalTranslationTask:
    """Instruction and source in, translation and the token that ends it out."""

    def __init__(self, spec: StudySpec, base: BaseModel, corpus: Corpus[Pair]) -> None:
        self._evaluation = spec.evaluation
        self._tokenizer = base.tokenizer
        self._corpus = corpus
        data = spec.data
        form = ChatFormat(base.tokenizer, data.instruction, data.stop_token, data.max_tokens)
        self._pad = padding_token(base, form.stop)
        self._ends = end_ids(base, form.stop)
        base.model.generation_config.eos_token_id = self._ends  # a merged model stops there too
        self._dialogues = _dialogues(form, corpus, positions_of(base.model.config))
        self._teacher: Teacher | None = None
        self.teacher: TeacherAlone | None = None
        if spec.distillation is not None:
            dialogues = [self._dialogues[pair] for pair in corpus.train]
            teacher = load_teacher(spec, base)
            self._teacher = Teacher(teacher, dialogues, form.stop)
            self.teacher = TeacherAlone(teacher, spec, corpus)

    def examples(self, split: str) -> Sequence[Pair]:
        """Return the pairs of a split."""
        return self._corpus.split(split)

    def texts(self, example: Pair) -> tuple[str, str]:
        """Return the source and the reference translation."""
        return example.source, example.target

    def shown(self) -> tuple[tuple[str, bool], ...]:
        """Return the first training pair as the model sees it: text, and whether it is trained."""
        first = self._dialogues[self._corpus.train[0]]
        trained = [False] * len(first.prompt) + [True] * len(first.answer)
        return tuple(stretches_of(first.prompt + first.answer, trained, self._tokenizer))

    def length(self, example: Pair) -> int:
        """Return the number of tokens in the prompt."""
        return len(self._dialogues[example].prompt)

    def collate(
        self, examples: Sequence[Pair], config: TrialConfig, generator: torch.Generator
    ) -> Batch:
        """Return inputs (B, T), answers as labels (B, A), and what each row's loss needs."""
        chosen = [self._dialogues[pair] for pair in examples]
        rows = {"prompt_tokens": torch.tensor([len(d.prompt) for d in chosen])}
        if config.distillation is not None and self._teacher is not None:
            rows["teacher"] = self._teacher.states(chosen)  # (B, A, D)
            shape = (len(chosen),)
            rows["temperature"] = torch.full(
                shape, config.distillation.temperature, dtype=torch.float64
            )
            rows["weight"] = torch.full(
                shape, config.distillation.distillation_weight, dtype=torch.float64
            )
        answers = [torch.tensor(d.answer) for d in chosen]
        labels = pad_sequence(answers, batch_first=True, padding_value=IGNORED)
        inputs = {"input_ids": padded_inputs(chosen, self._pad)}
        tokens = sum(len(d.prompt) + len(d.answer) for d in chosen)
        return Batch(inputs, labels, rows, {"input_ids": self._pad}, tokens)

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Return (B, 2): the loss summed over the answer's tokens, and their number."""
        rows, input_ids = batch.rows, batch.inputs["input_ids"]
        counted = batch.labels != IGNORED  # (B, A)
        columns = answer_columns(input_ids, rows["prompt_tokens"], counted.shape[1])
        row = counted.nonzero()[:, 0]
        labels = torch.full_like(input_ids, IGNORED)  # (B, T)
        labels[row, columns[counted]] = batch.labels[counted]
        soft = None
        if "teacher" in rows:
            assert self._teacher is not None
            soft = SoftTargets(
                rows["teacher"][counted],
                self._teacher.logits,
                rows["temperature"][row],
                rows["weight"][row],
            )
        inputs = {"input_ids": input_ids, "use_cache": False}
        return language_model_loss(model, inputs, labels, soft)

    def predict(self, model: Any, batch: Batch) -> list[str]:
        """Generate one translation per row, greedily or with beams, cut at the stop token."""
        answers = generated_answers(model, batch, self._evaluation, pad=self._pad, ends=self._ends)
        texts = self._tokenizer.batch_decode(answers, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def score(self, outputs: Sequence[str], examples: Sequence[Pair]) -> dict[str, Statistics]:
        """Return the statistics of every text metric of the study."""
        references = [pair.target for pair in examples]
        metrics, options = self._evaluation.metrics, self._evaluation.text_options
        return text_scores(metrics, outputs, references, options)


def _dialogues(form: ChatFormat, corpus: Corpus[Pair], longest: int | None) -> dict[Pair, Dialogue]:
    """Write every pair of the corpus as a dialogue, before anything is trained.

    Raises:
        InputError: the template loses an answer, or a dialogue is too long for the model.
    """
    dialogues: dict[Pair, Dialogue] = {}
    for split in SPLITS:
        for number, pair in enumerate(corpus.split(split), 1):
            try:
                dialogues[pair] = form.dialogue(pair.source, pair.target)
            except InputError as error:
                raise InputError(f"{split}: pair {number}: {error}") from None
            tokens = len(dialogues[pair].prompt) + len(dialogues[pair].answer)
            if longest is not None and tokens > longest:
                raise InputError(
                    f"{split}: pair {number}: at most {longest} tokens fit the base model, got "
                    f"{tokens} with the prompt; lower data.max_tokens"
                )
    return dialogues
