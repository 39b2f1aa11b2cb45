"""Texts that are too long are cut and counted, or refused by choice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from study.bases.load import load_base
from study.data.corpora import corpus_of
from study.data.remarks import data_remarks, length_limit, too_long
from study.errors import InputError
from study.spec.sections import StudySpec
from tests.engine_runs import skeleton_of

MakeSpec = Callable[..., StudySpec]


def test_pairs_are_counted_by_both_sentences(make_pair_spec: MakeSpec) -> None:
    """The count is what tokenising every pair by hand gives, at every limit."""
    spec = make_pair_spec()
    corpus = corpus_of(spec)
    base = load_base(spec.base.model, spec.base, "classification", corpus.labels)
    lengths = [len(base.tokenizer(p.first, p.second)["input_ids"]) for p in corpus.train]
    for limit in (4, 10, 12, 14, 64):
        expected = sum(length > limit for length in lengths)
        assert too_long(corpus, base.tokenizer, limit)["train"] == expected


def test_translations_are_counted_by_their_longer_side(
    make_spec: MakeSpec, tiny_base: Path
) -> None:
    """A pair is too long where source or target is."""
    spec = make_spec()
    corpus, base = corpus_of(spec), load_base(str(tiny_base), spec.base)
    lengths = [
        max(len(base.tokenizer(p.source)["input_ids"]), len(base.tokenizer(p.target)["input_ids"]))
        for p in corpus.dev
    ]
    for limit in (5, 12, 20, 128):
        assert too_long(corpus, base.tokenizer, limit)["dev"] == sum(n > limit for n in lengths)


def test_the_limit_is_the_smaller_of_file_and_model(make_pair_spec: MakeSpec) -> None:
    """`max_tokens` cannot ask for more than the model's positions."""
    spec = make_pair_spec()
    base = load_base(spec.base.model, spec.base, "classification", ("a", "b"))
    assert base.model.config.max_position_embeddings == 64
    assert length_limit(base.tokenizer, base.model.config, 128) == 64
    assert length_limit(base.tokenizer, base.model.config, 10) == 10


def test_what_is_cut_is_said_or_refused(make_pair_spec: MakeSpec) -> None:
    """One remark with the counts, or one error that names the key; nothing where all fit."""
    fitting = make_pair_spec()
    assert data_remarks(fitting, corpus_of(fitting), skeleton_of(fitting)) == []
    cut = make_pair_spec({"data.max_tokens": 12})
    (remark,) = data_remarks(cut, corpus_of(cut), skeleton_of(cut))
    assert "of 40 train" in remark
    assert "examples have more than 12 tokens and are cut" in remark
    refused = make_pair_spec({"data.max_tokens": 12, "data.too_long": "refuse"})
    with pytest.raises(InputError, match=r"have more than 12 tokens; allowed: data.too_long"):
        data_remarks(refused, corpus_of(refused), skeleton_of(refused))


def test_a_language_that_the_tokenizer_lacks_is_a_mistake(
    make_spec: MakeSpec,
) -> None:
    """`check` says so before a run does: it would train towards the unknown token."""
    spec = make_spec({"data.target_language": "french"})
    with pytest.raises(InputError, match=r"target_language: must be a language code .*'french'"):
        data_remarks(spec, corpus_of(spec), skeleton_of(spec))
