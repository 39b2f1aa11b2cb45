"""The JSON documents keep their keys, in their order: other programs read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from analysis import StudyData, answer_of, importances_of
from analysis.comparison.adapters import against_base
from analysis.comparison.adapters_document import adapters_json
from analysis.display import as_json
from reports.study_document import study_json

IMPORTANCE = {
    "": "study objective direction evaluator surrogate trials reliable reasons held_out_r2 "
    "parameters interactions unexplained question quantile policy sampler noise excluded remarks "
    "surrogates stability sample policies marginals seed_noise seed_noise_ci region",
    "parameters": "name importance ci p significant",
    "interactions": "names importance ci",
    "marginals": "name values mean low high",
}
ANSWER = {
    "": "objective direction method question reliable reasons parameters steps remarks",
    "parameters": "name importance",
    "steps": "name before after predicted gain",
}
STUDY = {
    "": "study target objectives trials sampled best scores incomplete",
    "objectives": "name direction",
    "best": "number values params enqueued",
}
COMPARISON = {
    "": "study split n_examples effective_examples metrics signatures family left_out adapters "
    "scores seed_noise gaming",
    "adapters": "name seed config same_as",
    "scores": "model configuration metric split n_examples score score_low score_high mean sd "
    "difference ci_low ci_high percent p p_holm family flag",
}


@pytest.fixture(scope="module")
def documents(petroleum: StudyData) -> dict[str, Any]:
    """What `importance`, `show` and `compare` print with `--json`."""
    found = {
        "importance": importances_of(petroleum, surrogate="gp", resamples=2).to_json(),
        "gain": answer_of(petroleum, "gain", surrogate="gp").to_json(),
        "show": study_json(petroleum),
        "compare": adapters_json(against_base(petroleum, resamples=20)),
    }
    return {name: json.loads(json.dumps(d, allow_nan=False)) for name, d in found.items()}


@pytest.mark.parametrize(
    ("command", "keys"),
    [("importance", IMPORTANCE), ("gain", ANSWER), ("show", STUDY), ("compare", COMPARISON)],
)
def test_a_document_keeps_its_keys(
    documents: dict[str, Any], command: str, keys: dict[str, str]
) -> None:
    """Those of the whole, and those of each row of its lists."""
    document = documents[command]
    for name, wanted in keys.items():
        rows = document[name] if name else [document]
        assert rows
        for row in rows:
            assert list(row) == wanted.split()


def test_what_json_cannot_hold_becomes_null() -> None:
    """NaN and infinity, also deep inside and in a numpy array."""
    import numpy as np

    given = {"a": [np.float64("nan"), float("inf"), 1.5], "b": np.array([1.0, np.nan]), "c": (2,)}
    assert as_json(given) == {"a": [None, None, 1.5], "b": [1.0, None], "c": [2]}
