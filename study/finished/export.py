"""Export a trained adapter from a study: as PEFT's files, or merged into a plain model."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from study.bases.load import BaseModel, load_base, load_tokenizer, locate_base, names_of
from study.bases.safe_configs import refuse_kernels, refuse_own_code
from study.bases.safe_weights import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    check_adapter,
    check_model,
    reason_in_words,
)
from study.data.corpora import corpus_of
from study.data.readers import Corpus
from study.engines.memory import release_memory
from study.engines.process_settings import be_one_quiet_thread
from study.errors import InputError, refusing, writing
from study.kinds.methods import METHODS
from study.spec.sections import StudySpec
from study.store.folders import appearing_whole, check_own
from study.store.saved_adapters import adapter_folder, folder_name, peft_type
from study.tasks import make_task
from study.trials import baseline_configs

TEMPLATE_NAME = re.compile(r"[A-Za-z0-9_-]+")
README = """# An adapter with the head of a classifier

Base model: {base}

Open it with the outputs of its head, which the base model lacks:

```python
from peft import AutoPeftModelForSequenceClassification

model = AutoPeftModelForSequenceClassification.from_pretrained(".", {arguments})
```
"""
CHECKED = 16
"""The number of dev examples that a merged model is checked on."""
CHECKED_TOKENS = 256  # of each, at its beginning: logits of long rows would need more than the base
SHARD = "2GB"  # of a merged model's files


@dataclass(frozen=True)
class Exported:
    """The folder of an export; for a merged model, how far its outputs are from the adapter's.

    `difference` is the largest over all logits of `CHECKED` dev examples, `spread` their standard
    deviation; both are None if nothing was merged.  `arguments` is what PEFT's loader must be told
    besides the folder: the outputs of a head that the base lacks.
    """

    folder: Path
    difference: float | None = None
    spread: float | None = None
    arguments: str = ""


def export_trial(
    run: Path,
    spec: StudySpec,
    who: int | str,
    out: Path | None = None,
    merge: bool = False,
    trust_study: bool = False,
) -> Exported:
    """Write a trial's adapter and the base's tokenizer; with `merge`, a model without PEFT.

    Args:
        run: The run folder, which holds the adapters.
        spec: The study.
        who: The trial's number, or the name of a baseline.
        out: The folder to write, which must not exist; by default `run/export/trial-00012`.
        merge: Whether to add the adapter's weights to the base's and check the saved result.
        trust_study: Whether a fully trained model may name code of its own.

    Raises:
        InputError: there is no such adapter, it cannot be merged, or the folder exists.
    """
    source = _adapter(run, who, trusted=trust_study or spec.base.trust_remote_code)
    is_adapter = (source / ADAPTER_CONFIG).is_file()  # otherwise it was full fine-tuning
    merge = merge and is_adapter
    if merge:
        _check_mergeable(source)
    out = out or run / "export" / (source.name + ("-merged" if merge else ""))
    if run / "export" in out.parents:
        check_own(run / "export", "folder")
    return export_adapter(source, spec, out, merge)


def export_adapter(source: Path, spec: StudySpec, out: Path, merge: bool = False) -> Exported:
    """Write what a run or a training saved, as `export_trial` does; InputError if `out` exists."""
    be_one_quiet_thread()
    corpus = corpus_of(spec)
    with ExitStack() as stack:
        with _whole(out) as unfinished:
            if merge:
                scratch = TemporaryDirectory(prefix=".logits-", dir=out.parent)
                before = Path(stack.enter_context(scratch))
                _write_merged(spec, corpus, source, unfinished, before)
            else:
                arguments = _write_adapter(spec, corpus, source, unfinished)
        if not merge:
            return Exported(out, arguments=arguments)
        release_memory()  # of the first model: there is never a second copy
        return _compared(
            spec, load_base(str(out), spec.base, spec.task, corpus.labels), corpus, before, out
        )


def _write_adapter(spec: StudySpec, corpus: Corpus[Any], source: Path, out: Path) -> str:
    """Copy what was trained beside the base's tokenizer; return the arguments to load it with.

    An adapter is attached to the base first, since files of any weights could be copied.
    """
    base = _base_with_tokenizer(spec, corpus, out)
    for file in _saved_files(source):
        shutil.copy(file, out)
    if not (source / ADAPTER_CONFIG).is_file():
        return ""
    attached(base.model, source)
    _name_base(out / ADAPTER_CONFIG, locate_base(spec))
    if arguments := _head_arguments(spec, base):
        page = README.format(base=base.name, arguments=arguments)
        (out / "README.md").write_text(page, encoding="utf-8")
    return arguments


def _base_with_tokenizer(spec: StudySpec, corpus: Corpus[Any], out: Path) -> BaseModel:
    """Load the base; write its tokenizer, and what ends its answers."""
    base = load_base(locate_base(spec), spec.base, spec.task, corpus.labels)
    if spec.task_kind.reads_conversations:
        make_task(spec, base, corpus)  # sets the template and the end of answers
        base.model.generation_config.save_pretrained(out)
    _save_tokenizer(base, out)
    return base


def _name_base(config: Path, location: str) -> None:
    """Write the base's current location, which may have changed since the training."""
    content = json.loads(config.read_text(encoding="utf-8"))
    content["base_model_name_or_path"] = location
    config.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _head_arguments(spec: StudySpec, base: BaseModel) -> str:
    """Return what the base's own configuration does not say about its outputs, as Python.

    PEFT loads the base by its name, and neither library reads a configuration beside an adapter.
    """
    if not spec.task_kind.reads_labels:
        return ""
    config = base.model.config
    _, untrained = load_tokenizer(base.name, spec.base)
    if untrained.id2label == config.id2label:
        return ""
    if names_of(config) is None:
        return f"num_labels={config.num_labels}, problem_type={config.problem_type!r}"
    return f"id2label={config.id2label!r}, label2id={config.label2id!r}"


