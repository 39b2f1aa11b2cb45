"""What README, docs and notebook once told people to import can still be imported."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parent.parent

DOCUMENTED = {
    "analysis": "answer_of capacity_of comparison confounding_of importances_of load "
    "overview_plots plots side_by_side surface_of target_names trade_offs",
    "analysis.adapters": "against_base",
    "analysis.capacity": "capacity",
    "analysis.comparison": "against_baselines compare_studies compare_trials example_scores "
    "headline_metric model_scores",
    "analysis.confounding": "confounding",
    "analysis.importance": "importances",
    "analysis.overview_plots": "plot_best_in_ranges plot_gains plot_interactions plot_parallel",
    "analysis.plots": "plot_best_against_baselines plot_example_scores plot_history "
    "plot_importances plot_learning_curves plot_pareto plot_score_by_level plot_slice plot_slices",
    "analysis.side_by_side": "plot_importances_beside plot_marginals_beside plot_progress_beside "
    "plot_scores_beside",
    "analysis.slices": "slice_of varied_parameters",
    "analysis.surface_plot": "plot_surface",
    "analysis.surfaces": "surface",
    "analysis.trade_offs": "plot_trade_off trade_offs",
    "study.adapted": "load_adapters",
    "study.data.corpora": "corpus_of",
    "study.data.curation": "Choices curate read_records",
    "study.data.embedded": "petroleum_corpus",
    "study.engines.choice": "EngineChoice",
    "study.errors": "InputError",
    "study.losses": "cross_entropy",
    "study.metrics": "text_scores",
    "study.runner": "run_study",
    "study.study_files": "load_spec",
    "study.tasks.base": "Batch Task",
}


@pytest.mark.parametrize("module", DOCUMENTED)
def test_a_documented_module_still_has_its_names(module: str) -> None:
    """Each name that a page showed is where the page said."""
    found = importlib.import_module(module)
    assert [name for name in DOCUMENTED[module].split() if not hasattr(found, name)] == []


@pytest.mark.parametrize("module", ["analysis", "study.study_files", "study.engines.choice"])
def test_a_documented_import_works_as_the_first_one(module: str) -> None:
    """In a fresh interpreter too, where nothing else has been imported before it."""
    first = DOCUMENTED[module].split()[0]
    subprocess.run([sys.executable, "-c", f"from {module} import {first}"], check=True)


def test_an_old_name_loads_its_module_only_when_it_is_used() -> None:
    """Neither the import nor a look for a private name, as programs take at all modules, loads it.

    In a fresh interpreter, since others may have loaded it here.
    """
    code = """
import sys, study, study.losses, study.engines.choice
assert not any(hasattr(module, "__file__") for module in (study.losses, study.engines.choice))
assert not {"torch", "study.tasks", "study.engines.engine_choice"} & {*sys.modules}
assert study.engines.choice.EngineChoice.__module__ == "study.engines.engine_choice"
assert not {"torch", "study.tasks"} & {*sys.modules}
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_old_name_is_a_module_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an attribute of its package, lists and has its names, and a test can replace them."""
    import analysis.adapters

    from analysis import adapters, side_by_side
    from analysis.comparison import adapters as current
    from analysis.comparison.between_studies import study_labels

    assert analysis.adapters is adapters is sys.modules["analysis.adapters"]
    assert {"against_base", "Adapters"} <= set(dir(adapters))
    assert side_by_side.study_labels is study_labels
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from analysis.adapters import nothing")
    with monkeypatch.context() as replaced:
        replaced.setattr("analysis.adapters.against_base", len)
        assert adapters.against_base is len
    assert adapters.against_base is current.against_base
    assert importlib.util.find_spec("analysis.adapters") is not None


def test_earlier_installations_find_the_command() -> None:
    """An editable installation from before the move starts `optuna_study:main`."""
    from optuna_study import main
    from optuna_study.__main__ import main as current

    assert main is current


def _shown() -> list[tuple[str, str]]:
    """Return each page's name with each import that its Python shows."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    blocks = [
        (page.name, code)
        for page in pages
        for code in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    ]
    notebook = json.loads((ROOT / "notebooks" / "explore_study.ipynb").read_text(encoding="utf-8"))
    code_cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    blocks += [("explore_study.ipynb", "".join(cell["source"])) for cell in code_cells]
    return [
        (name, ast.unparse(node))
        for name, code in blocks
        for node in ast.walk(ast.parse(code))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]


def test_what_the_pages_show_now_can_be_imported() -> None:
    """Every import in README, docs and notebook works, and most of ours are of the door."""
    shown = _shown()
    assert {name for name, line in shown if "optuna_study" in line} >= {
        "README.md",
        "explore_study.ipynb",
        "importances.md",
        "own-task.md",
        "report.md",
    }
    for _, line in shown:
        exec(line, {})
    assert [s for s in shown if re.match(r"(from|import) (analysis|reports)\b", s[1])] == []
