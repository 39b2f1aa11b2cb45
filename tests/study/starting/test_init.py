"""`optuna-study init` on every format that the readers know, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from study.data.conversations import load_conversations
from study.data.corpora import corpus_of
from study.errors import InputError
from study.peft_methods.adapters import token_to_train
from study.preparing.preparation import end_remarks
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.starting.recognising import Wishes, recognised
from study.tasks import make_task
from tests.chat_fixtures import tiny_chat
from tests.command_line import Type
from tests.engine_runs import skeleton_of
from tests.study.bases.test_remote_code import write_checkpoint
from tests.tiny_studies import pairs_of

__all__ = ["tiny_chat"]

QUESTIONS = [(f"How deep is well {n}?", f"Well {n} is {3 * n} metres deep.") for n in range(24)]


def turns(role: str, content: str, user: str, assistant: str) -> list[list[dict[str, str]]]:
    """Conversations of two turns, with these names of their keys and roles."""
    return [[{role: user, content: q}, {role: assistant, content: a}] for q, a in QUESTIONS]


CHATS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "messages": [{"messages": t} for t in turns("role", "content", "user", "assistant")],
    "ShareGPT": [{"conversations": t} for t in turns("from", "value", "human", "gpt")],
    "prompt, completion": [{"prompt": q, "completion": a} for q, a in QUESTIONS],
    "Alpaca": [{"instruction": q, "input": "", "output": a} for q, a in QUESTIONS],
    "question, answer": [{"question": q, "answer": a} for q, a in QUESTIONS],
    "text": [{"text": f"{q} {a}"} for q, a in QUESTIONS],
}
QUEUES = ("billing", "shipping", "login")
TICKETS = [
    {
        "id": n,
        "subject": "A question",
        "body": f"Please look at my {QUEUES[n % 3]} number {n}, it is wrong again.",
        "queue": QUEUES[n % 3],
    }
    for n in range(45)
]


def jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows of objects."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as CSV, or as TSV if the file is called so."""
    with path.open("w", newline="", encoding="utf-8") as file:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


Init = Callable[..., StudySpec]


@pytest.fixture
def init(type_: Type, tmp_path: Path) -> Init:
    """Return a function that writes a study file, lets `check` read it, and returns its study."""

    def run(model: Path, data: Path, *options: object) -> StudySpec:
        out = tmp_path / "study.toml"
        wrote = type_("init", "--quick", "--model", model, "--data", data, "--out", out, *options)
        assert wrote.status == 0, wrote.err
        assert type_("check", out, "--quick").status == 0
        return load_spec(out)

    return run


@pytest.mark.parametrize("name", CHATS)
def test_every_chat_format_becomes_a_study(
    name: str, init: Init, tiny_chat: Path, tmp_path: Path
) -> None:
    """The task is sft, and its length, batch, space and objective are chosen."""
    spec = init(tiny_chat / "base", jsonl(tmp_path / "chat.jsonl", CHATS[name]))
    assert spec.task_kind.reads_conversations
    assert spec.evaluation.objective == ("loss",)
    assert {*spec.search.parameters} == {"learning_rate", "rank", "dropout"}
    assert spec.data.train == tmp_path / "chat.jsonl"


@pytest.mark.parametrize("kind", ["json", "parquet", "saved"])
def test_other_files_are_read_too(kind: str, init: Init, tiny_chat: Path, tmp_path: Path) -> None:
    """A JSON array, Parquet and a folder saved by `datasets` are looked at like JSONL."""
    from datasets import Dataset

    rows, path = list(CHATS["messages"]), tmp_path / f"chat.{kind}"
    table = Dataset.from_list([dict(row) for row in rows])
    if kind == "json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif kind == "parquet":
        table.to_parquet(path)
    else:
        table.save_to_disk(path)
    assert init(tiny_chat / "base", path).task_kind.reads_conversations


