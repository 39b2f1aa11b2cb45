"""A study file as `check` shows it: every default that matters for the task, and no other."""

from __future__ import annotations

from collections.abc import Iterator

from study.spec.hyperparameters import field_of, section_of
from study.spec.sections import StudySpec
from study.spec.toml_text import parse_toml
from study.spec.writing import toml

FOR_TEXTS = ("tokenize", "synonyms", "num_beams", "max_new_tokens", "text", "numeric")
"""The keys of `[evaluation]` that matter where outputs are generated."""


def shown_toml(spec: StudySpec) -> str:
    """Return the resolved study file without the keys that its task and metrics do not read."""
    document = parse_toml(spec.to_toml())
    for section, key in _unread(spec):
        document[section].pop(key, None)
    for section in ("data", "evaluation", "search"):
        document[section] = {k: v for k, v in document[section].items() if v not in ([], "")}
    return toml(document)


def _unread(spec: StudySpec) -> Iterator[tuple[str, str]]:
    """Yield the section and name of every key that changes nothing in this study."""
    kind, data, evaluation = spec.task_kind, spec.data, spec.evaluation
    if not (kind.names_languages or kind.instructs):
        yield from (("data", f"{side}_language") for side in ("source", "target"))
    if not (kind.instructs or kind.reads_conversations or kind.diffuses):
        yield "data", "instruction"
    if not kind.trains_stop_token:
        yield "data", "stop_token"
    columns = [f"{side}_column" for side in ("source", "target")]
    are_own = any(getattr(data, key) != type(data).model_fields[key].default for key in columns)
    if (
        kind.reads_preferences
        or data.text_column is not None
        or data.origin == "embedded"
        or not (are_own or (kind.outputs == "texts" and not kind.reads_conversations))
    ):  # conversations and labelled texts are found by the columns of their formats
        yield from (("data", key) for key in columns)
    rows = [evaluation.row(name) for name in evaluation.metrics]
    if kind.outputs != "texts" or not spec.generates:
        yield from (("evaluation", key) for key in FOR_TEXTS)
    if kind.diffuses:
        yield from (("evaluation", key) for key in ("num_beams", "max_new_tokens"))
    for key, matters in (
        ("tokenize", any(row.tokenizes for row in rows)),
        ("synonyms", any(row.counts_synonyms for row in rows)),
        ("numeric", any(row.reads_references for row in rows)),
    ):
        if not matters:
            yield "evaluation", key
    for key, parameter in spec.search.parameters.items():
        if parameter.value is None and "method" not in parameter.when:
            yield section_of(key), field_of(key)  # a trial never has the file's value
