"""What a file of examples is for: which task it fits, and which columns the task reads.

The readers' own formats and layouts come first; other columns are judged by their names and by what
the first rows hold.  What is recognised is said; what is not is refused in one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from study.data.columns import holds_texts, is_few, is_text, number_of, second_text
from study.data.conversations import FORMATS
from study.data.labels import FEWEST_TO_REPEAT, label_text
from study.data.origins import bad_rows, rows_of, spelled
from study.data.preferences import FORMATS as PREFERENCES
from study.data.sentence_pairs import LAYOUTS, NUMBERED
from study.errors import Faults, InputError
from study.kinds.language_names import LANGUAGES, language_of
from study.kinds.tasks import TASKS, Shape
from study.spec.base_and_data import DataSpec
from study.starting.languages import spoken

SAMPLED_ROWS = 1000
MANY_NUMBERS = 20  # different whole numbers: more are a quantity, not classes
MOST_WORDS = 5  # in the name of a column
SENTENCE = re.compile(r"\S\s+\S+\s+\S+[.!…]$")  # a first line that is an example ends names so
MOSTLY = 0.9  # of the labels are numbers, where the others are mistakes
DISTINCT = 0.5  # of the values, where a column tells rows apart instead of putting them in classes
IDENTIFIER = re.compile(r"(?:^|[\W_]|(?<=[a-z]))(?:[iI]d|ID|uuid|[dD]ate|[tT]ime|timestamp)$")
DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T ,]+\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}(:\d{2})?")
LONGEST_LABEL = 60  # characters
LABELS = (  # names of columns, the likeliest first
    *("label", "labels", "class", "category", "queue", "intent", "topic", "sentiment", "emotion"),
    *("type", "priority", "tag", "score", "rating", "stars", "grade", "similarity", "y"),
)
TEXTS = (
    *("text", "sentence", "ticket", "message", "body", "content", "description", "comment"),
    *("review", "utterance", "query", "question", "document", "title", "subject"),
)
QUESTIONS = ("question", "prompt", "query", "instruction", "input", "user")
ANSWERS = ("answer", "response", "completion", "reply", "output", "assistant", "target")
PAIRS = (("source", "target"), ("src", "tgt"), ("src", "trg"))


@dataclass(frozen=True)
class Wishes:
    """What the user said about the data, each None if left to us."""

    task: str | None = None
    text_column: str | None = None
    second_text_column: str | None = None
    label_column: str | None = None
    source_language: str | None = None
    target_language: str | None = None

    @property
    def names_columns(self) -> bool:
        """Whether it names a column of texts or labels."""
        return any((self.text_column, self.second_text_column, self.label_column))


@dataclass(frozen=True)
class Recognised:
    """A shape of data, the keys of `[data]` that name its columns, and why, in words."""

    shape: Shape
    found: str  # as in "conversations (messages)"
    keys: Mapping[str, str] = field(default_factory=dict)
    is_numeric: bool = False  # labels that are quantities
    remarks: tuple[str, ...] = ()
    languages: tuple[str, str] | None = None  # ISO 639-3 codes of source and target
    second_text: str | None = None  # another column of texts, which is not read


def first_rows(data: Path | str, drops_bad_rows: bool = False) -> list[Mapping[str, Any]]:
    """Return the first rows of a file, of a folder saved by `datasets` or of a hub dataset."""
    faults = Faults()
    where, rows = rows_of(data, key="--data", faults=faults)
    read = [row for _, row in islice(rows, SAMPLED_ROWS) if row]
    bad_rows(faults, where, DataSpec(bad_rows="drop" if drops_bad_rows else "error"))
    if len(read) < 2:
        count = "one row" if read else "no rows"
        raise InputError(f"{where}: contains {count}; allowed: at least two")
    return read


def recognised(rows: Sequence[Mapping[str, Any]], wishes: Wishes, where: str) -> Recognised:
    """Return what rows of examples are.

    Raises:
        InputError: the columns are not recognised, or do not fit what the user said.
    """
    flat = [dict(_flattened(row)) for row in rows]
    if example := next(
        (n for n in flat[0] if len(n.split()) > MOST_WORDS or SENTENCE.search(n)), ""
    ):
        raise InputError(
            f"{where}: the first line must name the columns, got {example!r:.60}; add a "
            "header line, such as source and target, or text and label"
        )
    kind = TASKS[wishes.task] if wishes.task is not None else None
    order = (_as_preferences, _as_conversations, _as_labelled, _as_pairs, _as_answers, _as_texts)
    for look in order:
        found = look(flat, wishes)
        if found is not None and (kind is None or found.shape in kind.shapes):
            return found
    columns = ", ".join(repr(name[:40]) for name in flat[0])
    for_task = f" for the task {wishes.task!r}" if wishes.task is not None else ""
    raise InputError(
        f"{where}: no known columns{for_task}, got {columns[:200]}; known are "
        f"{'; '.join(', '.join(form.columns) for form in (*FORMATS, *PREFERENCES[:1]))}; source, "
        "target; languages such as fr, en; a text with a label. Name yours with --text-column and "
        "--label-column, or two languages' with --source-language and --target-language, or rename "
        "them; the first line of a table names its columns"
    )


def _flattened(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield columns; those of a nested object, such as `translation`, with dotted names."""
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", inside) for inner, inside in value.items())
        else:
            yield name, value