def test_a_table_of_tickets_becomes_a_classification(
    init: Init, type_: Type, tiny_classifiers: Path, tmp_path: Path
) -> None:
    """The columns of text and label are found among others, and every class stays in train."""
    spec = init(tiny_classifiers / "base", table(tmp_path / "tickets.csv", TICKETS))
    assert (spec.data.text_column, spec.data.label_column) == ("body", "queue")
    assert spec.task_kind.outputs == "classes"
    assert spec.data.dev_share == 0.2


def test_texts_with_numbers_become_a_regression(
    init: Init, tiny_classifiers: Path, tmp_path: Path
) -> None:
    """Fractions are quantities; `--task` makes classes of whole numbers quantities too."""
    rows = [{"review": f"It took {n} days to get it.", "stars": n % 5 + 1} for n in range(30)]
    path = table(tmp_path / "reviews.csv", [{**row, "stars": row["stars"] / 4} for row in rows])
    assert init(tiny_classifiers / "base", path).task_kind.outputs == "numbers"
    (tmp_path / "study.toml").unlink()
    table(path, rows)
    assert init(tiny_classifiers / "base", path).task_kind.outputs == "classes"
    (tmp_path / "study.toml").unlink()
    spec = init(tiny_classifiers / "base", path, "--task", "regression")
    assert spec.task_kind.outputs == "numbers"


def test_a_cell_that_is_no_number_is_named(
    type_: Type, tiny_classifiers: Path, tmp_path: Path
) -> None:
    """It makes no class of every number: its line, its value and what to do are one line."""
    rows: list[dict[str, object]] = [
        {"text": f"The pump ran {n} hours.", "label": n / 7} for n in range(30)
    ]
    rows[11]["label"] = "n/a"
    out, data = tmp_path / "study.toml", table(tmp_path / "hours.csv", rows)
    arguments = ("init", "--quick", "--model", tiny_classifiers / "base", "--data", data)
    asked = type_(*arguments, "--out", out)
    (line,) = asked.problems
    assert "hours.csv: line 13: label: must be a number such as 3.5, got 'n/a'; allowed" in line
    assert "leave them out with data.bad_rows = 'drop' (init: --drop-bad-rows)" in line
    assert type_(*arguments, "--out", out, "--drop-bad-rows").status == 0
    assert load_spec(out).data.bad_rows == "drop"


def test_a_decimal_comma_makes_no_classes(
    type_: Type, tiny_classifiers: Path, tmp_path: Path
) -> None:
    """`1,5` is a number that must be written in another way, unless the user wants classes."""
    halves = ("1", "1,5", "2", "2,5", "3", "3,5")
    rows: list[dict[str, object]] = [
        {"review": f"The pump ran {n} hours.", "stars": halves[n % 6]} for n in range(60)
    ]
    out, data = tmp_path / "study.toml", table(tmp_path / "stars.csv", rows)
    arguments = ("init", "--quick", "--model", tiny_classifiers / "base", "--data", data)
    line, *_ = type_(*arguments, "--out", out).problems
    assert "stars.csv: line 3: stars: must be a number such as 3.5, got '1,5'" in line
    assert type_(*arguments, "--task", "classification", "--out", out).status == 0
    assert load_spec(out).task_kind.outputs == "classes"


IDS = [f"T-{n:04}" for n in range(60)]
DAYS = [f"2024-03-{1 + n % 9:02}" for n in range(60)]


@pytest.mark.parametrize(
    ("name", "values"),
    [("tag", IDS), ("opened", DAYS), ("customer_id", [n % 7 for n in range(60)])],
)
def test_dates_and_identifiers_are_no_labels(name: str, values: list[Any]) -> None:
    """Beside a column that could be one, that one is the label; alone, there is none."""
    rows = [{name: v, "note": f"Pump {n} leaks at the seal."} for n, v in enumerate(values)]
    assert recognised_labels([{**row, "team": "ab"[n % 2]} for n, row in enumerate(rows)]) == "team"
    assert recognised_labels(rows) is None


