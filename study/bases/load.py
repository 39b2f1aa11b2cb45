"""Find and load a base model and its teacher: a hub name, a local folder, or `embedded`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from study.bases.building import ModelRole, StepCallback
from study.bases.hub import check_reachable
from study.bases.remote_code import forget_unused_code, own_class, why_not_loaded
from study.bases.safe_configs import refuse_named_code
from study.bases.safe_weights import check_model
from study.errors import InputError, refusing
from study.kinds.tasks import TASKS, TaskName
from study.seeds import derive_seed
from study.spec.sections import BaseModelSpec, StudySpec

HEADS = ("pre_classifier", "classifier", "score", "classification_head")
"""transformers' names for the layers above the pretrained body; every method trains them fully."""


@dataclass(frozen=True)
class BaseModel:
    """A frozen base in evaluation mode and its tokenizer."""

    model: Any  # a transformers PreTrainedModel
    tokenizer: Any
    name: str  # as PEFT records it in adapter_config.json
    fresh: frozenset[str] = frozenset()  # weights of a new head, which the checkpoint lacks
    trained_tokens: tuple[int, ...] = ()  # their embeddings are trained beside LoRA
    decompositions: dict[str, Any] = field(default_factory=dict, repr=False)  # by module

    @property
    def model_type(self) -> str:
        """The architecture's name in transformers."""
        return str(self.model.config.model_type)

    @property
    def head(self) -> list[str]:
        """The modules that every method trains fully: a classifier's head, otherwise none."""
        new = ["pooler"] if any(".pooler." in name for name in self.fresh) else []
        return new + [name for name, _ in self.model.named_children() if name in HEADS]


# ---------------------------------------------------------------- locating


def locate_base(spec: StudySpec, progress: StepCallback | None = None) -> str:
    """Return a local folder or hub name; build an embedded one unless it is cached.

    Raises:
        InputError: the base or the teacher does not exist.
    """
    if spec.distillation is not None:
        locate_teacher(spec, progress)
    if spec.base.model != "embedded":
        return located(spec.base.model, spec.base.revision, "base.model")
    return _embedded(spec, "base", progress)


def locate_teacher(spec: StudySpec, progress: StepCallback | None = None) -> str:
    """Return the teacher's folder or hub name, as `locate_base` does for the base."""
    assert spec.distillation is not None, "the study has no teacher"
    teacher = spec.distillation.teacher
    if teacher != "embedded":
        return located(teacher, spec.distillation.revision, "distillation.teacher")
    return _embedded(spec, "teacher", progress)


def located(model: str, revision: str | None, key: str) -> str:
    """Return a checkpoint's folder or hub name; raise InputError if it is neither."""
    if not _is_folder(model, key):
        check_reachable(model, "model", key, revision)
    return model


def _embedded(spec: StudySpec, role: ModelRole, progress: StepCallback | None) -> str:
    """Return the folder of the task's miniature, built on first use."""
    from study.bases.miniatures import embedded_folder

    assert spec.task_kind.miniature is not None, "the study file was checked for this"
    return str(embedded_folder(spec.task_kind.miniature, spec.data, role, progress))


# ---------------------------------------------------------------- loading


def load_base(
    location: str,
    spec: BaseModelSpec,
    task: TaskName = "translation",
    labels: Sequence[str] = (),
    key: str = "base.model",
) -> BaseModel:
    """Load weights (safetensors only) and tokenizer, frozen, in evaluation mode.

    A checkpoint without a classifier gets a head for `labels`, whose weights depend only on their
    names.

    Raises:
        InputError: transformers cannot load a model for this task from the location.
    """
    where, reason = f"{key}: {location}", partial(why_not_loaded, spec=spec)
    with refusing(f"{key}: cannot load {location!r}", reason=reason), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_model(location, where, spec.revision)
        refuse_named_code(location, where, spec.revision, trusted=spec.trust_remote_code)
        model, missing, tokenizer = _from_pretrained(location, spec, task, labels)
    fresh = frozenset(n for n in missing if TASKS[task].outputs == "classes" and _is_of_a_head(n))
    lost = sorted(set(missing) - fresh)
    if lost:  # transformers would draw them at random and only warn
        some = ", ".join(lost[:3])
        raise InputError(
            f"{key}: {location!r} has no weights for {some}; is it a different model's folder?"
        )
    import torch

    model.to("cuda" if torch.cuda.is_available() else "cpu")
    model.eval().requires_grad_(False)
    if model.can_generate() and model.generation_config is not None:
        model.generation_config.max_length = None  # max_new_tokens of the study file decides
    draw_fresh({name: model.get_parameter(name) for name in fresh}, model.config, seed=0)
    return BaseModel(model, tokenizer, location, fresh)


