"""Nothing that a stored study, an adapter or a base names is run or imported."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
import typing
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
from pydantic import BaseModel
from safetensors.torch import save

from analysis import StudyData
from analysis.next_study.proposal import Change, Proposal
from optuna_study.cli.options import TrustStudy
from reports.next_file import next_file
from study.bases.load import load_base
from study.bases.safe_configs import refuse_named_code
from study.errors import InputError
from study.finished.export import export_trial
from study.finished.load_adapters import load_adapters
from study.finished.swapping import time_study_swaps
from study.kinds.methods import METHODS
from study.metrics.semantic import encoder_folder
from study.peft_methods.configs import name_loader, peft_config
from study.spec.base_and_data import BaseModelSpec
from study.spec.files import load_spec, stored_spec
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from study.spec.trust import CODE_KEYS, checked_adapter_config, code_named, without_code
from study.store.saved_adapters import save_adapter, trial_name
from study.trials import AdapterFiles
from tests.fuzz.command import command, fingerprint, quiet
from tests.security.hostile import ONE_WEIGHT
from tests.security.test_paths import change
from tests.synthetic import Shape, write_study
from tests.tiny_architectures import random_base
from tests.tiny_studies import MakeSpec, adapter_weights

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("search_spaces", "study", "analysis", "reports", "optuna_study")
PLAIN: dict[str, Any] = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj", "v_proj"]}
NAMING_CODE: dict[str, Any] = {
    "megatron_core": "evil.module",
    "megatron_config": {"tensor_model_parallel_size": 1},
    "auto_mapping": {"base_model_class": "Popen", "parent_library": "subprocess"},
    "corda_config": {"cache_file": "/tmp/pickle"},
    "lora_ga_config": {"cache_file": "/tmp/pickle"},
    "loftq_config": {"loftq_bits": 4},
    "arrow_config": {"top_k": 1},
    "init_lora_weights": "corda",
    "task_type": "OTHER",
    "rank_pattern": {"(a+)+$": 8},
    "target_modules": "(.*a)+$",
    "target_parameters": "(.*a)+$",
    "exclude_modules": "(.*a)+$",
    "layers_pattern": "(.*a)+$",
    "modules_to_save": "(.*a)+$",
    "layer_replication": [[0, 10**9]],
    "r": 10**12,
    "peft_type": "MULTITASK_PROMPT_TUNING",
    "prompt_tuning_init_state_dict_path": "/tmp/pickle",
    "tokenizer_name_or_path": "evil/tokenizer",
    "a_key_of_tomorrow": "evil.module",
}


@pytest.fixture
def evil_base(tmp_path: Path) -> Path:
    """A base that touches a file named `ran` when its code is imported."""
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "own.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
        "from transformers import PretrainedConfig\n"
        "class Own(PretrainedConfig):\n    model_type = 'own'\n"
    )
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"x")
    return folder


@pytest.fixture
def run(tmp_path: Path, evil_base: Path, make_spec: MakeSpec, parallel_text: Path) -> Path:
    """A stranger's run folder, whose stored study asks for the code of that base."""
    folder = write_study(tmp_path / "run", Shape(complete=4, failed=0, enqueued=0, examples=4))
    asked = {"base.model": str(evil_base), "base.trust_remote_code": True}
    hers = make_spec({**asked, "data.test": str(parallel_text / "dev.tsv")}, "petroleum")
    change(folder, "UPDATE run_studies SET spec = ?", hers.to_toml())
    for number in range(2):
        files = AdapterFiles(json.dumps(PLAIN), ONE_WEIGHT)
        save_adapter(folder, trial_name(number), files)
    return folder


USING_THE_STORED_STUDY = (
    ["export", "--trial", "0"],
    ["confirm", "--workers", "1"],
    ["train", "--trial", "0"],
    ["compare", "--swaps"],
)


