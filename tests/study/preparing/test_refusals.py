"""`check` and `run` refuse the same studies in the same words, before anything is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from study.data.corpora import corpus_of
from study.data.remarks import positions_of, uses_languages
from study.errors import InputError
from study.preparing.preparation import sound_spec
from study.spec.files import load_spec
from study.tasks import make_task
from tests.command_line import Ran, Type
from tests.engine_runs import skeleton_of
from tests.study.preparing.conftest import (
    LANGUAGES,
    NO_SYSTEM,
    PLAIN,
    MakeStudy,
    tiny_tokenizer,
)

STOP = f'stop_token = "<end>"\n{LANGUAGES}'


@pytest.fixture
def refused(type_: Type, tmp_path: Path) -> Callable[[Path], list[str]]:
    """Return a function that checks and runs a study, and returns what both say."""

    def ask(study: Path) -> list[str]:
        checked: Ran = type_("check", study)
        ran: Ran = type_("run", study, "--workers", "1", "--out", tmp_path / "out")
        assert (checked.status, ran.status) == (2, 2)
        assert checked.problems == ran.problems
        assert not (tmp_path / "out").exists()
        return checked.problems

    return ask


Refused = Callable[[Path], list[str]]


@pytest.fixture
def copy(tiny_base: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny translator to damage."""
    return shutil.copytree(tiny_base, tmp_path / "copy")


@pytest.mark.parametrize("change", ["training.stps=4", "training.steps=-4", "nonsense"])
def test_a_wrong_change_is_refused_at_once(make_study: MakeStudy, change: str) -> None:
    """Loading data and base takes seconds, so their faults wait until the command is right."""
    with pytest.raises(InputError) as raised:
        sound_spec(str(make_study("/no/base", "causal_translation", STOP)), changes=[change])
    (line,) = raised.value.problems
    assert change.split("=")[0] in line


def test_every_section_is_reported_at_once(make_study: MakeStudy, refused: Refused) -> None:
    """Both data files, the base and the teacher are wrong: four lines, in one go."""
    teacher = '[distillation]\nteacher = "/no/teacher"'
    study = make_study("/no/base", "causal_translation", STOP, teacher)
    (study.parent / "train.tsv").write_text("a\tb\n1\t2\n")
    (study.parent / "dev.tsv").write_text("source\ttarget\n\t2\n")
    lines = refused(study)
    assert len(lines) == 4
    for part in ("train.tsv: line 1: no column", "dev.tsv: line 2: the source is empty"):
        assert any(part in line for line in lines)
    assert "base.model: no such folder, got '/no/base'" in lines
    assert "distillation.teacher: no such folder, got '/no/teacher'" in lines


def test_what_depends_on_the_base_is_reported_together(
    make_study: MakeStudy, refused: Refused, tiny_base: Path
) -> None:
    """Both languages and the modules that the model lacks are three lines."""
    data = 'source_language = "xx"\ntarget_language = "dri"'
    study = make_study(tiny_base, data=data, more='[method]\ntarget_modules = "no_proj"')
    lines = refused(study)
    assert len(lines) == 3
    assert lines[0].startswith("method.target_modules: 'no_proj' matches no module")
    assert lines[1].startswith("data.source_language: must be a language code")
    assert lines[2].startswith("data.target_language: must be a language code")


def test_a_direction_that_the_columns_contradict(
    make_study: MakeStudy, refused: Refused, tiny_llamas: Path
) -> None:
    """A chat model that would be told the wrong direction is refused, but not its own words."""
    data = 'source_column = "fr"\ntarget_column = "en"\nsource_language = "en"\n'
    data += 'target_language = "fr"'
    study = make_study(tiny_llamas / "base", "causal_translation", data)
    for split in ("train", "dev"):
        path = study.parent / f"{split}.tsv"
        path.write_text(path.read_text().replace("source\ttarget", "fr\ten", 1))
    (line,) = refused(study)
    assert line.startswith("data.source_language, data.target_language: English into French, but")
    assert uses_languages(load_spec(study), None)
    assert not uses_languages(load_spec(study, {"data.instruction": "Translate."}), None)


