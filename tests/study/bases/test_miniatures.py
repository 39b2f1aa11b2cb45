"""One contract for all miniatures: each is built once, whole, and the same every time."""

from __future__ import annotations

import copy
import importlib.util
import sys
import threading
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import transformers

from study.bases import building, classifier, llama, masked, miniatures, translator
from study.bases.building import Miniature, ModelRole, build
from study.bases.cache import is_intact
from study.bases.load import load_base, locate_base
from study.bases.miniatures import MINIATURES, embedded_folder
from study.data.sentence_pairs import NLI
from study.spec.base_and_data import DataSpec
from study.spec.files import load_spec
from tests.study.bases.conftest import shrink

pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("small_corpora")]

DATA = DataSpec(seed=107)
WITH_TEACHER = ("llama", "distilbert")
KINDS = [*((name, "base") for name in MINIATURES), *((name, "teacher") for name in WITH_TEACHER)]
STEPS = 30
REAL = dict(MINIATURES)


@cache
def embedded(architecture: str, part: ModelRole) -> Miniature[Any, Any]:
    """Return an embedded miniature of a small corpus as described."""
    return REAL[architecture](DATA, part)


def tiny(architecture: str, part: ModelRole, **changes: Any) -> Miniature[Any, Any]:
    """Return a miniature at a size that is built in no time."""
    whole = embedded(architecture, part)
    small = {"width": 16, "layers": 1, "heads": 2, "ffn": 32, "steps": STEPS, "batch_size": 8}
    if hasattr(whole.recipe, "vocabulary_size"):
        small["vocabulary_size"] = 300
    recipe = replace(whole.recipe, **{**small, **changes})
    rows, vocabulary_rows = whole.rows[:100], whole.vocabulary_rows[:100]
    return replace(whole, recipe=recipe, rows=rows, vocabulary_rows=vocabulary_rows)


@dataclass(frozen=True)
class Built:
    """A tiny miniature, the folder it was written to, and what was reported on the way."""

    miniature: Miniature[Any, Any]
    folder: Path
    reports: list[tuple[int, int, float]]


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, small_corpora: None
) -> Built:
    """Build each miniature once."""
    miniature = tiny(*request.param)
    folder = tmp_path_factory.mktemp("miniature") / "whole"
    reports: list[tuple[int, int, float]] = []
    build(miniature, folder, lambda *step: reports.append(step))
    return Built(miniature, folder, reports)


# ---------------------------------------------------------------- what is built


def test_a_miniature_is_a_plain_hugging_face_folder(built: Built) -> None:
    """Transformers loads every weight and the tokenizer of its vocabulary, without a network."""
    model_class = getattr(transformers, built.miniature.recipe.model_class)
    model, loading = model_class.from_pretrained(built.folder, output_loading_info=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(built.folder)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert model.config.vocab_size == len(tokenizer)
    assert is_intact(built.folder)


def test_every_step_is_reported_and_the_loss_falls(built: Built) -> None:
    """The progress callback sees each step, the number of steps and the loss."""
    assert [step[:2] for step in built.reports] == [(i, STEPS) for i in range(1, STEPS + 1)]
    losses = [loss for _, _, loss in built.reports]
    assert sum(losses[-10:]) < sum(losses[:10])


def test_the_same_miniature_gives_the_same_bytes(built: Built, tmp_path: Path) -> None:
    """Whatever the global generator's state, which is left as it was; another seed matters."""
    torch.manual_seed(99)
    state = torch.get_rng_state()
    build(built.miniature, tmp_path / "again")
    assert torch.equal(torch.get_rng_state(), state)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (built.folder / name).read_bytes()
    other = replace(built.miniature, recipe=replace(built.miniature.recipe, seed=6))
    build(other, tmp_path / "other")
    weights = [folder / "model.safetensors" for folder in (tmp_path / "other", built.folder)]
    assert weights[0].read_bytes() != weights[1].read_bytes()


def test_the_norms_are_written_enlarged(built: Built) -> None:
    """After training, where the recipe asks for it, norms put out `norm_gain` times as much."""
    model = getattr(transformers, built.miniature.recipe.model_class).from_pretrained(built.folder)
    largest = max(w.max().item() for name, w in model.named_parameters() if "norm" in name.lower())
    gain = built.miniature.recipe.norm_gain
    assert 0.5 * gain < largest < 2 * gain


def test_larger_norms_leave_the_function_as_it_is(built: Built) -> None:
    """Enlarging moves scale from weights to norms and changes no logit, whatever the biases are."""
    miniature, recipe = built.miniature, built.miniature.recipe
    if recipe.norm_gain == 1:
        pytest.skip("enlarging is NOT tested: the norms of this miniature are as they were trained")
    tokenizer = transformers.AutoTokenizer.from_pretrained(built.folder)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        plain = miniature.new_model(tokenizer).double().eval()
        for parameter in plain.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        enlarged = copy.deepcopy(plain)
        recipe.finish(enlarged)
        batch = next(recipe.batches(miniature.rows, tokenizer))
        batch.pop("scale", None)
        one, other = (model(**batch).logits for model in (plain, enlarged))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)  # Llama's norms are float32