@pytest.mark.parametrize("what", USING_THE_STORED_STUDY, ids=lambda what: what[0])
def test_a_stored_study_does_not_decide_to_run_code(
    run: Path, tmp_path: Path, what: list[str]
) -> None:
    """It is refused in one line that names the code and the option; the option runs it."""
    name, *options = what
    ran = command(name, run, *options)
    assert ran.status == 2
    (line,) = ran.err.splitlines()
    assert "base.trust_remote_code = true for base.model" in line
    assert "--trust-study" in line
    assert not (tmp_path / "ran").exists()
    with quiet():
        command(name, run, *options, "--trust-study")
    assert (tmp_path / "ran").exists()


def test_the_old_name_of_the_option_still_works(run: Path, tmp_path: Path) -> None:
    """`--trust-remote-code` is `--trust-study`."""
    with quiet():
        command("export", run, "--trial", 0, "--trust-remote-code")
    assert (tmp_path / "ran").exists()
    assert typing.get_args(TrustStudy)[0] is bool


def test_a_notebook_does_not_run_a_stored_studys_code(run: Path, tmp_path: Path) -> None:
    """`load_adapters` asks for trust as the commands do."""
    text = load_spec(
        "petroleum", {"base.model": str(tmp_path / "evil"), "base.trust_remote_code": True}
    ).to_toml()
    with pytest.raises(InputError, match="trust_study=True"):
        load_adapters(run, text)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(InputError, match="cannot load"):
        load_adapters(run, text, trust_study=True)
    assert (tmp_path / "ran").exists()


def test_a_stored_study_without_code_needs_no_option(run: Path) -> None:
    """A person's own plain study is used as it is."""
    spec = load_spec("petroleum")
    assert stored_spec(spec.to_toml(), str(run)) == spec