def test_texts_that_the_study_file_refuses_to_cut(
    make_study: MakeStudy, refused: Refused, tiny_base: Path
) -> None:
    """The count and the remedy are said before training."""
    (line,) = refused(make_study(tiny_base, data='max_tokens = 4\ntoo_long = "refuse"'))
    assert "12 of 12 train, 12 of 12 dev examples have more than 4 tokens" in line


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (NO_SYSTEM, 'no system role; it refuses a system message: set data.instruction = ""'),
        ("{{ messages | no_such_filter }}", "No filter named 'no_such_filter'"),
        ("{{ messages[7].content.x }}", "list object has no element 7"),
        ("{% for m in messages %}", "Unexpected end of template"),
    ],
)
def test_a_template_that_fails(
    make_study: MakeStudy,
    refused: Refused,
    chat_model: Callable[..., Path],
    template: str,
    says: str,
) -> None:
    """Whatever a chat template raises is one line."""
    (line,) = refused(make_study(chat_model(template), "causal_translation", STOP))
    assert f"base.model: its chat template fails: {says}" in line


def test_an_instruction_by_default_is_no_reason_to_fail_later(
    make_study: MakeStudy, refused: Refused, chat_model: Callable[..., Path]
) -> None:
    """A study without an instruction hears that the template refuses a system message."""
    lines = refused(make_study(chat_model(NO_SYSTEM), "causal_translation", 'stop_token = "<end>"'))
    assert [line.split(": ")[1] for line in lines] == ["pair 1"]
    assert lines[0].endswith('it refuses a system message: set data.instruction = ""')


def test_a_misspelt_key_hides_no_fault_of_the_data(
    make_study: MakeStudy, refused: Refused, tiny_base: Path
) -> None:
    """Keys, columns and modules that are wrong are said in one go."""
    more = '[method]\ntarget_modules = "no_proj"\n[evaluation.text]\nignore_cases = true'
    study = make_study(tiny_base, data='source_column = "from"', more=more)
    lines = refused(study)
    assert lines[0].startswith(f"{study}: evaluation.text.ignore_cases: unknown key")
    assert [line for line in lines if "train.tsv: line 1: no column 'from'" in line]
    assert [line for line in lines if line.startswith("method.target_modules: 'no_proj'")]


@pytest.mark.parametrize(
    ("file", "key", "value", "says"),
    [
        ("tokenizer_config.json", "model_max_length", "x", "must be at least 1, got 'x'"),
        ("tokenizer_config.json", "model_max_length", -5, "must be at least 1, got -5"),
        ("generation_config.json", "eos_token_id", "x", "must be tokens' numbers, got 'x'"),
    ],
)
def test_what_lies_beside_a_model_may_be_wrong(
    make_study: MakeStudy,
    refused: Refused,
    chat_model: Callable[..., Path],
    file: str,
    key: str,
    value: object,
    says: str,
) -> None:
    """A value that no model can use is one line that names it."""
    model = chat_model()
    content = json.loads((model / file).read_text())
    (model / file).write_text(json.dumps({**content, key: value}))
    (line,) = refused(make_study(model, "causal_translation", STOP))
    assert key in line
    assert line.endswith(says)


@pytest.mark.whole
def test_a_study_without_a_base_hears_what_the_miniature_lacks(
    make_study: MakeStudy, refused: Refused
) -> None:
    """A forgotten base.model is said first, then the language that the miniature does not know."""
    study = make_study("embedded", data='source_language = "eng"')
    study.write_text(study.read_text().replace('model = "embedded"', ""))
    lines = refused(study)
    assert lines[0].startswith(f"{study}: base.model: needed beside data of your own")
    assert lines[1].startswith("data.source_language: must be a language code")


