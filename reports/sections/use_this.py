"""The box at the top of the page: where the winner is, how to load it, and what to run next."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from pprint import pformat

from optuna.trial import FrozenTrial

from analysis.comparison.contrast import Contrast
from analysis.document import Prose
from analysis.studies.study_data import StudyData
from analysis.wording import alike, baseline, listing
from reports.page.parts import Code, PagePart
from reports.results import Results
from reports.sections.confirmation import headline
from reports.shell import argument, command_line, comment, option
from study.errors import InputError
from study.kinds.tasks import TASKS
from study.metrics import metric_label
from study.spec.trust import checked_adapter_config, code_named, in_words
from study.store.folders import check_own
from study.store.saved_adapters import adapter_folder, trial_name

WIDE = 88  # characters of a line of Python
LARGEST_HEADER = 2**20  # bytes
ADAPTED = re.compile(r"lora_|ia3_|__metadata__|prompt_embeddings")
"""In the names of tensors that are no head's."""


def use_this(results: Results) -> tuple[PagePart, ...]:
    """The winner's adapter or its parameters, and the commands for this very study."""
    data, best = results.data, results.data.best_trial
    if best is None:
        return ()
    saved = adapter_of(data, best)
    parts: list[PagePart] = [Prose((_what(data, best, saved), *_doubt(results)))]
    if saved is not None and (lines := _loading(data, saved)):
        parts.append(
            Code("Load it with PEFT" if "PeftModel" in lines else "Load it", lines, unfolded=True)
        )
    if best.params:
        exact = pformat(dict(best.params), width=WIDE, sort_dicts=False)
        parts.append(Code("Its parameters, exactly", exact, unfolded=saved is None))
    if data.is_ours:
        lines = "\n".join(_commands(results, saved))
        parts.append(Code("What to run next", lines, unfolded=True))
    return tuple(parts)


def adapter_of(data: StudyData, trial: FrozenTrial) -> Path | None:
    """The folder of a trial's adapter or model; None where this machine has none."""
    if data.folder is None:
        return None
    folder = adapter_folder(data.folder, trial_name(trial.number))
    return folder if folder.is_dir() and not folder.is_symlink() else None


def _what(data: StudyData, best: FrozenTrial, saved: Path | None) -> str:
    if saved is not None:
        return f"Trial {best.number} is saved in `{_shown(saved)}`."
    where = " The adapters are in the run folder of the machine that trained them." * data.is_ours
    which = f"Trial {best.number} is the {data.best_in_words}"
    return f"{which}; train with its parameters to get its model.{where}"


def _shown(path: Path) -> str:
    return str(path).replace("`", "'")  # a backtick would end the code


def _doubt(results: Results) -> list[str]:
    """What a confirmation found, else the baselines that the winner does not clearly beat."""
    if results.confirmation is not None:
        return [headline(results.confirmation, results.method)]
    unclear = [c for c in results.comparisons if not (c.clear and c.gain > 0)]
    if not unclear:
        return []
    better = [baseline(c.b.name, results.method) for c in unclear if c.clear and c.gain < 0]
    if better:
        are = "is" if len(better) == 1 else "are"
        return [f"But {listing(better)} {are} clearly better: use that, or search on."]
    ahead = [c for c in unclear if c.gain < 0]
    said = [_behind(ahead, results.method)] if ahead else []
    level = [baseline(c.b.name, results.method) for c in unclear if c not in ahead]
    if not level:
        return said
    names = " or ".join(level)
    if said:
        return [f"{said[0]} Nor is it clearly better than {names}."]
    return [f"It is not clearly better than {names}: confirm it before you rely on it."]


def _behind(ahead: Sequence[Contrast], method: str) -> str:
    """The baselines with better scores than the winner, though not clearly, with the scores."""
    first = ahead[0]
    write = alike([first.a.score, *(c.b.score for c in ahead)])
    names = listing(f"{baseline(c.b.name, method)} ({write(c.b.score)})" for c in ahead)
    way = "higher" if first.row.sign > 0 else "lower"
    return (
        f"But {names} {'has' if len(ahead) == 1 else 'have'} a {way} {metric_label(first.metric)} "
        f"than {first.a.name} ({write(first.a.score)}), though not clearly: search on, or use that."
    )