def test_meta_counts_what_is_built(built: Built) -> None:
    """Parameters are counted before anything is trained, on a device that holds none."""
    model = getattr(transformers, built.miniature.recipe.model_class).from_pretrained(built.folder)
    meta = built.miniature.meta()
    assert {weight.device.type for weight in meta.parameters()} == {"meta"}
    assert {n: w.shape for n, w in meta.named_parameters()} == {
        n: w.shape for n, w in model.named_parameters()
    }


def test_a_miniature_is_never_built_over_something_else(built: Built) -> None:
    """An existing folder is named and refused."""
    with pytest.raises(FileExistsError, match=str(built.folder)):
        build(built.miniature, built.folder)


def test_a_miniature_needs_rows(built: Built, tmp_path: Path) -> None:
    """An empty corpus is refused before anything is written."""
    with pytest.raises(ValueError, match="at least one row"):
        build(replace(built.miniature, rows=()), tmp_path / "base")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_build_leaves_nothing(built: Built, tmp_path: Path) -> None:
    """A folder appears whole or not at all."""

    def interrupt(step: int, total: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(built.miniature, tmp_path / "base", interrupt)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- the cache


@pytest.fixture
def all_tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Put tiny miniatures in the place of the embedded ones; return an empty cache."""

    def tiny_of(architecture: str) -> Any:
        return lambda data, part: tiny(architecture, part, steps=2, seed=data.seed)

    for architecture in MINIATURES:
        monkeypatch.setitem(miniatures.MINIATURES, architecture, tiny_of(architecture))
    monkeypatch.setenv("OPTUNA_STUDY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@pytest.mark.usefixtures("all_tiny")
def test_two_at_once_build_one(kind: tuple[str, ModelRole]) -> None:
    """Whoever comes second waits and takes what the first has built; another seed is another."""
    architecture, part = kind
    steps: list[int] = []
    folders: list[Path] = []

    def get() -> None:
        found = embedded_folder(architecture, DATA, part, lambda step, *_: steps.append(step))
        folders.append(found)

    threads = [threading.Thread(target=get) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    get()
    assert steps == [1, 2]
    assert len(set(folders)) == 1
    assert is_intact(folders[0])
    assert embedded_folder(architecture, DataSpec(seed=108), part) != folders[0]


@pytest.mark.parametrize("damage", ["cut", "missing", "no manifest"])
@pytest.mark.usefixtures("all_tiny")
def test_a_damaged_miniature_is_built_again(damage: str) -> None:
    """Half a file, a missing file or a missing manifest: none is taken for a base."""
    folder = embedded_folder("nllb", DATA)
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    if damage == "cut":
        weights.write_bytes(content[:100])
    else:
        (weights if damage == "missing" else folder / "base.json").unlink()
    assert not is_intact(folder)
    assert embedded_folder("nllb", DATA) == folder
    assert weights.read_bytes() == content


@pytest.mark.parametrize("preset", ["petroleum", "eurollama", "distilbert-mnli", "llada"])
def test_a_study_counts_the_base_that_it_loads(all_tiny: Path, preset: str) -> None:
    """Every task finds its own miniature, and counts it with the head that the task puts on it."""
    spec = load_spec(preset, {"data.seed": 107})
    labels = NLI if spec.task == "classification" else ()
    location = locate_base(spec)
    counted = load_base(location, spec.base, spec.task, labels, skeleton=True).model
    assert Path(location).parent == all_tiny
    loaded = load_base(location, spec.base, spec.task, labels).model
    assert type(counted) is type(loaded)
    assert {n: w.shape for n, w in counted.named_parameters()} == {
        n: w.shape for n, w in loaded.named_parameters()
    }


# ---------------------------------------------------------------- the key


def commented_copy(module: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a module made from the same source with a comment before every definition."""
    assert module.__file__ is not None
    source = Path(module.__file__).read_text(encoding="utf-8")
    path = folder / "commented.py"
    path.write_text(source.replace("\n\n\ndef ", "\n\n\n# A comment.\ndef "), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("commented", path)
    assert spec is not None
    assert spec.loader is not None
    copied = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "commented", copied)
    spec.loader.exec_module(copied)
    shrink(copied, monkeypatch)
    return copied


@pytest.mark.parametrize("module", [translator, llama, classifier, masked])
def test_a_comment_changes_no_key(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Editing the source without raising the version retrains nothing."""
    commented = commented_copy(module, tmp_path, monkeypatch)
    assert commented.embedded(DATA, "base").digest() == module.embedded(DATA, "base").digest()


def test_a_comment_on_the_building_changes_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the source of what all miniatures share."""
    commented = commented_copy(building, tmp_path, monkeypatch)
    miniature = tiny("nllb", "base")
    assert commented.Miniature.digest(miniature) == miniature.digest()


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_whatever_decides_the_weights_is_in_the_key(kind: tuple[str, ModelRole]) -> None:
    """The version, every field of the recipe, every text and the texts' order."""
    miniature = tiny(*kind)
    recipe, rows = miniature.recipe, miniature.rows
    first = fields(rows[0])[0].name
    newer = type("Newer", (type(recipe),), {"version": recipe.version + 1})
    changed = [
        replace(miniature, recipe=newer(**vars(recipe))),
        replace(miniature, rows=[*rows[1:], rows[0]]),
        replace(miniature, rows=[replace(rows[0], **{first: "another text"}), *rows[1:]]),
        replace(miniature, vocabulary_rows=rows[:5]),
    ]
    for field in fields(recipe):
        value = getattr(recipe, field.name)
        other = value + 1 if isinstance(value, (int, float)) else (*value, "x")
        changed.append(replace(miniature, recipe=replace(recipe, **{field.name: other})))
    digests = {miniature.digest(), *(other.digest() for other in changed)}
    assert len(digests) == 1 + len(changed)


@pytest.mark.parametrize(
    ("release", "is_the_same"), [("2.13.1", True), ("2.14.0", False), ("3.13.0", False)]
)
def test_a_minor_release_of_a_library_is_in_the_key(
    monkeypatch: pytest.MonkeyPatch, release: str, is_the_same: bool
) -> None:
    """A patch release retrains nothing."""
    for library in ("torch", "transformers", "tokenizers"):
        versions = {"torch": "2.13.0+cpu", "transformers": "2.13.0", "tokenizers": "2.13.0"}
        monkeypatch.setattr(building, "library_versions", lambda known=versions: known)
        before = tiny("nllb", "base").digest()
        monkeypatch.setattr(
            building, "library_versions", lambda known={**versions, library: release}: known
        )
        assert (tiny("nllb", "base").digest() == before) is is_the_same


def test_the_cache_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """$OPTUNA_STUDY_CACHE comes before the home folder."""
    from study.bases.cache import default_cache

    monkeypatch.setenv("OPTUNA_STUDY_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
