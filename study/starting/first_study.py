"""The first study file for a model and data: looks at both, decides, and checks what it wrote.

Nothing is guessed twice: data are read by the readers, and the file is checked by the code of
`optuna-study check`, so it cannot refuse what this writes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from study.bases.load import load_tokenizer, located, model_class
from study.bases.untrained_tokens import looks_untrained
from study.data.chat import ChatFormat
from study.data.corpora import read_corpus
from study.data.instructions import LLADA_MASK
from study.data.languages import language_ids
from study.data.origins import is_saved
from study.data.readers import Corpus, skipped_remarks
from study.data.remarks import length_limit, positions_of, token_counts
from study.errors import InputError, refusing
from study.kinds.language_names import LANGUAGES, language_of, translation_instruction
from study.kinds.tasks import TASKS, TaskKind
from study.preparing.estimate import checked
from study.preparing.preparation import StepCallback, prepare, read_inputs
from study.preparing.trial_cost import cost_of, data_line
from study.spec.base_and_data import BaseModelSpec
from study.spec.files import spec_of_text
from study.spec.sections import StudySpec
from study.spec.writing import toml
from study.starting.choosing import (
    FEW_EXAMPLES,
    KEPT_WHOLE,
    LENGTHS,
    MEASURED_EXAMPLES,
    PLAIN,
    SPECIAL_OF,
    Lengths,
    lengths_of,
    pace_of,
    template_for,
)
from study.starting.draft import Draft
from study.starting.recognising import Recognised, Wishes, first_rows, recognised
from study.starting.settings import set_budget, set_evaluation, set_pace, set_search

SHARE, SHARE_OF_FEW = 0.1, 0.2  # of train for dev
OVERHEAD = 64  # tokens of a template and an instruction beside two texts


@dataclass(frozen=True)
class Order:
    """What to write a study file for, and where."""

    model: str
    data: str
    out: Path
    dev: Path | None = None
    test: Path | None = None
    wishes: Wishes = field(default_factory=Wishes)
    quick: bool = False  # without measuring a step
    trusts_code: bool = False  # that comes with the model
    drops_bad_rows: bool = False


@dataclass(frozen=True)
class FirstStudy:
    """A study file, and what was decided, a line each."""

    text: str
    lines: tuple[str, ...]


def first_study(order: Order, progress: StepCallback | None = None) -> FirstStudy:
    """Return a study file that `check` accepts.

    Raises:
        InputError: model or data cannot be used or are not recognised; a line per problem.
    """
    data = _data(order.data)
    for option in ("dev", "test"):
        path = getattr(order, option)
        if path is not None and not path.exists():
            raise InputError(f"--{option}: {path}: no such file")
    location = located(order.model, None, "--model")
    base = BaseModelSpec(model=location, trust_remote_code=order.trusts_code)
    tokenizer, config = _tokenizer(order.model, base)
    found, task = _recognised(data, tokenizer, config, base, order)
    kind = TASKS[task]
    draft, said = Draft(), [f"task     {task}: {found.found} in {Path(order.data).name}"]
    said += [f"         {remark}" for remark in found.remarks]
    draft.set("", "name", _name(order.out))
    draft.set("", "task", task, f"{order.data}: {found.found}")
    draft.set("base", "model", _path(order.model, order.out))
    if order.trusts_code:
        draft.set("base", "trust_remote_code", True, "runs the code that comes with the model")
    _set_data(draft, order, data, found)
    if kind.reads_conversations:
        said += _set_template(draft, tokenizer, location)
    if found.shape == "pairs" and not kind.diffuses:
        said += _set_languages(draft, kind, found, tokenizer)
    spec, corpus = _read(draft, order, kind)
    said += [f"data     {line}" for line in (*skipped_remarks(corpus), *corpus.remarks)]
    said.append(data_line(corpus))
    lengths = _lengths(draft, spec, corpus, tokenizer, config)
    said.append(f"lengths  {lengths.in_words()}; longer than {lengths.cut:,}: {_cut(spec)}")
    said += set_search(draft, config, kind)
    said += set_evaluation(draft, spec, corpus, tokenizer)
    pace = pace_of(len(corpus.train), lengths.cut)
    set_pace(draft, pace)
    spec = spec_of_text(draft.text(), order.out)
    inputs = read_inputs(spec)
    if order.quick:
        cost = cost_of(spec, inputs, prepare(spec, inputs, progress))
    else:
        cost = checked(spec, inputs, progress, brief=True)
    said += [line for line in cost["lines"] if line.startswith(("modules", "largest"))]
    said.append(f"budget   {set_budget(draft, pace, cost.get('estimate'))}")
    draft.begin(
        f"A study of {order.model} on {order.data}, begun by `optuna-study init`. Every value can "
        "be changed; the comments say why it is as it is.",
        f"`optuna-study check {order.out.name}` lists every problem and estimates the cost; "
        f"`optuna-study run {order.out.name}` runs the study, and continues it.",
    )
    text = draft.text()
    spec_of_text(text, order.out)
    return FirstStudy(text, tuple(said))


# ---------------------------------------------------------------- model and data


def _data(name: str) -> Path | str:
    """Return the path of a file or saved folder, or the name of a dataset on the hub or here."""
    path = Path(name)
    if path.exists():
        return path if not path.is_dir() or is_saved(path) else name
    if path.suffix.lower() in (".tsv", ".csv", ".jsonl", ".json", ".parquet") or path.is_absolute():
        raise InputError(f"--data: {name}: no such file")
    return name


def _tokenizer(model: str, base: BaseModelSpec) -> tuple[Any, Any]:
    """Return a base's tokenizer and configuration; errors name the options of `init`."""
    try:
        return load_tokenizer(model, base)
    except InputError as error:
        raise InputError(
            [
                line.replace("base.model:", "--model:").replace(
                    "set base.trust_remote_code = true", "give --trust-remote-code"
                )
                for line in error.problems
            ]
        ) from None