@pytest.mark.parametrize("spelling", [str.upper, str.title])
@pytest.mark.parametrize("name", CHATS)
def test_columns_in_capitals_are_recognised(
    name: str, spelling: Callable[[str], str], init: Init, tiny_chat: Path, tmp_path: Path
) -> None:
    """A chat file is the same study, whatever the case of its columns."""
    rows = [{spelling(key): value for key, value in row.items()} for row in CHATS[name]]
    spec = init(tiny_chat / "base", jsonl(tmp_path / "chat.jsonl", rows))
    plain = jsonl(tmp_path / "plain.jsonl", CHATS[name])
    also = spec.data.model_copy(update={"train": plain})
    if spec.data.source_column == "source":  # else the study file names them as they are
        assert load_conversations(also).train == load_conversations(spec.data).train


def test_labelled_columns_in_capitals_are_recognised() -> None:
    """They are named in the study file, or found by the reader of a known layout."""
    rows = [{"Source": f"a {n}", "Target": f"b {n}", "Label": "xy"[n % 2]} for n in range(9)]
    assert recognised(rows, Wishes(), "x.csv").keys == {
        "source_column": "Source",
        "target_column": "Target",
        "label_column": "Label",
    }
    pairs = [{name: row[name] for name in ("Source", "Target")} for row in rows]
    assert recognised(pairs, Wishes(), "x.csv").keys == {
        "source_column": "Source",
        "target_column": "Target",
    }
    known = [{"Premise": r["Source"], "Hypothesis": "b", "Label": r["Label"]} for r in rows]
    assert recognised(known, Wishes(), "x.csv").found == (
        "labelled pairs (Premise, Hypothesis, Label)"
    )


def test_a_table_without_a_header_names_the_cure(
    type_: Type, tiny_base: Path, tmp_path: Path
) -> None:
    """Its first example is not taken for the names of columns."""
    data = tmp_path / "pairs.tsv"
    data.write_text("Le puits est fermé.\tThe well is closed.\n" * 3, encoding="utf-8")
    asked = type_("init", "--model", tiny_base, "--data", data, "--task", "translation")
    (line,) = asked.problems
    assert "the first line must name the columns, got 'Le puits est fermé.'; add a header" in line


def recognised_labels(rows: list[dict[str, Any]]) -> str | None:
    """The column that is taken for the labels, if any is."""
    try:
        return recognised(rows, Wishes(), "x.csv").keys["label_column"]
    except InputError:
        return None


@pytest.mark.parametrize(
    ("columns", "keys", "is_numeric"),
    [
        (
            {"Review Text": "good {n}", "Avg. Score": "{half}", "note": ("ok", "")},
            {"text_column": "Review Text", "label_column": "Avg. Score"},
            True,
        ),
        (
            {"body": "good {n} words", "quality": "{half}", "lang": "en", "id": "{n}"},
            {"text_column": "body", "label_column": "quality"},
            True,
        ),
        (
            {"sent 1": "one {n}", "sent 2": "two and more {n}", "related": ("yes", "no")},
            {"text_column": "sent 1", "second_text_column": "sent 2", "label_column": "related"},
            False,
        ),
        (
            {"Text_A": "one {n}", "Text_B": "two {n}", "ticket_category": ("1", "2")},
            {
                "text_column": "Text_A",
                "second_text_column": "Text_B",
                "label_column": "ticket_category",
            },
            False,
        ),
    ],
)
def test_columns_of_other_names_are_recognised_by_words_numbers_and_values(
    columns: dict[str, str | tuple[str, str]], keys: dict[str, str], is_numeric: bool
) -> None:
    """A column with one value is no label where another is; numbered texts are pairs."""
    rows = [
        {
            name: (text if isinstance(text, str) else text[n % 2]).format(n=n, half=n / 7)
            for name, text in columns.items()
        }
        for n in range(40)
    ]
    found = recognised(rows, Wishes(), "x.csv")
    assert (dict(found.keys), found.is_numeric) == (keys, is_numeric)


def test_a_question_can_name_a_column() -> None:
    """Only a whole sentence looks like an example in the first line."""
    rows = [
        {"Sentence 1": f"a {n}", "Sentence 2": f"b {n}", "Same meaning?": n % 2} for n in range(9)
    ]
    assert recognised(rows, Wishes(), "x.csv").keys["label_column"] == "Same meaning?"