def keys_of(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield every key of a study file that can hold a text, or speaks of trust, and its type."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *typing.get_args(field.annotation)]
        nested = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        if nested is not None:
            yield from keys_of(nested, f"{before}{name}.")
        elif "NameIn(" in repr(field):  # only the name of a row in a table of this program
            continue
        elif re.search(r"\bstr\b|Path|Any", str(field.annotation)) or "trust" in name:
            yield f"{before}{name}", str(field.annotation)


DATA_KEYS = {
    *("name", "base.model", "base.revision", "distillation.teacher", "distillation.revision"),
    *(f"data.{split}" for split in ("corpus", "subset", "train", "dev", "general", "test")),
    *("data.source_column", "data.target_column", "data.label_column", "data.labels"),
    *("data.text_column", "data.second_text_column", "data.group"),
    *("data.source_language", "data.target_language", "data.instruction", "data.stop_token"),
    "data.chat_template",  # its text, which transformers runs in a sandbox: tests/study/data
    *("evaluation.objective", "evaluation.encoder", "evaluation.minimize"),
    *("evaluation.regex.pattern", "evaluation.command.name"),
    *("evaluation.metric_folder", "evaluation.metric_files"),  # where, not what
    *("own_task.folder", "own_task.sha256"),
    *("search.space", "search.enqueue", "method.target_modules"),
    *("method.init_adapter", "method.init_adapter_sha256"),  # JSON and safetensors
    *(f"search.parameters.{key}" for key in ("value", "choices", "when")),
    *("distillation.labels", "diffusion.fixed", "diffusion.mask_token"),
}
"""Texts of a study file that are read as names or data, and never run."""


def test_every_key_that_can_name_code_is_listed() -> None:
    """A new key of a study file that holds a text is either data, or under the trust rule."""
    keys = {key for key, _ in keys_of(StudySpec)}
    assert set(CODE_KEYS) <= keys
    assert keys - set(CODE_KEYS) <= DATA_KEYS


@pytest.mark.parametrize("package", PACKAGES)
def test_a_stored_study_is_used_through_one_door(package: str) -> None:
    """Only `stored_spec` makes a study to be run out of stored text; others look at it."""
    reading = {"study/spec/sections.py", "study/spec/files.py"}
    looking = {
        "study/store/ledger.py",
        "study/store/managing.py",
        "analysis/studies/study_data.py",
        "reports/next_file.py",
    }
    for path in (ROOT / package).rglob("*.py"):
        if re.search(r"\b(spec_from_toml|parse_spec)\(", path.read_text(encoding="utf-8")):
            assert str(path.relative_to(ROOT)) in reading | looking


OWN_METRIC = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
def score(outputs, examples):
    return [1.0] * len(outputs)
"""


@pytest.fixture
def scored_by_code(run: Path, tmp_path: Path, tiny_base: Path, parallel_text: Path) -> Path:
    """A stranger's run folder, whose stored study asks for a metric's file and a command."""
    (tmp_path / "own.py").write_text(OWN_METRIC)
    (tmp_path / "hers.toml").write_text(
        f'[base]\nmodel = "{tiny_base}"\n'
        "[training]\nsteps = 2\nreport_every = 2\nbatch_size = 4\n"
        "[data]\n"
        + "".join(
            f'{split} = "{parallel_text}/{name}.tsv"\n'
            for split, name in (("train", "train"), ("dev", "dev"), ("test", "dev"))
        )
        + '[evaluation]\nobjective = "chrf"\nmetrics = ["chrf", "own.py:score", "judge"]\n'
        'command = { name = "judge", run = ["touch", "ran"] }\n'
        '[method]\ntarget_modules = "attention"\n'
        "[search.parameters]\nalpha = { choices = [4, 8] }\n"
    )
    change(run, "UPDATE run_studies SET spec = ?", load_spec(tmp_path / "hers.toml").to_toml())
    return run


def test_a_stored_study_does_not_decide_to_run_a_metric(
    scored_by_code: Path, tmp_path: Path
) -> None:
    """Neither its file nor its command, unless this very command says so."""
    assert command("train", scored_by_code).err == command("confirm", scored_by_code).err
    ran = command("confirm", scored_by_code)
    assert ran.status == 2
    (line,) = ran.err.splitlines()
    assert 'evaluation.metrics = ["chrf", "own.py:score", "judge"]' in line
    assert 'evaluation.command.run = ["touch", "ran"]' in line
    assert "--trust-study" in line
    assert not (tmp_path / "ran").exists()
    with quiet():
        command("confirm", scored_by_code, "--trust-study", "--workers", "1", "--seeds", "2")
    assert (tmp_path / "ran").exists()


def test_reading_a_study_runs_no_metric(scored_by_code: Path, tmp_path: Path) -> None:
    """Neither do commands that score nothing, such as `export`; they need no option."""
    for name, *options in (
        ("show",),
        ("compare",),
        ("export", "--trial", 0, "--out", tmp_path / "out"),
    ):
        with quiet():
            ran = command(name, scored_by_code, *options)
        assert "names code" not in ran.err, name
    assert not (tmp_path / "ran").exists()


# ---------------------------------------------------------------- the next study


def written(petroleum: StudyData, *, trust_study: bool = False, reason: str = "why") -> str:
    """Return what `next` writes for a study that names code."""
    spec = load_spec("petroleum", {"base.model": "evil/x\u2028y", "base.trust_remote_code": True})
    data = replace(petroleum, spec_text=spec.to_toml())
    narrowed = Change("alpha", "narrowed", {"low": 8.0, "high": 16.0}, reason)
    found = Proposal((narrowed,), (), 8, 8, None, (), True, "bleu")
    return next_file(data, found, trust_study)


def test_the_next_study_file_does_not_pass_code_on(petroleum: StudyData) -> None:
    """The key is left out, and a comment says so; with --trust-study it stays."""
    text = written(petroleum)
    assert "trust_remote_code" not in tomllib.loads(text)["base"]
    told = " ".join(line.removeprefix("# ") for line in text.splitlines())
    assert "left out" in told
    assert "base.trust_remote_code = true" in told
    assert tomllib.loads(written(petroleum, trust_study=True))["base"]["trust_remote_code"] is True


def test_the_next_study_file_does_not_pass_metrics_on(petroleum: StudyData, tmp_path: Path) -> None:
    """Neither the file's function nor the command; the comment says which keys to write back."""
    (tmp_path / "own.py").write_text(OWN_METRIC)
    (tmp_path / "hers.toml").write_text(
        '[evaluation]\nobjective = "own.py:score"\nmetrics = ["own.py:score", "judge"]\n'
        'command = { name = "judge", run = ["touch", "ran"] }\n'
    )
    data = replace(petroleum, spec_text=load_spec(tmp_path / "hers.toml").to_toml())
    found = Proposal((), (), 8, 8, None, (), True, "own.py:score")
    given = tomllib.loads(next_file(data, found))["evaluation"]
    assert "metrics" not in given
    assert "run" not in given["command"]
    kept = tomllib.loads(next_file(data, found, trust_study=True))["evaluation"]
    assert kept["metrics"] == ["own.py:score", "judge"]
    assert "metric_files" not in kept
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("end", ["\n", "\r", "\x0b", "\x85", "\u2028", "\x00", "\x1b[2J"])
def test_a_stored_text_does_not_leave_its_comment(petroleum: StudyData, end: str) -> None:
    """Whatever a reason quotes, the file stays TOML and says nothing more."""
    plain = tomllib.loads(written(petroleum))
    text = written(petroleum, reason=f"crowds at {end}base.trust_remote_code = true{end}")
    assert tomllib.loads(text) == plain


def test_only_what_names_code_is_left_out() -> None:
    """All else of the study file stays."""
    document = {"base": {"model": "m", "trust_remote_code": True}, "name": "x"}
    assert code_named(document) == {"base.trust_remote_code": True}
    assert without_code(document) == {"base": {"model": "m"}, "name": "x"}
    assert document["base"] == {"model": "m", "trust_remote_code": True}


# ---------------------------------------------------------------- adapters


@pytest.mark.parametrize("key", NAMING_CODE)
def test_an_adapter_names_no_code(
    key: str, tiny_spec: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEFT never sees a configuration with code, files or patterns: export, swaps and notebook."""
    monkeypatch.setattr(peft.PeftModel, "from_pretrained", lambda *_, **__: pytest.fail("given"))
    for number in range(2):
        config = json.dumps(PLAIN | {key: NAMING_CODE[key]})
        save_adapter(tmp_path, trial_name(number), AdapterFiles(config, ONE_WEIGHT))
    for use in (
        lambda: export_trial(tmp_path, tiny_spec, 0),
        lambda: export_trial(tmp_path, tiny_spec, 0, merge=True),
        lambda: time_study_swaps(tmp_path, tiny_spec),
        lambda: load_adapters(tmp_path, tiny_spec.to_toml()),
    ):
        with pytest.raises(
            InputError, match=rf"adapter_config\.json: {key}: optuna-study never writes"
        ) as refused:
            use()
        assert len(refused.value.problems) == 1
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize("name", [n for n, method in METHODS.items() if method.config])
def test_what_every_method_writes_is_accepted(name: str, tmp_path: Path) -> None:
    """The configurations of this program's own adapters, with a head and trained tokens too."""
    from study.peft_methods.adapters import adapter_files

    classifier, tokens = random_base("distilbert"), {"classifier": [1, 2]}
    translator, masked = random_base("m2m_100"), random_base("eurobert")
    for base in (translator,) if name == "prefix" else (classifier, translator, masked):
        config = peft_config(MethodSpec(name=name), base, tokens)  # type: ignore[arg-type]
        name_loader(config, base)
        path = tmp_path / "adapter_config.json"
        path.write_text(adapter_files(config, {}, {}).config)
        checked_adapter_config(path)


def test_a_mixtures_configuration_is_accepted(tmp_path: Path) -> None:
    """Its experts and routers are parameters, named beside the modules."""
    from study.peft_methods.adapters import adapter_files

    config = peft_config(MethodSpec(target_modules="all-linear"), random_base("mixtral"))
    assert config.target_parameters
    path = tmp_path / "adapter_config.json"
    path.write_text(adapter_files(config, {}, {}).config)
    checked_adapter_config(path)


def test_an_export_holds_only_what_a_run_saves(tiny_spec: StudySpec, tmp_path: Path) -> None:
    """A stray file of an adapter's folder does not take the place of the base's tokenizer."""
    weights = save(adapter_weights(tiny_spec, *PLAIN["target_modules"]))
    folder = save_adapter(tmp_path, trial_name(0), AdapterFiles(json.dumps(PLAIN), weights))
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["x.X", null]}}')
    (folder / "x.py").write_text("")
    done = export_trial(tmp_path, tiny_spec, 0)
    assert not (done.folder / "x.py").exists()
    assert "auto_map" not in json.loads((done.folder / "tokenizer_config.json").read_text())


