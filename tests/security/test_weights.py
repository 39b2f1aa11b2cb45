"""Weights are safetensors of a folder's own; a pickle in whatever place stays closed."""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save
from transformers import PreTrainedConfig

from study.bases import safe_weights
from study.bases.load import load_base, locate_base
from study.bases.safe_configs import refuse_named_code
from study.bases.safe_weights import reason_in_words
from study.data.curation.embedding import Encoder
from study.errors import InputError
from study.finished.export import export_trial
from study.finished.load_adapters import load_adapters
from study.finished.swapping import saved_of_one_kind, time_study_swaps
from study.metrics.semantic import encoder_folder
from study.spec.base_and_data import BaseModelSpec
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.store.saved_adapters import save_adapter, trial_name
from study.trials import AdapterFiles
from tests.security.hostile import ONE_WEIGHT, payload
from tests.security.test_pickles import no_pickles
from tests.tiny_studies import adapter_weights


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """The file that a planted pickle would touch."""
    return tmp_path / "unpickled"


@pytest.fixture
def copy(tiny_base: Path, tmp_path: Path, marker: Path) -> Path:
    """A checkpoint of one's own, beside a pickle."""
    (tmp_path / "good.bin").write_bytes(payload(marker))
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


def refused(location: str | Path, marker: Path) -> str:
    """The one line with which a base is refused, and nothing was unpickled on the way."""
    spec = load_spec("petroleum", {"base.model": str(location)})
    with no_pickles(), pytest.raises(InputError) as raised:
        load_base(locate_base(spec), BaseModelSpec(model=str(location)))
    assert not marker.exists()
    (line,) = raised.value.problems
    assert line.startswith("base.model: ")
    return line


def index(folder: Path, *names: Any) -> None:
    """Put an index in the place of a checkpoint's weights."""
    (folder / "model.safetensors").unlink(missing_ok=True)
    weights = {f"weight {number}": name for number, name in enumerate(names)}
    content = {"metadata": {}, "weight_map": weights}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))


def test_the_pickle_does_what_it_is_planted_for(marker: Path) -> None:
    """Whoever unpickles it touches the file: the other tests would see it."""
    pickle.loads(payload(marker))
    assert marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        "../good.bin",
        "good.bin",
        "x.safetensors/../../good.bin",
        "../base/x.safetensors",
        "sub/x.safetensors",
        "/etc/x.safetensors",
        "..",
        "x.safetensors\n",
        "x.safetensors.bin",
        7,
        None,
    ],
)
def test_an_index_names_only_its_own_safetensors(copy: Path, marker: Path, name: Any) -> None:
    """Paths, pickles and what is no name are refused, with a stray file that looks right beside."""
    (copy / "model.safetensors").rename(copy / "x.safetensors")
    shutil.copy(copy.parent / "good.bin", copy)
    index(copy, "x.safetensors", name)
    assert "must be named like model-00001-of-00002.safetensors" in refused(copy, marker)


def test_a_pickle_under_the_name_of_safetensors(copy: Path, marker: Path) -> None:
    """What an index names is read as safetensors, whatever it holds."""
    shutil.copy(copy.parent / "good.bin", copy / "x.safetensors")
    index(copy, "x.safetensors")
    assert "cannot load" in refused(copy, marker)
    shutil.copy(copy.parent / "good.bin", copy / "model.safetensors")
    assert "cannot load" in refused(copy, marker)


