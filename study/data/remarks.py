"""What a person should know of the data: what was left out, and what is cut."""

from __future__ import annotations

from typing import Any

from study.base_models import load_tokenizer
from study.data.lengths import answer_remarks, length_remarks
from study.data.readers import Corpus
from study.spec import StudySpec


def data_remarks(spec: StudySpec, corpus: Corpus[Any], location: str) -> list[str]:
    """Return a line for every kind of row that was left out, and one where texts are cut.

    Raises:
        InputError: texts are too long, and the study file refuses that; or no tokenizer is there.
    """
    skipped = [f"{count:,} {reason} left out" for reason, count in corpus.skipped.items()]
    tokenizer, config = load_tokenizer(location, spec.base)
    # a dialogue's marks are its template's, and no part of either text
    is_dialogue = spec.task in ("causal_translation", "masked_diffusion")
    spare = len(tokenizer("")["input_ids"]) if is_dialogue else 0
    remarks = skipped + length_remarks(corpus, tokenizer, config, spec.data, spare)
    if spec.diffusion is not None:
        remarks += answer_remarks(corpus, tokenizer, spec.data, spec.diffusion.length + spare)
    return remarks
