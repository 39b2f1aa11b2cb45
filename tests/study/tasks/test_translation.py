"""Translation with an encoder-decoder model: what its decoder sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from transformers.models.m2m_100 import modeling_m2m_100

from study.errors import InputError
from study.spec.sections import StudySpec
from tests.engine_runs import bench_of


def test_a_model_that_begins_labels_with_another_token_is_refused(
    make_spec: Callable[..., StudySpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MBart's first release puts the last token first: it would be trained on what it never saw."""

    def moved(labels: Any, *_: Any) -> Any:
        return labels.roll(2, dims=1)  # NLLB's last token is its decoder's first

    monkeypatch.setattr(modeling_m2m_100, "shift_tokens_right", moved)
    spec = make_spec({"data.max_tokens": 24})
    with pytest.raises(InputError, match=r"^base\.model: this 'm2m_100' model begins its labels "):
        bench_of(spec)
