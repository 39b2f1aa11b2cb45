"""Train the winner at full length: a search may train less than the model that is used in the end.

The configuration is a trial's own; the learning rate's schedule stretches over the new length.  The
training is alone in the sequential engine and survives its process.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from study.bases.dtypes import with_dtype
from study.confirming import Candidate
from study.data.readers import Corpus
from study.engines.build import engine_over, working_base
from study.engines.engine_choice import EngineChoice
from study.engines.resumable import ResumableEngine
from study.engines.sequential import SequentialEngine
from study.errors import InputError
from study.finished.export import Exported, export_adapter
from study.loop import Source, drive
from study.preparing.preparation import prepare, read_inputs
from study.run_folder import run_folder
from study.seeds import derive_seed
from study.spec.sections import StudySpec
from study.store.folders import check_own, write_whole
from study.store.saved_adapters import folder_name, save_adapter
from study.tasks import make_task
from study.trials import Finished, Interrupted, TrialConfig, TrialResult, called, search_config
from study.views.base import Outcome, Planned, View

ALONE = EngineChoice("sequential")
FOLDER = "trained"


@dataclass(frozen=True)
class Length:
    """How long to train: steps, or epochs; neither means as long as the trial did."""

    steps: int | None = None
    epochs: float | None = None


@dataclass(frozen=True)
class Trained:
    """A training that ran to its end: its configuration, scores by split, and the export."""

    config: TrialConfig
    scores: dict[str, dict[str, float]]
    exported: Exported
    remarks: tuple[str, ...]

    @property
    def who(self) -> int | str:
        """The trial's number, or the baseline's name."""
        assert self.config.repeats is not None
        return called(self.config.repeats)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the weights."""
        return {
            "trial": self.who,
            "folder": str(self.exported.folder),
            "values": self.config.values,
            "seed": self.config.seed,
            "scores": self.scores,
            "remarks": list(self.remarks),
        }


def train_winner(
    spec: StudySpec,
    run: Path,
    view: View,
    candidate: Candidate,
    *,
    length: Length = Length(),
    with_dev: bool = False,
    out: Path | None = None,
) -> Trained | None:
    """Train a trial's configuration, evaluate it and export it; None if it was interrupted.

    The same call goes on from the last report of an interrupted training.

    Args:
        spec: The study, perhaps with another test split.
        run: Its run folder.
        view: Shows the progress.
        candidate: The trial.
        length: How long to train.
        with_dev: Whether to train on the dev examples too; then only test scores are honest.
        out: The folder to write, which must not exist; by default `run/trained/trial-00012`.

    Raises:
        InputError: data or base cannot be used, the folder exists, a saved state is of another
            training, or the training failed.
    """
    out = out or run / FOLDER / folder_name(called(candidate.number))
    check_own(run / FOLDER, "folder")
    if os.path.lexists(out):
        raise InputError(f"--out: {out} exists already; name a new folder")
    state = out.with_name(f".{out.name}-state")
    check_own(state, "folder")
    with run_folder(run, exclusive=True):
        inputs = read_inputs(spec)
        prepared = prepare(spec, inputs, view.base_training)
        for remark in prepared.remarks:
            view.remarked(remark)
        spec = with_dtype(spec, prepared.skeleton.model, 1, view.remarked)
        assert inputs.corpus is not None
        corpus = _corpus(inputs.corpus, with_dev)
        config = training_config(spec, candidate, length, len(corpus.train))
        spec = _reporting(spec, config)
        file = state / "state.safetensors"
        identity = _identity(spec, config, corpus)
        result = _trained(spec, prepared.location, corpus, config, view, file, identity)
        if result is None:
            return None
        if result.failure or result.adapter is None:
            shutil.rmtree(state, ignore_errors=True)  # the same would follow from it
            raise InputError(
                f"trial {called(candidate.number)}: the training failed {result.failure}"
            )
        source = save_adapter(state, "trained", result.adapter)
        trained = Trained(
            config,
            _scores(result, with_dev),
            export_adapter(source, spec, out),
            _honesty(corpus, with_dev),
        )
        facts = json.dumps(trained.to_json(), indent=1)
        write_whole(out / "training.json", facts + "\n", "results")
        shutil.rmtree(state, ignore_errors=True)
        return trained


