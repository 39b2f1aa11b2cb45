"""What a kind is stands in its row, and nowhere else is a kind asked for its name."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from study.bases.miniatures import MINIATURES
from study.engines.trial_state import Training
from study.kinds.measurements import COSTS, MEASUREMENTS, SHARED_COSTS
from study.kinds.methods import INITIAL_WEIGHTS, METHODS
from study.kinds.optimizers import OPTIMIZERS
from study.kinds.samplers import PRUNERS, SAMPLERS
from study.kinds.table_names import imported
from study.kinds.tasks import TASKS
from study.metrics import METRICS

ROOT = Path(__file__).parents[3]
PACKAGES = ("search_spaces", "study", "analysis", "reports", "optuna_study")
TABLES: Mapping[str, Mapping[str, Any]] = {
    "task": TASKS,
    "method": METHODS,
    "optimizer": OPTIMIZERS,
    "sampler": SAMPLERS,
    "pruner": PRUNERS,
    "metric": METRICS,
}
ROWS = {
    "study/kinds/tasks.py",
    "study/kinds/methods.py",
    "study/kinds/optimizers.py",
    "study/kinds/samplers.py",
    "study/kinds/schedules.py",
    "study/kinds/metrics.py",
}
"""Where the tables are: names are their keys, but are compared no more than elsewhere."""

OTHER_MEANINGS = {
    ("study/tasks/diffusion_decoding.py", "random"): "a way of remasking, not the sampler",
    ("study/spec/evaluation.py", "bleu"): "the metrics of a study file that names none",
    ("study/spec/evaluation.py", "chrf"): "the metrics of a study file that names none",
    ("study/spec/evaluation.py", "loss"): "the metrics of a study file that names none",
    ("analysis/surrogates/choice.py", "gp"): "a surrogate, not the sampler",
    ("analysis/importance/result.py", "gp"): "a surrogate, not the sampler",
    ("analysis/plots/palette.py", "grid"): "the colour of a figure's grid, not the sampler",
    ("analysis/plots/bars_and_violins.py", "median"): "a line in a violin, not the pruner",
}
"""(file, name) -> what else the name means there."""


def kind_of(node: ast.AST | None) -> str | None:
    """Return what kind a constant is the name of, if any."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return None
    return next((kind for kind, table in TABLES.items() if node.value in table), None)


def listed(node: ast.AST) -> list[ast.AST]:
    """Return the elements of a literal tuple, list or set, or the node itself."""
    return list(node.elts) if isinstance(node, (ast.Tuple, ast.List, ast.Set)) else [node]


def compared(node: ast.AST) -> list[ast.AST]:
    """Return what a comparison or a case asks for."""
    if isinstance(node, ast.Compare):
        return [part for side in (node.left, *node.comparators) for part in listed(side)]
    return [node.value] if isinstance(node, ast.MatchValue) else []


def distinguished(node: ast.AST) -> list[ast.AST]:
    """Return the keys of a dictionary, what is looked up in one, and lists of names alone."""
    if isinstance(node, ast.Dict):
        return [key for key in node.keys if key is not None]
    if isinstance(node, ast.Subscript):
        return [node.slice] if isinstance(node.ctx, ast.Load) else []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.args[:1] if node.func.attr in ("get", "pop") else []
    parts = listed(node)
    kinds = {kind_of(part) for part in parts}
    return parts if len(parts) > 1 and len(kinds) == 1 and None not in kinds else []


def names_asked_for(source: str, path: str) -> Iterator[tuple[int, str]]:
    """Yield every line of a module that treats a kind by its name, and the name."""
    for node in ast.walk(ast.parse(source)):
        parts = compared(node) + ([] if path in ROWS else distinguished(node))
        for part in filter(kind_of, parts):
            assert isinstance(part, ast.Constant)
            if (path, part.value) not in OTHER_MEANINGS:
                yield part.lineno, str(part.value)


def test_no_kind_is_asked_for_its_name() -> None:
    """Outside its row no task, method, optimizer, sampler, pruner or metric is told by its name.

    Shipped studies are TOML, and name what they use; so do the defaults of a study file.
    """
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name!r}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, name in names_asked_for(
            path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        )
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        'if spec.task == "classification": pass',
        'trains = method != "full"',
        'if "ia3" in spec.methods: pass',
        'learns = sampler in ("tpe", "other")',
        'match pruner:\n    case "median": pass',
        'MODELS = {"translation": 1}',
        'ratio = RATES["adafactor"]',
        'signature = signatures.get("meteor")',
        'DISTILLED = ("causal_translation", "classification")',
    ],
)
def test_the_search_for_names_finds_them(source: str) -> None:
    """Each way to tell kinds apart by name is found, or the test above would prove nothing."""
    assert list(names_asked_for(source, "study/new.py"))


@pytest.mark.parametrize(("path", "name"), OTHER_MEANINGS)
def test_every_exception_is_still_needed(
    path: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that no longer means something else in a file is not excepted there."""
    monkeypatch.delitem(OTHER_MEANINGS, (path, name))
    source = (ROOT / path).read_text(encoding="utf-8")
    assert name in {found for _, found in names_asked_for(source, path)}


def test_every_row_names_what_there_is() -> None:
    """Each path of a row leads to a class or a function, and each miniature can be built."""
    assert {task.miniature for task in TASKS.values()} - {None} <= set(MINIATURES)
    paths = [path for task in TASKS.values() for path in (task.implementation, task.reader)]
    paths += [task.prepare for task in TASKS.values() if task.prepare]
    for method in METHODS.values():
        paths += filter(None, (method.config, method.attach, method.check))
    paths += filter(None, INITIAL_WEIGHTS.values())
    for metric in METRICS.values():
        functions = (metric.aggregate, metric.from_text, metric.aggregate_one)
        paths += [f.args[0] for f in functions if isinstance(f, partial)]
    for path in paths:
        assert callable(imported(path)), path


def test_a_training_has_what_each_row_measures() -> None:
    """Every measurement is an attribute of a training, which stores those and no others."""
    training = Training.__new__(Training)
    training.step, training.tokens, training.train_seconds = 3, 12.0, 2.0
    training.evaluation_seconds, training.trainable_parameters = 1.0, 7
    training.peak_memory_bytes = 4e6  # of an earlier process
    assert training.details(5e6) == {
        "trainable_parameters": 7,
        "steps": 3,
        "train_seconds": 2.0,
        "evaluation_seconds": 1.0,
        "tokens_per_second": 6.0,
        "peak_memory_bytes": 5e6,
    }
    assert list(training.details(5e6)) == list(MEASUREMENTS)
    assert set(SHARED_COSTS) < set(COSTS) < set(MEASUREMENTS)
