"""One type of model from its folder to a reloaded adapter, as a user would take it there.

A tiny model of random weights is the `base.model` of a study.  Two trials train for two steps in
the engine that the project chooses for them and alone with PEFT; the first one's adapter is saved
and loaded by plain PEFT over the plain base.  Everything must give the same losses, the own forward
of the model on single examples included, and the same outputs.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from benchmarks.tiny_models import SPECIAL_TOKENS, STOP, save_examples, save_tiny
from study.data.corpora import corpus_of
from study.engines.base import Engine
from study.engines.build import engine_over, working_base
from study.engines.engine_choice import EngineChoice
from study.engines.evaluation import Examiner
from study.engines.mixed import MixedEngine
from study.engines.sequential import SequentialEngine
from study.errors import InputError
from study.kinds.tasks import TASKS
from study.peft_methods.targets import why_not_packed
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.store.saved_adapters import save_adapter
from study.tasks import make_task
from study.tasks.base import Batch
from study.tasks.losses import IGNORED, masked_diffusion
from study.trials import Checked, Finished, SplitResult, TrialConfig, TrialResult, search_config

CLOSE = 1e-3
"""Losses in float32 that differ relatively by less are the same: two steps enlarge rounding."""

STUDY_FILE = """
name = "tiny"
task = "{task}"

[base]
model = "{folder}"

[data]
train = "{folder}/train{labelled}.tsv"
dev = "{folder}/dev{labelled}.tsv"
max_tokens = 48
{more}
[method]
target_modules = "{targets}"

[training]
steps = 2
batch_size = 3
report_every = 2
learning_rate = 1e-2
warmup_fraction = 0.0

[evaluation]
objective = "loss"
metrics = {metrics}
max_new_tokens = 6
batch_size = 4

[search]
space = "none"
sampler = "random"
trials = 2

[search.parameters.rank]
choices = [2, 4]

[search.parameters.alpha]
choices = [8, 32]
"""
MORE = {
    "causal_translation": 'instruction = ""\nstop_token = "{stop}"\n',
    "masked_diffusion": "\n[diffusion]\nlength = 8\nsteps = 4\nblock_length = 4\n",
}
POINTS = ({"rank": 4, "alpha": 32}, {"rank": 2, "alpha": 8})


@dataclass(frozen=True)
class Outcome:
    """What became of one type and task."""

    model_type: str
    task: str
    verdict: str  # packed, alone, wrong, cannot, not built
    reason: str = ""
    model_class: str = ""
    seconds: float = 0.0
    differences: dict[str, float] = field(default_factory=dict)  # relative, by what was compared


def tried(model_type: str, task: str, folder: Path) -> Outcome:
    """Take a type through a task; reasons come back as text, nothing is raised."""
    auto = getattr(__import__("transformers"), TASKS[task].model_class)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = save_tiny(auto, model_type, folder)
        except Exception as error:
            return Outcome(model_type, task, "not built", in_words(error, folder))
        known = {"model_type": model_type, "task": task, "model_class": made.__name__}
        try:
            return _trained(known, folder)
        except Exception as error:
            return Outcome(**known, verdict="cannot", reason=in_words(error, folder))


def in_words(error: BaseException, folder: Path) -> str:
    """Return an error as one short line without the folder's name."""
    text = " ".join(str(error).split()).replace(str(folder), "FOLDER")
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def _trained(known: dict[str, Any], folder: Path) -> Outcome:
    """Train with all linear layers; where these do not pack, see whether attention layers do."""
    try:
        whole = _with_targets(known, folder, "all-linear")
    except InputError as error:
        if "method.target_modules" not in str(error):
            raise
        refused = in_words(error, folder)
        try:
            attention = _with_targets(known, folder, "attention")
        except InputError:
            raise error from None
        return replace(attention, reason=f"`attention`; `all-linear` is refused: {refused}")
    if whole.verdict != "alone":
        return whole
    try:
        attention = _with_targets(known, folder, "attention")
    except InputError:  # it has none
        return whole
    if attention.verdict != "packed":
        return whole if attention.verdict == "alone" else attention
    return replace(attention, reason=f"`attention`; alone with `all-linear`: {whole.reason}")


def _with_targets(known: dict[str, Any], folder: Path, targets: str) -> Outcome:
    try:
        return _with_stop(known, folder, targets, STOP)
    except InputError as error:  # a head with a bias
        if "data.stop_token" not in str(error):
            raise
    return _with_stop(known, folder, targets, SPECIAL_TOKENS["eos_token"])