def _loading(data: StudyData, saved: Path) -> str:
    """Python that loads the adapter onto its base; none where its head must be named as well."""
    spec = data.spec or {}
    task = TASKS.get(str(spec.get("task", "translation")))
    if task is None:
        return ""
    if task.reads_labels:
        return _loading_classifier(data, saved)
    trusted = ", trust_remote_code=True" * ("base.trust_remote_code" in code_named(spec))
    loader = task.model_class
    if not (saved / "adapter_config.json").is_file():
        return (
            f"from transformers import {loader}\n\n"
            f"model = {loader}.from_pretrained({str(saved)!r}{trusted})"
        )
    base = _base_of(saved)
    if base is None:
        return ""
    return (
        "from peft import PeftModel\n"
        f"from transformers import {loader}, AutoTokenizer\n\n"
        f"base = {base!r}\n"
        f"tokenizer = AutoTokenizer.from_pretrained(base{trusted})\n"
        f"model = {loader}.from_pretrained(base{trusted})\n"
        f"model = PeftModel.from_pretrained(model, {str(saved)!r})"
    )


def _loading_classifier(data: StudyData, saved: Path) -> str:
    """Python that loads a classifier; its head, which the base lacks, must get its outputs."""
    outputs = _outputs_of(saved / "adapter_model.safetensors")
    trusted = bool(code_named(data.spec or {}))
    if outputs is None or trusted or _base_of(saved) is None:
        return ""
    loader = "AutoPeftModelForSequenceClassification"
    labels = data.provenance.get("labels")
    names = dict(enumerate(labels)) if isinstance(labels, list) else {}
    named = f"id2label={names!r}" if len(names) == outputs else ""
    problem = ', problem_type="regression"' if outputs == 1 else ""
    return (
        f"from peft import {loader}\n\n"
        f"model = {loader}.from_pretrained(\n"
        f"    {str(saved)!r}, {named or f'num_labels={outputs}{problem}'}\n)"
    )


def _outputs_of(weights: Path) -> int | None:
    """The outputs of a saved head, from the header of its file; None where that has no head."""
    try:
        check_own(weights, "file")
        with weights.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if size < LARGEST_HEADER else {}
        shapes = [part["shape"] for name, part in header.items() if not ADAPTED.search(name)]
        return min((int(shape[0]) for shape in shapes if shape), default=None)
    except (
        InputError,
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
    ):
        return None


def _base_of(saved: Path) -> str | None:
    try:
        config = checked_adapter_config(saved / "adapter_config.json")
    except InputError:
        return None
    return str(config.get("base_model_name_or_path") or "") or None


def _commands(results: Results, saved: Path | None) -> list[str]:
    data = results.data
    name = option("--study-name", data.name) if data.is_one_of_several else []
    place = data.target if data.folder is None else str(data.folder)
    elsewhere = [] if data.folder is None or data.stored_in_folder else ["--storage", data.target]
    code = data.spec is not None and bool(code_named(data.spec))
    trust = ["--trust-study"] * code
    lines = []
    if code and data.spec is not None:
        lines.append(comment("first review the code that the study names:", in_words(data.spec)))

    def add(why: str, command: str, target: str, *more: str) -> None:
        words = ["optuna-study", command, argument(target), *name, *more, *trust]
        lines.extend([comment(why), command_line(words)])

    if saved is not None:
        add("copy it with its tokenizer into one folder", "export", place, *elsewhere)
    if data.folder is not None and results.confirmation is None:
        hashes = data.provenance.get("data_sha256")
        lacks_test = isinstance(hashes, dict) and "test" not in hashes
        held_out = ["--test", "HELD_OUT_FILE"] * lacks_test
        why = "retrain it on fresh seeds, to see whether it is really better"
        add(why, "confirm", place, *elsewhere, *held_out)
    if results.proposal is not None:
        add("write the next study file from this one", "next", data.target)
    return lines