# ---------------------------------------------------------------- shapes

Rows = Sequence[Mapping[str, Any]]


def _as_preferences(rows: Rows, wishes: Wishes) -> Recognised | None:
    form = next((form for form in PREFERENCES if spelled(rows[0], form.columns)), None)
    if form is None or wishes.names_columns:
        return None
    return Recognised("preferences", f"preference pairs ({form.name})")


def _as_conversations(rows: Rows, wishes: Wishes) -> Recognised | None:
    for form in FORMATS:
        if form.turns is not None and spelled(rows[0], form.columns):
            return Recognised("conversations", f"conversations ({form.name})")
    return None


def _as_labelled(rows: Rows, wishes: Wishes) -> Recognised | None:
    """Recognise a known layout, else a column of labels beside one of texts."""
    columns = {*rows[0]}
    if not wishes.names_columns and (pair := spelled(columns, PAIRS[0])):
        if (names := spelled(columns, LABELS[:1])) is None:
            return None
        keys = _columns(pair) | ({} if names == LABELS[:1] else {"label_column": names[0]})
        found = f"labelled pairs ({', '.join((*pair, *names))})"
        return Recognised("labels", found, keys, _are_quantities(rows, names[0]))
    for layout in () if wishes.names_columns else (*LAYOUTS, *NUMBERED):
        if layout.second and (own := layout.spelled([*rows[0]])):
            is_numeric = own.labels == () and _are_quantities(rows, own.label)
            called = ", ".join(own.columns)
            return Recognised("labels", f"labelled pairs ({called})", {}, is_numeric)
    for option in ("text_column", "second_text_column", "label_column"):
        if (name := getattr(wishes, option)) is not None and name not in columns:
            raise InputError(
                f"--{option.replace('_', '-')}: no column {name!r}, got "
                f"{', '.join(map(repr, rows[0]))[:200]}"
            )
    labels = [wishes.label_column] if wishes.label_column else _label_columns(rows)
    texts = [wishes.text_column] if wishes.text_column else _text_columns(rows)
    taken = (wishes.second_text_column, *labels[:1])
    texts = [name for name in texts if name not in taken]
    if not labels or not texts:
        return None
    text, label = texts[0], labels[0]
    if wishes.second_text_column is not None:
        pair = text, wishes.second_text_column
    else:
        pair = () if wishes.text_column else _pair_with(rows, text)
    numeric = _are_quantities(rows, label)
    remarks = [
        f"the {what} is {name!r}, {reason}; it could also be "
        f"{', '.join(map(repr, others[:4]))}: set --{what}-column to one of them"
        for what, name, reason, others in (
            ("label", label, _why_labels(label, numeric), [n for n in labels[1:] if n != text]),
            ("text", text, "the longest of the usual names", () if pair else texts[1:]),
        )
        if others
    ]
    if pair:
        keys = {"text_column": pair[0], "second_text_column": pair[1], "label_column": label}
        found, other = f"labelled pairs ({', '.join(keys.values())})", None
    else:
        keys = {"text_column": text, "label_column": label}
        found = f"texts ({text}) with {label}"
        other = second_text(rows, [name for name in rows[0] if name not in (text, label)])
    return Recognised("labels", found, keys, numeric, tuple(remarks), second_text=other)


