"""What `curate_to_folder` leaves: files that other tools read, a study that can be checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from transformers import BertConfig, BertModel

from study.data.curation import Choices, Encoder, Lengths, Record
from study.data.curation.from_command import CurationOrder, curate_to_folder
from study.data.curation.tokens import ChatTokens
from study.errors import InputError
from study.preparing.trial_cost import trial_cost
from study.spec.files import load_spec
from tests.study.data.test_curation import generated


def silent(what: str, done: int, total: int) -> None:
    """Show no progress."""


@pytest.fixture(scope="module")
def instructions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 records in a file, six of them twice, one empty, one that Markdown could take amiss."""
    records = [*generated(), *generated()[:6], Record(0, "Why?", "", "ask")]
    records += [Record(0, "A | *pipe* <b>\nin a cell\u2028", "yes\\n", "a|b")]
    rows = [{"input": r.source, "output": r.target, "template_name": r.template} for r in records]
    path = tmp_path_factory.mktemp("instructions") / "records.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama, untrained."""
    from study.bases.building import Miniature
    from study.bases.llama import LlamaRecipe
    from study.data.embedded import Pair

    folder = tmp_path_factory.mktemp("chat-model")
    recipe = LlamaRecipe(width=16, layers=1, heads=2, ffn=32, vocabulary_size=320)
    pairs = [Pair(r.source, r.target) for r in generated()]
    llama = Miniature(recipe, pairs)
    tokenizer = llama.learned_tokenizer()
    tokenizer.save_pretrained(folder)
    llama.new_model(tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def curated(
    instructions: Path, chat_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A curated folder with everything in it, and its report."""
    out = tmp_path_factory.mktemp("curated") / "out"
    choices = Choices(clusters=3, per_cluster=25, test=0.1, lengths=Lengths(max_characters=200))
    order = CurationOrder(
        str(instructions), out, system="be brief.", tokenizer=str(chat_model), choices=choices
    )
    return out, curate_to_folder(order, silent)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def loaded(folder: Path) -> Any:
    """The folder as `datasets` reads it, without a copy in the user's cache."""
    return datasets.load_dataset(str(folder), cache_dir=str(folder.parent.parent / "cache"))


def test_the_counts_are_the_files(curated: tuple[Path, dict[str, Any]]) -> None:
    """Every record read stands in one file, under its number, and the report counts them right."""
    out, report = curated
    parts = {name: rows_of(out / f"{name}.jsonl") for name in ("train", "dev", "test")}
    dropped = rows_of(out / "dropped.jsonl")
    assert report["splits"] == {name: len(rows) for name, rows in parts.items()}
    assert (report["read"], report["selected"]) == (128, 75)
    numbers = [row["record"] for rows in (*parts.values(), dropped) for row in rows]
    assert sorted(numbers) == list(range(1, 129))
    reasons = [row["reason"] for row in dropped]
    assert report["dropped"] == {reason: reasons.count(reason) for reason in report["dropped"]}
    assert report["dropped"]["exact duplicate"] == 6
    assert parts["dev"][0].keys() == {"source", "target", "template_name", "cluster", "record"}
    assert json.loads((out / "report.json").read_text(encoding="utf-8")) == report


def test_conversations_are_sharegpts(curated: tuple[Path, dict[str, Any]]) -> None:
    """`datasets` loads them, and system, human and gpt speak in turn."""
    out, report = curated
    found = loaded(out / "sharegpt")
    names = {"train": "train", "validation": "dev", "test": "test"}
    assert {name: report["splits"][names[name]] for name in found} == found.num_rows
    turns, row = found["validation"][0]["conversations"], rows_of(out / "dev.jsonl")[0]
    assert turns == [
        {"from": "system", "value": "be brief."},
        {"from": "human", "value": row["source"]},
        {"from": "gpt", "value": row["target"]},
    ]


def test_tokens_mask_the_prompt(curated: tuple[Path, dict[str, Any]], chat_model: Path) -> None:
    """What is learnt decodes to the answer and the end of the turn; the rest to the prompt."""
    from transformers import AutoTokenizer

    out, report = curated
    tokenizer = AutoTokenizer.from_pretrained(chat_model)
    found = loaded(out / "tokens")
    assert found["train"].num_rows == report["splits"]["train"]
    for tokens, row in zip(found["test"], rows_of(out / "test.jsonl"), strict=True):
        pairs = list(zip(tokens["input_ids"], tokens["labels"], strict=True))
        learnt = [i for i, label in pairs if label != -100]
        assert all(label in (i, -100) for i, label in pairs)
        assert tokenizer.decode(learnt) == row["target"] + tokenizer.eos_token
        prompt = tokenizer.decode([i for i, label in pairs if label == -100])
        assert prompt.count(row["source"]) == prompt.count("be brief.") == 1
        assert prompt.endswith("assistant<|end_header_id|>\n\n")
    assert report["tokens"]["longest_dialogue"] == max(
        len(row["input_ids"]) for split in found.values() for row in split
    )


def test_the_study_file_passes_check(
    curated: tuple[Path, dict[str, Any]], chat_model: Path
) -> None:
    """`check` reads the data, finds the model, and nothing is cut."""
    out, report = curated
    spec = load_spec(out / "study.toml")
    assert (spec.task, spec.base.model) == ("causal_translation", str(chat_model))
    assert spec.data.test == out / "test.jsonl"
    assert (spec.data.instruction, spec.data.stop_token) == ("be brief.", "<|eot_id|>")
    lines = "\n".join(trial_cost(spec)["lines"])
    assert f"{report['splits']['train']} train" in lines
    assert "are cut" not in lines
    assert spec.evaluation.max_new_tokens == report["tokens"]["longest_output"] + 1


def test_a_masked_model_gets_a_study_of_diffusion(instructions: Path, tmp_path: Path) -> None:
    """Its tokenizer knows no chat: the plain template asks, and the answer's region holds all."""
    from study.bases.building import Miniature
    from study.bases.masked import MaskedRecipe
    from study.data.embedded import Pair

    recipe = MaskedRecipe(width=16, layers=1, heads=2, ffn=32, vocabulary_size=320)
    masked = Miniature(recipe, [Pair(r.source, r.target) for r in generated()])
    tokenizer = masked.learned_tokenizer()
    for part in (tokenizer, masked.new_model(tokenizer)):
        part.save_pretrained(tmp_path / "masked")
    order = CurationOrder(str(instructions), tmp_path / "c", tokenizer=str(tmp_path / "masked"))
    curate_to_folder(order, silent)
    found = loaded(tmp_path / "c" / "tokens")["validation"]
    for tokens, row in zip(found, rows_of(tmp_path / "c" / "dev.jsonl"), strict=True):
        said = [i for i in tokens["labels"] if i != -100]
        assert tokenizer.decode(said).replace(" ", "") == f"{row['target']}[SEP]".replace(" ", "")
    spec = load_spec(tmp_path / "c" / "study.toml")
    assert (spec.task, spec.data.instruction) == ("masked_diffusion", "")
    assert spec.diffusion is not None
    assert spec.diffusion.length == 16
    assert not any("cut" in line for line in trial_cost(spec)["lines"])


def test_the_page_is_markdown(curated: tuple[Path, dict[str, Any]]) -> None:
    """Tables have as many cells in every row, whatever the records hold."""
    out, report = curated
    text = (out / "REPORT.md").read_text(encoding="utf-8")
    widths: list[int] = []
    for line in text.splitlines():
        if line.startswith("|"):
            widths.append(line.replace("\\|", "").count("|"))
        else:
            assert len(set(widths)) <= 1, line
            widths = []
    assert "a\\|b" in text
    assert report["filling"] in text
    assert report["input_sha256"] in text
    assert "<b>" not in text


def test_the_same_seed_writes_the_same_files(instructions: Path, tmp_path: Path) -> None:
    """All files but the reports, which name the folder, are the same byte for byte."""
    found = []
    for name in ("one", "two"):
        order = CurationOrder(str(instructions), tmp_path / name / "c", choices=Choices(clusters=3))
        found.append(curate_to_folder(order, silent)["files"])
    assert found[0] == found[1]
    assert set(found[0]) == {
        "train.jsonl",
        "dev.jsonl",
        "test.jsonl",
        "dropped.jsonl",
        "sharegpt/train.jsonl",
        "sharegpt/dev.jsonl",
        "sharegpt/test.jsonl",
        "study.toml",
    }


def test_shuffled_records_make_the_same_data(instructions: Path, tmp_path: Path) -> None:
    """The order of the file changes record numbers, and nothing else."""
    lines = instructions.read_text(encoding="utf-8").splitlines(keepends=True)
    other = tmp_path / "backwards.jsonl"
    other.write_text("".join(reversed(lines)), encoding="utf-8")
    folders = []
    for path in (instructions, other):
        folders.append(tmp_path / path.stem / "c")
        choices = Choices(clusters=3, per_cluster=20)
        curate_to_folder(CurationOrder(str(path), folders[-1], choices=choices), silent)
    for name in ("train", "dev"):
        sides = [(folder / "sharegpt" / f"{name}.jsonl").read_bytes() for folder in folders]
        assert sides[0] == sides[1]


def test_nothing_is_overwritten_and_nothing_half_left(
    instructions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that holds something is refused; a crash on the way leaves no folder at all."""
    full, file, out = tmp_path / "full", tmp_path / "file", tmp_path / "deep" / "out"
    full.mkdir()
    (full / "mine.txt").write_text("keep")
    file.write_text("keep")
    for taken in (full, file):
        with pytest.raises(InputError, match="exists already; name a new or empty folder"):
            curate_to_folder(CurationOrder(str(instructions), taken), silent)
    order = CurationOrder(str(instructions), out)
    with monkeypatch.context() as broken:
        broken.setattr("study.data.curation.from_command.page", lambda report: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            curate_to_folder(order, silent)
    assert list(out.parent.iterdir()) == []
    out.mkdir()
    curate_to_folder(order, silent)
    assert (out / "REPORT.md").is_file()
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_tokenizer_that_cannot_chat_is_refused(chat_model: Path, tmp_path: Path) -> None:
    """One line names the option, not a study file's key."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(chat_model)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path / "endless")
    (tmp_path / "endless" / "config.json").write_text((chat_model / "config.json").read_text())
    wrong = {
        str(tmp_path / "endless"): "--tokenizer: its tokenizer must name an end-of-text",
        str(tmp_path): "--tokenizer: cannot load",
        str(tmp_path / "nowhere"): "--tokenizer: no such folder",
    }
    for location, expected in wrong.items():
        with pytest.raises(InputError, match=expected) as refused:
            ChatTokens(location)
        assert "base.model" not in str(refused.value)


@pytest.fixture(scope="module")
def encoder_folder(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with random weights, in Hugging Face format."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = AutoTokenizer.from_pretrained(chat_model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), intermediate_size=32, **sizes)
    BertModel(config).save_pretrained(folder)
    return folder


def test_an_encoder_averages_its_tokens(encoder_folder: Path) -> None:
    """A text's vector is the mean of its own tokens' states, whatever it is padded with."""
    encoder = Encoder(str(encoder_folder))
    steps: list[tuple[int, int]] = []
    records = generated(24)
    vectors = encoder(records, 0, lambda done, total: steps.append((done, total)))
    assert steps == [(64, 72), (72, 72)]
    for i in (0, 30, 71):
        ids = encoder._tokenizer(records[i].source, return_tensors="pt")
        with torch.no_grad():
            mean = encoder._model(**ids).last_hidden_state[0].mean(0)
        assert vectors[i] == pytest.approx((mean / mean.norm()).numpy(), abs=1e-5)


def test_curating_by_an_encoder(instructions: Path, encoder_folder: Path, tmp_path: Path) -> None:
    """The report names it, and the versions it rests on."""
    order = CurationOrder(
        str(instructions), tmp_path / "c", encoder=str(encoder_folder), choices=Choices(clusters=2)
    )
    report = curate_to_folder(order, silent)
    assert report["encoder"] == str(encoder_folder)
    assert {"torch", "transformers"} <= report["versions"].keys()
    assert len(report["clusters"]) == 2


def test_pickled_encoders_are_refused(encoder_folder: Path, tmp_path: Path) -> None:
    """Weights are read from safetensors only."""
    for path in encoder_folder.iterdir():
        if path.suffix == ".json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(Encoder(str(encoder_folder))._model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"--encoder: .* pickled weights are not loaded"):
        Encoder(str(tmp_path))


def test_other_models_are_no_encoders(
    encoder_folder: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """Neither a translator nor a checkpoint that lacks weights embeds anything."""
    with pytest.raises(InputError, match="is an encoder with a decoder; allowed: a sentence enc"):
        Encoder(str(tiny_base))
    folder = Path(shutil.copytree(encoder_folder, tmp_path / "deeper"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["num_hidden_layers"] = 2
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match=r"has no weights for encoder\.layer\.1\."):
        Encoder(str(folder))
