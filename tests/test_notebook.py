"""The notebook runs from top to bottom, over our own study and over anybody's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from study.spec.sections import StudySpec
from study.views.base import View
from tests.synthetic import write_foreign_study

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "explore_study.ipynb"


def _executed(target: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run every cell; returns all that was shown as text."""
    monkeypatch.setenv("OPTUNA_STUDY_TARGET", str(target))
    monkeypatch.setenv("RESAMPLES", "2")
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parent.parent))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": NOTEBOOK.parent}}
    ).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    warned = [out.text for out in outputs if out.get("name") == "stderr"]
    # Optuna's progress bar misses ipywidgets, which nothing here needs
    assert not [text for text in warned if "TqdmWarning" not in text]
    figures = [out for out in outputs if "image/png" in out.get("data", {})]
    assert len(figures) >= 6, "figures that a reader should see are missing"
    kinds = ("text/plain", "text/html")
    shown = [
        out.get("text", "") + "".join(out.get("data", {}).get(kind, "") for kind in kinds)
        for out in outputs
    ]
    return "\n".join(shown)


# ipykernel's and zmq's own event loops and sockets warn on some platforms
@pytest.mark.whole
@pytest.mark.filterwarnings("default::DeprecationWarning", "default::RuntimeWarning")
def test_the_notebook_explores_our_study(
    petroleum_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials, importances, comparisons and outputs."""
    shown = _executed(petroleum_run, monkeypatch)
    assert "against base: bleu +" in shown
    assert "Where does the variance of BLEU come from" in shown
    assert "Reliable: " in shown
    assert "Where does the variance of BLEU (general) come from" in shown
    assert "BLEU on 72 dev examples" in shown
    assert "gain" in shown


@pytest.mark.whole
@pytest.mark.filterwarnings("default::DeprecationWarning", "default::RuntimeWarning")
def test_the_notebook_asks_a_sentence_of_every_adapter(
    make_spec: Callable[..., StudySpec], view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a run that kept its adapters, the base answers, and then each of them."""
    from study.engines.engine_choice import EngineChoice
    from study.runner import run_study

    run = tmp_path / "run"
    run_study(make_spec({"search.trials": 2}), run, view, choice=EngineChoice("sequential"))
    monkeypatch.setenv("OPTUNA_STUDY_TARGET", str(run))
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parent.parent))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    wanted = ("cell-01", "cell-03", "swap-found", "swap")
    notebook.cells = [cell for cell in notebook.cells if cell.id in wanted]
    assert len(notebook.cells) == len(wanted)
    NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": NOTEBOOK.parent}}
    ).execute()
    table = notebook.cells[-1].outputs[-1]["data"]["text/plain"]
    names = [line.split()[0] for line in table.splitlines()[1:]]
    assert names == ["base", "trial-00000", "trial-00001"]


@pytest.mark.whole
@pytest.mark.filterwarnings("default::DeprecationWarning", "default::RuntimeWarning")
def test_the_notebook_explores_anybodys_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not stored is passed over."""
    write_foreign_study(f"sqlite:///{tmp_path / 'x.db'}")
    assert "no scores beside the objective" in _executed(tmp_path / "x.db", monkeypatch)


def test_the_notebook_is_stored_without_outputs() -> None:
    """Outputs of somebody's machine do not belong in the repository."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