def test_a_second_column_of_texts_can_be_named(
    init: Init, tiny_classifiers: Path, tmp_path: Path
) -> None:
    """And one that is not there is a line."""
    rows = [{"long": f"a longer text {n}", "brief": f"b {n}", "label": n % 2} for n in range(24)]
    data = table(tmp_path / "pairs.csv", rows)
    spec = init(tiny_classifiers / "base", data, "--second-text-column", "brief").data
    assert (spec.text_column, spec.second_text_column) == ("long", "brief")
    with pytest.raises(InputError, match="--second-text-column: no column 'short', got 'long'"):
        recognised(rows, Wishes(second_text_column="short"), "x.csv")


def test_known_pairs_of_sentences_become_a_classification(
    init: Init, tiny_classifiers: Path
) -> None:
    """A published layout keeps its own columns and classes."""
    folder = tiny_classifiers
    spec = init(folder / "base", folder / "train.jsonl", "--dev", folder / "dev.jsonl")
    assert spec.data.text_column is None
    assert spec.data.dev == folder / "dev.jsonl"


def test_pairs_become_a_translation_in_their_own_direction(
    init: Init, tiny_base: Path, parallel_text: Path, tmp_path: Path
) -> None:
    """Frequent words tell the languages; the codes are the tokenizer's."""
    spec = init(tiny_base, parallel_text / "train.tsv", "--dev", parallel_text / "dev.tsv")
    assert (spec.data.source_language, spec.data.target_language) == ("eng_Latn", "fra_Latn")
    (tmp_path / "study.toml").unlink()
    rows = [{"fr": p.target, "en": p.source} for p in pairs_of(parallel_text / "train.tsv")]
    other = init(tiny_base, table(tmp_path / "back.tsv", rows))
    assert (other.data.source_language, other.data.target_language) == ("fra_Latn", "eng_Latn")
    assert (other.data.source_column, other.data.target_column) == ("fr", "en")
    (tmp_path / "study.toml").unlink()
    options = ("--source-language", "en", "--target-language", "fr")
    asked = init(tiny_base, tmp_path / "back.tsv", *options)
    assert (asked.data.source_language, asked.data.target_language) == ("eng_Latn", "fra_Latn")
    assert (asked.data.source_column, asked.data.target_column) == ("en", "fr")


@pytest.mark.whole
def test_a_chat_model_is_asked_for_the_direction_of_the_pairs(
    init: Init, tiny_llamas: Path, parallel_text: Path, tmp_path: Path
) -> None:
    """The instruction of a decoder follows from what the pairs are."""
    rows = [{"source": p.target, "target": p.source} for p in pairs_of(parallel_text / "train.tsv")]
    spec = init(tiny_llamas / "base", table(tmp_path / "back.tsv", rows))
    assert spec.data.instruction == "Translate from French into English."


def test_a_chat_model_ends_translations_as_its_template_does(
    init: Init, tiny_chat: Path, tmp_path: Path
) -> None:
    """Its vocabulary has neither a stop token of ours nor a reserved one; none is trained."""
    base = shutil.copytree(tiny_chat / "base", tmp_path / "base")
    text = (base / "tokenizer.json").read_text(encoding="utf-8")
    (base / "tokenizer.json").write_text(text.replace("reserved_special", "other_special"))
    settings = (base / "tokenizer_config.json").read_text(encoding="utf-8")
    (base / "tokenizer_config.json").write_text(
        settings.replace("reserved_special", "other_special")
    )
    rows = [{"fr": f"Le puits {n} est dans la ville.", "en": "The well is."} for n in range(24)]
    spec = init(base, table(tmp_path / "back.tsv", rows))
    assert spec.task_kind.instructs
    assert spec.data.stop_token is None
    base_model = skeleton_of(spec)
    task: Any = make_task(spec, base_model, corpus_of(spec))
    assert token_to_train(base_model, spec) is None
    end = base_model.tokenizer.convert_tokens_to_ids("<|eot_id|>")
    assert end in task._ends
    assert all(dialogue.answer[-1] == end for dialogue in task._dialogues.values())