@pytest.mark.parametrize("stray", ["x.safetensors", "adapter_model.safetensors"])
def test_a_stray_file_does_not_open_the_pickles(copy: Path, marker: Path, stray: str) -> None:
    """Only the very name counts that the library looks for."""
    (copy / "model.safetensors").rename(copy / stray)
    shutil.copy(copy.parent / "good.bin", copy / "pytorch_model.bin")
    line = refused(copy, marker)
    got = ", ".join(sorted([stray, "pytorch_model.bin"]))
    assert f"no model.safetensors, got {got}; pickled weights are not loaded" in line


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("", "must be a JSON object with a weight_map"),
        ("{", "must be a JSON object with a weight_map"),
        ("[" * 100_000, "must be a JSON object with a weight_map"),
        ("[]", "must be a JSON object with a weight_map"),
        ('{"weight_map": {}}', "must be a JSON object with a weight_map"),
        ('{"weight_map": ["x.safetensors"]}', "must be a JSON object with a weight_map"),
        (
            '{"weight_map": {"a": "x.safetensors"}, "weight_map": {"a": "../g.bin"}}',
            "must be named",
        ),
        (
            '{"weight_map": {"a": "gone.safetensors"}}',
            "names gone.safetensors, which does not exist",
        ),
    ],
)
def test_what_is_no_index(copy: Path, marker: Path, content: str, rule: str) -> None:
    """No JSON, another shape, and a file that is not there are refused in a line."""
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors.index.json").write_text(content)
    assert rule in refused(copy, marker)


def test_a_huge_index_is_not_read(
    copy: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would fill the memory."""
    monkeypatch.setattr(safe_weights, "MOST_INDEX_BYTES", 10_000)
    index(copy, *(f"{number}.safetensors" for number in range(1000)))
    assert "model.safetensors.index.json: larger than 10,000 bytes" in refused(copy, marker)


def test_sound_checkpoints_are_loaded(copy: Path, marker: Path) -> None:
    """In parts with an index; with a pickle beside; and as links into the Hugging Face cache."""
    shutil.copy(copy.parent / "good.bin", copy / "pytorch_model.bin")
    shutil.copy(copy.parent / "good.bin", copy / "training_args.bin")
    whole = load_base(str(copy), BaseModelSpec())
    whole.model.save_pretrained(copy, max_shard_size="20KB")
    assert len(list(copy.glob("model-*.safetensors"))) > 1
    (copy / "model.safetensors").unlink()
    load_base(str(copy), BaseModelSpec())
    snapshot = in_hub_cache(copy, copy.parent / "hub")
    load_base(str(snapshot), BaseModelSpec())
    assert not marker.exists()


def in_hub_cache(model: Path, cache: Path) -> Path:
    """Lay a model out as the hub's cache does; return the snapshot's folder."""
    repository = cache / "models--some--model"
    snapshot = repository / "snapshots" / ("0" * 40)
    for folder in (repository / "blobs", repository / "refs", snapshot):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    for number, path in enumerate(sorted(model.iterdir())):
        blob = repository / "blobs" / f"{number:040x}"
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(Path("../../blobs", blob.name))
    return snapshot


def test_links_out_of_a_folder_are_refused(copy: Path, marker: Path) -> None:
    """Weights lie in the folder that is named, as files."""
    (copy / "model.safetensors").rename(copy.parent / "away.safetensors")
    (copy / "model.safetensors").symlink_to(copy.parent / "away.safetensors")
    assert "model.safetensors: must be a file in the folder" in refused(copy, marker)
    (copy / "model.safetensors").unlink()
    os.mkfifo(copy / "model.safetensors")
    assert "model.safetensors: must be a file, got a pipe" in refused(copy, marker)
    (copy / "model.safetensors").unlink()
    index(copy, "x.safetensors")
    (copy / "x.safetensors").symlink_to("../good.bin")
    assert "x.safetensors: must be a file in the folder" in refused(copy, marker)


def test_a_configuration_names_no_other_weights(copy: Path, marker: Path) -> None:
    """transformers would load what `transformers_weights` says."""
    config = json.loads((copy / "config.json").read_text())
    config["transformers_weights"] = "adapter_model.bin"
    (copy / "config.json").write_text(json.dumps(config))
    shutil.copy(copy.parent / "good.bin", copy / "adapter_model.bin")
    assert "'adapter_model.bin'" in refused(copy, marker)


NAMED = {"transformers_weights": "adapter_model.bin"}


@pytest.mark.parametrize(
    "said",
    [
        {"text_config": NAMED},
        {"text_config": {"deeper": [{"model_type": "x"}, {"deepest": NAMED}]}},
        {"vision_config": {"transformers_weights": "sub/x.safetensors.index.json"}},
        {"configuration_files": ["config.4.0.0.json"]},
        {"configuration_files": ["config.4.0.0.json"], "transformers_weights": None},
    ],
)
def test_no_part_of_a_configuration_names_other_files(
    copy: Path, marker: Path, said: dict[str, Any]
) -> None:
    """At any depth, and in the other configuration that transformers would take instead."""
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.4.0.0.json").write_text(json.dumps(config | NAMED))
    (copy / "config.json").write_text(json.dumps(config | said))
    shutil.copy(copy.parent / "good.bin", copy / "adapter_model.bin")
    assert re.search(
        r"config\.json: (transformers_weights|configuration_files): ", refused(copy, marker)
    )


def test_what_transformers_makes_of_the_files_is_looked_at(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever file it reads, the configuration that it returns names no other weights."""
    made = {"model_type": "m2m_100", "text_config": NAMED}
    monkeypatch.setattr(PreTrainedConfig, "get_config_dict", lambda *_, **__: (made, {}))
    with pytest.raises(InputError, match="transformers_weights: got 'adapter_model"):
        refuse_named_code(str(copy), "base.model")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "Weights only load failed. Re-running `torch.load` with `weights_only` set to `False` "
            "will likely succeed. Do it only if you got the file from a trusted source.",
            "it has pickled weights, which are not loaded",
        ),
        (
            "It holds code. Please pass the argument `trust_remote_code=True` to allow it.",
            "It holds code.",
        ),
        ("Pass `use_safetensors=False`.", "it needs code or weights that are not loaded"),
        ("No file\nnamed x.", "No file named x."),
    ],
)
def test_advice_to_be_less_careful_is_not_passed_on(said: str, told: str) -> None:
    """A library's error is told without its way around the check."""
    assert reason_in_words(ValueError(said)) == told