def _recognised(
    data: Path | str, tokenizer: Any, config: Any, base: BaseModelSpec, order: Order
) -> tuple[Recognised, str]:
    """Return what the data are, and the task that they and the model allow.

    Raises:
        InputError: the data are not recognised, or the model cannot do what they are for.
    """
    rows, wishes = first_rows(data, order.drops_bad_rows), order.wishes
    where = f"--data: {order.data}"
    found = recognised(rows, wishes, where)
    task = wishes.task or _fitting_task(found, tokenizer, config)
    if wishes.task is None and not TASKS[task].reads_labels and _fills_masks(tokenizer, config):
        task = next(name for name, kind in TASKS.items() if kind.diffuses)
        if found.shape not in TASKS[task].shapes:
            found = _for_masks(rows, replace(wishes, task=task), found, config, order)
    with refusing(f"--model: {order.model}: does not fit {found.found}", ValueError):
        model_class(order.model, config, base, task)
    return found, task


def _for_masks(
    rows: Any, wishes: Wishes, found: Recognised, config: Any, order: Order
) -> Recognised:
    """Return what rows are for a model that fills masks, which reads questions and answers."""
    try:
        return recognised(rows, wishes, "")
    except InputError:
        raise InputError(
            f"--model: {order.model}: a {config.model_type!r} model fills masks in one answer, got "
            f"{found.found}; give a chat model, questions and answers in two columns, or "
            "--label-column to classify"
        ) from None