def test_a_spreadsheets_tickets_are_read_and_explained(
    init: Init, type_: Type, tiny_classifiers: Path, tmp_path: Path
) -> None:
    """Semicolons, columns left out and the second column of texts: a line each, and a hint."""
    rows = [{**ticket, "subject": f"Order {ticket['id']}"} for ticket in TICKETS]
    path = tmp_path / "tickets.csv"
    path.write_text(table(path, rows).read_text().replace(", it", " it").replace(",", ";"))
    spec = init(tiny_classifiers / "base", path)
    assert (spec.data.text_column, spec.data.label_column) == ("body", "queue")
    out = tmp_path / "study.toml"
    assert '# second_text_column = "subject"' in out.read_text(encoding="utf-8")
    said = type_("check", out, "--quick").out
    assert "tickets.csv: fields separated by semicolons" in said
    assert "columns of tickets.csv that are not read: 'id', 'subject'" in said
    assert "data.second_text_column = 'subject'" in said


def test_usual_pairs_are_pairs_whatever_their_label_is_called(
    init: Init, tiny_classifiers: Path, tmp_path: Path
) -> None:
    """Half of a pair would be a silent guess; a named text column still means that one alone."""
    rows = [
        {"Sentence1": f"The well {n} is dry.", "Sentence2": f"{n} is dry.", "is_paraphrase": n % 2}
        for n in range(24)
    ]
    data = table(tmp_path / "pairs.csv", rows)
    spec = init(tiny_classifiers / "base", data).data
    assert (spec.text_column, spec.second_text_column) == ("Sentence1", "Sentence2")
    assert spec.label_column == "is_paraphrase"
    (tmp_path / "study.toml").unlink()
    spec = init(tiny_classifiers / "base", data, "--text-column", "Sentence2").data
    assert (spec.text_column, spec.second_text_column) == ("Sentence2", None)


@pytest.mark.whole
def test_the_whole_command_measures_and_says_what_it_decided(
    type_: Type, tiny_classifiers: Path, tmp_path: Path
) -> None:
    """Without --quick the file holds an estimate, and the terminal a line per decision."""
    data = table(tmp_path / "tickets.csv", TICKETS)
    ran = type_("init", "--model", tiny_classifiers / "base", "--data", data)
    assert (ran.status, ran.out) == (0, "study    study.toml\n")
    decided = {line.split()[0] for line in ran.problems}
    assert {"task", "data", "lengths", "modules", "space", "metric", "budget"} <= decided
    text = (tmp_path / "study.toml").read_text(encoding="utf-8")
    assert "on this machine, baselines included, 24 trials of 30 steps take" in " ".join(
        text.replace("\n# ", " ").split()
    )
    assert "[search]" in text
    assert text.index("[training]") < text.index("[search]")


@pytest.mark.parametrize("has_prompt", [True, False])
def test_preference_pairs_become_a_study_of_preferences(
    has_prompt: bool, init: Init, tiny_chat: Path, tmp_path: Path
) -> None:
    """Both of TRL's formats give the task dpo, which also searches beta."""
    rows = [{"prompt": q, "chosen": a, "rejected": "No idea."} for q, a in QUESTIONS]
    if not has_prompt:
        rows = [{side: f"{row['prompt']} {row[side]}" for side in SIDES} for row in rows]
    spec = init(tiny_chat / "base", jsonl(tmp_path / "pairs.jsonl", rows))
    assert spec.task_kind.reads_preferences
    assert {*spec.search.parameters} == {"learning_rate", "beta", "rank", "dropout"}


@pytest.mark.parametrize("name", ["question, answer", "prompt, completion", "Alpaca"])
def test_questions_for_a_model_that_fills_masks_become_masked_diffusion(
    name: str, init: Init, tiny_masked: Path, tmp_path: Path
) -> None:
    """A BERT type gets room for the longest usual answer, filled block by block."""
    spec = init(tiny_masked / "base", jsonl(tmp_path / "chat.jsonl", CHATS[name]))
    assert spec.task_kind.diffuses
    assert spec.diffusion is not None
    assert spec.diffusion.length % spec.diffusion.block_length == 0
    assert spec.evaluation.objective == ("loss",)


