"""Taking a trained adapter out of a study: as PEFT's files, or merged into a plain model."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from study.bases.load import PICKLE_SUFFIXES, BaseModel, load_base, locate_base
from study.data.corpora import corpus_of
from study.engines.process_settings import be_one_quiet_thread
from study.errors import InputError
from study.spec.sections import StudySpec
from study.spec.trust import check_adapter_config
from study.store.folders import appearing_whole
from study.store.saved_adapters import adapter_folder, peft_type, trial_name
from study.tasks import make_task
from study.trials import baseline_configs

CHECKED = 16
"""So many dev examples a merged model is checked on."""


@dataclass(frozen=True)
class Exported:
    """Where an export lies; of a merged model, how far its outputs are from the adapter's.

    `difference` is the largest over all logits of `CHECKED` dev examples, `spread` their standard
    deviation; both None where nothing was merged.
    """

    folder: Path
    difference: float | None = None
    spread: float | None = None


def export_trial(
    run: Path, spec: StudySpec, number: int, out: Path | None = None, merge: bool = False
) -> Exported:
    """Write a trial's adapter, or with `merge` a model without PEFT, and the base's tokenizer.

    Args:
        run: The run folder, in which the adapters lie.
        spec: The study.
        number: The trial's.
        out: The folder to write, which must not exist; else `run/export/trial-00012`.
        merge: Whether to add the adapter's weights to the base's, and check the result as loaded.

    Raises:
        InputError: there is no such adapter, it cannot be merged, or the folder exists.
    """
    source = _adapter(run, number)
    is_adapter = (source / "adapter_config.json").is_file()  # else it was full fine-tuning
    merge = merge and is_adapter
    if merge:
        _check_mergeable(source)
    out = out or run / "export" / (source.name + ("-merged" if merge else ""))
    be_one_quiet_thread()
    with _whole(out) as unfinished:
        base = _base(spec)
        base.tokenizer.save_pretrained(unfinished)
        if merge:
            before = _merged(spec, base, source, unfinished)
        else:
            for file in _saved_files(source):
                shutil.copy(file, unfinished)
            if is_adapter:
                _name_base(unfinished / "adapter_config.json", locate_base(spec))
    if not merge:
        return Exported(out)
    after = _logits(spec, _base(spec, str(out)))
    return Exported(out, float((after - before).abs().max()), float(before.std()))


def _name_base(config: Path, location: str) -> None:
    """Say where the base is now: it may have been trained on where that was another folder."""
    content = json.loads(config.read_text(encoding="utf-8"))
    content["base_model_name_or_path"] = location
    config.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _adapter(run: Path, number: int) -> Path:
    folder = adapter_folder(run, trial_name(number))
    if folder.is_dir():
        check_is_ours(run, folder)
        return folder
    names = (f.name.removeprefix("trial-") for f in folder.parent.glob("trial-*"))
    kept = sorted(int(name) for name in names if name.isdecimal())
    allowed = f"kept are {', '.join(map(str, kept))}" if kept else "none is kept there"
    raise InputError(
        f"{run}: no adapter of trial {number}; {allowed}, see search.keep_adapters of the study"
    )


def _saved_files(folder: Path) -> list[Path]:
    """Return what a run saves: anything else might take the place of the base's tokenizer."""
    config = "adapter_config.json" if (folder / "adapter_config.json").is_file() else "config.json"
    return [folder / config, *folder.glob("*.safetensors")]


def check_is_ours(run: Path, folder: Path) -> None:
    """Refuse links, which may lead anywhere, and weights that would have to be unpickled."""
    if any(p.is_symlink() for p in (run / "adapters", folder, *folder.rglob("*"))):
        raise InputError(f"{folder}: holds a link; an adapter's files lie in the run folder")
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLE_SUFFIXES)
        found = f", got {', '.join(pickles)}" if pickles else ""
        raise InputError(f"{folder}: no *.safetensors file{found}; pickled weights are not loaded")
    if (config := folder / "adapter_config.json").is_file():
        check_adapter_config(config)


def _check_mergeable(source: Path) -> None:
    if peft_type(source) == "PREFIX_TUNING":
        raise InputError(
            "--merge: a prefix is read beside the weights and cannot be merged into them; "
            "export it without --merge"
        )


def _base(spec: StudySpec, location: str | None = None) -> BaseModel:
    """Load the study's base, or a model of its kind."""
    labels = corpus_of(spec).labels
    return load_base(location or locate_base(spec), spec.base, spec.task, labels)


def _merged(spec: StudySpec, base: BaseModel, source: Path, out: Path) -> Tensor:
    """Write base plus adapter as one model; returns the logits of the two before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = _adapted(base, source)
        before = _logits(spec, base)
        adapted.merge_and_unload().save_pretrained(out)
    return before


def _adapted(base: BaseModel, source: Path) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(base.model, source).eval()
    except Exception as error:  # PEFT raises many kinds, all meaning: cannot be loaded
        message = " ".join(str(error).split())[:300]
        raise InputError(f"{source}: cannot load the adapter: {message}") from error


@torch.inference_mode()
def _logits(spec: StudySpec, base: BaseModel) -> Tensor:
    """Return the logits of the first dev examples, of an encoder-decoder given the references."""
    plain = spec.model_copy(update={"distillation": None})
    task = make_task(plain, base, corpus_of(plain))
    config = baseline_configs(plain)[0]
    batch = task.collate(task.examples("dev")[:CHECKED], config, torch.Generator().manual_seed(0))
    batch = batch.to(base.model.device)
    inputs: dict[str, Any] = dict(batch.inputs)
    if base.model.config.is_encoder_decoder:
        inputs["labels"] = batch.labels
    logits: Tensor = base.model(**inputs).logits
    return logits.double().cpu()


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Yield an unfinished folder, which becomes `folder` once all went well."""
    if folder.exists():
        raise InputError(f"--out: {folder} exists already; name a folder that does not")
    try:
        with appearing_whole(folder) as unfinished:
            yield unfinished
    except OSError as error:
        raise InputError(f"--out: {folder}: cannot write: {error.strerror}") from error
