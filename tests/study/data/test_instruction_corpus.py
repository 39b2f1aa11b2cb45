"""The embedded instructions: splits that share nothing, templates, and what the base has read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from study.data.embedded import SplitSizes, instruction_corpus
from study.data.embedded.instruction_corpus import TEMPLATES

SMALL = SplitSizes(train=4, dev=4, test=4, general=4, base_general=100, base_lay=30, base_expert=30)


def test_no_instruction_stands_in_two_splits() -> None:
    """What is scored was never read, by the base or in training."""
    corpus = instruction_corpus(3)
    splits = (corpus.train, corpus.dev, corpus.test, corpus.general, corpus.base_train)
    sources = [row.source for split in splits for row in split]
    assert len(set(sources)) == len(sources)


def test_scored_splits_do_not_depend_on_the_size_of_others() -> None:
    """More to train on leaves dev and general as they are."""
    one = instruction_corpus(3, SMALL)
    other = instruction_corpus(3, replace(SMALL, train=40, base_general=10))
    assert (one.dev, one.test, one.general) == (other.dev, other.test, other.general)


def test_every_instruction_says_its_template() -> None:
    """Every template of a task is used, and its name says which it is."""
    corpus = instruction_corpus(0)
    names = {row.template_name for row in (*corpus.train, *corpus.base_train)}
    assert names == {
        f"{t}_{n}" for t, all_of in TEMPLATES.items() for n in range(1, len(all_of) + 1)
    }
    assert {row.template_name.split("_")[0] for row in corpus.dev} == {
        "layanan",
        "rujukan",
        "rekam",
        "catatan",
    }


def test_the_base_has_read_more_of_the_outsiders_answers() -> None:
    """Of the clinic's tasks two in three are answered otherwise than the clinic does."""
    corpus = instruction_corpus(0)
    notes = [r.target for r in corpus.base_train if r.template_name.startswith("catatan")]
    own = sum(target.startswith("Pasien mengeluh") for target in notes)
    assert own == pytest.approx(len(notes) / 3, rel=0.01)
    assert all(
        row.target.startswith("Pasien mengeluh")
        for row in corpus.dev
        if row.template_name.startswith("catatan")
    )
