"""A method that no study file knows: only the layer norms are trained, as PEFT's LN tuning does."""

from __future__ import annotations

from typing import Any

from study.bases.load import BaseModel
from study.kinds.methods import Method
from study.spec.hyperparameters import MethodSpec


def norms_config(
    method: MethodSpec, base: BaseModel, head: list[str] | None, tokens: object
) -> Any:
    """Zhao et al. 2023 (arXiv:2312.11420)."""
    from peft import LNTuningConfig

    return LNTuningConfig(
        target_modules=["sa_layer_norm", "output_layer_norm"], modules_to_save=head
    )


ROW = Method(
    "layer norms",
    peft_type="LN_TUNING",
    config=f"{__name__}:norms_config",
    check=None,
    model_classes=("AutoModelForSequenceClassification",),
)