def _from_pretrained(
    location: str, spec: BaseModelSpec, task: TaskName, labels: Sequence[str]
) -> tuple[Any, list[str], Any]:
    """Return the model, the names of the weights that its checkpoint lacks, and the tokenizer."""
    import torch
    import transformers

    options = {"revision": spec.revision or "main", "trust_remote_code": spec.trust_remote_code}
    config = transformers.AutoConfig.from_pretrained(location, **options)
    name_labels(config, labels)
    model, loading = model_class(location, config, spec, task).from_pretrained(
        location,
        config=config,
        dtype=getattr(torch, spec.dtype),
        use_safetensors=True,
        output_loading_info=True,
        **options,
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(location, **options)
    if not spec.trust_remote_code:
        forget_unused_code(model, tokenizer)
    return model, list(loading["missing_keys"]), tokenizer


def model_class(location: str, config: Any, spec: BaseModelSpec, task: TaskName) -> Any:
    """Return the class that loads the model: transformers' for the task, or a custom one."""
    import transformers

    custom = own_class(location, config, spec) if TASKS[task].takes_own_class else None
    return custom or getattr(transformers, TASKS[task].model_class)


def meta_base(spec: StudySpec, labels: Sequence[str] = ()) -> Any:
    """Return the base model on PyTorch's meta device: modules and shapes, but no memory.

    Raises:
        InputError: transformers cannot make a model for this task from the base.
    """
    import torch
    import transformers

    def make(config: Any) -> Any:
        name_labels(config, labels)
        loader = model_class(spec.base.model, config, spec.base, spec.task)
        return getattr(loader, "from_config", loader)(config)  # a custom class is called directly

    if spec.base.model == "embedded":
        from study.bases.miniatures import MINIATURES

        assert spec.task_kind.miniature is not None, "the study file was checked for this"
        return MINIATURES[spec.task_kind.miniature](spec.data, "base").meta(make)
    location = locate_base(spec)
    options = {
        "revision": spec.base.revision or "main",
        "trust_remote_code": spec.base.trust_remote_code,
    }
    reason = partial(why_not_loaded, spec=spec.base)
    with refusing(f"base.model: cannot load {location!r}", reason=reason):
        refuse_named_code(
            location,
            f"base.model: {location}",
            spec.base.revision,
            trusted=spec.base.trust_remote_code,
        )
        config = transformers.AutoConfig.from_pretrained(location, **options)
        with torch.device("meta"):
            return make(config)


def load_tokenizer(location: str, spec: BaseModelSpec) -> tuple[Any, Any]:
    """Return a base's tokenizer and configuration, without its weights.

    Raises:
        InputError: transformers cannot load a tokenizer from the location.
    """
    from transformers import AutoConfig, AutoTokenizer

    options = {"revision": spec.revision or "main", "trust_remote_code": spec.trust_remote_code}
    reason = partial(why_not_loaded, spec=spec)
    with refusing(f"base.model: cannot load {location!r}", reason=reason):
        config = AutoConfig.from_pretrained(location, **options)
        return AutoTokenizer.from_pretrained(location, **options), config


def name_labels(config: Any, labels: Sequence[str]) -> None:
    """Set the labels that a model without a classifier head will get."""
    architectures = config.architectures or ()
    if labels and not any(name.endswith("ForSequenceClassification") for name in architectures):
        config.id2label = dict(enumerate(labels))  # sets num_labels too
        config.label2id = {label: i for i, label in enumerate(labels)}


def _is_of_a_head(weight: str) -> bool:
    return weight.split(".")[0] in HEADS or ".pooler." in weight


def draw_fresh(weights: Mapping[str, Any], config: Any, seed: int) -> None:
    """Draw a new head's weights from (seed, name): normal with the model's spread; biases zero."""
    import torch

    for name, weight in weights.items():
        generator = torch.Generator().manual_seed(derive_seed(seed, "head", name))
        spread = 0.0 if weight.dim() == 1 else getattr(config, "initializer_range", 0.02)
        drawn = torch.empty(weight.shape, dtype=torch.float64)
        drawn.normal_(0.0, spread, generator=generator)
        with torch.no_grad():
            weight.copy_(drawn)


def load_teacher(spec: StudySpec, student: BaseModel) -> BaseModel:
    """Load the teacher like the student: frozen, in evaluation mode, in the same dtype.

    Raises:
        InputError: it does not fit this task, or its tokens differ from the student's.
    """
    assert spec.distillation is not None, "the study has no teacher"
    key = "distillation.teacher"
    location = locate_teacher(spec)
    its = spec.base.model_copy(update={"revision": spec.distillation.revision})
    teacher = load_base(location, its, spec.task, key=key)
    expected, vocabulary = student.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()
    if vocabulary != expected:
        differing = min(set(expected.items()) ^ set(vocabulary.items()))[0]
        raise InputError(
            f"{key}: the vocabulary must be that of the base model {student.name!r}; "
            f"{location!r} has {len(vocabulary):,} tokens instead of {len(expected):,} "
            f"and differs in {differing!r}; choose a teacher with the same tokenizer"
        )
    return teacher


def _is_folder(location: str, key: str) -> bool:
    """Return whether it is a checkpoint's folder; raise InputError for any other folder."""
    folder = Path(location)
    if not os.path.isdir(folder):
        if folder.is_absolute() or location.startswith((".", "~")) or location.count("/") > 1:
            raise InputError(f"{key}: no such folder, got {location!r}")
        return False
    if not (folder / "config.json").is_file():
        raise InputError(f"{key}: {location}: no config.json; not a Hugging Face checkpoint")
    check_model(location, f"{key}: {location}")
    return True