def _with_stop(known: dict[str, Any], folder: Path, targets: str, stop: str) -> Outcome:
    spec = _study(folder, known["task"], targets, stop)
    corpus = corpus_of(spec)
    base = working_base(spec, str(folder), corpus.labels)
    task = make_task(spec, base, corpus)
    configs = [search_config(spec, i, point, i) for i, point in enumerate(POINTS)]
    with closing(engine_over(spec, base, task, EngineChoice(slots=len(configs)))) as engine:
        packs = isinstance(engine, MixedEngine)
        results, why_alone = train(engine, configs)
    failures = [result.failure for result in results if result.failure]
    if failures:
        raise RuntimeError(failures[0])
    differences = {}
    if packs:
        with closing(SequentialEngine(spec, base, task)) as engine:
            alone, _ = train(engine, configs)
        differences["alone"] = max(map(_apart, results, alone))
    found = results[0].splits["dev"]
    assert results[0].adapter is not None
    save_adapter(folder, "first", results[0].adapter)
    reloaded = _reloaded(folder / "adapters" / "first", folder, spec, corpus.labels)
    plain = reloaded.get_base_model()
    (again,) = Examiner(spec, task, plain).splits(configs[:1])
    differences["reloaded"] = _far(_losses(again["dev"]), _losses(found))
    differences["whole"] = _far(own_losses(spec, task, plain, configs[0]), _losses(found))
    wrong = [what for what, far in differences.items() if not far < CLOSE]
    if found.outputs != again["dev"].outputs:
        wrong.append("outputs")
    unpadded = own_losses(spec, task, plain, configs[0], at_once=1)
    differences["unpadded"] = _far(unpadded, _losses(found))
    with reloaded.disable_adapter():
        differences["learnt"] = _far(own_losses(spec, task, plain, configs[0]), _losses(found))
    if not differences["learnt"] > CLOSE:
        wrong.append("learnt nothing")
    why = why_alone or why_not_packed(configs[0].method, configs[0].training, base) or ""
    reads_padding = ["its results depend on padding"] * (differences["unpadded"] > CLOSE)
    reasons = [*filter(None, [why]), *reads_padding]
    if wrong:
        reasons.insert(0, f"differs ({'packed' if packs else 'alone'}): {', '.join(wrong)}")
    verdict = "wrong" if wrong else "packed" if packs else "alone"
    return Outcome(**known, verdict=verdict, reason="; ".join(reasons), differences=differences)


def _study(folder: Path, task: str, targets: str, stop: str) -> StudySpec:
    is_labelled = TASKS[task].outputs == "classes"
    save_examples(folder)
    content = STUDY_FILE.format(
        task=task,
        folder=folder,
        labelled="-labelled" if is_labelled else "",
        more=MORE.get(task, "").format(stop=stop),
        targets=targets,
        metrics='["accuracy", "loss"]' if is_labelled else '["chrf", "loss"]',
    )
    (folder / "study.toml").write_text(content, encoding="utf-8")
    return load_spec(folder / "study.toml")


def train(engine: Engine, configs: Sequence[TrialConfig]) -> tuple[list[TrialResult], str]:
    """Return the results of trials in order, and why the engine packs none."""
    waiting, results, why_alone = list(configs), {}, ""
    while len(results) < len(configs):
        while waiting and engine.free_slots:
            engine.start(waiting.pop(0))
        for event in engine.advance():
            if isinstance(event, Finished):
                results[event.number] = event.result
            elif isinstance(event, Checked):
                why_alone = event.check.why_alone or ""
    return [results[config.number] for config in configs], why_alone


def _reloaded(adapter: Path, folder: Path, spec: StudySpec, labels: Sequence[str]) -> Any:
    """Return the plain base, loaded by transformers, with the adapter, loaded by PEFT."""
    import transformers
    from peft import PeftModel

    auto = getattr(transformers, spec.task_kind.model_class)
    named = {"num_labels": len(labels)} if spec.task_kind.outputs == "classes" else {}
    plain = auto.from_pretrained(folder, dtype=torch.float32, **named)
    return PeftModel.from_pretrained(plain, adapter).eval()


@torch.no_grad()
def own_losses(
    spec: StudySpec, task: Any, model: Any, config: TrialConfig, at_once: int = 1000
) -> Any:
    """Return a model's loss of every dev example (N,), from all logits of its own forward."""
    losses: list[Any] = []
    examples, draws = task.examples("dev"), torch.Generator().manual_seed(0)
    for first in range(0, len(examples), at_once):
        batch = task.collate(examples[first : first + at_once], config, draws)
        inputs, labels, rows = batch.inputs, batch.labels, batch.rows
        if spec.task == "causal_translation":
            logits = model(**inputs).logits
            starts = rows["prompt_tokens"] - 1
            losses += [
                F.cross_entropy(
                    row[start:][: int((label != IGNORED).sum())], label[label != IGNORED]
                )
                * (label != IGNORED).sum()
                for row, start, label in zip(logits, starts, labels, strict=True)
            ]
        elif spec.task == "classification":
            logits = model(**inputs).logits
            losses += F.cross_entropy(logits, labels[:, 0], reduction="none")
        elif spec.task == "translation":
            logits = model(**inputs, labels=labels).logits
            losses += F.cross_entropy(logits.mT, labels, reduction="none").sum(dim=1)
        else:
            losses += _masked_losses(task, model, batch)
    return np.array([float(loss) for loss in losses])


def _masked_losses(task: Any, model: Any, batch: Batch) -> Any:
    """Return the losses of rows over their draws, from the logits of whole rows."""
    total = torch.zeros(len(batch.labels))
    for draw in range(batch.rows["scale"].shape[1]):
        masked = batch.rows["masked"][..., draw]
        noisy = batch.inputs["input_ids"].masked_fill(masked, task._form.mask)
        logits = model(**{**batch.inputs, "input_ids": noisy}).logits[masked]
        scale = batch.rows["scale"][:, draw]
        total = total + masked_diffusion(logits, batch.labels, masked, scale)
    return total


def _losses(result: SplitResult) -> Any:
    return np.asarray(result.statistics["loss"].values)[:, 0]


def _apart(one: TrialResult, other: TrialResult) -> float:
    """Return how far two trainings of a trial are apart: in training and dev losses."""
    steps = _far([loss for _, loss in one.losses], [loss for _, loss in other.losses])
    return max(steps, _far(_losses(one.splits["dev"]), _losses(other.splits["dev"])))


def _far(found: Any, wanted: Any) -> float:
    """Return the largest difference relative to the mean of what is wanted; NaN if any is NaN."""
    found, wanted = np.asarray(found, float), np.asarray(wanted, float)
    return float(np.abs(found - wanted).max() / np.abs(wanted).mean())
