"""What an engine needs in its own process: base model and task, loaded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from study.base_models import BaseModel, load_base
from study.data.chat import stop_id
from study.data.corpora import corpus_of
from study.engines.sequential import SequentialEngine
from study.methods import check_targets
from study.spec import StudySpec
from study.tasks import make_task
from study.tasks.base import Task


def sequential_engine(
    spec: StudySpec, base_location: str, task: Task | None = None
) -> SequentialEngine:
    """Load the base, and unless a task is given its corpus, and return the engine over them."""
    if task is not None:
        return SequentialEngine(spec, working_base(spec, base_location), task)
    corpus = corpus_of(spec)
    base = working_base(spec, base_location, corpus.labels)
    return SequentialEngine(spec, base, make_task(spec, base, corpus))


def working_base(spec: StudySpec, location: str, labels: Sequence[str] = ()) -> BaseModel:
    """Load the base, checked against the target modules, with what the task adds to be trained."""
    base = load_base(location, spec.base, spec.task, labels)
    if spec.method.name != "full":
        check_targets(base.model, spec.values_of("target_modules"))
    if spec.task == "causal_translation":
        return replace(base, trained_tokens=(stop_id(base.tokenizer, spec.data.stop_token),))
    return base


def be_one_quiet_thread() -> None:
    """Use one thread, as every worker does, and keep libraries from drawing progress bars.

    On small models several threads are slower than one, and workers would fight over the cores.
    """
    import torch
    from transformers.utils import logging

    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
