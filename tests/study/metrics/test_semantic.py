"""Cosine and F1 over sentence embeddings, with a tiny encoder that the test writes itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from study.errors import InputError
from study.metrics import TextOptions, semantic, text_statistics
from study.metrics.needs import check_metrics
from study.spec.evaluation import EvaluationSpec
from study.spec.sections import StudySpec

TEXTS = ["the well is deep", "mud rises", "", "gas gas gas"]
REFERENCES = ["the well is deep", "rock", "the rig", "gas"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers model of one layer with random weights."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz")]
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters])
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32}
    config = BertConfig(vocab_size=57, num_hidden_layers=1, num_attention_heads=2, **sizes)
    BertModel(config).save_pretrained(folder / "bert")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    body = Transformer(str(folder / "bert"))
    made = SentenceTransformer(modules=[body, Pooling(16)], device="cpu")
    made.save(str(folder / "tiny"), create_model_card=False)
    return folder / "tiny"


def test_the_cosine_is_sentence_transformers(encoder: Path) -> None:
    """Each pair's cosine as the library computes it; an empty output scores 0."""
    from sentence_transformers import SentenceTransformer, util

    model = SentenceTransformer(str(encoder), device="cpu")
    theirs = util.pairwise_cos_sim(model.encode(TEXTS), model.encode(REFERENCES)).numpy()
    theirs[2] = 0.0
    found = text_statistics("semantic_cosine", TEXTS, REFERENCES, TextOptions(str(encoder)))
    assert found.example_scores() == pytest.approx(theirs, abs=1e-5)
    assert found.example_scores()[0] == pytest.approx(1.0)
    assert found.score == pytest.approx(theirs.mean(), abs=1e-5)


def test_the_signature_holds_the_encoders_weights(encoder: Path, tmp_path: Path) -> None:
    """Another encoder under the same name is another metric."""
    from safetensors.numpy import load_file, save_file

    other = shutil.copytree(encoder, tmp_path / "tiny")
    (weights,) = other.rglob("*.safetensors")
    tensors = load_file(weights)
    save_file({k: v + np.float32(0.1) for k, v in tensors.items()}, weights, {"format": "pt"})
    one, two = (
        text_statistics("semantic_cosine", TEXTS, REFERENCES, TextOptions(str(folder))).signature
        for folder in (encoder, other)
    )
    assert one.startswith("cosine|mean:example|empty:0|encoder:tiny|sha256:")
    assert one != two


def test_f1_counts_pairs_that_reach_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said and not right costs precision, what is not said costs recall only."""
    cosines = np.array([0.9, 0.5, 0.0, 0.49])
    monkeypatch.setattr(semantic, "_cosines", lambda *_: (cosines, "encoder"))
    found = text_statistics("semantic_f1", TEXTS, REFERENCES)
    precision, recall = 2 / 3, 2 / 4
    assert found.score == pytest.approx(2 * precision * recall / (precision + recall))
    assert found.values.tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 1], [0, 1, 1]]
    assert found.example_scores().tolist() == [1, 1, 0, 0]


def test_f1_without_empty_outputs_is_the_share_of_matches(encoder: Path) -> None:
    """As `docs/metrics.md` says."""
    options = TextOptions(str(encoder))
    full = (["mud", *TEXTS[:2]], ["mud", *REFERENCES[:2]])
    found = text_statistics("semantic_f1", *full, options)
    cosines = text_statistics("semantic_cosine", *full, options).example_scores()
    assert found.score == pytest.approx(np.mean(cosines >= 0.5))


def test_an_encoder_must_be_named(make_spec: Callable[..., StudySpec]) -> None:
    """The study file is refused, with the key that is missing."""
    with pytest.raises(InputError, match=r"evaluation\.encoder: 'semantic_f1' needs a sentence"):
        make_spec({"evaluation.metrics": ["bleu", "semantic_f1"]})


def _refused(name: str) -> str:
    metrics = ["bleu", "semantic_cosine"]
    evaluation = EvaluationSpec.model_validate({"metrics": metrics, "encoder": name})
    with pytest.raises(InputError) as raised:
        check_metrics(evaluation)
    return str(raised.value)


def test_what_is_no_encoder_is_a_line(encoder: Path, tmp_path: Path) -> None:
    """Nothing there, nothing of the kind, pickled weights, code of its own: each in words."""
    assert _refused("/no/such/folder").startswith("evaluation.encoder: no such folder")
    (tmp_path / "empty").mkdir()
    assert "no modules.json" in _refused(str(tmp_path / "empty"))
    pickled = shutil.copytree(encoder, tmp_path / "pickled")
    (weights,) = pickled.rglob("*.safetensors")
    weights.rename(weights.parent / "pytorch_model.bin")
    assert (
        "no *.safetensors file, got pytorch_model.bin; pickled weights are not loaded"
        in _refused(str(pickled))
    )
    foreign = shutil.copytree(encoder, tmp_path / "foreign")
    (foreign / "modules.json").write_text(json.dumps([{"type": "os.Own", "path": ""}]))
    assert "runs custom code, 'os.Own'" in _refused(str(foreign))


def test_a_study_measures_by_its_encoder(
    encoder: Path, make_spec: Callable[..., StudySpec], tmp_path: Path
) -> None:
    """The path is relative to the study file; what it measures is stored example by example."""
    from study.data.corpora import corpus_of
    from study.tasks.translation import TranslationTask

    metrics = ["bleu", "semantic_cosine", "rouge1"]
    spec = make_spec({"evaluation.metrics": metrics, "evaluation.encoder": str(encoder)})
    task = TranslationTask.__new__(TranslationTask)
    task._evaluation = spec.evaluation
    pairs = corpus_of(spec).dev[:4]
    found = task.score([pair.target for pair in pairs], pairs)
    assert list(found) == metrics
    assert found["semantic_cosine"].score == pytest.approx(1.0)