@pytest.mark.whole
@pytest.mark.parametrize("template", [PLAIN, NO_SYSTEM])
def test_init_writes_what_a_chat_model_takes(
    make_study: MakeStudy, type_: Type, chat_model: Callable[..., Path], template: str
) -> None:
    """Its own end of an answer, and no instruction where its template takes no system message."""
    data = make_study("m").parent / "train.tsv"
    languages = ("--source-language", "en", "--target-language", "fr")
    model = chat_model(template)
    ran = type_("init", "--quick", "--model", model, "--data", data, *languages)
    assert ran.status == 0, ran.err
    assert type_("check", "study.toml").status == 0
    instruction = load_spec("study.toml").data.instruction
    assert instruction == ("" if template == NO_SYSTEM else "Translate from English into French.")


@pytest.mark.whole
def test_a_template_without_a_system_role_runs_without_an_instruction(
    make_study: MakeStudy, type_: Type, chat_model: Callable[..., Path]
) -> None:
    """What the line advises works."""
    data = f'{STOP}\ninstruction = ""'
    study = make_study(chat_model(NO_SYSTEM), "causal_translation", data)
    assert type_("run", study, "--workers", "1").status == 0


@pytest.mark.whole
def test_a_tokenizer_larger_than_the_embedding(
    make_study: MakeStudy, refused: Refused, type_: Type, copy: Path
) -> None:
    """A text with an added token cannot be embedded; an added token that no text has is said."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(copy)
    rows = len(tokenizer)
    tokenizer.add_tokens(["driller"])
    tokenizer.save_pretrained(copy)
    study = make_study(copy)
    unused = type_("check", study)
    assert unused.status == 0
    count = f"its tokenizer has {rows + 1:,} tokens, its embedding {rows:,} rows"
    assert f"{count}; no text uses the others" in unused.out
    (study.parent / "dev.tsv").write_text("source\ttarget\nthe driller\tle foreur\n")
    (line,) = refused(study)
    assert count in line
    assert "resize" in line


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_gguf_file_is_converted_first(
    make_study: MakeStudy, refused: Refused, tmp_path: Path, is_folder: bool
) -> None:
    """The line says how, for a file and for a folder with nothing else."""
    (tmp_path / "gguf").mkdir()
    file = tmp_path / "gguf" / "model.Q4_K_M.gguf"
    file.write_bytes(b"GGUF")
    (line,) = refused(make_study(file.parent if is_folder else file))
    assert "a GGUF file cannot be trained; convert it with" in line
    assert "gguf_file='model.Q4_K_M.gguf'" in line


def test_a_folder_without_a_tokenizer(
    make_study: MakeStudy, refused: Refused, tmp_path: Path
) -> None:
    """transformers would make up a vocabulary of special tokens for a BERT."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    study = make_study(tmp_path / "bert", "classification")
    write_labelled(study.parent, ("yes", "no"))
    (line,) = refused(study)
    assert "it has no tokenizer; copy the original model's tokenizer files" in line


def test_an_architecture_that_cannot_do_the_task(
    make_study: MakeStudy, refused: Refused, tiny_base: Path
) -> None:
    """The line names the tasks that it can do."""
    (line,) = refused(make_study(tiny_base, "masked_diffusion"))
    assert "'m2m_100' models have no AutoModelForMaskedLM" in line
    assert "they can do 'translation'" in line


def test_weights_that_the_checkpoint_lacks(
    make_study: MakeStudy, refused: Refused, copy: Path
) -> None:
    """transformers would draw them at random."""
    weights = load_file(copy / "model.safetensors")
    del weights[next(name for name in weights if "fc1.weight" in name)]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    (line,) = refused(make_study(copy))
    assert "has no weights for" in line


def write_labelled(folder: Path, labels: tuple[str, ...]) -> None:
    """Write labelled pairs, each label in turn."""
    rows = [f"well {i}\tthe well\t{labels[i % len(labels)]}\n" for i in range(12)]
    for name in ("train", "dev"):
        (folder / f"{name}.tsv").write_text("sentence1\tsentence2\tlabel\n" + "".join(rows))


