"""Everything that a run does before its first trial, short of loading weights.

`run` and `check` call the same two functions, so they refuse the same things in the same words, and
all faults that do not depend on each other at once.  The task is built over a skeleton of the base
(its modules on PyTorch's meta device) by the code that builds it over the real one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.data.corpora import corpus_of, read_corpus
from study.data.readers import Corpus
from study.data.rendering import check_stored_template
from study.errors import Faults, InputError
from study.metrics.needs import check_metrics, metric_remarks
from study.metrics.own import try_own_metrics
from study.spec.base_and_data import SPLITS
from study.spec.files import changed_keys, load_spec, unsaid
from study.spec.sections import StudySpec

if TYPE_CHECKING:
    from study.bases.load import BaseModel
    from study.tasks.base import Task

TRIED = 2  # examples that own metrics score before anything is trained
StepCallback = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Inputs:
    """The data of a study, and what is wrong with its data and metrics."""

    corpus: Corpus[Any] | None  # None: unreadable, or your own task's
    faults: Faults
    task: Task | None = None  # your own

    def count(self, split: str) -> int:
        """Return the number of examples of a split."""
        if self.corpus is not None:
            return len(self.corpus.split(split))
        assert self.task is not None
        return len(self.task.examples(split))


@dataclass(frozen=True)
class Prepared:
    """A study that can be trained."""

    location: str  # of the base
    skeleton: BaseModel  # modules, tokenizer and configuration, but no weights
    remarks: tuple[str, ...]  # on metrics, data and base
    task: Task | None  # over the skeleton


def sound_spec(
    target: str,
    overrides: Mapping[str, Any] | None = None,
    own_task: str | None = None,
    *,
    changes: Sequence[str] = (),
    remark: Callable[[str], None] = unsaid,
    quick: bool = False,
) -> StudySpec:
    """Read a study file; one with faults is refused with those of its data and base as well.

    The arguments are those of `load_spec`; if `quick`, no base is looked at.  The embedded base and
    data have no faults, and a wrong key or value of the command line is refused before either is
    looked at.
    """
    faults = Faults()
    with faults.collected():
        spec = load_spec(target, overrides, own_task, faults, changes=changes, remark=remark)
        is_own = (spec.base.model, spec.data.origin) != ("embedded", "embedded")
        if faults.problems and is_own and not _names_a_change(faults.problems, changes):
            inputs = read_inputs(spec, quick=quick)
            if not quick:
                prepare(spec, inputs)
            inputs.faults.refuse()
    faults.refuse()
    return spec


def _names_a_change(problems: Sequence[str], changes: Sequence[str]) -> bool:
    """Say whether a change of the command line has a wrong key or value, or neither."""
    keys = changed_keys(changes, Faults())
    named = tuple(f": {key}{end}" for key in keys for end in (":", "."))
    return any(line.startswith("--set:") or any(k in line for k in named) for line in problems)


def read_inputs(spec: StudySpec, task: Task | None = None, *, quick: bool = False) -> Inputs:
    """Read the data or make the study's own task, and look for what the metrics need.

    If `quick`, data and chat template are only read: no tokenizer writes the data, and torch is not
    imported.
    """
    faults, corpus = Faults(), None
    with faults.collected():
        check_metrics(spec.evaluation)
    if task is None and spec.own_task is not None:
        from study.tasks.own import own_task

        with faults.collected():
            task = own_task(spec)
    elif task is None:
        with faults.collected():
            corpus = read_corpus(spec) if quick else corpus_of(spec)
        folder = Path(spec.base.model)
        needs_template = spec.task_kind.reads_conversations and spec.data.chat_template is None
        if quick and needs_template and folder.is_dir():
            with faults.collected():
                check_stored_template(folder)
    return Inputs(corpus, faults, task)


def prepare(spec: StudySpec, inputs: Inputs, progress: StepCallback | None = None) -> Prepared:
    """Locate or build the base and the teacher, and check all that a study names against them.

    Raises:
        InputError: with every problem, those of `inputs` included.
    """
    from study.bases.load import locate_base, locate_teacher
    from study.engines.process_settings import be_one_quiet_thread
    from study.peft_methods.adapters import token_to_train
    from study.peft_methods.quantized import check_quantized_methods
    from study.peft_methods.targets import check_methods

    be_one_quiet_thread()
    faults, corpus, task = inputs.faults, inputs.corpus, inputs.task
    location, base = "", None
    with faults.collected():
        check_quantized_methods(spec)
    if spec.distillation is not None:
        with faults.collected():
            locate_teacher(spec, progress)
    with faults.collected():
        location = locate_base(spec, progress)
        base = _skeleton(spec, location, corpus)
    remarks = [f"metrics: {line}" for line in metric_remarks(spec.evaluation)]
    if base is not None:
        with faults.collected():
            check_methods(base, spec)
        with faults.collected():
            token_to_train(base, spec)
        if corpus is not None:
            lines, task = _over_the_corpus(spec, base, corpus, faults)
            remarks += lines
        if corpus is not None and not faults.problems:
            remarks += end_remarks(spec, location, base, corpus)
        if task is not None and not faults.problems:
            with faults.collected():
                remarks += vocabulary_remarks(spec, base, task)
            with faults.collected():
                try_own_metrics(
                    spec.evaluation, [task.texts(e) for e in task.examples("dev")[:TRIED]]
                )
    faults.refuse()
    assert base is not None
    return Prepared(location, base, tuple(remarks), task)


def _skeleton(spec: StudySpec, location: str, corpus: Corpus[Any] | None) -> BaseModel:
    from study.bases.load import load_base

    labels = corpus.labels if corpus is not None else ()
    return load_base(location, spec.base, spec.task, labels, skeleton=True)


def _over_the_corpus(
    spec: StudySpec, base: BaseModel, corpus: Corpus[Any], faults: Faults
) -> tuple[list[str], Task | None]:
    """Check languages, lengths and every example; return the remarks, and the task if it fits."""
    from study.data.remarks import data_remarks
    from study.tasks import make_task

    remarks: list[str] = []
    task: Task | None = None
    with faults.collected():
        remarks = [f"data: {line}" for line in data_remarks(spec, corpus, base)]
    with faults.collected():
        task = make_task(spec, base, corpus)
    return remarks, task


def end_remarks(spec: StudySpec, location: str, base: BaseModel, corpus: Corpus[Any]) -> list[str]:
    """Return one line if answers end with a token that the base never learnt."""
    from study.bases.untrained_tokens import looks_untrained

    if not spec.task_kind.reads_conversations or spec.data.stop_token is not None:
        return []
    end = corpus.train[0].rows[0].end
    if not looks_untrained(location, end):
        return []
    token = base.tokenizer.convert_ids_to_tokens(end)
    return [
        f"template: {token!r} ends an answer, but many tokens have nearly its weights in this "
        "base, so answers may not stop; set data.chat_template = 'plain', or data.stop_token = "
        f"{token!r} to train it"
    ]


def vocabulary_remarks(spec: StudySpec, base: BaseModel, task: Task) -> list[str]:
    """Return one line if the tokenizer has tokens that the embedding lacks, but no text uses them.

    Gemma 3, for instance, has a token for images that its models of text do not know.

    Raises:
        InputError: an example contains such a token.
    """
    rows = int(base.model.get_input_embeddings().weight.shape[0])
    tokens = 1 + max(base.tokenizer.get_vocab().values(), default=-1) if base.tokenizer else 0
    if tokens <= rows:
        return []
    count = f"its tokenizer has {tokens:,} tokens, its embedding {rows:,} rows"
    if any(largest >= rows for largest in _largest_ids(spec, task)):
        raise InputError(
            f"base.model: {base.name}: {count}; resize the model "
            "(resize_token_embeddings), save it, and use that as base.model"
        )
    return [f"base: {count}; no text uses the others"]


def _largest_ids(spec: StudySpec, task: Task) -> Any:
    """Yield the largest token of every example, as the task gives it to a model."""
    import torch

    from study.trials import baseline_configs

    config = baseline_configs(spec)[0]
    generator = torch.Generator().manual_seed(0)
    for split in SPLITS:
        for example in task.examples(split):
            batch = task.collate([example], config, generator)
            ids = batch.inputs.get("input_ids")
            labels = None if batch.labels.is_floating_point() else batch.labels  # numbers
            yield max(int(part.max()) for part in (ids, labels) if part is not None)
