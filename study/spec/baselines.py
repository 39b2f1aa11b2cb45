"""The baselines in words: what the default LoRA is, and whether truncation hurts the teacher."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from study.kinds.methods import METHODS
from study.spec.hyperparameters import TrainingSpec

CUT, HURTS, WHOLE = "cut_examples", "truncation_hurts", "whole_"
"""Details of a teacher's evaluation; `whole_` and a metric's name is its score on whole texts."""


def default_in_words(values: Mapping[str, Any], searched: Collection[str]) -> str:
    """Return what the default baseline is, in one line.

    Args:
        values: Those of its `TrialConfig`, as they are stored with its evaluation.
        searched: The hyperparameters that the study varies.
    """
    name = values["method"]
    middle = " (the middle of its range)" if "learning_rate" in searched else ""
    said = {
        "init_adapter": f"begins at {values.get('init_adapter')}",
        "rank": f"r {values.get('rank')}",
        "alpha": f"α {values.get('alpha'):g}" if "alpha" in values else "",
        "dropout": f"dropout {values.get('dropout'):g}" if "dropout" in values else "",
        "use_rslora": "rsLoRA's scale" if values.get("use_rslora") else "",
        "target_modules": f"modules {values.get('target_modules')}",
        "learning_rate": f"learning rate {values.get('learning_rate'):.3g}{middle}"
        if "learning_rate" in values
        else "",
    }
    parts = [text for key, text in said.items() if key in values and text]
    length = "epochs" if values.get("epochs") else "steps"
    if values.get(length) and values.get("batch_size"):
        rows = TrainingSpec.model_construct(**values).rows_per_step
        parts.append(f"{values[length]:g} {length} of batches of {rows}")
    method = METHODS[name]
    whose = f"PEFT's default {method.title}" if method.is_lora else method.title
    return f"{whose} plus what the study file fixes: {', '.join(parts)}"


def truncation_warning(
    metric: str, label: str, score: float | None, details: Mapping[str, Any]
) -> str:
    """Return a warning if a teacher scores clearly worse on the cut texts than on whole ones.

    `details` are those of its evaluation, by whose `metric` it has this score.
    """
    whole = details.get(WHOLE + metric)
    if not details.get(HURTS) or whole is None or score is None:
        return ""
    return (
        f"Truncation hurts the teacher: {label} {score:.3g} on the texts as they are cut, "
        f"{whole:.3g} on whole texts ({details[CUT]:,.0f} are cut); raise data.max_tokens."
    )
