"""What an input says beside its template: the words that make it one of a kind.

A template writes the same words into all its inputs.  Clusters of whole inputs would be little
more than the templates over again, by which is sampled already.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from study.data.curation.records import Record

TOKEN = re.compile(r"\w+|[^\w\s]")
"""A word or one mark, so that no text is without any."""
COMMON = 0.5
"""Words in more than this share of a template's inputs are the template's own."""


def contents(records: Sequence[Record]) -> list[str]:
    """Return each input's words without its template's, case-folded and spaced.

    An input that has no others keeps its words.
    """
    inputs = [TOKEN.findall(record.source.casefold()) for record in records]
    by_template: dict[str, list[list[str]]] = defaultdict(list)
    for record, words in zip(records, inputs, strict=True):
        by_template[record.template].append(words)
    common = {name: _common(members) for name, members in by_template.items()}
    return [
        " ".join([word for word in words if word not in common[record.template]] or words)
        for record, words in zip(records, inputs, strict=True)
    ]


def _common(inputs: Sequence[Sequence[str]]) -> set[str]:
    counts = Counter(word for words in inputs for word in set(words))
    return {word for word, count in counts.items() if count > COMMON * len(inputs)}
