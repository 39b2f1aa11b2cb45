"""A study continues only where old and new trials can be compared."""

from __future__ import annotations

from typing import Any

import pytest

from study.errors import InputError
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.store.comparable import check_comparable, check_same_data, check_same_draws
from study.store.provenance import DRAWS


def changed(**keys: Any) -> StudySpec:
    """The petroleum study with dotted keys (`__` for a dot) changed."""
    return load_spec("petroleum", {k.replace("__", "."): v for k, v in keys.items()})


MAY_CHANGE: list[dict[str, Any]] = [
    {},
    {"search__trials": 128},
    {"search__trials": 3},
    {"search__timeout_seconds": 60.0},
    {"search__sampler": "sobol"},
    {"search__pruner": "median"},
    {"search__keep_adapters": 1},
    {"evaluation__batch_size": 7},
]


@pytest.mark.parametrize("keys", MAY_CHANGE, ids=str)
def test_what_leaves_results_comparable_may_change(keys: dict[str, Any]) -> None:
    """The budget, how points are chosen and how fast it goes are free in both directions."""
    check_comparable(changed(), changed(**keys), "petroleum")
    check_comparable(changed(**keys), changed(), "petroleum")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"seed": 1}, "seed: was 0, now 1"),
    ({"training__steps": 60}, "training.steps: was 120, now 60"),
    ({"base__model": "some/model"}, "base.model: was 'embedded', now 'some/model'"),
    ({"base__revision": "abc"}, "base.revision: was 'nothing', now 'abc'"),
    ({"data__corpus": "some/set"}, "data.corpus: was 'embedded', now 'some/set'"),
    ({"data__max_tokens": 12}, "data.max_tokens: was 128, now 12"),
    ({"evaluation__objective": "chrf"}, "evaluation.objective: was ['bleu'], now ['chrf']"),
    ({"evaluation__num_beams": 4}, "evaluation.num_beams: was 1, now 4"),
    ({"method__use_rslora": True}, "method.use_rslora: was False, now True"),
    ({"search__space": "lora-wide"}, "search.parameters.learning_rate.high: was 0.0005, now 0.1"),
]


@pytest.mark.parametrize(("keys", "expected"), REFUSED, ids=str)
def test_what_makes_results_incomparable_is_shown(keys: dict[str, Any], expected: str) -> None:
    """Every difference is one line with both values, and the last line says what to do."""
    with pytest.raises(InputError) as refused:
        check_comparable(changed(), changed(**keys), "petroleum")
    *lines, advice = refused.value.problems
    assert f"petroleum: {expected}" in lines
    assert "another --out folder" in advice or "another name or --out folder" in advice


def test_every_difference_is_shown() -> None:
    """Two changes are two lines and the advice."""
    with pytest.raises(InputError) as refused:
        check_comparable(changed(), changed(seed=1, training__batch_size=4), "petroleum")
    assert len(refused.value.problems) == 3


def test_data_is_compared_by_content() -> None:
    """Other content under the same name is refused; the same content may move elsewhere."""
    before = {"train": "a1", "dev": "b2", "general": "c3"}
    check_same_data(before, before, "x")
    check_same_data({}, before, "x")
    with pytest.raises(InputError, match=r"data\.dev: its content changed") as refused:
        check_same_data(before, {**before, "dev": "other"}, "x")
    assert len(refused.value.problems) == 2
    files = {"data__corpus": None, "data__train": "/a/t.tsv", "data__dev": "/a/d.tsv"}
    moved = {**files, "data__train": "/b/t.tsv"}
    spec = load_spec("nllb-600m", {k.replace("__", "."): v for k, v in files.items()})
    later = load_spec("nllb-600m", {k.replace("__", "."): v for k, v in moved.items()})
    assert spec != later
    check_comparable(spec, later, "x")


def test_trials_of_other_draws_are_not_continued() -> None:
    """A version that drew other dropout masks began the study; its trials cannot be compared."""
    check_same_draws(DRAWS, DRAWS, "s")
    with pytest.raises(InputError, match=r"^s: method.dropout: an earlier version drew other"):
        check_same_draws(DRAWS - 1, DRAWS, "s")