def _as_pairs(rows: Rows, wishes: Wishes) -> Recognised | None:
    """Recognise source and target, or two columns that are named after languages."""
    if _as_preferences(rows, wishes):
        return None
    columns = [name for name in rows[0] if is_text(rows, name)]
    found = next((pair for names in PAIRS if (pair := spelled(columns, names))), None)
    pair = (found[0], found[1]) if found else None
    by_name = [name for name in columns if _named_language(name)]
    options = (wishes.source_language, wishes.target_language)
    stated = [language_of(code) if code else None for code in options]
    if len(by_name) > 2:  # of several languages, the two that were asked for
        by_name = [name for code in stated for name in by_name if _named_language(name) == code]
    if pair is None and len({*by_name}) == len(by_name) == 2:
        pair = (by_name[0], by_name[1])
    if pair is None and (wishes.task is not None or all(stated)) and len(columns) == 2:
        pair = (columns[0], columns[1])
    if pair is None:
        return None
    for code, known, option in zip(options, stated, ("source", "target"), strict=True):
        if code and known is None:
            raise InputError(
                f"--{option}-language: unknown, got {code!r}; allowed: a code such as fr or "
                "fra_Latn, or an English name"
            )
    pair, remarks = _in_order(rows, pair, stated)
    keys = _columns(pair)
    source, target = (
        code or _language(rows, name) for code, name in zip(stated, pair, strict=True)
    )
    languages = (source, target) if source and target and source != target else None
    words = f"pairs ({', '.join(pair)})"
    return Recognised("pairs", words, keys, remarks=remarks, languages=languages)


def _columns(pair: Sequence[str]) -> dict[str, str]:
    """Return the keys of `[data]` that name source and target; none if they are the defaults."""
    keys = ("source_column", "target_column")
    return {} if (*pair,) == PAIRS[0] else dict(zip(keys, pair, strict=True))


def _in_order(
    rows: Rows, pair: tuple[str, str], stated: Sequence[str | None]
) -> tuple[tuple[str, str], tuple[str, ...]]:
    """Return source and target as the stated languages want them, and what to say about it.

    Names of columns are certain.  Frequent words count only where both columns have them, and
    refuse nothing, since a language may look like a better known one.

    Raises:
        InputError: the columns are named after other languages than the stated ones.
    """
    read = [_named_language(name) for name in pair]
    is_named = any(read)
    if not is_named:
        read = [_language(rows, name) for name in pair]
    if not any(stated) or (not is_named and None in read):
        return pair, ()
    if _fits(stated, read):
        return pair, ()
    if _fits(stated, read[::-1]):
        how = "their names" if is_named else "frequent words"
        return (pair[1], pair[0]), (
            f"source is {pair[1]!r} and target {pair[0]!r}: the languages that you gave, by {how}",
        )
    is_all_one = len({*read}) == 1  # as zh_Hans and zh_Hant, which no order can contradict
    if is_all_one and all(code in (None, read[0]) for code in stated):
        return pair, ()
    have = " and ".join(
        f"{name!r} {'is' if is_named else 'looks'} {LANGUAGES[code]}"
        for name, code in zip(pair, read, strict=True)
        if code
    )
    wanted = zip(("source", "target"), stated, strict=True)
    got = ", ".join(f"{LANGUAGES[code]} as the {side}" for side, code in wanted if code)
    if not is_named:
        return pair, (f"{have} by frequent words, not {got}: look at the file",)
    raise InputError(
        f"--source-language, --target-language: must be those of the columns: {have}, got {got}; "
        "allowed: these languages, either as the source, or columns with other names"
    )


def _fits(stated: Sequence[str | None], read: Sequence[str | None]) -> bool:
    """Say whether the languages of source and target are the stated ones, and two."""
    both = [code or other for code, other in zip(stated, read, strict=True)]
    agree = all(not code or not r or code == r for code, r in zip(stated, read, strict=True))
    return agree and (None in both or both[0] != both[1])


def _as_answers(rows: Rows, wishes: Wishes) -> Recognised | None:
    """Recognise a question and its answer under other names, as a conversation of two turns."""
    lower = {name.lower(): name for name in rows[0] if is_text(rows, name)}
    asked = next((lower[name] for name in QUESTIONS if name in lower), None)
    answer = next((lower[name] for name in ANSWERS if name in lower), None)
    if asked is None or answer is None:
        return None
    keys = {"source_column": asked, "target_column": answer}
    other = next((n for n in rows[0] if n.lower() in QUESTIONS and n != asked), None)
    remarks: tuple[str, ...] = ()
    if other is not None and any(str(row.get(other) or "").strip() for row in rows):
        remarks = (f"the column {other!r} is not read; join it with {asked!r} if it matters",)
    return Recognised(
        "answers", f"questions and answers ({asked}, {answer})", keys, remarks=remarks
    )