def _fitting_task(found: Recognised, tokenizer: Any, config: Any) -> str:
    """Return the first task that reads such data, for a model of this kind.

    A decoder without a chat template learns to translate as it learns any other answer.
    """
    if found.shape == "pairs" and not (config.is_encoder_decoder or tokenizer.chat_template):
        return next(name for name, kind in TASKS.items() if kind.reads_conversations)
    fitting = {
        name: kind
        for name, kind in TASKS.items()
        if found.shape in kind.shapes and not kind.diffuses
    }
    if found.shape == "labels":
        fitting = {n: k for n, k in fitting.items() if (k.outputs == "numbers") == found.is_numeric}
    if found.shape == "pairs":
        translates = bool(config.is_encoder_decoder)
        fitting = {n: k for n, k in fitting.items() if k.names_languages == translates}
    return next(iter(fitting))


def _fills_masks(tokenizer: Any, config: Any) -> bool:
    """Say whether a model fills the masks of a whole text, as LLaDA and BERT, and no more."""
    from transformers import AutoModelForMaskedLM

    if LLADA_MASK in tokenizer.get_vocab():
        return True
    named = config.architectures or ()
    is_decoder = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in named)
    fills = type(config) in AutoModelForMaskedLM._model_mapping
    return fills and not is_decoder and not config.is_encoder_decoder


def _name(out: Path) -> str:
    """Return the name of a study, after its file."""
    kept = "".join(
        sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "-" for sign in out.stem
    )
    return kept.strip("._-")[:100] or "study"


def _path(value: str, out: Path) -> str:
    """Return a path as the study file names it: relative to its folder if it lies there."""
    if not Path(value).exists():
        return value
    folder, path = out.parent.resolve(), Path(value).resolve()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _set_data(draft: Draft, order: Order, data: Path | str, found: Recognised) -> None:
    if isinstance(data, Path):
        draft.set("data", "train", _path(order.data, order.out))
    else:
        draft.set("data", "corpus", _path(data, order.out))
    for split in ("dev", "test"):
        if (file := getattr(order, split)) is not None:
            draft.set("data", split, _path(str(file), order.out))
    if order.drops_bad_rows:
        draft.set("data", "bad_rows", "drop", "faulty rows are left out and counted")
    draft.set_all("data", found.keys, "; ".join(["the columns that are read", *found.remarks]))
    if found.second_text is not None:
        second = toml({"second_text_column": found.second_text}).rstrip()
        draft.hint("data", f"{second}   # reads this column too, as the second text of a pair")
    if order.dev is None and isinstance(data, Path):
        draft.set(
            "data",
            "dev_share",
            SHARE,
            "no dev file was given: this share of train judges the trials; give your own with dev",
        )
    if order.test is None:
        draft.hint("data", 'test = "…"   # held-out examples, for `optuna-study confirm`')


def _set_template(draft: Draft, tokenizer: Any, location: str) -> list[str]:
    """Choose a chat template for a tokenizer without one; return it in words.

    A pretrained base may have the special tokens of its chat models and never have seen them.
    """
    chosen = template_for(tokenizer)
    if chosen is None:
        return ["template the tokenizer's own"]
    end = SPECIAL_OF[chosen][-1] if chosen in SPECIAL_OF else None
    untrained = end is not None and looks_untrained(location, tokenizer.get_vocab()[end])
    last = tokenizer.eos_token_id  # what `plain` ends answers with
    if untrained and last is not None and not looks_untrained(location, last):
        reason = (
            f"the tokenizer has no chat template, and this base never learnt the tokens of "
            f"{chosen!r}: answers could not end with {end!r}. This one begins turns with words "
            f"and ends answers with {tokenizer.eos_token!r}"
        )
        draft.set("data", "chat_template", PLAIN, reason)
        return [f"template {PLAIN}: the tokens of {chosen} look untrained in this base"]
    draft.set(
        "data",
        "chat_template",
        chosen,
        "the tokenizer has no chat template; this one fits its special tokens. If the model was "
        "tuned with another, give the file of that",
    )
    return [f"template {chosen}, since the tokenizer has none"]