def _save_tokenizer(base: BaseModel, folder: Path) -> None:
    """Write the base's tokenizer; each of its chat templates becomes a file of that name."""
    where = f"base.model: {base.name}"
    templates = base.tokenizer.chat_template
    for name in templates if isinstance(templates, dict) else ():
        if not (isinstance(name, str) and TEMPLATE_NAME.fullmatch(name)):
            raise InputError(
                f"{where}: the name of a chat template must consist of letters, digits, _ and -, "
                f"got {name!r:.80}"
            )
    with refusing(f"{where}: cannot save its tokenizer", reason=reason_in_words):
        base.tokenizer.save_pretrained(folder)


def _adapter(run: Path, who: int | str, *, trusted: bool) -> Path:
    folder = adapter_folder(run, folder_name(who))
    if folder.is_dir():
        check_is_ours(run, folder, trusted=trusted)
        return folder
    names = (f.name.removeprefix("trial-") for f in folder.parent.glob("trial-*"))
    kept = sorted(int(name) for name in names if name.isdecimal())
    allowed = ", ".join(map(str, kept)) or "none"
    if isinstance(who, str):
        raise InputError(
            f"{run}: no adapter of the baseline {who!r}; `optuna-study run {run}` trains it if it "
            f"is missing; trials with an adapter: {allowed}"
        )
    raise InputError(
        f"{run}: no adapter of trial {who}; kept: {allowed} (see search.keep_adapters)"
    )


def _saved_files(folder: Path) -> list[Path]:
    """Return the files that a run saves; others could replace the base's tokenizer."""
    config = ADAPTER_CONFIG if (folder / ADAPTER_CONFIG).is_file() else "config.json"
    return [folder / config, *folder.glob("*.safetensors")]


def check_is_ours(run: Path, folder: Path, *, trusted: bool = False) -> None:
    """Refuse links, which may lead anywhere, and weights that would need unpickling.

    A fully trained model may name code only where that is `trusted`: a run saves none otherwise.
    """
    paths = (run / "adapters", folder, *folder.rglob("*"))
    if any(path.is_symlink() for path in paths):
        raise InputError(f"{folder}: contains a link; allowed: files and folders")
    if not all(path.is_dir() or path.is_file() for path in paths):
        raise InputError(f"{folder}: contains a pipe, socket or device; allowed: files and folders")
    if (folder / ADAPTER_CONFIG).is_file():
        check_adapter(folder)
        peft_type(folder)
        _check_readable(folder / ADAPTER_WEIGHTS, folder, with_weights=True)
    else:
        check_model(str(folder), str(folder))
        for file in sorted(folder.glob("*.safetensors")):
            _check_readable(file, folder)
        if not trusted:
            _check_names_no_code(folder)


def _check_readable(file: Path, where: Path, *, with_weights: bool = False) -> None:
    """Refuse a file whose header does not describe what is in it, or whose weights are no numbers.

    A model's weights are not read: they may be large, and whoever loads them checks them.
    """
    with (
        refusing(f"{where}: {file.name}: cannot read the weights", reason=reason_in_words),
        safe_open(file, framework="pt") as tensors,
    ):
        if not (names := tensors.keys()):
            raise InputError(f"{where}: {file.name}: holds no weights")
        for name in names if with_weights else ():
            weights = tensors.get_tensor(name)
            if not weights.is_floating_point():
                raise InputError(
                    f"{where}: {file.name}: {name:.80}: must be floating-point numbers, got "
                    f"{weights.dtype}"
                )
            if not torch.isfinite(weights.float()).all():
                raise InputError(f"{where}: {file.name}: {name:.80}: holds NaN or infinity")


