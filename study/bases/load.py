"""Find and load a base model and its teacher: a hub name, a local folder, or `embedded`."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from study.bases.building import ModelRole, StepCallback
from study.bases.hub import check_reachable
from study.bases.remote_code import MAPPED, forget_unused_code, own_class, why_not_loaded
from study.bases.safe_configs import refuse_named_code
from study.bases.safe_weights import check_model
from study.errors import InputError, refusing
from study.hardware import device_kind
from study.kinds.tasks import TASKS, TaskName
from study.seeds import derive_seed
from study.spec.base_and_data import BaseModelSpec
from study.spec.sections import StudySpec

HEADS = ("pre_classifier", "classifier", "score", "classification_head")
"""transformers' names for the layers above the pretrained body; every method trains them fully."""

TOKENIZER_FILE = re.compile(r"(tokenizer|vocab|merges|spiece|source|target).*|.*\.(model|spm)")
NO_TOKENIZER = (
    "it has no tokenizer; copy the original model's tokenizer files, such as tokenizer.json and "
    "tokenizer_config.json, into the folder"
)
FEWEST_PIECES = 4  # besides special tokens; T5's made-up vocabulary has one


@dataclass(frozen=True)
class BaseModel:
    """A frozen base in evaluation mode and its tokenizer."""

    model: Any  # a transformers PreTrainedModel
    tokenizer: Any
    name: str  # as PEFT records it in adapter_config.json
    fresh: frozenset[str] = frozenset()  # weights of a new head, which the checkpoint lacks
    trained_tokens: tuple[int, ...] = ()  # their embeddings are trained beside LoRA
    decompositions: dict[str, Any] = field(default_factory=dict, repr=False)  # by module
    targets: dict[str, Any] = field(default_factory=dict, init=False, repr=False)  # by set
    loader: str = ""  # the class of transformers that loads it, as AutoModelForCausalLM

    @property
    def is_skeleton(self) -> bool:
        """Whether the model has modules and shapes, but no weights."""
        return bool(self.model.device.type == "meta")

    @property
    def model_type(self) -> str:
        """The architecture's name in transformers."""
        return str(self.model.config.model_type)

    @property
    def head(self) -> list[str]:
        """The modules that every method trains fully: a classifier's head, otherwise none."""
        new = ["pooler"] if any(".pooler." in name for name in self.fresh) else []
        return new + head_names(self.model, self.loader)


def head_names(model: Any, loader: str) -> list[str]:
    """Return the modules of a classifier that its pretrained body does not contain."""
    children = dict(model.named_children())
    names = [name for name in children if name in HEADS]
    classifies = any(kind.reads_labels and kind.model_class == loader for kind in TASKS.values())
    if classifies and model.base_model_prefix in children:
        names = [
            name
            for name, child in children.items()
            if name != model.base_model_prefix and any(True for _ in child.parameters())
        ]
    return names


# ---------------------------------------------------------------- locating


def locate_base(spec: StudySpec, progress: StepCallback | None = None) -> str:
    """Return a local folder or hub name; build an embedded one unless it is cached.

    Raises:
        InputError: the base does not exist.
    """
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
    *,
    skeleton: bool = False,
) -> BaseModel:
    """Load weights (safetensors only) and tokenizer, frozen, in evaluation mode.

    A checkpoint without a classifier gets a head for `labels`, whose weights depend only on their
    names.  A skeleton is on PyTorch's meta device: it has no weights and takes no memory.  A study
    decides on the dtype before it loads (study/bases/dtypes.py); `auto` itself means float32.

    Raises:
        InputError: transformers cannot load a model for this task from the location, or it has no
            tokenizer.
    """
    where, reason = f"{key}: {location}", partial(why_not_loaded, spec=spec)
    with refusing(f"{key}: cannot load {location!r}", reason=reason), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_model(location, where, spec.revision)
        refuse_named_code(location, where, spec.revision, trusted=spec.trust_remote_code)
        model, missing, tokenizer = _from_pretrained(location, spec, task, labels, skeleton)
    loader = loader_name(model, task)
    heads = head_names(model, loader)
    fresh = frozenset(
        name
        for name in missing
        if TASKS[task].reads_labels and (name.split(".")[0] in heads or ".pooler." in name)
    )
    lost = sorted(set(missing) - fresh)
    if lost:  # transformers would draw them at random and only warn
        some = f"has no weights for {', '.join(lost[:3])}"
        saved, needed = (model.config.architectures or [""])[0], type(model).__name__
        if saved in ("", needed):
            raise InputError(f"{key}: {location!r} {some}; is it a different model's folder?")
        able = " and ".join(name for name, kind in TASKS.items() if kind.reads_labels)
        raise InputError(
            f"{key}: {location!r} is a {saved} and {some}, which the task {task!r} needs "
            f"({needed}); allowed: another model, or {able}, which need texts with a column of "
            "labels"
        )
    model.eval().requires_grad_(False)
    if skeleton:
        return BaseModel(model, tokenizer, location, fresh, loader=loader)
    model.to(device_kind())
    if head := getattr(model, "get_output_embeddings", lambda: None)():
        head.register_forward_pre_hook(_read_no_view)
    if model.can_generate() and model.generation_config is not None:
        model.generation_config.max_length = None  # max_new_tokens of the study file decides
    draw_fresh({name: model.get_parameter(name) for name in fresh}, model.config, seed=0)
    return BaseModel(model, tokenizer, location, fresh, loader=loader)


