"""`optuna-study base`: small bases of every architecture from a person's own text."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from transformers import AutoConfig

from optuna_study.cli import preparing
from study.bases.from_corpus import ARCHITECTURES, BaseOrder, build_from_corpus


def build(corpus: Path, out: Path, architecture: str, width: int) -> Path:
    """Build a base of a few steps."""
    order = BaseOrder(
        architecture,
        "eng_Latn",
        "fra_Latn",
        steps=2,
        vocabulary=300,
        width=width,
        layers=1,
        seed=0,
    )
    columns = {"source_column": "source", "target_column": "target"}
    build_from_corpus(corpus, out, **columns, order=order, progress=lambda *_: None)
    return out


def test_the_help_names_every_architecture() -> None:
    """The command line imports no table, so its help names them by hand."""
    signature = inspect.signature(preparing.base, eval_str=True)
    (option,) = signature.parameters["architecture"].annotation.__metadata__
    assert re.findall(r"(\w+): ", option.help) == list(ARCHITECTURES)


@pytest.mark.whole
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_models_of_one_corpus_share_their_vocabulary(
    parallel_text: Path, tmp_path: Path, architecture: str
) -> None:
    """A student and a wider teacher can be built apart, and one can learn from the other."""
    corpus = parallel_text / "train.tsv"
    small = build(corpus, tmp_path / "small", architecture, width=16)
    large = build(corpus, tmp_path / "large", architecture, width=32)
    assert (small / "tokenizer.json").read_bytes() == (large / "tokenizer.json").read_bytes()
    widths = [AutoConfig.from_pretrained(folder).hidden_size for folder in (small, large)]
    assert widths == [16, 32]
