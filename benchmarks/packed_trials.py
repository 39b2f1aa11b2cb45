"""Packed trials of the petroleum study without the runner around them, for the scripts that look
into a step.
"""

from __future__ import annotations

from typing import Any

from study.bases.load import BaseModel, load_base, locate_base
from study.data.readers import load_corpus
from study.engines.packed.packed_engine import PackedEngine
from study.engines.process_settings import be_one_quiet_thread
from study.kinds.samplers import RandomPoints
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.tasks import make_task
from study.trials import TrialConfig, search_config


def petroleum(batch_size: int, **keys: Any) -> tuple[StudySpec, BaseModel]:
    """Return the study, with some keys changed, and its base; in one thread as a worker has it."""
    be_one_quiet_thread()
    spec = load_spec("petroleum", {"training.batch_size": batch_size, **keys})
    return spec, load_base(locate_base(spec), spec.base)


def trial(spec: StudySpec, number: int) -> TrialConfig:
    """Return the study's trial of that number."""
    points = RandomPoints(spec.seed)
    space = spec.search.search_space.distributions
    values = {name: points.value(number, name, space[name]) for name in space}
    return search_config(spec, number, values, seed_index=number)


def filled(spec: StudySpec, base: BaseModel, slots: int) -> PackedEngine:
    """Return an engine that holds the study's first trials, none of them trained yet."""
    configs = [trial(spec, number) for number in range(slots)]
    methods = [config.method for config in configs if config.method is not None]
    task = make_task(spec, base, load_corpus(spec.data))
    engine = PackedEngine(spec, base, task, methods, slots)
    for config in configs:
        engine.start(config)
    return engine