def test_an_adapter_beside_a_base_is_refused(copy: Path, marker: Path) -> None:
    """transformers would put it on the model, from pickled weights too."""
    config = {"peft_type": "LORA", "base_model_name_or_path": "../elsewhere"}
    (copy / "adapter_config.json").write_text(json.dumps(config))
    shutil.copy(copy.parent / "good.bin", copy / "adapter_model.bin")
    assert "holds an adapter, adapter_config.json" in refused(copy, marker)


# ---------------------------------------------------------------- the hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    """Return what makes a model known as one of the hub, in a cache of its own."""

    def known(model: Path) -> str:
        in_hub_cache(model, tmp_path / "hub")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        return "some/model"

    return known


def test_a_model_of_the_hub_that_is_pickled_only(
    copy: Path, marker: Path, hub: Callable[[Path], str]
) -> None:
    """One clear line, and no advice to load it all the same."""
    (copy / "model.safetensors").unlink()
    shutil.copy(copy.parent / "good.bin", copy / "pytorch_model.bin")
    line = refused(hub(copy), marker)
    assert "it has no *.safetensors file; pickled weights are not loaded" in line


def test_an_index_of_the_hub_is_looked_at_too(
    copy: Path, marker: Path, hub: Callable[[Path], str]
) -> None:
    """What it names is refused before anything is loaded; a sound model of the hub is loaded."""
    name = hub(copy)
    load_base(name, BaseModelSpec(model=name))
    shutil.rmtree(copy.parent / "hub")
    index(copy, "pytorch_model.bin")
    shutil.copy(copy.parent / "good.bin", copy / "pytorch_model.bin")
    assert "must be named like" in refused(hub(copy), marker)


# ---------------------------------------------------------------- adapters