def _read_no_view(head: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Let a head read a copy of the last tokens that generation cuts out of longer rows.

    PyTorch multiplies such a view row by row with a frozen weight, which it copies for every row:
    in bfloat16 hundreds of times as slow, and 15 GB for 45 prompts of Gemma-3-270M.  A view of one
    token calls itself contiguous, but keeps the strides that PyTorch judges by.
    """
    import torch

    return given[0].clone(memory_format=torch.contiguous_format), *given[1:]


def _from_pretrained(
    location: str, spec: BaseModelSpec, task: TaskName, labels: Sequence[str], skeleton: bool
) -> tuple[Any, list[str], Any]:
    """Return the model, the names of the weights that its checkpoint lacks, and the tokenizer."""
    import torch
    import transformers

    options = {"revision": spec.revision or "main", "trust_remote_code": spec.trust_remote_code}
    config = transformers.AutoConfig.from_pretrained(location, **options)
    name_labels(config, task, labels)
    model, loading = model_class(location, config, spec, task).from_pretrained(
        location,
        config=config,
        dtype=torch.float32 if spec.dtype == "auto" else getattr(torch, spec.dtype),
        device_map="meta" if skeleton else None,
        use_safetensors=True,
        output_loading_info=True,
        **options,
    )
    tokenizer = _tokenizer(location, options)
    if not spec.trust_remote_code:
        forget_unused_code(model, tokenizer)
    return model, list(loading["missing_keys"]), tokenizer


def model_class(location: str, config: Any, spec: BaseModelSpec, task: TaskName) -> Any:
    """Return the class that loads the model: transformers' for the task, or a custom one."""
    import transformers

    custom = own_class(location, config, spec) if TASKS[task].takes_own_class else None
    if custom is not None:
        return custom
    automatic = getattr(transformers, TASKS[task].model_class)
    _check_architecture(config, automatic, task)
    return automatic


def loader_name(model: Any, task: TaskName) -> str:
    """Return the name of the transformers class that loads this model, its own code included."""
    if type(model).__module__.startswith("transformers."):
        return TASKS[task].model_class
    mapped = getattr(model.config, "auto_map", None) or {}
    return next((name for name in MAPPED if name in mapped), TASKS[task].model_class)


def _check_architecture(config: Any, automatic: Any, task: TaskName) -> None:
    """Refuse an architecture that transformers has no model of this task's kind for."""
    import transformers

    kinds = {n: getattr(transformers, kind.model_class)._model_mapping for n, kind in TASKS.items()}
    if type(config) in kinds[task]:
        return
    fitting = [name for name, mapping in kinds.items() if type(config) in mapping]
    if not fitting and getattr(config, "auto_map", None):
        return  # its own code decides, and transformers says how to allow it
    raise ValueError(
        f"{config.model_type!r} models have no {automatic.__name__}, which the task {task!r} "
        f"needs; they can do {', '.join(map(repr, fitting)) or 'none of the tasks'}"
    )


def load_tokenizer(location: str, spec: BaseModelSpec) -> tuple[Any, Any]:
    """Return a base's tokenizer and configuration, without its weights.

    Raises:
        InputError: transformers cannot load a tokenizer from the location.
    """
    from transformers import AutoConfig

    where, reason = f"base.model: {location}", partial(why_not_loaded, spec=spec)
    options = {"revision": spec.revision or "main", "trust_remote_code": spec.trust_remote_code}
    with refusing(f"base.model: cannot load {location!r}", reason=reason):
        refuse_named_code(location, where, spec.revision, trusted=spec.trust_remote_code)
        config = AutoConfig.from_pretrained(location, **options)
        return _tokenizer(location, options), config


def _tokenizer(location: str, options: Mapping[str, Any]) -> Any:
    """Return a base's tokenizer; ValueError if it has none.

    Without files transformers fails with long advice, or makes up a vocabulary of special tokens,
    with which a study would train on unknown tokens only.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(location, **options)
    except Exception:
        folder = Path(location)
        if os.path.isdir(folder) and not any(map(TOKENIZER_FILE.fullmatch, os.listdir(folder))):
            raise ValueError(NO_TOKENIZER) from None
        raise
    added = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    if len({*tokenizer.get_vocab()} - {*tokenizer.all_special_tokens, *added}) < FEWEST_PIECES:
        raise ValueError(NO_TOKENIZER)
    longest = tokenizer.model_max_length
    if not isinstance(longest, (int, float)) or longest < 1:
        raise ValueError(
            f"its tokenizer's model_max_length must be at least 1, got {longest!r:.40}"
        )
    return tokenizer


def padding_token(base: BaseModel, stop: int | None = None) -> int:
    """Return the token to pad with: the tokenizer's, else `stop`, else its end token.

    Llama's tokenizers name none; any token will do, since padding is masked.  Without `stop` it is
    the configuration's too: a decoder that classifies finds a row's last token by that.

    Raises:
        InputError: there is none of these.
    """
    tokens = (base.tokenizer.pad_token_id, stop, base.tokenizer.eos_token_id)
    token = next((token for token in tokens if token is not None), None)
    if token is None:
        raise InputError(
            f"base.model: {base.name}: its tokenizer has neither a padding nor an end token; set "
            "pad_token in its tokenizer_config.json"
        )
    if stop is None and getattr(base.model.config, "pad_token_id", None) is None:
        base.model.config.pad_token_id = int(token)
    return int(token)


def name_labels(config: Any, task: TaskName, labels: Sequence[str]) -> None:
    """Set the outputs of the head that a model without one will get: classes, or one number.

    A head whose outputs are called LABEL_0 and so on gets the names of as many classes.
    """
    has_head = any(
        name.endswith("ForSequenceClassification") for name in config.architectures or ()
    )
    if TASKS[task].outputs == "numbers" and not has_head:
        config.num_labels = 1
        config.problem_type = "regression"  # so that a pipeline of transformers shows the number
    if not labels or (has_head and (names_of(config) or config.num_labels != len(labels))):
        return
    config.id2label = dict(enumerate(labels))  # sets num_labels too
    config.label2id = {label: i for i, label in enumerate(labels)}


def names_of(config: Any) -> list[str] | None:
    """Return the names of a classifier's outputs in order; None for LABEL_0 and so on."""
    names = [str(config.id2label[i]) for i in range(config.num_labels)]
    return None if all(name.upper().startswith("LABEL_") for name in names) else names


def draw_fresh(weights: Mapping[str, Any], config: Any, seed: int) -> None:
    """Draw a new head's weights from (seed, name): normal with the model's spread.

    Biases are zero and the weights of norms one.
    """
    import torch

    for name, weight in weights.items():
        generator = torch.Generator().manual_seed(derive_seed(seed, "head", name))
        spread = 0.0 if weight.dim() == 1 else getattr(config, "initializer_range", 0.02)
        drawn = torch.empty(weight.shape, dtype=torch.float64)
        drawn.normal_(0.0, spread, generator=generator)
        if weight.dim() == 1 and name.endswith("weight"):
            drawn.fill_(1.0)
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
    teacher = load_base(location, its, spec.task, key=key, skeleton=student.is_skeleton)
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
        if folder.suffix.lower() == ".gguf":
            raise _of_gguf(folder.parent, folder.name, key)
        if folder.is_absolute() or location.startswith((".", "~")) or location.count("/") > 1:
            raise InputError(f"{key}: no such folder, got {location!r}")
        return False
    if not (folder / "config.json").is_file():
        for file in sorted(folder.glob("*.gguf")):
            raise _of_gguf(folder, file.name, key)
        raise InputError(f"{key}: {location}: no config.json; not a Hugging Face checkpoint")
    check_model(location, f"{key}: {location}")
    return True


def _of_gguf(folder: Path, name: str, key: str) -> InputError:
    """Return the refusal of a quantised file for llama.cpp, with the way to convert it."""
    return InputError(
        f"{key}: {folder / name}: a GGUF file cannot be trained; convert it with "
        f"AutoModelForCausalLM.from_pretrained({str(folder)!r}, gguf_file={name!r})"
        ".save_pretrained(FOLDER), the tokenizer likewise with AutoTokenizer, and name FOLDER"
    )
