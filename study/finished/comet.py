"""COMET, run by its own command in a separate environment; returns a score per sentence.

COMET (Rei et al. 2020, "COMET: A neural framework for MT evaluation") is a trained metric.  Its
package, unbabel-comet, needs older numpy and transformers than this project, so it is never
imported: `comet-score` reads text files and writes JSON.  The scores are stored beside an
evaluation's other statistics, where every table and comparison finds them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from study.errors import InputError, refusing
from study.metrics import Statistics
from study.store import records
from study.store.storage import close_after_writing, open_for_writing, writable_url

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from study.store.records import EvaluationRow, Examples

NOT_SET_UP = (
    "COMET needs a separate environment: `python -m venv comet`, `comet/bin/pip install "
    "unbabel-comet`, then --command comet/bin/comet-score"
)
OF_OUR_ENVIRONMENT = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONWARNINGS")


@dataclass(frozen=True)
class Comet:
    """The command, the model's checkpoint, and how to run it."""

    command: str
    checkpoint: Path
    gpus: int = 0
    batch_size: int = 8

    @property
    def signature(self) -> str:
        """What makes a score reproducible: the model and the hash of its checkpoint."""
        with self.checkpoint.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
        return f"comet|model:{_model_name(self.checkpoint)}|sha256:{digest}"

    def scores(
        self, examples: Examples, systems: Sequence[Sequence[str]]
    ) -> list[np.ndarray[Any, Any]]:
        """Score every system's N outputs; return (N,) for each.

        Raises:
            InputError: the command failed, or did not return the requested scores.
        """
        with tempfile.TemporaryDirectory(prefix="optuna-study-comet-") as name:
            folder = Path(name)
            _write_lines(folder / "sources.txt", examples.sources)
            _write_lines(folder / "references.txt", examples.targets)
            files = [f"system-{number}.txt" for number in range(len(systems))]
            for file, outputs in zip(files, systems, strict=True):
                _write_lines(folder / file, outputs)
            self._run(folder, files)
            written = self._read(folder / "scores.json")
            return [self._of(written, file, len(examples.sources)) for file in files]

    def _run(self, folder: Path, files: Sequence[str]) -> None:
        command = [self.command, "-s", "sources.txt", "-t", *files, "-r", "references.txt"]
        command += ["--model", str(self.checkpoint), "--to_json", "scores.json", "--quiet"]
        command += ["--gpus", str(self.gpus), "--batch_size", str(self.batch_size)]
        environment = {k: v for k, v in os.environ.items() if k not in OF_OUR_ENVIRONMENT}
        with refusing(f"--command: cannot run {self.command!r}", OSError):
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
        if done.returncode:
            output = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
            raise InputError(
                f"--command: {self.command!r} exited with status {done.returncode} and wrote: "
                f"{output[-1][:300]}"
            )

    def _read(self, path: Path) -> Mapping[str, Any]:
        with refusing(f"--command: {self.command!r} wrote no scores", OSError, ValueError):
            scores = json.loads(path.read_text(encoding="utf-8"))
        return {Path(name).name: rows for name, rows in scores.items()}

    def _of(self, written: Mapping[str, Any], file: str, count: int) -> np.ndarray[Any, Any]:
        """Return all scores (N,) of one system."""
        unknown = f"--command: {self.command!r} wrote scores in an unknown format"
        with refusing(unknown, KeyError, TypeError, ValueError, reason=repr):
            scores = np.array([float(row["COMET"]) for row in written[file]])
        if len(scores) != count or not all(map(math.isfinite, scores)):
            raise InputError(
                f"--command: {self.command!r} must return {count} scores, one per sentence; "
                f"got {np.isfinite(scores).sum()}"
            )
        return scores


def find_comet(command: str, model: Path, gpus: int = 0, batch_size: int = 8) -> Comet:
    """Return the command and model to run.

    Raises:
        InputError: the command or the checkpoint is missing; the error says how to get it.
    """
    path = shutil.which(command)
    if path is None:
        raise InputError(f"--command: command not found, got {command!r}; {NOT_SET_UP}")
    checkpoints = sorted(model.rglob("*.ckpt")) if model.is_dir() else [model]
    usable = [file for file in checkpoints if file.suffix == ".ckpt" and file.is_file()]
    if len(usable) != 1:
        raise InputError(
            "--model: must be the folder of a COMET model, such as Unbabel/wmt22-comet-da, with "
            f"one *.ckpt file; got {len(usable)} in {model}"
        )
    return Comet(str(Path(path).resolve()), usable[0].resolve(), gpus, batch_size)


def score_study(
    target: str,
    database: Engine | None,
    rows: Sequence[EvaluationRow],
    examples: Mapping[str, Examples],
    comet: Comet,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Score the outputs of these evaluations and store the scores; return how many.

    Raises:
        InputError: no outputs are stored, COMET failed, or the storage cannot be written.
    """
    if database is None or not rows:
        raise InputError(f"{target}: contains no outputs that COMET can score")
    signature, by_evaluation = comet.signature, {}
    for done, split in enumerate(splits := sorted({row.split for row in rows})):
        progress(done, len(splits))
        of_split = [row for row in rows if row.split == split]
        try:
            systems = [records.read_outputs(database, row.evaluation_id) for row in of_split]
        except KeyError:
            raise InputError(f"{target}: contains no outputs that COMET can score") from None
        for row, scores in zip(of_split, comet.scores(examples[split], systems), strict=True):
            values = np.stack([scores, np.ones_like(scores)], axis=1)  # (N, 2)
            by_evaluation[row.evaluation_id] = Statistics("comet", values, signature)
    _store(target, by_evaluation)
    return len(by_evaluation)


def chosen(rows: Sequence[EvaluationRow], best: int | None) -> list[EvaluationRow]:
    """Return the evaluations of the baselines and the best trial; of all if `best` is None."""
    return [
        row
        for row in rows
        if best is None
        or row.role == "baseline"
        or (row.role, row.trial_number) == ("search", best)
    ]


def _store(target: str, by_evaluation: Mapping[str, Statistics]) -> None:
    storage = open_for_writing(writable_url(target))
    try:
        for evaluation_id, statistics in by_evaluation.items():
            records.write_score(storage.engine, evaluation_id, statistics)
    finally:
        close_after_writing(storage)


def _write_lines(path: Path, texts: Sequence[str]) -> None:
    """Write one text per line, without line breaks, which would shift all that follow."""
    path.write_text("".join(" ".join(t.split()) + "\n" for t in texts), encoding="utf-8")


def _model_name(checkpoint: Path) -> str:
    """Return the name of the model's folder; the hub keeps checkpoints one level deeper."""
    folder = checkpoint.parent
    return (folder.parent if folder.name == "checkpoints" else folder).name