def training_config(
    spec: StudySpec, candidate: Candidate, length: Length, examples: int
) -> TrialConfig:
    """Return a trial's configuration over another length, with a seed of its own."""
    config = search_config(spec, candidate.number, candidate.values, 0)
    training = config.training
    if length.steps is not None:
        training = training.model_copy(update={"steps": length.steps, "epochs": None})
    elif length.epochs is not None:
        training = training.model_copy(update={"epochs": length.epochs})
    return replace(
        config,
        training=training.counted(examples),
        seed=derive_seed(spec.seed, "train", candidate.number),
        role="confirm",  # evaluated on test too
        repeats=candidate.number,
    )


def _corpus(corpus: Corpus[Any], with_dev: bool) -> Corpus[Any]:
    return replace(corpus, train=(*corpus.train, *corpus.dev)) if with_dev else corpus


def _reporting(spec: StudySpec, config: TrialConfig) -> StudySpec:
    """Return the study with a report at least once in a training of so many steps."""
    often = min(spec.training.report_every, config.training.steps)
    training = spec.training.model_copy(update={"report_every": often})
    return spec.model_copy(update={"training": training})


def _identity(spec: StudySpec, config: TrialConfig, corpus: Corpus[Any]) -> str:
    """Return what a saved state depends on, as a hash."""
    parts = {
        "values": config.values,
        "seed": config.seed,
        "train": corpus.hashes()["train"],
        "data": spec.data.model_dump(mode="json", exclude={"train", "dev", "general", "test"}),
        "base": spec.base.model_dump(mode="json"),
        "report_every": spec.training.report_every,  # losses are means between reports
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _trained(
    spec: StudySpec,
    location: str,
    corpus: Corpus[Any],
    config: TrialConfig,
    view: View,
    file: Path,
    identity: str,
) -> TrialResult | None:
    """Return the result of one training; None if it was interrupted."""
    base = working_base(spec, location, corpus.labels)
    engine = engine_over(spec, base, make_task(spec, base, corpus), ALONE)
    assert isinstance(engine, SequentialEngine)
    if file.exists():
        view.remarked(f"going on from {file}")
    source = _One(config, spec.evaluation.objective[0])
    resumable = ResumableEngine(engine, file, identity)
    with closing(resumable), view.searching(Planned(1, 0, 1, "training")):
        drive(resumable, source, view)
    return source.result


class _One(Source):
    """A single training."""

    def __init__(self, config: TrialConfig, objective: str) -> None:
        self.result: TrialResult | None = None
        self._pending = [config]
        self._config = config
        self._objective = objective

    @override
    def next(self) -> TrialConfig | None:
        return self._pending.pop() if self._pending else None

    @override
    def finish(self, finished: Finished) -> Outcome:
        self.result = finished.result
        if finished.result.failure:
            reason = finished.result.failure
            return Outcome(self._config, "failed", self._objective, None, reason)
        value = finished.result.metrics()[self._objective]
        return Outcome(self._config, "complete", self._objective, value)

    @override
    def interrupt(self, interrupted: Interrupted) -> Outcome:
        return Outcome(self._config, "interrupted", self._objective, None, interrupted.reason)


# ---------------------------------------------------------------- results


def _scores(result: TrialResult, with_dev: bool) -> dict[str, dict[str, float]]:
    """Return the scores by split; a dev set that was trained on has none."""
    return {
        split: dict(found.scores)
        for split, found in result.splits.items()
        if not (with_dev and split == "dev")
    }


def _honesty(corpus: Corpus[Any], with_dev: bool) -> tuple[str, ...]:
    """Say which scores can be believed."""
    if with_dev and not corpus.test:
        return (
            "the dev examples were trained on too, so no honest score is left; --test FILE scores "
            "on held-out examples",
        )
    if with_dev:
        return ("the dev examples were trained on too, so only the score on test is honest",)
    if not corpus.test:
        return ("the trial was chosen for its score on dev, so that score flatters; see `confirm`",)
    return ()