def test_the_places_that_a_study_names_are_only_read(
    tiny_spec: StudySpec, tiny_base: Path, parallel_text: Path, tmp_path: Path
) -> None:
    """Neither its base nor its data files change, and their folders get nothing."""
    before = fingerprint(tiny_base), fingerprint(parallel_text)
    weights = save(adapter_weights(tiny_spec, *PLAIN["target_modules"]))
    save_adapter(tmp_path, trial_name(0), AdapterFiles(json.dumps(PLAIN), weights))
    export_trial(tmp_path, stored_spec(tiny_spec.to_toml(), str(tmp_path)), 0)
    assert (fingerprint(tiny_base), fingerprint(parallel_text)) == before


# ---------------------------------------------------------------- bases


def changed(tiny_base: Path, folder: Path, file: str, **values: object) -> str:
    """Copy a base and change a JSON file of it."""
    shutil.copytree(tiny_base, folder)
    path = folder / file
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | values))
    return str(folder)


def test_a_base_that_holds_an_adapter_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    """transformers would attach it, and import what its configuration names."""
    evil = {**PLAIN, "megatron_core": "evil", "megatron_config": {}}
    folder = changed(tiny_base, tmp_path / "base", "adapter_config.json", **evil)
    with pytest.raises(InputError, match=r"holds an adapter, adapter_config\.json"):
        load_base(folder, BaseModelSpec(model=folder))