def adapter(run: Path, marker: Path, config: str, weights: str, number: int = 0) -> Path:
    """A trial's adapter whose weights have some name, with a pickle beside."""
    saved = save_adapter(
        run, trial_name(number), AdapterFiles(config, ONE_WEIGHT, weights_name=weights)
    )
    (saved / "adapter_model.bin").write_bytes(payload(marker))
    return saved


@pytest.mark.parametrize("weights", ["x.safetensors", "model.safetensors", "adapter_model.bin"])
def test_a_stray_file_does_not_open_a_pickled_adapter(
    tmp_path: Path, marker: Path, weights: str
) -> None:
    """Neither for `export` nor for what swaps adapters."""
    adapter(tmp_path, marker, '{"peft_type": "LORA"}', weights)
    with no_pickles():
        with pytest.raises(InputError, match="pickled weights are not loaded"):
            export_trial(tmp_path, load_spec("petroleum"), 0)
        with pytest.raises(InputError, match="pickled weights are not loaded"):
            saved_of_one_kind(tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("config", "rule"),
    [
        ({"peft_type": "XLORA", "adapters": {"0": "../elsewhere"}}, 'peft_type: .* got "XLORA"'),
        ({"peft_type": ["LORA"]}, r'peft_type: .* got \["LORA"\]'),
        (
            {"peft_type": "LORA", "megatron_config": {}, "megatron_core": "os"},
            "megatron_core: .* got",
        ),
    ],
)
def test_adapters_that_load_more_are_refused(
    tmp_path: Path, marker: Path, config: dict[str, Any], rule: str
) -> None:
    """A mixture of other folders' adapters, and modules that a configuration names."""
    adapter(tmp_path, marker, json.dumps(config), "adapter_model.safetensors")
    with pytest.raises(InputError, match=rule):
        export_trial(tmp_path, load_spec("petroleum"), 0)
    with pytest.raises(InputError, match=rule):
        saved_of_one_kind(tmp_path)


def test_a_whole_model_of_a_trial_is_looked_at_too(tmp_path: Path, marker: Path) -> None:
    """What full fine-tuning saved is a model with an index or without."""
    files = AdapterFiles("{}", ONE_WEIGHT, "config.json", "x.safetensors")
    folder = save_adapter(tmp_path, trial_name(0), files)
    (tmp_path / "good.bin").write_bytes(payload(marker))
    with pytest.raises(InputError, match=r"no model\.safetensors, got x\.safetensors"):
        export_trial(tmp_path, load_spec("petroleum"), 0)
    index(folder, "../../good.bin")
    with pytest.raises(InputError, match="must be named like"):
        export_trial(tmp_path, load_spec("petroleum"), 0)


# ---------------------------------------------------------------- encoders


def test_the_encoder_of_a_curation(copy: Path, marker: Path) -> None:
    """The same rules hold for `curate --encoder`."""
    config = (copy / "config.json").read_text()
    for said in (NAMED, {"text_config": NAMED}, {"configuration_files": ["config.4.0.json"]}):
        (copy / "config.json").write_text(json.dumps(json.loads(config) | said))
        with pytest.raises(InputError, match=r"--encoder: .*config\.json: .*: got"):
            Encoder(str(copy))
    (copy / "config.json").write_text(config)
    index(copy, "../good.bin")
    with no_pickles(), pytest.raises(InputError, match=r"--encoder: .* must be named like"):
        Encoder(str(copy))
    assert not marker.exists()


BODY = {"type": "sentence_transformers.models.Transformer", "path": ""}


def encoder(folder: Path, marker: Path, *modules: dict[str, str]) -> Path:
    """A sentence encoder whose further modules are given; only its files are looked at."""
    for place in ("", "2_Dense"):
        (folder / place).mkdir(exist_ok=True, parents=True)
        (folder / place / "config.json").write_text("{}")
        (folder / place / "model.safetensors").write_bytes(b"x")
        (folder / place / "pytorch_model.bin").write_bytes(payload(marker))
    (folder / "modules.json").write_text(json.dumps([BODY, *modules]))
    return folder


