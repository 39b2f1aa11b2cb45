"""What an engine needs in its own process: base model and task, loaded once."""

from __future__ import annotations

from study.base_models import load_base
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
    base = load_base(base_location, spec.base)
    check_targets(base.model, spec.values_of("target_modules"))
    return SequentialEngine(spec, base, task or make_task(spec, base, load_corpus(spec.data)))


def be_one_quiet_thread() -> None:
    """Use one thread, as every worker does, and keep libraries from drawing progress bars.

    On small models several threads are slower than one, and workers would fight over the cores.
    """
    import torch
    from transformers.utils import logging

    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