def _as_texts(rows: Rows, wishes: Wishes) -> Recognised | None:
    (text,) = FORMATS[-1].columns
    is_there = spelled(rows[0], [text])
    return Recognised("conversations", f"plain texts ({text})") if is_there else None


# ---------------------------------------------------------------- columns


def _label_columns(rows: Rows) -> list[str]:
    """Return the columns that may hold labels, the likeliest first.

    By the whole name in the order of LABELS, by its last word (`Avg. Score`), by values that
    repeat, and by numbers of which some are fractions.
    """
    fitting = [name for name in rows[0] if _label_like(rows, name)]
    whole = [name for usual in LABELS for name in fitting if name.lower() == usual]
    varied = [n for n in fitting if _varies(rows, n) and not IDENTIFIER.search(n)]
    by_word = [name for usual in LABELS for name in varied if _last_word(name) == usual]
    few = [name for name in varied if is_few(rows, name)]
    fractions = [name for name in varied if _are_quantities(rows, name, many=False)]
    return list(dict.fromkeys([*whole, *by_word, *few, *fractions]))


def _last_word(name: str) -> str:
    return re.split(r"[\W_]+", name.lower())[-1]


def _varies(rows: Rows, name: str) -> bool:
    """Say whether a column has more than one value, beside rows that have none."""
    return len({text.strip() for row in rows if (text := label_text(row.get(name)))} - {""}) > 1


def _why_labels(name: str, is_numeric: bool) -> str:
    """Return why a column was taken for the labels."""
    if _last_word(name) in LABELS:
        return "by its name"
    return "whose values are numbers" if is_numeric else "whose values repeat like those of classes"


def _pair_with(rows: Rows, text: str) -> tuple[str, ...]:
    """Return a column and its partner in order, such as `sent 1` and `sent 2`; empty if alone."""
    columns = [name for name in rows[0] if is_text(rows, name)]
    usual = [
        *((layout.first, layout.second) for layout in LAYOUTS if layout.second),
        *((text[:-1] + first, text[:-1] + second) for first, second in ("12", "ab")),
    ]
    pairs = (spelled(columns, pair) for pair in usual)
    return next((pair for pair in pairs if pair and text in pair), ())


def _label_like(rows: Rows, name: str) -> bool:
    """Say whether the values of a column are numbers or short texts that repeat, and no dates."""
    texts = [label_text(row.get(name)) for row in rows]
    if None in texts or max(len(text or "") for text in texts) > LONGEST_LABEL:
        return False
    given = [text.strip() for text in texts if text and text.strip()]
    if sum(DATE.fullmatch(text) is not None for text in given) > len(given) / 2:
        return False
    repeat = len(given) < FEWEST_TO_REPEAT or len({*given}) <= DISTINCT * len(given)
    return repeat or _are_quantities(rows, name)


def _text_columns(rows: Rows) -> list[str]:
    """Return the columns of texts, the longest first; a name of TEXTS goes before others."""
    columns = [name for name in rows[0] if holds_texts(rows, name)]
    length = {name: sum(len(str(row.get(name) or "")) for row in rows) for name in columns}
    longest = max(length.values(), default=0)
    named = [n for n in columns if n.lower() in TEXTS and length[n] > longest / 10]
    by_length = sorted(columns, key=lambda name: -length[name])
    return sorted(named, key=lambda name: -length[name]) or by_length[:1]


def _are_quantities(rows: Rows, name: str, many: bool = True) -> bool:
    """Say whether labels are numbers of which some are fractions, or (`many`) very many.

    A few that are no numbers are mistakes: the reader then names each with its line.
    """
    texts = (label_text(row.get(name)) or "" for row in rows)
    labels = [text.strip() for text in texts if text.strip() not in ("", "-")]
    found = [n for label in labels if (n := number_of(label)) is not None]
    if not labels or len(found) < MOSTLY * len(labels):
        return False
    numbers = {*found}
    return not all(n.is_integer() for n in numbers) or (many and len(numbers) > MANY_NUMBERS)


def _language(rows: Rows, column: str) -> str | None:
    """Return the language of a column by its name, else by its frequent words."""
    texts: Iterable[str] = (str(row.get(column) or "") for row in rows)
    return _named_language(column) or spoken(texts)


def _named_language(column: str) -> str | None:
    """Return the language that a column is named after, as `translation.fr` or `English (UK)`."""
    return language_of(column.rpartition(".")[2].partition("(")[0])
