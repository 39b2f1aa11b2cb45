"""Metrics of answers, each against its definition worked out another way."""

from __future__ import annotations

import json
import re
import string
import time
from collections import Counter

import pytest

from study.errors import InputError, MetricError
from study.metrics import TextOptions, text_statistics

OUTPUTS = ["The cat sat down.", "a dog", "", "an answer is 42", "cats and the dogs", "Dog"]
REFERENCES = ["the cat sat", "the dog", "", "42", "dogs and cats", "dog"]


def scores(
    metric: str, outputs: list[str], references: list[str], **options: object
) -> list[float]:
    """Return each example's score."""
    given = TextOptions(**options)  # type: ignore[arg-type]
    return list(text_statistics(metric, outputs, references, given).example_scores())


def test_exact_match_normalises_only_what_is_asked() -> None:
    """White space by default; case and punctuation where the study file says so."""
    pair = ["A  b.\n"], ["A b."]
    assert scores("exact_match", *pair) == [1]
    assert scores("exact_match", *pair, collapse_whitespace=False) == [0]
    loose = ["“A” b!"], ["a b"]
    assert scores("exact_match", *loose) == [0]
    assert scores("exact_match", *loose, ignore_case=True) == [0]
    assert scores("exact_match", *loose, ignore_punctuation=True) == [0]
    assert scores("exact_match", *loose, ignore_case=True, ignore_punctuation=True) == [1]


def test_exact_match_is_scikit_learns_accuracy() -> None:
    """Over a corpus it is the accuracy of equal texts."""
    from sklearn.metrics import accuracy_score

    found = text_statistics("exact_match", OUTPUTS, REFERENCES, TextOptions(ignore_case=True))
    lower = [[text.lower() for text in texts] for texts in (OUTPUTS, REFERENCES)]
    assert found.score == pytest.approx(accuracy_score(lower[1], lower[0]))
    assert found.score == pytest.approx(2 / 6)


def test_a_signature_states_the_normalisation() -> None:
    """Scores of texts that were compared in another way are never taken for comparable."""
    signed = {
        text_statistics("exact_match", ["a"], ["a"], options).signature
        for options in (
            TextOptions(),
            TextOptions(ignore_case=True),
            TextOptions(ignore_punctuation=True),
            TextOptions(collapse_whitespace=False),
        )
    }
    assert len(signed) == 4
    assert "exact-match|case:exact|punctuation:exact|space:collapsed" in signed


def test_contains() -> None:
    """The reference anywhere in the output; an empty one only in an empty output."""
    outputs, references = ["it is 42.", "it is 4 2", "x", "", "12"], ["42", "42", "", "", "1"]
    assert scores("contains", outputs, references) == [1, 0, 0, 1, 1]


# ---------------------------------------------------------------- patterns


def test_the_answer_is_the_group_or_the_match() -> None:
    """The pattern reads output and reference alike, the first match or the last."""
    outputs, references = ["#### 5 then #### 6", "no answer", "#### 6"], ["so #### 6"] * 3
    first = {"pattern": r"#### (\d+)"}
    assert scores("regex", outputs, references, **first) == [0, 0, 1]
    assert scores("regex", outputs, references, **first, which="last") == [1, 0, 1]
    assert scores("regex", ["B) yes"], ["B"], pattern="[A-D]") == [1]
    assert scores("regex", ["b"], ["B"], pattern="[A-Db]", ignore_case=True) == [1]


def test_a_reference_without_an_answer_is_a_mistake() -> None:
    """Every output would be wrong by it, so it is said with its example."""
    with pytest.raises(
        InputError, match=r"^evaluation\.regex\.pattern: .* got 'none' in example 2$"
    ):
        scores("regex", ["1", "1"], ["1", "none"], pattern=r"\d")


@pytest.mark.parametrize("which", ["first", "last"])
def test_an_endless_pattern_is_stopped(which: str) -> None:
    """A pattern that backtracks without end fails the trial after its time, with the example."""
    started = time.monotonic()
    with pytest.raises(MetricError, match=r"^regex: example 2: .* more than 0\.05 s"):
        scores(
            "regex",
            ["a", "a" * 60 + "!"],
            ["a", "a"],
            pattern="(a|aa)+$",
            pattern_seconds=0.05,
            which=which,
        )
    assert time.monotonic() - started < 5


# ---------------------------------------------------------------- words


def squad(prediction: str, truth: str) -> float:
    """F1 as SQuAD 2.0's official script computes it, by its definition."""

    def tokens(text: str) -> list[str]:
        text = "".join(c for c in text.lower() if c not in set(string.punctuation))
        return " ".join(
            re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text).split()
        ).split()

    gold, pred = tokens(truth), tokens(prediction)
    common = Counter(gold) & Counter(pred)
    same = sum(common.values())
    if len(gold) == 0 or len(pred) == 0:
        return float(int(gold == pred))
    if same == 0:
        return 0
    precision, recall = same / len(pred), same / len(gold)
    return (2 * precision * recall) / (precision + recall)


def test_token_f1_is_squads() -> None:
    """Example by example, and the corpus score is their mean."""
    expected = [squad(o, r) for o, r in zip(OUTPUTS, REFERENCES, strict=True)]
    assert scores("token_f1", OUTPUTS, REFERENCES) == pytest.approx(expected)
    assert len(set(expected)) > 2
    assert text_statistics("token_f1", OUTPUTS, REFERENCES).score == pytest.approx(
        sum(expected) / len(expected)
    )


# ---------------------------------------------------------------- JSON

WANTED = {"name": "Ada  L.", "born": {"year": 1815, "known": True}, "tags": ["a", "b"], "x": None}


@pytest.mark.parametrize(
    ("output", "share"),
    [
        (json.dumps(WANTED), 1),
        (json.dumps({**WANTED, "name": "Ada L.", "more": 1}), 1),
        (f"Here it is: ```json\n{json.dumps(WANTED)}\n```", 1),
        ('{"name": "Ada L.", "born": {"year": 1815.0, "known": 1}, "tags": ["b", "a"]}', 2 / 5),
        ('{"born": 1815, "x": null}', 1 / 5),
        ("{}", 0),
        ("[1]", 0),
        ("", 0),
        ('{"name": "Ada L."', 0),
        ("[" * 100_000, 0),
        ('{"born": {"year": NaN}}', 0),
    ],
)
def test_json_match_is_the_share_of_equal_fields(output: str, share: float) -> None:
    """Counted by hand: five fields, by the keys that lead to them; true is not 1."""
    assert scores("json_match", [output], [json.dumps(WANTED)]) == [pytest.approx(share)]


@pytest.mark.parametrize("reference", ["[1, 2]", "no JSON", "{'a': 1}"])
def test_a_reference_that_is_no_object_is_a_mistake(reference: str) -> None:
    """It is said with its example."""
    with pytest.raises(InputError, match=r"json_match: every reference must be .* in example 2$"):
        scores("json_match", ["{}", "{}"], ["{}", reference])
