"""What the engines are tried on: bases, and trials that train on them side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from study.kinds.methods import METHODS
from study.kinds.optimizers import OPTIMIZERS
from study.spec.sections import StudySpec
from study.trials import TrialConfig, search_config

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """Trials that share a base.  New bases, methods and optimizers join every suite here."""

    base: str  # the fixture that makes studies over it
    points: Sequence[Point]  # one per trial; `base_dropout` counts as a hyperparameter
    changes: Mapping[str, Any] = field(default_factory=dict)  # of the study, by dotted keys
    why_not_packed: tuple[str, ...] = ()  # what a packed engine says of trials that it cannot pack
    different_outputs: int = 1  # the texts of the trials differ at least so much
    in_workers: bool = True  # False where a test patches the base's modules

    def spec(self, request: pytest.FixtureRequest) -> StudySpec:
        """Return the study."""
        made: StudySpec = request.getfixturevalue(self.base)(dict(self.changes))
        return made

    def configs(self, spec: StudySpec) -> list[TrialConfig]:
        """Return one trial per point."""
        return [config_of(spec, number, point) for number, point in enumerate(self.points)]


def config_of(spec: StudySpec, number: int, point: Point) -> TrialConfig:
    """Return a trial at a point."""
    values = {name: value for name, value in point.items() if name != "base_dropout"}
    config = search_config(spec, number, values, number)
    if not point.get("base_dropout"):
        return config
    return replace(config, training=config.training.model_copy(update={"base_dropout": True}))


def method_point(name: str) -> dict[str, Any]:
    """Return a method at a learning rate that suits it."""
    rates = {"loraplus": 2e-3, "ia3": 2e-1, "prefix": 3e-1, "full": 1e-3}
    values = {"rank": 4, "alpha": 16, "dropout": 0.1, "num_virtual_tokens": 3, "pissa_niter": 2}
    values |= {"loraplus_lr_ratio": 4.0}
    chosen = {key: value for key, value in values.items() if key in METHODS[name].own}
    return {"method": name, "learning_rate": rates.get(name, 4e-3), **chosen}


WITHOUT_EXTRAS = [name for name, method in METHODS.items() if not method.quantizes]
WIDE = {"base.dtype": "float64", "search.space": "lora-wide", "training.steps": 5}
PISSA = {
    "search.parameters.init_lora_weights": {"choices": ["default", "pissa"]},
    "search.parameters.rank": {"choices": [2, 8]},  # no more than the narrowest layer has
}

LORA: list[Point] = [
    {"rank": 4, "alpha": 128, "learning_rate": 1e-3, "dropout": 0.3, "target_modules": "qv"},
    {
        "rank": 32,
        "alpha": 8,
        "learning_rate": 1e-1,
        "dropout": 0.1,
        "batch_size": 7,
        "target_modules": "attention+ffn",
    },
    {"rank": 16, "alpha": 64, "learning_rate": 1e-2, "dropout": 0.0, "batch_size": 2},
    {"rank": 7, "alpha": 9.5, "learning_rate": 1e-3, "dropout": 0.25, "batch_size": 9},
]
MIXED: list[Point] = [
    {"rank": 4, "alpha": 16, "learning_rate": 1e-2, "dropout": 0.1, "target_modules": "qv"},
    {"rank": 4, "alpha": 16, "learning_rate": 1e-2, "dropout": 0.1, "base_dropout": True},
    {"rank": 8, "alpha": 64, "learning_rate": 1e-3, "dropout": 0.0},
    {"method": "full", "learning_rate": 1e-3},
    {"rank": 16, "alpha": 8, "learning_rate": 1e-3, "dropout": 0.2, "base_dropout": True},
    {"rank": 16, "alpha": 8, "learning_rate": 1e-3, "dropout": 0.2},
    {"method": "full", "learning_rate": 3e-3},
]
MASKED: list[Point] = [
    {"rank": 4, "alpha": 8, "learning_rate": 1e-3, "target_modules": "qv"},
    {"rank": 8, "alpha": 4, "learning_rate": 3e-3, "target_modules": "attention+ffn"},
    {"rank": 4, "alpha": 16, "dropout": 0.3, "batch_size": 6, "cutoff_tokens": 9},
    {"rank": 2, "alpha": 2, "init_lora_weights": "pissa", "epochs": 0.25, "batch_size": 2},
    {"rank": 4, "alpha": 8, "loraplus_lr_ratio": 4.0, "optimizer": "sgd", "learning_rate": 0.1},
    {"rank": 4, "alpha": 8, "optimizer": "lion", "learning_rate": 1e-3, "weight_decay": 0.1},
    {"rank": 4, "alpha": 8, "optimizer": "adam", "weight_decay": 0.1},
]
COPIES: list[Point] = [  # beside the adapter each trial trains a copy: a head, or a token's row
    {"rank": 4, "alpha": 16.0, "learning_rate": 1e-2, "dropout": 0.2, "batch_size": 3},
    {"rank": 8, "alpha": 8.0, "learning_rate": 3e-3, "target_modules": "qv", "steps": 3},
    {"rank": 2, "alpha": 32.0, "learning_rate": 1e-3, "init_lora_weights": "pissa"},
]
OPTIMIZER_POINTS: list[Point] = [
    {
        "optimizer": name,
        "learning_rate": 1.0 if name == "sgd" else 1e-3,
        "weight_decay": 0.1,
        "loraplus_lr_ratio": 4.0,
    }
    for name in OPTIMIZERS
]

CASES = {
    "lora": Case("make_spec", LORA, WIDE),
    "methods": Case(
        "make_methods_spec",
        [method_point(name) for name in WITHOUT_EXTRAS],
        why_not_packed=tuple(
            f"method {name!r}" for name in WITHOUT_EXTRAS if not METHODS[name].packs
        ),
    ),
    "not all packed": Case(
        "make_dropping_spec",
        MIXED,
        {**WIDE, "evaluation.objective": "loss"},
        why_not_packed=("training.base_dropout", "method 'full'"),
    ),
    "masked diffusion": Case(
        "make_masked_spec",
        MASKED,
        {
            "diffusion.temperature": 1.0,
            "diffusion.cfg_scale": 0.5,
            "search.space": "lora-wide",
            **PISSA,
        },
        different_outputs=2,
    ),
    "conversations": Case(
        "make_exact_chat_spec",
        COPIES,
        {
            "search.parameters.target_modules": {"choices": ["qv", "attention"]},
            "evaluation.metrics": ["chrf", "loss"],
            **PISSA,
        },
        in_workers=False,
    ),
    "optimizers": Case(
        "make_spec",
        OPTIMIZER_POINTS,
        {**WIDE, "evaluation.objective": "loss"},
        why_not_packed=tuple(
            f"optimizer {name!r}" for name, row in OPTIMIZERS.items() if not row.packs
        ),
    ),
    "classifier head": Case(
        "make_pair_spec",
        COPIES,
        {
            "base.dtype": "float64",
            "search.parameters.target_modules": {"choices": ["qv", "attention"]},
            **PISSA,
        },
    ),
    "tied llama": Case("make_tied_llama_spec", COPIES, PISSA, in_workers=False),
    "untied llama": Case("make_untied_llama_spec", COPIES, PISSA, in_workers=False),
}