def test_a_model_with_its_own_code_needs_the_option(
    type_: Type, init: Init, tiny_masked: Path, tmp_path: Path
) -> None:
    """Without it one line says so; with it the study file allows the code too."""
    model = write_checkpoint(tmp_path / "own", tiny_masked / "base", masks=True)
    data = jsonl(tmp_path / "chat.jsonl", CHATS["question, answer"])
    line = refused(type_, "--model", model, "--data", data)
    assert line.startswith("--model: cannot load ")
    assert line.endswith("custom code; review it, then give --trust-remote-code")
    spec = init(model, data, "--trust-remote-code", "--task", "masked_diffusion")
    assert spec.base.trust_remote_code


def test_pairs_for_a_decoder_without_a_template_become_answers(
    init: Init, tiny_chat: Path, tmp_path: Path
) -> None:
    """A pretrained decoder learns to translate as it learns any answer, in a shipped template."""
    base = without_template(tiny_chat / "base", tmp_path / "base")
    rows = [
        {"fr": f"Le puits {n} est dans la ville.", "en": "The well is here."} for n in range(24)
    ]
    spec = init(base, table(tmp_path / "back.tsv", rows))
    assert spec.task_kind.reads_conversations
    assert spec.data.instruction == "Translate from French into English."
    assert (spec.data.source_column, spec.data.target_column) == ("fr", "en")
    assert spec.data.chat_template == "llama3"


