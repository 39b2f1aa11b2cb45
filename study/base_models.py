"""Load a base model: hub name, local folder, or the embedded one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.errors import InputError
from study.hub import check_reachable
from study.spec import BaseModelSpec, StudySpec

PICKLE_SUFFIXES = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
TrainProgress = Callable[[int, int, float], None]
"""Called with step, total steps and loss while the embedded base is trained."""


@dataclass(frozen=True)
class BaseModel:
    """A frozen base in evaluation mode and its tokenizer."""

    model: Any  # a transformers PreTrainedModel
    tokenizer: Any
    name: str  # as PEFT records it in adapter_config.json
    decompositions: dict[str, Any] = field(default_factory=dict, repr=False)  # of PiSSA, by module

    @property
    def model_type(self) -> str:
        """The architecture's name in transformers."""
        return str(self.model.config.model_type)


def locate_base(spec: StudySpec, progress: TrainProgress | None = None) -> str:
    """Return a local folder or hub name; builds the embedded base where it is not cached."""
    if spec.base.model != "embedded":
        if not _is_folder(spec.base.model):
            check_reachable(spec.base.model, "model", "base.model", spec.base.revision)
        return spec.base.model
    from study.base_building import embedded_base

    return str(embedded_base(spec.data.seed, progress))


def load_base(location: str, spec: BaseModelSpec) -> BaseModel:
    """Load weights (safetensors only) and tokenizer, frozen, in evaluation mode.

    Raises:
        InputError: the location is no model that transformers can load.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    options = {"revision": spec.revision or "main", "trust_remote_code": spec.trust_remote_code}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, loading = AutoModelForSeq2SeqLM.from_pretrained(
                location,
                dtype=getattr(torch, spec.dtype),
                use_safetensors=True,
                output_loading_info=True,
                **options,
            )
            tokenizer = AutoTokenizer.from_pretrained(location, **options)
    except Exception as error:  # transformers raises many kinds, all meaning: cannot be loaded
        message = " ".join(str(error).split())[:300]
        raise InputError(f"base.model: cannot load {location!r}: {message}") from error
    if loading["missing_keys"]:  # transformers would leave them random and say so in a warning
        some = ", ".join(sorted(loading["missing_keys"])[:3])
        raise InputError(f"base.model: {location!r} has no weights for {some}; another model's?")
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    model.eval().requires_grad_(False)
    model.generation_config.max_length = None  # the study file's max_new_tokens rules
    return BaseModel(model, tokenizer, location)


def _is_folder(location: str) -> bool:
    """Say whether it is a folder and no hub name; refuse one that is no checkpoint, in words."""
    folder = Path(location)
    if not os.path.isdir(folder):
        if folder.is_absolute() or location.startswith((".", "~")) or location.count("/") > 1:
            raise InputError(f"base.model: no such folder, got {location!r}")
        return False
    if not (folder / "config.json").is_file():
        raise InputError(f"base.model: {location}: no config.json; not a Hugging Face checkpoint")
    if not any(folder.glob("*.safetensors")):
        pickles = [f.name for f in folder.iterdir() if f.suffix in PICKLE_SUFFIXES]
        found = f", got {', '.join(sorted(pickles))}" if pickles else ""
        raise InputError(
            f"base.model: {location}: no *.safetensors file{found}; pickled weights are not "
            "loaded, convert them with save_pretrained(safe_serialization=True)"
        )
    return True
