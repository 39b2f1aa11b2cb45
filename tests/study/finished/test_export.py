"""What leaves a study is an adapter that PEFT loads, or a plain model with the same outputs."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from study.bases.load import load_base
from study.errors import InputError
from study.finished.export import export_trial
from study.peft_methods.attached import attach
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from study.store.saved_adapters import save_adapter, trial_name

MERGED = ("lora", "pissa", "olora", "dora", "ia3")


@pytest.fixture(scope="module")
def double(make_spec: Callable[..., StudySpec]) -> StudySpec:
    """Return the tiny study in double precision."""
    return make_spec({"base.dtype": "float64"})


def kept(run: Path, spec: StudySpec, name: str, number: int = 3) -> Path:
    """Leave an adapter of a method in a run folder, moved away from where it began."""
    base = load_base(spec.base.model, spec.base)
    attached = attach(base, MethodSpec(name=name, rank=4), seed=1)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    for weight in attached.weights:
        weight.data += 0.1 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    files = attached.files()
    attached.detach()
    return save_adapter(run, trial_name(number), files)


def outputs(model: Any) -> torch.Tensor:
    """Return a model's logits of some tokens."""
    ids = torch.tensor([[5, 6, 7, 2], [8, 9, 10, 2]])
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids, decoder_input_ids=ids).logits
    return found


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "lora" else pytest.mark.whole) for name in MERGED],
)
def test_a_merged_model_gives_what_adapter_and_base_give(
    name: str, double: StudySpec, tmp_path: Path
) -> None:
    """Transformers alone loads it, to the outputs of PEFT's adapter over the base."""
    from peft import PeftModel

    source = kept(tmp_path, double, name)
    done = export_trial(tmp_path, double, 3, tmp_path / "out", merge=True)
    assert done.folder == tmp_path / "out"
    assert done.difference is not None
    assert done.spread is not None
    assert done.difference < 1e-6 * done.spread
    merged = AutoModelForSeq2SeqLM.from_pretrained(done.folder, dtype=torch.float64).eval()
    base = load_base(double.base.model, double.base)
    bare = outputs(base.model)
    adapted = outputs(PeftModel.from_pretrained(base.model, source).eval())
    torch.testing.assert_close(outputs(merged), adapted, rtol=1e-6, atol=1e-8)
    assert not torch.allclose(adapted, bare, atol=1e-3)
    assert AutoTokenizer.from_pretrained(done.folder).src_lang == "eng_Latn"
    assert not list(done.folder.glob("adapter_*"))


