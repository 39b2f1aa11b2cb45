"""Load a base model, and its teacher: hub name, local folder, or the embedded one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from study.bases.hub import check_reachable
from study.bases.remote_code import own_class, refuse_named_code, why_not_loaded
from study.errors import InputError
from study.seeds import derive_seed
from study.spec.sections import PAIR_LANGUAGES, BaseModelSpec, StudySpec, TaskName

PICKLE_SUFFIXES = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
TrainProgress = Callable[[int, int, float], None]
"""Called with step, total steps and loss while the embedded base is trained."""


MODEL_CLASSES: Mapping[TaskName, str] = {
    "translation": "AutoModelForSeq2SeqLM",
    "causal_translation": "AutoModelForCausalLM",
    "classification": "AutoModelForSequenceClassification",
    "masked_diffusion": "AutoModelForMaskedLM",
}
HEADS = ("pre_classifier", "classifier", "score", "classification_head")
"""What transformers calls the layers above the pretrained body, trained in full by every method."""


@dataclass(frozen=True)
class BaseModel:
    """A frozen base in evaluation mode and its tokenizer."""

    model: Any  # a transformers PreTrainedModel
    tokenizer: Any
    name: str  # as PEFT records it in adapter_config.json
    fresh: frozenset[str] = frozenset()  # weights of a new head that the checkpoint does not hold
    trained_tokens: tuple[int, ...] = ()  # whose rows of the vocabulary are trained beside LoRA
    decompositions: dict[str, Any] = field(default_factory=dict, repr=False)  # of PiSSA, by module

    @property
    def model_type(self) -> str:
        """The architecture's name in transformers."""
        return str(self.model.config.model_type)

    @property
    def head(self) -> list[str]:
        """The modules that every method trains in full: a classifier's head, of others nothing."""
        new = ["pooler"] if any(".pooler." in name for name in self.fresh) else []
        return new + [name for name, _ in self.model.named_children() if name in HEADS]


# ---------------------------------------------------------------- locating


def locate_base(spec: StudySpec, progress: TrainProgress | None = None) -> str:
    """Return a local folder or hub name; builds what is embedded and not cached, teacher included.

    Raises:
        InputError: base or teacher is nowhere to be found.
    """
    if spec.distillation is not None:
        locate_teacher(spec, progress)
    if spec.base.model != "embedded":
        return located(spec.base.model, spec.base.revision, "base.model")
    return _embedded(spec, "base", progress)


def locate_teacher(spec: StudySpec, progress: TrainProgress | None = None) -> str:
    """Return the teacher's folder or hub name, as `locate_base` does for the base."""
    assert spec.distillation is not None, "a study without a teacher"
    teacher = spec.distillation.teacher
    if teacher != "embedded":
        return located(teacher, spec.distillation.revision, "distillation.teacher")
    return _embedded(spec, "teacher", progress)


def located(model: str, revision: str | None, key: str) -> str:
    """Return a folder that holds a checkpoint, or a name that the hub knows; InputError if none."""
    if not _is_folder(model, key):
        check_reachable(model, "model", key, revision)
    return model


def _embedded(
    spec: StudySpec, part: Literal["base", "teacher"], progress: TrainProgress | None
) -> str:
    """Return the folder of the task's own miniature, built on first use."""
    if spec.task == "translation":
        from study.bases.translator import embedded_base

        return str(embedded_base(spec.data.seed, progress))
    if spec.task == "causal_translation":
        from study.bases.llama import embedded_llama

        return str(embedded_llama(part, spec.data.seed, progress))
    if spec.task == "masked_diffusion":
        from study.bases.masked import embedded_masked

        return str(embedded_masked(spec.data.seed, progress))
    from study.bases.classifier import embedded_classifier

    language = spec.data.subset or "mnli"
    if language not in PAIR_LANGUAGES:
        raise InputError(
            f"data.subset: the embedded models know {', '.join(PAIR_LANGUAGES)}, got {language!r}; "
            "name a base.model and a distillation.teacher of yours"
        )
    return str(embedded_classifier(part, language, spec.data.seed, progress))


# ---------------------------------------------------------------- loading


