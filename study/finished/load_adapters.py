"""Load a study's saved adapters on their base, to try a sentence in the notebook.

`optuna-study export` writes one of them; `swapping` measures how long a swap takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from study.bases.load import BaseModel, load_base, locate_base
from study.data.corpora import corpus_to_answer
from study.engines.process_settings import be_one_quiet_thread
from study.errors import InputError
from study.finished.export import attached
from study.finished.swapping import saved_of_one_kind
from study.spec.files import stored_spec
from study.spec.sections import StudySpec
from study.tasks import make_task
from study.trials import baseline_configs


@dataclass(frozen=True)
class Adapted:
    """A base with all its saved adapters, one in use at a time.

    `model` is an ordinary PEFT model; `names` are its adapters in order, such as `trial-00012`.
    """

    model: Any
    names: tuple[str, ...]
    base: BaseModel
    spec: StudySpec

    def answers(self, text: str) -> dict[str, str]:
        """Return the answers of the base and of each adapter to a text, by name."""
        # a corpus of only this text: a task reads its examples when it is made
        task = make_task(self.spec, self.base, corpus_to_answer(self.spec, text))
        plain = baseline_configs(self.spec)[0]
        batch = task.collate(task.examples("dev"), plain, torch.Generator())
        with self.model.disable_adapter():
            answers = {"base": task.predict(self.base.model, batch)[0]}
        for name in self.names:
            self.model.set_adapter(name, inference_mode=True)
            answers[name] = task.predict(self.base.model, batch)[0]
        return answers


def load_adapters(run: str | Path, spec_text: str | None, *, trust_study: bool = False) -> Adapted:
    """Load a study's base and the adapters in its run folder, safetensors only.

    `spec_text` is the stored study file, `analysis.load(run).spec_text`; `trust_study` allows it
    to name code.  Sets torch to one thread, on which small models are fastest.

    Raises:
        InputError: there is no adapter, the task has no text output, the study names code,
            or the base cannot be loaded.
    """
    if spec_text is None or not (folders := saved_of_one_kind(Path(run))):
        raise InputError(
            f"{run}: contains no adapters; allowed: a run folder of optuna-study that kept some"
        )
    stored = stored_spec(spec_text, str(run), scores=False, trust_study=trust_study)
    spec = stored.model_copy(update={"distillation": None})
    if spec.task_kind.outputs != "texts":
        raise InputError(f"{run}: task {spec.task!r} has no text output; use `optuna-study export`")
    be_one_quiet_thread()
    first, *rest = folders
    base = load_base(locate_base(spec), spec.base, spec.task)
    model = attached(base.model, first).eval()
    for folder in rest:
        attached(model, folder)
    return Adapted(model, tuple(folder.name for folder in folders), base, spec)
