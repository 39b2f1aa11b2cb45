"""Translation with an encoder-decoder model: NLLB's task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from study.bases.load import BaseModel, padding_token
from study.bases.own_code import refusing_base
from study.data.embedded import Pair
from study.data.languages import check_languages, language_ids
from study.data.readers import Corpus
from study.errors import InputError
from study.metrics import Statistics, text_scores
from study.spec.sections import StudySpec
from study.tasks.base import Batch
from study.tasks.decoding import greedy, is_plain
from study.tasks.losses import IGNORED, language_model_loss
from study.tasks.token_logits import relative_difference
from study.trials import TrialConfig


class TranslationTask:
    """Source text in, target text out, with language codes if the tokenizer has them."""

    def __init__(self, spec: StudySpec, base: BaseModel, corpus: Corpus[Pair]) -> None:
        self._evaluation = spec.evaluation
        self._tokenizer = base.tokenizer
        self._max_tokens = spec.data.max_tokens
        self._corpus = corpus
        if not base.model.config.is_encoder_decoder:
            raise InputError(
                f"base.model: {spec.task!r} needs an encoder-decoder model, got a "
                f"{base.model_type!r} model; use causal_translation for one that only decodes"
            )
        check_languages(base.tokenizer, spec.data)
        self._forced_start = self._set_languages(
            spec.data.source_language, spec.data.target_language
        )
        self._pad = padding_token(base)
        self._ids: dict[Pair, tuple[Tensor, Tensor]] = {}
        if corpus.train:  # a corpus to translate has none
            with refusing_base(base, "fails on the first training pair"):
                self._check_shift(base.model, corpus.train[0])

    @torch.no_grad()
    def _check_shift(self, model: Any, pair: Pair) -> None:
        """Raise InputError if a model makes other decoder inputs of labels than `loss` does."""
        if model.device.type == "meta":
            return
        source, target = (tokens[None].to(model.device) for tokens in self._tokens(pair))
        shifted = self._shifted_right(target, model.config.decoder_start_token_id)
        wanted = model(input_ids=source, labels=target.clone()).logits
        found = model(input_ids=source, decoder_input_ids=shifted).logits
        if not relative_difference(found, wanted) <= float(torch.finfo(found.dtype).eps) ** 0.5:
            raise InputError(
                f"base.model: this {model.config.model_type!r} model begins its labels with "
                "another token than decoder_start_token_id, with which texts are generated; set "
                "it in its config.json or choose another base"
            )

    def _set_languages(self, source: str, target: str) -> int | None:
        """Set both languages in the tokenizer; return the token that every output begins with."""
        tokens = language_ids(self._tokenizer)
        if tokens is None:
            return None
        self._tokenizer.src_lang, self._tokenizer.tgt_lang = source, target
        return tokens[target]

    def examples(self, split: str) -> Sequence[Pair]:
        """Return the pairs of a split."""
        return self._corpus.split(split)

    def texts(self, example: Pair) -> tuple[str, str]:
        """Return the source and the reference translation."""
        return example.source, example.target

    def length(self, example: Pair) -> int:
        """Return the number of tokens of both sides."""
        source, target = self._tokens(example)
        return len(source) + len(target)

    def collate(
        self, examples: Sequence[Pair], config: TrialConfig, generator: torch.Generator
    ) -> Batch:
        """Return inputs (B, S) and labels (B, T), padded to the longest row."""
        sources, targets = zip(*(self._tokens(pair) for pair in examples), strict=True)
        pad = self._pad
        input_ids = pad_sequence(list(sources), batch_first=True, padding_value=pad)
        lengths = torch.tensor([len(source) for source in sources])
        attention_mask = (torch.arange(input_ids.shape[1]) < lengths[:, None]).long()
        labels = pad_sequence(list(targets), batch_first=True, padding_value=IGNORED)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        tokens = sum(map(len, sources + targets))
        return Batch(inputs, labels, padding={"input_ids": pad}, tokens=tokens)

    def _tokens(self, pair: Pair) -> tuple[Tensor, Tensor]:
        """Tokenise a pair once: source and target ids, without padding."""
        if pair not in self._ids:
            ids = self._tokenizer(
                pair.source,
                text_target=pair.target,
                truncation=True,
                max_length=self._max_tokens,
            )
            self._ids[pair] = (torch.tensor(ids["input_ids"]), torch.tensor(ids["labels"]))
        return self._ids[pair]

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Return (B, 2): cross-entropy summed over target tokens, and their number."""
        decoder_input_ids = self._shifted_right(batch.labels, model.config.decoder_start_token_id)
        inputs = {**batch.inputs, "decoder_input_ids": decoder_input_ids, "use_cache": False}
        return language_model_loss(model, inputs, batch.labels)

    def _shifted_right(self, labels: Tensor, start: int) -> Tensor:
        """Return the decoder's inputs (B, T) that predict the labels (B, T)."""
        shifted = labels.roll(1, dims=1)
        shifted[:, 0] = start
        return shifted.masked_fill(shifted == IGNORED, self._pad)

    def predict(self, model: Any, batch: Batch) -> list[str]:
        """Generate one translation per row, greedily or with beams."""
        longest = self._evaluation.max_new_tokens
        if self._evaluation.num_beams == 1 and is_plain(model):
            ids = greedy(model, batch.inputs, self._forced_start, longest)
        else:
            ids = model.generate(
                **batch.inputs,
                forced_bos_token_id=self._forced_start,
                num_beams=self._evaluation.num_beams,
                max_new_tokens=longest,
                do_sample=False,
            )
        texts = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def score(self, outputs: Sequence[str], examples: Sequence[Pair]) -> dict[str, Statistics]:
        """Return the statistics of every text metric of the study."""
        references = [pair.target for pair in examples]
        metrics, options = self._evaluation.metrics, self._evaluation.text_options
        return text_scores(metrics, outputs, references, options)