def module(kind: str, path: str) -> dict[str, str]:
    """An entry of modules.json."""
    return {"type": f"sentence_transformers.models.{kind}", "path": path}


def test_a_sound_encoder_is_found(tmp_path: Path, marker: Path) -> None:
    """With all that is allowed, and pickles beside the safetensors."""
    folder = encoder(
        tmp_path / "e", marker, module("Pooling", "1_Pooling"), module("Dense", "2_Dense")
    )
    assert encoder_folder(str(folder)) == folder


@pytest.mark.parametrize(
    ("kind", "path", "rule"),
    [
        ("Dense", "../outside", "a path must be a folder's name"),
        ("Dense", "/etc", "a path must be a folder's name"),
        ("Pooling", "..", "a path must be a folder's name"),
        ("Router", "2_Dense", "got 'sentence_transformers.models.Router'; allowed: Transformer"),
        ("WordEmbeddings", "2_Dense", "got 'sentence_transformers.models.WordEmbeddings'"),
    ],
)
def test_modules_of_an_encoder_lie_in_it(
    tmp_path: Path, marker: Path, kind: str, path: str, rule: str
) -> None:
    """No module from elsewhere, and none that reads files which nobody has looked at."""
    folder = encoder(tmp_path / "e", marker, module(kind, path))
    with pytest.raises(InputError) as raised:
        encoder_folder(str(folder))
    assert rule in str(raised.value)


def stray(folder: Path) -> None:
    """The weights of a module under another name."""
    (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "x.safetensors")


def indexed(folder: Path) -> None:
    """A body whose index names a pickle."""
    index(folder, "pytorch_model.bin")


def adapted(folder: Path) -> None:
    """A body with an adapter, whose base would be loaded from elsewhere."""
    (folder / "adapter_config.json").write_text("{}")


def misled(folder: Path) -> None:
    """An option that transformers takes for the place of the weights."""
    (folder / "sentence_bert_config.json").write_text('{"model_args": {"subfolder": ".."}}')


def versioned(folder: Path) -> None:
    """A configuration that hands over to another one."""
    (folder / "config.json").write_text('{"configuration_files": ["config.4.0.0.json"]}')


def nested(folder: Path) -> None:
    """Other weights, named by a part of the configuration."""
    (folder / "config.json").write_text(json.dumps({"text_config": NAMED}))


def linked(folder: Path) -> None:
    """A module whose folder is a link to somewhere else."""
    shutil.move(folder / "2_Dense", folder.parent / "away")
    (folder / "2_Dense").symlink_to(folder.parent / "away")
    (folder.parent / "away" / "model.safetensors").unlink()


@pytest.mark.parametrize("change", [stray, indexed, adapted, misled, versioned, nested, linked])
def test_an_encoder_that_would_be_unpickled(
    tmp_path: Path, marker: Path, change: Callable[[Path], None]
) -> None:
    """Each way to its pickles is refused in one line."""
    folder = encoder(tmp_path / "e", marker, module("Dense", "2_Dense"))
    change(folder)
    with no_pickles(), pytest.raises(InputError) as raised:
        encoder_folder(str(folder))
    (line,) = raised.value.problems
    assert line.startswith("evaluation.encoder: ")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        ({"tokenizer_name_or_path": "/elsewhere"}, "got 'tokenizer_name_or_path'; allowed"),
        ({"cache_dir": "/elsewhere"}, "got 'cache_dir'; allowed"),
        ({"backend": "onnx"}, "got 'backend'; allowed"),
        ({"model_name_or_path": "/elsewhere"}, "got 'model_name_or_path'; allowed"),
        ({"tokenizer_args": {"tokenizer_file": "/x"}}, "tokenizer_args: got 'tokenizer_file'"),
        ({"processor_kwargs": {"trust_remote_code": True}}, "got 'trust_remote_code'; allowed"),
        ({"config_kwargs": ["subfolder"]}, "config_kwargs: must be a JSON object"),
        ({"modality_config": {"text": {"method": "load_adapter"}}}, "method: got 'load_adapter'"),
        ({"modality_config": ["text"]}, "modality_config: must be a JSON object of objects"),
        (["max_seq_length"], "must be a JSON object"),
    ],
)
def test_an_encoders_options_name_nothing_else(
    tmp_path: Path, marker: Path, said: Any, rule: str
) -> None:
    """Only what changes how a text is read is passed on: no other file, backend or method."""
    folder = encoder(tmp_path / "e", marker)
    (folder / "sentence_bert_config.json").write_text(json.dumps(said))
    with pytest.raises(InputError) as raised:
        encoder_folder(str(folder))
    (line,) = raised.value.problems
    assert f"sentence_bert_config.json: {rule}" in line or rule in line