def load_base(
    location: str,
    spec: BaseModelSpec,
    task: TaskName = "translation",
    labels: Sequence[str] = (),
    key: str = "base.model",
) -> BaseModel:
    """Load weights (safetensors only) and tokenizer, frozen, in evaluation mode.

    A checkpoint that is no classifier yet gets a head for `labels`, drawn from its name alone.

    Raises:
        InputError: the location is no model that transformers can load for this task.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, missing, tokenizer = _from_pretrained(location, spec, task, labels)
    except Exception as error:  # transformers raises many kinds, all meaning: cannot be loaded
        reason = why_not_loaded(error, spec)
        raise InputError(f"{key}: cannot load {location!r}: {reason}") from error
    fresh = frozenset(n for n in missing if task == "classification" and _is_of_a_head(n))
    lost = sorted(set(missing) - fresh)
    if lost:  # transformers would leave them random and say so in a warning
        some = ", ".join(lost[:3])
        raise InputError(f"{key}: {location!r} has no weights for {some}; another model's?")
    import torch

    model.to("cuda" if torch.cuda.is_available() else "cpu")
    model.eval().requires_grad_(False)
    if model.can_generate() and model.generation_config is not None:
        model.generation_config.max_length = None  # the study file's max_new_tokens rules
    draw_fresh({name: model.get_parameter(name) for name in fresh}, model.config, seed=0)
    return BaseModel(model, tokenizer, location, fresh)


def _from_pretrained(
    location: str, spec: BaseModelSpec, task: TaskName, labels: Sequence[str]
) -> tuple[Any, list[str], Any]:
    """Return the model, the names of the weights that its checkpoint lacks, and the tokenizer."""
    import torch
    import transformers

    options = {"revision": spec.revision or "main", "trust_remote_code": spec.trust_remote_code}
    refuse_named_code(location, spec)
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
    return model, list(loading["missing_keys"]), tokenizer


def model_class(location: str, config: Any, spec: BaseModelSpec, task: TaskName) -> Any:
    """Return what loads the model: transformers' class for the task, or the model's own."""
    import transformers

    own = own_class(location, config, spec) if task == "masked_diffusion" else None
    return own or getattr(transformers, MODEL_CLASSES[task])


def load_tokenizer(location: str, spec: BaseModelSpec) -> tuple[Any, Any]:
    """Return a base's tokenizer and configuration, without its weights.

    Raises:
        InputError: transformers can load no tokenizer there.
    """
    from transformers import AutoConfig, AutoTokenizer

    options = {"revision": spec.revision or "main", "trust_remote_code": spec.trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(location, **options)
        return AutoTokenizer.from_pretrained(location, **options), config
    except Exception as error:
        reason = why_not_loaded(error, spec)
        raise InputError(f"base.model: cannot load {location!r}: {reason}") from error


def name_labels(config: Any, labels: Sequence[str]) -> None:
    """Tell the configuration of what is no classifier yet which labels its head will have."""
    known = config.architectures or ()
    if labels and not any(name.endswith("ForSequenceClassification") for name in known):
        config.id2label = dict(enumerate(labels))  # sets num_labels too
        config.label2id = {label: i for i, label in enumerate(labels)}


def _is_of_a_head(weight: str) -> bool:
    return weight.split(".")[0] in HEADS or ".pooler." in weight


def draw_fresh(weights: Mapping[str, Any], config: Any, seed: int) -> None:
    """Draw a new head's weights from (seed, name): normal as the model's own, biases zero."""
    import torch

    for name, weight in weights.items():
        generator = torch.Generator().manual_seed(derive_seed(seed, "head", name))
        spread = 0.0 if weight.dim() == 1 else getattr(config, "initializer_range", 0.02)
        drawn = torch.empty(weight.shape, dtype=torch.float64)
        drawn.normal_(0.0, spread, generator=generator)
        with torch.no_grad():
            weight.copy_(drawn)


def load_teacher(spec: StudySpec, student: BaseModel) -> BaseModel:
    """Load the teacher as the student was loaded: frozen, in evaluation mode, of the same dtype.

    Raises:
        InputError: it is no model of this task, or reads other tokens than the student.
    """
    assert spec.distillation is not None, "a study without a teacher"
    key = "distillation.teacher"
    location = locate_teacher(spec)
    its = spec.base.model_copy(update={"revision": spec.distillation.revision})
    teacher = load_base(location, its, spec.task, key=key)
    own, other = student.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()
    if own != other:
        differing = min(set(own.items()) ^ set(other.items()))[0]
        raise InputError(
            f"{key}: {location!r} has another vocabulary than the base model {student.name!r}: "
            f"{len(other):,} and {len(own):,} tokens, which differ in {differing!r}; "
            "allowed: a teacher of the same tokenizer"
        )
    return teacher


def _is_folder(location: str, key: str) -> bool:
    """Say whether it is a folder and no hub name; refuse one that is no checkpoint, in words."""
    folder = Path(location)
    if not os.path.isdir(folder):
        if folder.is_absolute() or location.startswith((".", "~")) or location.count("/") > 1:
            raise InputError(f"{key}: no such folder, got {location!r}")
        return False
    if not (folder / "config.json").is_file():
        raise InputError(f"{key}: {location}: no config.json; not a Hugging Face checkpoint")
    if not any(folder.glob("*.safetensors")):
        pickles = [f.name for f in folder.iterdir() if f.suffix in PICKLE_SUFFIXES]
        found = f", got {', '.join(sorted(pickles))}" if pickles else ""
        raise InputError(
            f"{key}: {location}: no *.safetensors file{found}; pickled weights are not "
            "loaded, convert them with save_pretrained(safe_serialization=True)"
        )
    return True