KERNELS: tuple[dict[str, Any], ...] = (
    {"attn_implementation": "evil/kernel"},
    {"_attn_implementation": {"decoder": "evil/kernel"}},
    {"attn_implementation": "flash|evil/kernel"},
    {"attn_implementation": "flash_attention_2"},
    {"_attn_implementation_internal": "flash_attention_3"},
    {"_experts_implementation": "evil/kernel"},
    {"experts_implementation": ["sonicmoe"]},
    {"new_implementation": 7},
    {"text_config": {"attn_implementation": "flash_attention_2"}},
    {"layers": [[{"experts_implementation": "evil/kernel"}]]},
)
"""Parts of a configuration for which transformers may fetch code from the hub."""


@pytest.mark.parametrize("said", KERNELS, ids=str)
def test_a_base_names_no_kernel(tiny_base: Path, tmp_path: Path, said: dict[str, Any]) -> None:
    """A kernel is code from the hub, which config.json does not choose, by whatever name."""
    folder = changed(tiny_base, tmp_path / "base", "config.json", **said)
    with pytest.raises(InputError, match=r"names the kernel .* allowed: eager, sdpa"):
        load_base(folder, BaseModelSpec(model=folder))


def test_layers_that_are_built_in_are_accepted(tiny_base: Path, tmp_path: Path) -> None:
    """What transformers and torch have, and a cache, which is no kernel."""
    plain = {"attn_implementation": "eager", "cache_implementation": "hybrid"}
    plain |= {"text_config": {"attn_implementation": "sdpa", "experts_implementation": None}}
    folder = changed(tiny_base, tmp_path / "base", "config.json", **plain)
    refuse_named_code(folder, "base.model")


def test_a_tokenizer_names_no_code(tiny_base: Path, tmp_path: Path) -> None:
    """A class that tokenizer_config.json maps to code is not imported: the code stays unread."""
    mapped = {"AutoTokenizer": ["evil.Evil", None]}
    name = "tokenizer_config.json"
    folder = changed(tiny_base, tmp_path / "base", name, auto_map=mapped, tokenizer_class="Evil")
    (tmp_path / "base" / "evil.py").write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
    )
    spec = BaseModelSpec(model=folder)
    for skeleton in (False, True):
        with suppress(InputError):
            load_base(folder, spec, skeleton=skeleton)
    assert not (tmp_path / "ran").exists()


