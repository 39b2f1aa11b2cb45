"""Fixtures that several tests share: a tiny base in Hugging Face format, and studies over it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.trials import TrialConfig
from study.views.base import Outcome, View
from tests.command_line import finished, type_

__all__ = ["finished", "type_"]

os.environ["OMP_NUM_THREADS"] = "1"  # a worker's one thread; sums over two differ in their last bit


SLOWEST = ("tests/study/engines/test_contract.py", "tests/study/engines/", "tests/study/bases/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest tests, so that no worker is left with a long one at the end."""
    ranks = {name: rank for rank, name in enumerate(SLOWEST)}
    items.sort(
        key=lambda item: min(
            (rank for name, rank in ranks.items() if item.nodeid.startswith(name)),
            default=len(SLOWEST),
        )
    )


class RecordingView(View):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.remarks: list[str] = []
        self.progress: list[tuple[int, int, float | None]] = []
        self.on_progress: Callable[[TrialConfig, int], None] = lambda config, step: None

    @override
    def remarked(self, line: str) -> None:
        self.remarks.append(line)

    @override
    @contextmanager
    def searching(
        self, total: int, done: int, workers: int, what: str = "trials"
    ) -> Iterator[None]:
        self.total, self.done, self.what = total, done, what
        yield

    @override
    def progressed(self, config: TrialConfig, step: int, value: float | None) -> None:
        self.progress.append((config.number, step, value))
        self.on_progress(config, step)

    @override
    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


@pytest.fixture
def view() -> RecordingView:
    """Return a view that keeps what it was told."""
    return RecordingView()


@pytest.fixture(scope="session")
def parallel_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with train.tsv, dev.tsv and general.tsv: few, short pairs."""
    from study.data.embedded import petroleum_corpus

    corpus = petroleum_corpus(0)
    folder = tmp_path_factory.mktemp("text")
    for name, pairs in (
        ("train", corpus.train[:40]),
        ("dev", corpus.dev[:12]),
        ("general", corpus.general[:8]),
    ):
        lines = ["source\ttarget", *(f"{p.source}\t{p.target}" for p in pairs)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a barely trained model of NLLB's architecture in Hugging Face format."""
    from study.bases.building import Miniature, build
    from study.bases.translator import TranslatorRecipe
    from study.data.embedded import petroleum_corpus

    recipe = TranslatorRecipe(width=16, layers=1, heads=2, ffn=32, steps=20, vocabulary_size=400)
    folder = tmp_path_factory.mktemp("base") / "tiny"
    build(Miniature(recipe, petroleum_corpus(0).base_train[:2000]), folder)
    return folder


@pytest.fixture(scope="session")
def tiny_classifiers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `base` and `teacher`, barely trained, and train and dev.jsonl."""
    from study.bases.building import Miniature, build
    from study.bases.classifier import StudentRecipe, TeacherRecipe
    from study.data.embedded import pair_corpus
    from study.data.sentence_pairs import NLI

    folder, corpus = tmp_path_factory.mktemp("classifiers"), pair_corpus("mnli", 0)
    tiny = {"width": 16, "layers": 1, "heads": 2, "ffn": 32, "steps": 20, "batch_size": 32}
    student = StudentRecipe(**tiny)
    teacher = TeacherRecipe(**tiny, learning_rate=student.learning_rate, labels=NLI)
    build(Miniature(student, corpus.text), folder / "base")
    build(Miniature(teacher, corpus.teacher[:3000]), folder / "teacher")
    for name, pairs in (("train", corpus.train[:40]), ("dev", corpus.dev[:24])):
        rows = [{"sentence1": p.first, "sentence2": p.second, "gold_label": p.label} for p in pairs]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return folder


PAIR_STUDY_FILE = """
name = "{name}"
task = "classification"
seed = 7

[base]
model = "{folder}/base"

[data]
train = "{folder}/train.jsonl"
dev = "{folder}/dev.jsonl"

[distillation]
teacher = "{folder}/teacher"

[training]
steps = 4
batch_size = 4
report_every = 2

[evaluation]
report_examples = 8

[search]
sampler = "random"
trials = 3

[search.parameters.learning_rate]
low = 1e-4
high = 1e-2
log = true

[search.parameters.distillation_weight]
low = 0.0
high = 1.0
"""


@pytest.fixture(scope="session")
def make_pair_spec(
    tiny_classifiers: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., StudySpec]:
    """Return a function that makes a tiny classification study's spec, changed by dotted keys."""
    folder = tmp_path_factory.mktemp("pair-specs")

    def make(changes: dict[str, Any] | None = None, name: str = "pairs") -> StudySpec:
        path = folder / f"{name}.toml"
        path.write_text(PAIR_STUDY_FILE.format(name=name, folder=tiny_classifiers))
        return load_spec(path, changes)

    return make


STUDY_FILE = """
name = "{name}"
seed = 7

[base]
model = "{base}"

[data]
train = "{text}/train.tsv"
dev = "{text}/dev.tsv"
general = "{text}/general.tsv"

[training]
steps = 4
batch_size = 4
report_every = 2

[evaluation]
max_new_tokens = 6
report_examples = 4

[search]
space = "lora-narrow"
sampler = "random"
trials = 3
"""


@pytest.fixture(scope="session")
def make_spec(
    tiny_base: Path, parallel_text: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., StudySpec]:
    """Return a function that makes a tiny study's spec, changed by dotted keys."""
    folder = tmp_path_factory.mktemp("specs")

    def make(changes: dict[str, Any] | None = None, name: str = "tiny") -> StudySpec:
        path = folder / f"{name}.toml"
        path.write_text(STUDY_FILE.format(name=name, base=tiny_base, text=parallel_text))
        return load_spec(path, changes)

    return make


@pytest.fixture(scope="session")
def tiny_spec(make_spec: Callable[..., StudySpec]) -> StudySpec:
    """Return the tiny study's spec."""
    return make_spec()