def test_a_template_whose_tokens_the_base_never_learnt_is_not_chosen(
    init: Init, type_: Type, tiny_chat: Path, tmp_path: Path
) -> None:
    """The plain one is, which ends answers with the end of a text; `check` says so too."""
    base = without_template(tiny_chat / "base", tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    tokens = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    like_others = weights["model.embed_tokens.weight"]
    like_others[-30:] = like_others[tokens["<|eot_id|>"]]
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    settings = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["eos_token"] = "<|end_of_text|>"
    (base / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    data = jsonl(tmp_path / "chat.jsonl", CHATS["messages"])
    assert init(base, data).data.chat_template == "plain"
    (remark,) = end_remarks_of(tmp_path / "study.toml", "llama3")
    assert "'<|eot_id|>' ends an answer, but many tokens have nearly its weights" in remark
    assert end_remarks_of(tmp_path / "study.toml", "plain") == []


def end_remarks_of(study: Path, template: str) -> list[str]:
    """What `check` says about the end of answers under a template."""
    spec = load_spec(study, {"data.chat_template": template})
    return end_remarks(spec, spec.base.model, skeleton_of(spec), corpus_of(spec))


def without_template(base: Path, copy: Path) -> Path:
    """Return a copy of a base whose tokenizer has no chat template."""
    shutil.copytree(base, copy)
    (copy / "chat_template.jinja").unlink(missing_ok=True)
    return copy


def test_texts_on_both_sides_are_said(type_: Type, tiny_classifiers: Path, tmp_path: Path) -> None:
    """A dev file with a text of train inflates scores: one of the lines says how many there are."""
    train = table(tmp_path / "train.csv", TICKETS)
    dev = table(
        tmp_path / "dev.csv", [TICKETS[0], *({**t, "body": f"Now: {t['body']}"} for t in TICKETS)]
    )
    files = ("--data", train, "--dev", dev, "--test", train, "--out", tmp_path / "both.toml")
    wrote = type_("init", "--quick", "--model", tiny_classifiers / "base", *files)
    assert "; 1 dev sources also occur in train, which inflates scores" in wrote.err
    assert f"; {len(TICKETS)} test sources also occur in train, which" in wrote.err
    assert "the text could also be" not in wrote.err  # the subject is the same in every row


@pytest.mark.parametrize("spelling", [str.lower, str.title])
def test_a_second_column_of_questions_is_named(spelling: Callable[[str], str]) -> None:
    """Only one is read, so a line names the other, however the columns are spelled."""
    row = {"instruction": "Why does it fall?", "input": "A stone.", "response": "It is heavy."}
    found = recognised([{spelling(name): text for name, text in row.items()}] * 3, Wishes(), "")
    question, left = spelling("instruction"), spelling("input")
    assert found.keys["source_column"] == question
    assert found.remarks == (
        f"the column {left!r} is not read; join it with {question!r} if it matters",
    )


def test_a_training_may_be_made_shorter_on_the_command_line(
    init: Init, tiny_chat: Path, tmp_path: Path
) -> None:
    """How often trials report follows from their length, so a few steps are enough to try."""
    init(tiny_chat / "base", jsonl(tmp_path / "chat.jsonl", CHATS["messages"]))
    short = load_spec(tmp_path / "study.toml", {"training.steps": 2})
    assert short.training.report_every == 1


# ---------------------------------------------------------------- what is refused


def refused(type_: Type, *arguments: object) -> str:
    """The one line with which the command refuses."""
    ran = type_("init", "--quick", *arguments)
    assert (ran.status, ran.out) == (2, "")
    (line,) = ran.problems
    return line


def test_nothing_is_overwritten(type_: Type, tmp_path: Path) -> None:
    """A study file that is there stays as it is."""
    out = tmp_path / "mine.toml"
    out.write_text("seed = 3\n", encoding="utf-8")
    line = refused(type_, "--model", "m", "--data", "d.csv", "--out", out)
    assert line == f"--out: {out}: exists; name another file, or remove it"
    assert out.read_text(encoding="utf-8") == "seed = 3\n"


SIDES = ("chosen", "rejected")
PREFERENCES = [{"prompt": str(n), "chosen": "yes", "rejected": "no"} for n in range(9)]


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        ([{"a": 1, "b": 2}] * 3, (), "no known columns, got 'a', 'b'; known are messages;"),
        (PREFERENCES, (), "got preference pairs (prompt, chosen, rejected); give a chat model"),
        (PREFERENCES, ("--task", "sft"), "no known columns for the task 'sft', got 'prompt'"),
        (TICKETS, ("--label-column", "no"), "--label-column: no column 'no', got 'id', 'subject'"),
        (TICKETS, ("--task", "sft"), "no known columns for the task 'sft', got 'id', 'subject'"),
        (CHATS["messages"], (), "fills masks in one answer, got conversations (messages); give"),
        (TICKETS, ("--task", "clasification"), "--task: got 'clasification'; did you mean class"),
    ],
)
def test_what_is_not_recognised_is_one_line(
    rows: Sequence[Mapping[str, Any]],
    options: Sequence[str],
    says: str,
    type_: Type,
    tiny_masked: Path,
    tmp_path: Path,
) -> None:
    """Columns, options and a model of another kind: what was got and what to do, and no file."""
    data = jsonl(tmp_path / "data.jsonl", rows)
    assert says in refused(type_, "--model", tiny_masked / "base", "--data", data, *options)
    assert not (tmp_path / "study.toml").exists()


def test_what_is_missing_is_one_line(type_: Type, tiny_base: Path, tmp_path: Path) -> None:
    """A file or a model that is not there is named by its option."""
    assert (
        refused(type_, "--model", tiny_base, "--data", "no.csv") == "--data: no.csv: no such file"
    )
    data = table(tmp_path / "tickets.csv", TICKETS)
    line = refused(type_, "--model", tmp_path / "none", "--data", data)
    assert line.startswith("--model: no such folder")


FRENCH, ENGLISH = "Le puits est dans la ville.", "The well is in the town."


@pytest.mark.parametrize("options", [("en", "fr"), ("English", None), (None, "fra_Latn")])
@pytest.mark.parametrize("columns", [("fr", "en"), ("source", "target")])
def test_the_stated_languages_choose_the_columns(
    columns: tuple[str, str], options: tuple[str | None, str | None]
) -> None:
    """French before English is read from English into French if that is asked for, and said."""
    rows = [dict(zip(columns, (FRENCH, ENGLISH), strict=True))] * 9
    found = recognised(rows, Wishes(None, None, None, None, *options), "")
    assert (found.keys["source_column"], found.keys["target_column"]) == columns[::-1]
    assert found.languages == ("eng", "fra")
    (remark,) = found.remarks
    assert remark.startswith(f"source is {columns[1]!r} and target {columns[0]!r}: ")