@pytest.mark.parametrize("same", [("yes", "Yes"), ("not a", "not_a", "Not-A")])
def test_labels_that_differ_in_spelling_alone(
    make_study: MakeStudy, refused: Refused, tiny_classifiers: Path, same: tuple[str, ...]
) -> None:
    """A model's outputs could not tell them apart: one line, which names them."""
    study = make_study(tiny_classifiers / "base", "classification")
    write_labelled(study.parent, (*same, "no"))
    lines = [line for line in refused(study) if line.startswith("data: labels ")]
    assert len(lines) == 1
    assert all(repr(label) in lines[0] for label in same)


@pytest.mark.whole
def test_a_decoder_without_a_padding_token_classifies(
    make_study: MakeStudy, type_: Type, refused: Refused, chat_model: Callable[..., Path]
) -> None:
    """Its end token pads, since padding is masked; without one, either, it is refused."""
    study = make_study(chat_model(pad=None), "classification")
    text = study.read_text().replace("[evaluation]", "[evaluation]\nmetrics = ['accuracy', 'loss']")
    study.write_text(text)
    write_labelled(study.parent, ("yes", "no"))
    assert type_("run", study, "--workers", "1", "--out", "padded").status == 0
    chat_model(pad=None, end=None)
    (line,) = refused(study)
    assert "its tokenizer has neither a padding nor an end token" in line


def test_a_model_without_a_limit_of_positions(make_study: MakeStudy, tmp_path: Path) -> None:
    """Bloom's configuration has no `max_position_embeddings`: every dialogue fits."""
    from transformers import BloomConfig, BloomForCausalLM

    tokenizer: Any = tiny_tokenizer(bos_token="<bos>", eos_token="<end>", pad_token="<pad>")
    tokenizer.chat_template = PLAIN
    config = BloomConfig(vocab_size=len(tokenizer), hidden_size=16, n_layer=2, n_head=2)
    BloomForCausalLM(config).save_pretrained(tmp_path / "bloom")
    tokenizer.save_pretrained(tmp_path / "bloom")
    spec = load_spec(make_study(tmp_path / "bloom", "causal_translation", STOP))
    task = make_task(spec, skeleton_of(spec), corpus_of(spec))
    assert len(task.examples("train")) == 12


def test_the_limit_of_positions_by_any_name() -> None:
    """GPT-2 names it otherwise; T5's counts no positions; Gemma 3 keeps it with its text."""
    from transformers import (
        BloomConfig,
        Gemma3Config,
        GPT2Config,
        MambaConfig,
        MptConfig,
        T5Config,
        XLNetConfig,
    )

    for unlimited in (BloomConfig(), MambaConfig(), XLNetConfig()):
        assert positions_of(unlimited) is None
    assert positions_of(MptConfig(max_seq_len=55)) == 55
    assert positions_of(GPT2Config(n_positions=77)) == 77
    assert positions_of(T5Config(n_positions=512)) is None
    assert positions_of(Gemma3Config(text_config={"max_position_embeddings": 99})) == 99


def test_the_embedded_base_is_checked_as_a_folder(
    make_study: MakeStudy, refused: Refused, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokenizer's languages are asked too, at check as at run."""
    monkeypatch.setattr("study.bases.miniatures.embedded_folder", lambda *_: tiny_base)
    (line,) = refused(make_study("embedded", data='source_language = "eng"'))
    assert line.startswith("data.source_language: must be a language code")


def test_curating_for_a_template_without_a_system_role(
    type_: Type, tmp_path: Path, chat_model: Callable[..., Path]
) -> None:
    """`curate` names its own options, and leaves no folder behind."""
    lines = [f'{{"input": "the well {i}", "output": "le puits {i}"}}\n' for i in range(30)]
    (tmp_path / "records.jsonl").write_text("".join(lines))
    model = chat_model(NO_SYSTEM)
    options = ("--out", "curated", "--clusters", "2", "--tokenizer", model, "--system", "Be brief")
    ran = type_("curate", "records.jsonl", *options)
    assert ran.status == 2
    assert ran.problems == [
        "--tokenizer: its chat template fails: no system role; it refuses a system message: "
        "leave out --system"
    ]
    assert not (tmp_path / "curated").exists()