def _set_languages(draft: Draft, kind: TaskKind, found: Recognised, tokenizer: Any) -> list[str]:
    """Name the languages as the tokenizer does.

    Raises:
        InputError: they are needed and not recognised.
    """
    known = language_ids(tokenizer) if kind.names_languages else {}
    if known is None:
        return []
    if found.languages is None:
        raise InputError(
            "--source-language: the languages of the pairs were not recognised; give both it and "
            "--target-language, such as French and English"
        )
    codes = [_code(language, known) for language in found.languages]
    names = " into ".join(LANGUAGES[language] for language in found.languages)
    why = f"{names}, by your options, the names of the columns or frequent words"
    if kind.reads_conversations:
        draft.set("data", "instruction", translation_instruction(*codes), why)
    else:
        keys = dict(zip(("source_language", "target_language"), codes, strict=True))
        draft.set_all("data", keys, why)
        if kind.instructs and not _takes_a_system_message(tokenizer):
            none = (
                "the model's chat template takes no system message, so none asks for a translation"
            )
            draft.set("data", "instruction", "", none)
            return [f"language {names}; {none}"]
    return [f"language {names}"]


def _takes_a_system_message(tokenizer: Any) -> bool:
    """Say whether a tokenizer's chat template writes an instruction."""
    try:
        ChatFormat(tokenizer, "Translate.", None, OVERHEAD)
    except InputError:
        return False
    return True


def _code(language: str, known: Any) -> str:
    """Return a tokenizer's code of a language; the first if it has it in several scripts."""
    fitting = sorted(code for code in known if language_of(code) == language)
    if known and not fitting:
        raise InputError(f"--model: its tokenizer has no code for {LANGUAGES[language]}")
    return fitting[0] if fitting else language


# ---------------------------------------------------------------- lengths


def _read(draft: Draft, order: Order, kind: TaskKind) -> tuple[StudySpec, Corpus[Any]]:
    """Return the study so far and its data, as long as the model reads them."""

    def so_far() -> StudySpec:
        text = draft.text()
        if kind.reads_conversations:
            text = text.replace("[data]\n", '[data]\ntoo_long = "truncate"\n')
        return spec_of_text(text, order.out)

    draft.set("data", "max_tokens", LENGTHS[-1])
    spec = so_far()
    if spec.data.dev_share is not None and len(read_corpus(spec).train) < FEW_EXAMPLES:
        draft.set("data", "dev_share", SHARE_OF_FEW)
        spec = so_far()
    inputs = read_inputs(spec)
    inputs.faults.refuse()
    assert inputs.corpus is not None
    return spec, inputs.corpus


def _lengths(
    draft: Draft, spec: StudySpec, corpus: Corpus[Any], tokenizer: Any, config: Any
) -> Lengths:
    limit = length_limit(tokenizer, config, LENGTHS[-1])
    if spec.task_kind.writes_dialogues:  # the prompt and the answer have this limit each
        limit = min(limit, ((positions_of(config) or 2 * limit) - OVERHEAD) // 2)
    examples = corpus.train[:MEASURED_EXAMPLES]
    if spec.task_kind.reads_conversations:
        counts = [example.tokens for example in examples]
    else:
        counts = [max(sides) for sides in token_counts(examples, tokenizer)]
    lengths = lengths_of(counts, max(limit, 4))
    what = "a conversation" if spec.task_kind.reads_conversations else "a text"
    if spec.task_kind.reads_preferences:
        what = "the longer side of a pair"
    draft.set(
        "data",
        "max_tokens",
        max(lengths.cut, 4),
        f"{what} has {lengths.in_words()}; {100 * lengths.kept:.1f} % have no more than "
        f"this, the least usual size for {100 * KEPT_WHOLE:.0f} % of them; longer ones are "
        f"{_cut(spec)}: see data.too_long",
    )
    return lengths


def _cut(spec: StudySpec) -> str:
    return "left out" if spec.task_kind.reads_conversations else "cut"