def test_what_sound_encoders_say_is_accepted(tmp_path: Path, marker: Path) -> None:
    """The options that published encoders have; a pipe in their place is not waited for."""
    folder = encoder(tmp_path / "e", marker)
    plain = {
        "max_seq_length": 256,
        "do_lower_case": False,
        "unpad_inputs": None,
        "transformer_task": "feature-extraction",
        "processing_kwargs": {},
        "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
        "model_args": {"attn_implementation": "sdpa"},
        "tokenizer_args": {"padding_side": "left"},
    }
    (folder / "sentence_bert_config.json").write_text(json.dumps(plain))
    assert encoder_folder(str(folder)) == folder
    os.mkfifo(folder / "sentence_x_config.json")
    with pytest.raises(InputError, match=r"sentence_x_config\.json: must be a file"):
        encoder_folder(str(folder))


def test_damaged_adapters_are_refused_in_a_line(tiny_spec: StudySpec, tmp_path: Path) -> None:
    """By what swaps adapters, the notebook and an export, the first adapter or a further one."""
    config = json.dumps({"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]})
    for number in range(2):
        save_adapter(tmp_path, trial_name(number), AdapterFiles(config, b"garbage"))
    for use in USES.values():
        with pytest.raises(InputError, match="safetensors: cannot read the weights: ") as raised:
            use(tmp_path, tiny_spec)
        assert len(raised.value.problems) == 1


NAME = "base_model.model.model.decoder.layers.0.encoder_attn.q_proj.lora_A.weight"
HONEST = {NAME: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}


@pytest.mark.parametrize(
    ("header", "weights", "problem"),
    [
        (
            {NAME: {**HONEST[NAME], "data_offsets": [0, 10**12]}},
            b"\0" * 4,
            "cannot read the weights",
        ),
        ({NAME: {**HONEST[NAME], "shape": [10**6, 10**6]}}, b"\0" * 4, "cannot read the weights"),
        ({NAME: {**HONEST[NAME], "dtype": "X9"}}, b"\0" * 4, "cannot read the weights"),
        ("[" * 100_000, b"", "cannot read the weights"),
        ('{"\\ud800": 1}', b"", "cannot read the weights"),
        (HONEST, struct.pack("<f", math.nan), r"lora_A\.weight: holds NaN or infinity"),
    ],
)
def test_an_export_reads_what_it_copies(
    header: Any, weights: bytes, problem: str, tiny_spec: StudySpec, tmp_path: Path
) -> None:
    """A header that lies, or weights that are no numbers, are one line, and nothing is written."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    config = json.dumps({"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]})
    lying = struct.pack("<Q", len(text)) + text + weights
    save_adapter(tmp_path, trial_name(0), AdapterFiles(config, lying))
    with pytest.raises(InputError, match=problem) as raised:
        export_trial(tmp_path, tiny_spec, 0)
    assert len(raised.value.problems) == 1
    assert not (tmp_path / "export").exists()


USES: dict[str, Callable[[Path, StudySpec], object]] = {
    "export": lambda run, spec: export_trial(run, spec, 0),
    "export --merge": lambda run, spec: export_trial(run, spec, 0, merge=True),
    "compare --swaps": lambda run, spec: time_study_swaps(run, spec),
    "load_adapters": lambda run, spec: load_adapters(run, spec.to_toml()),
}
"""What reads a run's adapters."""
FILES = {
    "whole": (lambda own: own, None),
    "no tensors": (lambda own: {}, "holds no weights"),
    "a tensor is missing": (lambda own: dict([*own.items()][1:]), "Found missing adapter keys"),
    "no rows": (lambda own: {name: t[:0] for name, t in own.items()}, "size mismatch"),
    "whole numbers": (
        lambda own: {name: t.to(torch.int64) for name, t in own.items()},
        r"must be floating-point numbers, got torch\.int64",
    ),
    "numbers beyond float32": (
        lambda own: {
            name: torch.full(t.shape, 1e300, dtype=torch.float64) for name, t in own.items()
        },
        "holds NaN or infinity",
    ),
    "another module": (
        lambda own: own | {NAME.replace("q_proj", "k_proj"): own[NAME].clone()},
        r"names no modules for the weights .*k_proj\.lora_A",
    ),
    "weights of the base": (
        lambda own: own | {"base_model.model.lm_head.weight": torch.ones(403, 16)},
        r"names no modules for the weights .*lm_head\.weight",
    ),
}
"""How an adapter's file may be wrong -> what is made of a whole one, and the reason."""


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("use", USES)
def test_an_adapter_has_the_weights_that_its_configuration_names(
    use: str, kind: str, tiny_spec: StudySpec, tmp_path: Path
) -> None:
    """All of them and no others: PEFT would draw them, leave them out, or change the base."""
    change, reason = FILES[kind]
    config = json.dumps({"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]})
    for number in range(2):
        files = AdapterFiles(config, save(change(adapter_weights(tiny_spec, "q_proj"))))
        save_adapter(tmp_path, trial_name(number), files)
    if reason is None:
        USES[use](tmp_path, tiny_spec)
        return
    with pytest.raises(InputError, match=reason) as raised:
        USES[use](tmp_path, tiny_spec)
    assert len(raised.value.problems) == 1
    assert [*tmp_path.glob("export/*")] == []


def test_a_fully_trained_model_without_weights_is_not_exported(
    tiny_spec: StudySpec, tiny_base: Path, tmp_path: Path
) -> None:
    """Its files are those of a model, but no tensor is in them."""
    config = (tiny_base / "config.json").read_text(encoding="utf-8")
    files = AdapterFiles(config, save({}), "config.json", "model.safetensors")
    save_adapter(tmp_path, trial_name(0), files)
    with pytest.raises(InputError, match="holds no weights") as raised:
        export_trial(tmp_path, tiny_spec, 0)
    assert len(raised.value.problems) == 1
    assert [*tmp_path.glob("export/*")] == []


def test_a_chat_template_is_no_path(tiny_spec: StudySpec, copy: Path, tmp_path: Path) -> None:
    """A tokenizer's templates become files of an export: their names are plain words."""
    path = copy / "tokenizer_config.json"
    before = json.loads(path.read_text())
    config = json.dumps({"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]})
    weights = save(adapter_weights(tiny_spec, "q_proj"))
    save_adapter(tmp_path, trial_name(0), AdapterFiles(config, weights))
    spec = tiny_spec.model_copy(update={"base": BaseModelSpec(model=str(copy))})
    for name, allowed in (("tool_use", True), ("../../pwned", False), ("/tmp/x", False)):
        templates = [{"name": "default", "template": "x"}, {"name": name, "template": "y"}]
        path.write_text(json.dumps(before | {"chat_template": templates}))
        if allowed:
            export_trial(tmp_path, spec, 0, tmp_path / "out")
            continue
        with pytest.raises(InputError, match="the name of a chat template must") as raised:
            export_trial(tmp_path, spec, 0, tmp_path / "refused")
        assert len(raised.value.problems) == 1
        assert not (tmp_path / "refused").exists()
