"""Adapters leave in PEFT's own format, and PEFT loads them over the base to the stored losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.trials import search_config
from tests.engine_runs import Bench, losses_with_peft

POINTS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 16, "alpha": 64, "target_modules": "attention+ffn"},
    "rslora": {"rank": 4, "alpha": 20, "target_modules": "qv", "use_rslora": True},
    "pissa": {"rank": 8, "alpha": 64, "init_lora_weights": "pissa"},
    "pissa, rslora": {
        "rank": 4,
        "alpha": 9.5,
        "target_modules": "attention",
        "init_lora_weights": "pissa",
        "use_rslora": True,
    },
    "olora": {"rank": 5, "alpha": 10, "target_modules": "fc1", "init_lora_weights": "olora"},
}


def test_packed_adapters_load_with_peft_to_the_stored_losses(bench: Bench, tmp_path: Path) -> None:
    """One pack of several methods leaves adapters that stand over the base as it is on disk."""
    points = [{"learning_rate": 1e-2, "dropout": 0.1, **point} for point in POINTS.values()]
    configs = [search_config(bench.spec, n, point, n) for n, point in enumerate(points)]
    results = bench.together(configs)
    assert len({result.metrics()["loss"] for result in results.values()}) == len(points)
    for number, result in results.items():
        stored = result.splits["dev"].statistics["loss"].values[:, 0].tolist()
        found = losses_with_peft(bench, result.adapter, tmp_path / str(number))
        assert found == pytest.approx(stored, rel=1e-9)


@pytest.mark.whole
@pytest.mark.parametrize("name", POINTS)
def test_sequential_adapters_load_with_peft_to_the_stored_losses(
    bench: Bench, tmp_path: Path, name: str
) -> None:
    """The same of PEFT's own layers: PiSSA is saved as a LoRA of twice the rank."""
    point = {"learning_rate": 1e-2, "dropout": 0.1, **POINTS[name]}
    result = bench.alone(search_config(bench.spec, 0, point, 0))
    stored = result.splits["dev"].statistics["loss"].values[:, 0].tolist()
    assert losses_with_peft(bench, result.adapter, tmp_path) == pytest.approx(stored, rel=1e-9)