def test_two_of_three_languages_are_chosen() -> None:
    """A column of a third language is no pair's side, and without a choice there is no pair."""
    rows = [{"fr": FRENCH, "de": "Der Brunnen ist in der Stadt.", "en": ENGLISH}] * 9
    found = recognised(rows, Wishes(source_language="en", target_language="fr"), "")
    assert found.keys == {"source_column": "en", "target_column": "fr"}
    with pytest.raises(InputError, match="no known columns"):
        recognised(rows, Wishes(source_language="en"), "")


@pytest.mark.parametrize("options", [("de", "fr"), ("fr", "de"), (None, "de"), ("en", "en")])
def test_languages_that_the_columns_contradict_are_refused(
    options: tuple[str | None, str | None],
) -> None:
    """Names of columns are certain; frequent words are a remark, since they may be wrong."""
    wishes = Wishes(None, None, None, None, *options)
    with pytest.raises(InputError, match="'fr' is French and 'en' is English, got ") as refusal:
        recognised([{"fr": FRENCH, "en": ENGLISH}] * 9, wishes, "")
    assert len(refusal.value.problems) == 1
    found = recognised([{"source": FRENCH, "target": ENGLISH}] * 9, wishes, "")
    assert found.keys == {}
    (remark,) = found.remarks
    assert remark.startswith("'source' looks French and 'target' looks English by frequent words")


def test_one_language_for_both_columns_contradicts_nothing() -> None:
    """Two scripts of Chinese stay in their order."""
    rows = [{"zh_Hans": "这是一口井", "zh_Hant": "這是一口井"}] * 9
    found = recognised(rows, Wishes(source_language="zh", target_language="zh"), "")
    assert found.keys["source_column"] == "zh_Hans"
    assert found.remarks == ()


def test_languages_that_nothing_tells_are_asked_for(
    type_: Type, init: Init, tiny_llamas: Path, tmp_path: Path
) -> None:
    """Words that no language has give one line; the options settle it."""
    rows = [{"source": f"qaz {n} wsx", "target": f"edc {n} rfv"} for n in range(12)]
    data = table(tmp_path / "pairs.tsv", rows)
    model = tiny_llamas / "base"
    line = refused(type_, "--model", model, "--data", data)
    assert line.startswith("--source-language: the languages of the pairs were not recognised")
    spec = init(model, data, "--source-language", "Zulu", "--target-language", "xh")
    assert spec.data.instruction == "Translate from Zulu into Xhosa."


def test_the_choice_of_a_label_column_is_explained() -> None:
    """By its name or its values, and the columns that could be meant are named."""
    rows = [{**row, "priority": ("low", "high")[n % 2]} for n, row in enumerate(TICKETS)]
    said = "the label is 'queue', by its name; it could also be 'priority': set --label-column to"
    assert any(line.startswith(said) for line in recognised(rows, Wishes(), "").remarks)
    others = [{"note": r["body"], "team": r["queue"], "shift": r["priority"]} for r in rows]
    (line,) = recognised(others, Wishes(), "").remarks
    assert line.startswith("the label is 'team', whose values repeat like those of classes; it")


def test_one_row_and_a_missing_dev_file_are_named(
    type_: Type, tiny_classifiers: Path, tmp_path: Path
) -> None:
    """The file has too few rows whatever its header says, and the option is that of the file."""
    model = ("--model", tiny_classifiers / "base", "--data")
    one = table(tmp_path / "one.csv", TICKETS[:1])
    assert refused(type_, *model, one).endswith("one.csv: contains one row; allowed: at least two")
    data = table(tmp_path / "tickets.csv", TICKETS)
    assert refused(type_, *model, data, "--dev", "no.csv") == "--dev: no.csv: no such file"
