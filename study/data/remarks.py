"""What a person should know of the data: what was left out, and what is cut."""

from __future__ import annotations

from typing import Any

from study.data.lengths import length_remarks
from study.data.readers import Corpus
from study.spec import StudySpec


def data_remarks(spec: StudySpec, corpus: Corpus[Any], location: str) -> list[str]:
    """Return a line for every kind of row that was left out, and one where texts are cut.

    Raises:
        InputError: texts are too long, and the study file refuses that.
    """
    skipped = [f"{count:,} {reason} left out" for reason, count in corpus.skipped.items()]
    from transformers import AutoConfig, AutoTokenizer

    options = {
        "revision": spec.base.revision or "main",
        "trust_remote_code": spec.base.trust_remote_code,
    }
    tokenizer = AutoTokenizer.from_pretrained(location, **options)
    config = AutoConfig.from_pretrained(location, **options)
    # a dialogue's marks are its template's, and no part of either text
    spare = len(tokenizer("")["input_ids"]) if spec.task == "causal_translation" else 0
    return skipped + length_remarks(corpus, tokenizer, config, spec.data, spare)