ENCODER_MODULES = (
    "os.Own",
    "sentence_transformers.models.Router",
    "sentence_transformers.models.WordEmbeddings",
    "sentence_transformers.util.import_from_string",
)


@pytest.mark.parametrize("kind", ENCODER_MODULES)
def test_an_encoder_names_no_code(kind: str, tmp_path: Path) -> None:
    """Neither in modules.json nor in a module that imports what its own file names."""
    (tmp_path / "modules.json").write_text(json.dumps([{"type": kind, "path": ""}]))
    with pytest.raises(InputError, match=r"runs custom code|allowed: Transformer"):
        encoder_folder(str(tmp_path))


@pytest.mark.parametrize("said", KERNELS, ids=str)
def test_an_encoder_names_no_kernel(said: dict[str, Any], tmp_path: Path) -> None:
    """Neither in its model's configuration nor in the options that are passed to it."""
    body = {"type": "sentence_transformers.models.Transformer", "path": ""}
    (tmp_path / "modules.json").write_text(json.dumps([body]))
    (tmp_path / "model.safetensors").write_bytes(b"x")
    (tmp_path / "config.json").write_text("{}")
    assert encoder_folder(str(tmp_path)) == tmp_path
    options = {"model_kwargs": {"attn_implementation": list(said.values())[-1]}}
    for file, content in (("sentence_bert_config.json", options), ("config.json", said)):
        (tmp_path / file).write_text(json.dumps(content))
        with pytest.raises(InputError, match=rf"evaluation.encoder: .*{file}: .*names the kernel"):
            encoder_folder(str(tmp_path))
        (tmp_path / file).write_text("{}")


@pytest.mark.parametrize(
    "said",
    [
        {"auto_map": {"AutoModelForSeq2SeqLM": "evil/repo--evil.Evil"}},
        {"text_config": {"auto_map": {"AutoModel": "evil.Evil"}}},
        *KERNELS,
    ],
    ids=str,
)
def test_a_fully_trained_model_names_no_code(
    tiny_spec: StudySpec, tiny_base: Path, tmp_path: Path, said: dict[str, Any]
) -> None:
    """An export hands code on only with --trust-study: a run without it saves none."""
    config = json.loads((tiny_base / "config.json").read_text())
    weights = (tiny_base / "model.safetensors").read_bytes()
    files = AdapterFiles(json.dumps(config | said), weights, "config.json", "model.safetensors")
    save_adapter(tmp_path, trial_name(0), files)
    with pytest.raises(InputError, match=r"without --trust-study: config\.json: ") as raised:
        export_trial(tmp_path, tiny_spec, 0)
    assert len(raised.value.problems) == 1
    assert not (tmp_path / "export").exists()
    export_trial(tmp_path, tiny_spec, 0, trust_study=True)


def test_code_that_is_not_used_is_not_saved_again(tiny_base: Path, tmp_path: Path) -> None:
    """A base may come with code beside transformers' own class, which runs without it."""
    mapped = {"AutoModelForSeq2SeqLM": "own.Own"}
    folder = changed(tiny_base, tmp_path / "base", "config.json", auto_map=mapped)
    base = load_base(folder, BaseModelSpec(model=folder))
    base.model.save_pretrained(tmp_path / "saved")
    base.tokenizer.save_pretrained(tmp_path / "saved")
    assert not any("auto_map" in path.read_text() for path in (tmp_path / "saved").glob("*.json"))


def test_an_encoder_holds_no_adapter(tmp_path: Path) -> None:
    """transformers would attach it there too."""
    (tmp_path / "modules.json").write_text("[]")
    assert encoder_folder(str(tmp_path)) == tmp_path
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="holds an adapter_config"):
        encoder_folder(str(tmp_path))