def _check_names_no_code(folder: Path) -> None:
    with refusing(f"{folder}: cannot read its config.json"):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        for refuse in (refuse_kernels, refuse_own_code):
            refuse(config, f"{folder}: without --trust-study")


def _check_mergeable(source: Path) -> None:
    kind = peft_type(source)
    for method in METHODS.values():
        if method.peft_type == kind and not method.merges:
            raise InputError(
                f"--merge: {method.title} leaves the weights unchanged and cannot be merged; "
                "export it without --merge"
            )


def _write_merged(
    spec: StudySpec, corpus: Corpus[Any], source: Path, out: Path, before: Path
) -> None:
    """Write base plus adapter as one model; leave the logits before the merge in a folder.

    Weights are merged in place, layer by layer, and written from where they are.
    """
    base = _base_with_tokenizer(spec, corpus, out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = attached(base.model, source).eval()
        for number, logits in enumerate(_logits(spec, base, corpus)):
            with (before / str(number)).open("wb") as file:
                for position in logits.cpu():
                    position.double().numpy().tofile(file)
        adapted.merge_and_unload().save_pretrained(out, max_shard_size=SHARD)


def _compared(
    spec: StudySpec, merged: BaseModel, corpus: Corpus[Any], before: Path, out: Path
) -> Exported:
    """Return the export, with how far a saved model's logits are from those in a folder."""
    largest = total = squares = 0.0
    count = 0
    for number, logits in enumerate(_logits(spec, merged, corpus)):
        with (before / str(number)).open("rb") as file:
            for now in logits.cpu():  # a position at a time
                old = torch.from_numpy(np.fromfile(file, count=len(now)))
                largest = float(torch.maximum((now - old).abs().max(), torch.tensor(largest)))
                total, squares = total + float(old.sum()), squares + float((old**2).sum())
                count += len(old)
    variance = (squares - total**2 / count) / max(1, count - 1)
    return Exported(out, largest, math.sqrt(max(0.0, variance)))


def attached(model: Any, folder: Path) -> Any:
    """Return a base as a PEFT model with a saved adapter, or a PEFT model with a further one.

    Raises:
        InputError: PEFT cannot load the adapter, or its file holds weights of other modules.
    """
    from peft import PeftModel, get_peft_model_state_dict

    with (
        refusing(f"{folder}: cannot load the adapter", reason=reason_in_words),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of layers new to PEFT, and transformers' to PEFT
        warnings.filterwarnings("error", "Found missing adapter keys")
        if not isinstance(model, PeftModel):
            model = PeftModel.from_pretrained(model, folder, adapter_name=folder.name)
        elif missing := model.load_adapter(folder, adapter_name=folder.name).missing_keys:
            raise ValueError(f"Found missing adapter keys while loading the checkpoint: {missing}")
        options = {"adapter_name": folder.name, "save_embedding_layers": False}
        known = get_peft_model_state_dict(model, **options).keys()
        with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
            others = sorted(file.keys() - known)
        if others:  # PEFT would leave them out, or put them into the base
            raise ValueError(f"{ADAPTER_CONFIG} names no modules for the weights {others[0]:.80}")
        return model


@torch.inference_mode()
def _logits(spec: StudySpec, base: BaseModel, corpus: Corpus[Any]) -> Iterator[Tensor]:
    """Yield the logits (T, V), or (1, labels), of the first dev examples, one by one.

    An encoder-decoder is given the references.
    """
    plain = spec.model_copy(update={"distillation": None})
    task = make_task(plain, base, corpus)
    config = baseline_configs(plain)[0]
    batch = task.collate(task.examples("dev")[:CHECKED], config, torch.Generator().manual_seed(0))
    for row in range(len(batch.labels)):
        part = batch.part(slice(row, row + 1)).to(base.model.device)
        inputs = {name: t[:, :CHECKED_TOKENS] for name, t in part.inputs.items()}
        if base.model.config.is_encoder_decoder:
            inputs["labels"] = part.labels[:, :CHECKED_TOKENS]
        logits: Tensor = base.model(**inputs).logits
        yield logits.flatten(0, -2)


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Yield an unfinished folder, and rename it to `folder` if nothing fails."""
    if os.path.lexists(folder):
        raise InputError(f"--out: {folder} exists already; name a new folder")
    with writing(f"--out: {folder}"), appearing_whole(folder) as unfinished:
        yield unfinished
