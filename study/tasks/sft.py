"""Supervised fine-tuning of a decoder on conversations: only the assistant's tokens are learnt.

A row is a conversation in the model's chat template, padded on the right, so attention needs no
mask: nothing that counts comes after padding.  Logits are computed only where a trained token is
predicted.  If a metric compares texts, the last answer is generated from everything before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from study.bases.load import BaseModel, padding_token
from study.data.chat_rows import ChatExample, set_up
from study.data.readers import Corpus
from study.data.remarks import positions_of
from study.errors import InputError
from study.metrics import Statistics, text_scores
from study.spec.base_and_data import SPLITS
from study.spec.sections import StudySpec
from study.tasks.base import Batch
from study.tasks.decoding import generated_answers
from study.tasks.losses import IGNORED, language_model_loss
from study.tasks.teachers import end_ids
from study.trials import TrialConfig


class FineTuningTask:
    """Conversations in; the assistant's turns are learnt, the last one is generated."""

    def __init__(self, spec: StudySpec, base: BaseModel, corpus: Corpus[ChatExample]) -> None:
        """Take the study, and give the base its template and the tokens that end its answers.

        Raises:
            InputError: the base cannot read a conversation and generate as much as the study asks.
        """
        self._evaluation = spec.evaluation
        self._tokenizer = base.tokenizer
        self._corpus = corpus
        set_up(base.tokenizer, spec.data)
        self._ends = answer_ends(base, corpus)
        base.model.generation_config.eos_token_id = self._ends
        self._pad = padding_token(base, self._ends[0])
        if spec.generates:
            _check_room(corpus, base, spec.evaluation.max_new_tokens)

    def examples(self, split: str) -> Sequence[ChatExample]:
        """Return the conversations of a split."""
        return self._corpus.split(split)

    def texts(self, example: ChatExample) -> tuple[str, str]:
        """Return everything before the last answer, and that answer; a plain text has none."""
        return example.source, example.target

    def loss_text(self, example: ChatExample) -> str:
        """Return the text whose tokens the loss is of: often more than the last answer."""
        return example.trained_text

    def length(self, example: ChatExample) -> int:
        """Return the number of tokens of the row."""
        return len(example.ids)

    def collate(
        self, examples: Sequence[ChatExample], config: TrialConfig, generator: torch.Generator
    ) -> Batch:
        """Return inputs and labels (B, T): each label is the next token if it is trained."""
        return self.rows(examples)

    def rows(self, examples: Sequence[ChatExample]) -> Batch:
        """Return B conversations as a batch, in which nothing is random."""
        ids = [torch.from_numpy(example.ids).long() for example in examples]
        trained = [torch.from_numpy(example.trained) for example in examples]
        labels = [
            row[1:].masked_fill(~mask[1:], IGNORED) for row, mask in zip(ids, trained, strict=True)
        ]
        inputs = pad_sequence([row[:-1] for row in ids], batch_first=True, padding_value=self._pad)
        return Batch(
            {"input_ids": inputs},
            pad_sequence(labels, batch_first=True, padding_value=IGNORED),
            {"prompt_tokens": torch.tensor([example.prompt_tokens for example in examples])},
            {"input_ids": self._pad},
            tokens=sum(map(self.length, examples)),
        )

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Return (B, 2): the loss summed over the trained tokens, and their number."""
        inputs = {"input_ids": batch.inputs["input_ids"], "use_cache": False}
        return language_model_loss(model, inputs, batch.labels)

    def predict(self, model: Any, batch: Batch) -> list[str]:
        """Generate the last answer of each row, greedily or with beams, up to its end."""
        answers = generated_answers(model, batch, self._evaluation, pad=self._pad, ends=self._ends)
        texts = self._tokenizer.batch_decode(answers, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def score(
        self, outputs: Sequence[str], examples: Sequence[ChatExample]
    ) -> dict[str, Statistics]:
        """Return the statistics of every text metric of the study."""
        references = [example.target.strip() for example in examples]
        metrics, options = self._evaluation.metrics, self._evaluation.text_options
        return text_scores(metrics, outputs, references, options)


def answer_ends(base: BaseModel, corpus: Corpus[ChatExample]) -> list[int]:
    """Return the tokens that end an answer: those that do in the corpus, and the model's own."""
    ends = {example.end for example in (*corpus.train, *corpus.dev)}
    own = {token for end in ends or {base.tokenizer.eos_token_id} for token in end_ids(base, end)}
    return sorted(own)


def _check_room(corpus: Corpus[ChatExample], base: BaseModel, new_tokens: int) -> None:
    """Refuse answers that would be generated past the model's last position."""
    most = positions_of(base.model.config)
    if most is None:
        return
    for split in SPLITS[1:]:
        longest = max((example.prompt_tokens for example in corpus.split(split)), default=0)
        if longest + new_tokens > most:
            raise InputError(
                f"evaluation.max_new_tokens: must leave room after the prompts of {split}, the "
                f"longest of which has {longest:,} of the model's {most:,} tokens, got "
                f"{new_tokens:,}; or lower data.max_tokens"
            )
