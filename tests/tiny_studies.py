"""Tiny bases in Hugging Face format and studies over them, one for each kind of base."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.store.folders import appearing_whole

if TYPE_CHECKING:
    from study.data.embedded import Pair

MakeSpec = Callable[..., StudySpec]


def written_once(
    factory: pytest.TempPathFactory, name: str, write: Callable[[Path], object]
) -> Path:
    """Return a worker's own copy of a folder that `write` fills once for all workers."""
    session = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent
    folder = session / "written-once" / name
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            with appearing_whole(folder) as unfinished:
                write(unfinished)
    return Path(shutil.copytree(folder, factory.mktemp("own") / name))


def write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """Write sentences and their translations as a table."""
    lines = ["source\ttarget", *(f"{pair.source}\t{pair.target}" for pair in pairs)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def parallel_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with train.tsv, dev.tsv and general.tsv, few and short pairs, and base.tsv.

    The base's pairs are the first that the embedded base learns from.
    """

    def write(folder: Path) -> None:
        from study.data.embedded import CorpusRecipe, petroleum_corpus

        recipe = CorpusRecipe(base_general=2000, base_lay=0, base_expert=0)
        corpus = petroleum_corpus(0, recipe)
        write_pairs(folder / "train.tsv", corpus.train[:40])
        write_pairs(folder / "dev.tsv", corpus.dev[:12])
        write_pairs(folder / "general.tsv", corpus.general[:8])
        write_pairs(folder / "base.tsv", corpus.base_train)

    return written_once(tmp_path_factory, "text", write)


def pairs_of(file: Path) -> tuple[Pair, ...]:
    """Read what `write_pairs` wrote."""
    from study.data.embedded import Pair

    lines = file.read_text(encoding="utf-8").splitlines()[1:]
    return tuple(Pair(*line.split("\t")) for line in lines)


@pytest.fixture(scope="session")
def tiny_base(parallel_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a barely trained model of NLLB's architecture."""

    def write(folder: Path) -> None:
        from study.bases.building import Miniature, build
        from study.bases.translator import TranslatorRecipe

        tiny = TranslatorRecipe(width=16, layers=1, heads=2, ffn=32, steps=20, vocabulary_size=400)
        build(Miniature(tiny, pairs_of(parallel_text / "base.tsv")), folder / "tiny")

    return written_once(tmp_path_factory, "base", write) / "tiny"


@pytest.fixture(scope="session")
def tiny_llamas(parallel_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the Llamas `base` and `teacher`: barely trained, of one vocabulary."""

    def write(folder: Path) -> None:
        from study.bases.building import Miniature, build
        from study.bases.llama import LlamaRecipe

        pairs = pairs_of(parallel_text / "base.tsv")
        tiny = LlamaRecipe(width=16, layers=1, heads=2, ffn=32, steps=20, vocabulary_size=400)
        build(Miniature(tiny, pairs), folder / "base")
        build(Miniature(replace(tiny, width=24, layers=2, seed=1), pairs), folder / "teacher")

    return written_once(tmp_path_factory, "llamas", write)


@pytest.fixture(scope="session")
def tiny_classifiers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `base` and `teacher`, barely trained, and train and dev.jsonl."""

    def write(folder: Path) -> None:
        from study.bases.building import Miniature, build
        from study.bases.classifier import StudentRecipe, TeacherRecipe
        from study.data.embedded import pair_corpus
        from study.data.sentence_pairs import NLI

        tiny = {"width": 16, "layers": 1, "heads": 2, "ffn": 32, "steps": 20, "batch_size": 32}
        student = StudentRecipe(**tiny)
        teacher = TeacherRecipe(**tiny, learning_rate=student.learning_rate, labels=NLI)
        sizes = {"dev": 40, "train": 60, "teacher": 900, "text": 900, "test": 0}
        corpus = pair_corpus("mnli", 0, sizes)
        build(Miniature(student, corpus.text), folder / "base")
        build(Miniature(teacher, corpus.teacher), folder / "teacher")
        for name, pairs in (("train", corpus.train[:40]), ("dev", corpus.dev[:24])):
            rows = [
                {"sentence1": p.first, "sentence2": p.second, "gold_label": p.label} for p in pairs
            ]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")

    return written_once(tmp_path_factory, "classifiers", write)


@pytest.fixture(scope="session")
def tiny_masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `base`, train.tsv and dev.tsv: few pairs, a BERT of two layers.

    BERT, since in double precision it computes all in double precision, which Llama's norms do not.
    """

    def write(folder: Path) -> None:
        import torch
        from transformers import BertConfig, BertForMaskedLM

        from study.bases.masked import MaskedRecipe
        from study.data.embedded import Pair, SplitSizes, instruction_corpus

        base = {"base_general": 300, "base_lay": 100, "base_expert": 100}
        corpus = instruction_corpus(0, SplitSizes(dev=160, test=160, general=80, **base))
        pairs = [Pair(row.source, row.target) for row in corpus.base_train]
        tokenizer = MaskedRecipe(vocabulary_size=300).new_tokenizer(pairs)
        sizes = {"hidden_size": 16, "intermediate_size": 32, "initializer_range": 0.4}
        layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 128}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **sizes, **layers))
        model.save_pretrained(folder / "base")
        tokenizer.save_pretrained(folder / "base")
        write_pairs(folder / "train.tsv", corpus.train[:40])
        write_pairs(folder / "dev.tsv", corpus.dev[:12])

    return written_once(tmp_path_factory, "masked", write)


# ---------------------------------------------------------------- studies over them

LITTLE_TRAINING = """
[training]
steps = 4
batch_size = 4
report_every = 2
"""
THREE_TRIALS = """
[search]
sampler = "random"
trials = 3
"""
NARROW = f"""{THREE_TRIALS}
space = "lora-narrow"
"""
SHORT_TEXTS = """
[evaluation]
max_new_tokens = 6
report_examples = 4
"""
DISTILLATION = """space = "none"

[search.parameters.learning_rate]
low = 1e-4
high = 1e-2
log = true

[search.parameters.distillation_weight]
low = 0.0
high = 1.0
"""


def head(task: str, dtype: str, ending: str) -> str:
    """Return how a study begins: over `{base}`, with the texts that `{folder}` holds."""
    return f"""
task = "{task}"
seed = 7

[base]
model = "{{base}}"
dtype = "{dtype}"

[data]
train = "{{folder}}/train.{ending}"
dev = "{{folder}}/dev.{ending}"
"""


PAIR_STUDY = f"""{head("classification", "auto", "jsonl")}
[distillation]
teacher = "{{teacher}}"

[evaluation]
report_examples = 8
{LITTLE_TRAINING}{THREE_TRIALS}{DISTILLATION}"""
SCORED_STUDY = f"""{head("regression", "auto", "jsonl")}
[evaluation]
report_examples = 8
{LITTLE_TRAINING}{THREE_TRIALS}"""
STUDY = f"""{head("translation", "auto", "tsv")}general = "{{folder}}/general.tsv"
{LITTLE_TRAINING}{SHORT_TEXTS}{NARROW}"""
LLAMA_STUDY = f"""{head("causal_translation", "float64", "tsv")}source_language = "eng_Latn"
target_language = "fra_Latn"
stop_token = "<|end_of_translation|>"
{LITTLE_TRAINING}{SHORT_TEXTS}{NARROW}"""
MASKED_STUDY = f"""{head("masked_diffusion", "float64", "tsv")}
[diffusion]
length = 8
steps = 4
block_length = 4

[evaluation]
report_examples = 4
{LITTLE_TRAINING}{NARROW}"""


def spec_maker(folder: Path, name: str, text: str) -> MakeSpec:
    """Return a function that makes a study file's spec, changed by dotted keys and renamed."""

    def make(changes: dict[str, Any] | None = None, name: str = name) -> StudySpec:
        path = folder / f"{name}.toml"
        path.write_text(f'name = "{name}"\n{text}', encoding="utf-8")
        return load_spec(path, changes)

    return make


@pytest.fixture(scope="session")
def make_spec(
    tiny_base: Path, parallel_text: Path, tmp_path_factory: pytest.TempPathFactory
) -> MakeSpec:
    """Return a function that makes a tiny study's spec, changed by dotted keys."""
    text = STUDY.format(base=tiny_base, folder=parallel_text)
    return spec_maker(tmp_path_factory.mktemp("specs"), "tiny", text)


@pytest.fixture(scope="session")
def make_pair_spec(tiny_classifiers: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeSpec:
    """Return a function that makes a tiny classification study's spec, changed by dotted keys."""
    text = PAIR_STUDY.format(
        base=tiny_classifiers / "base",
        folder=tiny_classifiers,
        teacher=tiny_classifiers / "teacher",
    )
    return spec_maker(tmp_path_factory.mktemp("pair-specs"), "pairs", text)


def scored_spec_maker(folder: Path, classifiers: Path) -> MakeSpec:
    """Write the first sentences of labelled pairs, with numbers; return a maker of studies."""
    for name in ("train", "dev"):
        lines = (classifiers / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [
            {"text": json.loads(line)["sentence1"], "score": (7 * i % 11) / 5 - 1}
            for i, line in enumerate(lines)
        ]
        written = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(written, encoding="utf-8")
    text = SCORED_STUDY.format(base=classifiers / "base", folder=folder)
    return spec_maker(folder, "scored", text)


@pytest.fixture(scope="session")
def make_llama_spec(
    tiny_llamas: Path, parallel_text: Path, tmp_path_factory: pytest.TempPathFactory
) -> MakeSpec:
    """Return a function that makes a tiny distillation study's spec, changed by dotted keys."""
    text = LLAMA_STUDY.format(base=tiny_llamas / "base", folder=parallel_text)
    text += f'\n[distillation]\nteacher = "{tiny_llamas}/teacher"\n'
    return spec_maker(tmp_path_factory.mktemp("llama-specs"), "tiny-llama", text)


@pytest.fixture(scope="session")
def make_masked_spec(tiny_masked: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeSpec:
    """Return a function that makes a tiny masked-diffusion study's spec, changed by dotted keys."""
    text = MASKED_STUDY.format(base=tiny_masked / "base", folder=tiny_masked)
    return spec_maker(tmp_path_factory.mktemp("masked-specs"), "tiny-masked", text)


@pytest.fixture(scope="session")
def tiny_spec(make_spec: MakeSpec) -> StudySpec:
    """Return the tiny study's spec."""
    return make_spec()


def adapter_weights(spec: StudySpec, *modules: str) -> dict[str, Any]:
    """Return what PEFT would save of a LoRA of rank 4 on a study's base, by name."""
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    from study.bases.load import load_base, locate_base

    base = load_base(locate_base(spec), spec.base, spec.task)
    model = get_peft_model(base.model, LoraConfig(r=4, target_modules=list(modules)))
    return {name: tensor.contiguous() for name, tensor in get_peft_model_state_dict(model).items()}