def test_a_lie_of_the_merge_would_be_seen(
    double: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The difference is measured on the files: a model that is saved without its adapter shows."""
    import peft

    kept(tmp_path, double, "lora")
    monkeypatch.setattr(
        peft.PeftModelForSeq2SeqLM, "merge_and_unload", lambda self: self.unload(), raising=False
    )
    monkeypatch.setattr(
        peft.PeftModel, "merge_and_unload", lambda self: self.unload(), raising=False
    )
    done = export_trial(tmp_path, double, 3, merge=True)
    assert done.difference is not None
    assert done.difference > 1e-3
    assert done.folder == tmp_path / "export" / "trial-00003-merged"


def test_an_adapter_is_copied_with_the_tokenizer(double: StudySpec, tmp_path: Path) -> None:
    """PEFT's two files, naming the base where it is now; no merge, comparison or warning."""
    source = kept(tmp_path, double, "prefix")
    trained = json.loads((source / "adapter_config.json").read_text())
    trained["base_model_name_or_path"] = "/a/cache/of/another/machine"
    (source / "adapter_config.json").write_text(json.dumps(trained))
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        done = export_trial(tmp_path, double, 3)
    assert done.folder == tmp_path / "export" / "trial-00003"
    assert done.difference is None
    weights = "adapter_model.safetensors"
    assert (done.folder / weights).read_bytes() == (source / weights).read_bytes()
    exported = json.loads((done.folder / "adapter_config.json").read_text())
    assert exported == {**trained, "base_model_name_or_path": double.base.model}
    assert AutoTokenizer.from_pretrained(done.folder).vocab_size > 100


def test_an_export_shows_no_warnings_of_the_libraries(double: StudySpec, tmp_path: Path) -> None:
    """What PEFT and transformers say to each other is nothing that a user can mend."""
    kept(tmp_path, double, "lora")
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        export_trial(tmp_path, double, 3)
    assert [str(one.message) for one in shown if one.category is FutureWarning] == []


def test_a_fully_trained_model_is_plain_already(double: StudySpec, tmp_path: Path) -> None:
    """With --merge or without, the model of full fine-tuning is written as it is."""
    kept(tmp_path, double, "full")
    done = export_trial(tmp_path, double, 3, merge=True)
    assert done.difference is None
    assert {"config.json", "model.safetensors"} <= set(os.listdir(done.folder))
    assert AutoModelForSeq2SeqLM.from_pretrained(done.folder).config.d_model == 16


def test_what_cannot_be_exported_is_one_line(double: StudySpec, tmp_path: Path) -> None:
    """No such adapter, a prefix to merge, a folder that exists."""
    with pytest.raises(InputError, match=r"no adapter of trial 7; kept: none"):
        export_trial(tmp_path, double, 7)
    kept(tmp_path, double, "prefix")
    with pytest.raises(InputError, match=r"no adapter of trial 7; kept: 3 "):
        export_trial(tmp_path, double, 7)
    with pytest.raises(InputError, match="--merge: prefix tuning leaves the weights unchanged"):
        export_trial(tmp_path, double, 3, merge=True)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"--out: .*out exists already; name a new folder"):
        export_trial(tmp_path, double, 3, tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--out: .*: cannot write: "):
        export_trial(tmp_path, double, 3, tmp_path / "file" / "out")
    assert not list(tmp_path.glob(".out-*"))


def kept_classifier(run: Path, spec: StudySpec) -> None:
    """Leave an adapter with a trained head in a run folder."""
    from study.data.corpora import corpus_of

    base = load_base(spec.base.model, spec.base, spec.task, corpus_of(spec).labels)
    attached = attach(base, MethodSpec(rank=4), seed=1)
    for weight in attached.weights:
        weight.data += 0.1
    save_adapter(run, trial_name(0), attached.files())
    attached.detach()


def test_a_classifier_is_merged_with_its_head(
    make_pair_spec: Callable[..., StudySpec], tmp_path: Path
) -> None:
    """The head that was trained beside the adapter is the merged model's."""
    spec = make_pair_spec({"base.dtype": "float64"})
    kept_classifier(tmp_path, spec)
    done = export_trial(tmp_path, spec, 0, merge=True)
    assert done.difference is not None
    assert done.difference < 1e-6


def test_a_classifiers_classes_travel_with_it(
    make_pair_spec: Callable[..., StudySpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README's line opens the adapter, and a pipeline the merged model, with the same names."""
    import peft
    from transformers import pipeline

    spec = make_pair_spec()
    kept_classifier(tmp_path, spec)
    done = export_trial(tmp_path, spec, 0)
    page = (done.folder / "README.md").read_text(encoding="utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith("model = "))
    assert done.arguments in line
    monkeypatch.setattr("peft.auto.check_file_exists_on_hf_hub", lambda **_: False)
    monkeypatch.chdir(done.folder)
    model = eval(line.removeprefix("model = "), vars(peft))
    assert model.config.id2label == {0: "entailment", 1: "neutral", 2: "contradiction"}
    merged = export_trial(tmp_path, spec, 0, merge=True)
    assert merged.arguments == ""
    assert not (merged.folder / "README.md").exists()
    tokenizer = AutoTokenizer.from_pretrained(done.folder)
    with torch.no_grad():
        wanted = model.eval()(**tokenizer("all dogs", "some dogs", return_tensors="pt")).logits[0]
    classify = pipeline("text-classification", str(merged.folder))
    answers = classify({"text": "all dogs", "text_pair": "some dogs"}, top_k=None)
    found = {answer["label"]: answer["score"] for answer in answers}
    for number, share in enumerate(wanted.softmax(0).tolist()):
        assert found[model.config.id2label[number]] == pytest.approx(share, abs=1e-5)
