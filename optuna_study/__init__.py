"""Search for the best way to fine-tune with LoRA: the interface for scripts and notebooks.

    from optuna_study import compare, confirm, importances, load, plots, report, run_study

    run_study("petroleum", progress=True)     # train, or continue
    study = load("runs/petroleum")            # any Optuna study
    importances(study)                        # which parameters mattered, and how certain that is
    plots.plot_slices(study)                  # every figure of the report
    tuning(study).sentences                   # what tuning each of them gains over the default
    compare(study, "runs/petroleum-wide")     # test the best trials of two studies
    confirm("runs/petroleum", seeds=5)        # retrain the winner on fresh seeds
    report(study, "page.html")                # one page that needs no network

Everything is loaded on first use.  The `optuna-study` command offers the same in a terminal.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis import comparison as comparison
    from analysis import plots as plots
    from analysis.importance.optuna_evaluator import ImportanceEvaluator as ImportanceEvaluator
    from analysis.studies.study_data import StudyData as StudyData
    from optuna_study.public import answer as answer
    from optuna_study.public import compare as compare
    from optuna_study.public import confirm as confirm
    from optuna_study.public import confounding as confounding
    from optuna_study.public import front as front
    from optuna_study.public import importances as importances
    from optuna_study.public import load as load
    from optuna_study.public import load_adapters as load_adapters
    from optuna_study.public import load_spec as load_spec
    from optuna_study.public import report as report
    from optuna_study.public import run_study as run_study
    from optuna_study.public import surface as surface
    from optuna_study.public import target_names as target_names
    from optuna_study.public import trade_offs as trade_offs
    from optuna_study.public import tuning as tuning
    from study.engines.engine_choice import EngineChoice as EngineChoice
    from study.errors import InputError as InputError
    from study.searching.lora_sampler import LoraSampler as LoraSampler
    from study.spec.sections import StudySpec as StudySpec

_HOMES = {
    "EngineChoice": "study.engines.engine_choice",
    "ImportanceEvaluator": "analysis.importance.optuna_evaluator",
    "InputError": "study.errors",
    "LoraSampler": "study.searching.lora_sampler",
    "StudyData": "analysis.studies.study_data",
    "StudySpec": "study.spec.sections",
}
_MODULES = {"comparison": "analysis.comparison", "plots": "analysis.plots"}
__all__ = [
    "EngineChoice",
    "ImportanceEvaluator",
    "InputError",
    "LoraSampler",
    "StudyData",
    "StudySpec",
    "answer",
    "compare",
    "comparison",
    "confirm",
    "confounding",
    "front",
    "importances",
    "load",
    "load_adapters",
    "load_spec",
    "plots",
    "report",
    "run_study",
    "surface",
    "target_names",
    "trade_offs",
    "tuning",
]


def __getattr__(name: str) -> Any:
    if name == "main":  # the entry point of earlier installations
        return importlib.import_module("optuna_study.__main__").main
    if name not in __all__:
        raise AttributeError(f"module 'optuna_study' has no attribute {name!r}; it has {__all__}")
    importlib.import_module("optuna_study.shadowing").own_packages_only()
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    return getattr(importlib.import_module(_HOMES.get(name, "optuna_study.public")), name)


def __dir__() -> list[str]:
    return __all__
