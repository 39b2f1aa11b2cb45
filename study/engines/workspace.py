"""What an engine needs in its own process: base model and task, loaded once."""

from __future__ import annotations

from dataclasses import replace

from study.base_models import BaseModel, load_base
from study.data.chat import stop_id
from study.data.readers import load_corpus
from study.engines.sequential import SequentialEngine
from study.methods import check_targets
from study.spec import StudySpec
from study.tasks import make_task
from study.tasks.base import Task


def sequential_engine(
    spec: StudySpec, base_location: str, task: Task | None = None
) -> SequentialEngine:
    """Load the base, and unless a task is given its corpus, and return the engine over them."""
    base = working_base(spec, base_location)
    return SequentialEngine(spec, base, task or make_task(spec, base, load_corpus(spec.data)))


def working_base(spec: StudySpec, location: str) -> BaseModel:
    """Load the base, checked against the target modules, with what the task adds to be trained."""
    base = load_base(location, spec.base, spec.task)
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
