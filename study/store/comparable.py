"""Check that a command may continue a study: old and new results must be comparable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from study.errors import InputError
from study.spec.base_and_data import SPLITS
from study.spec.sections import StudySpec

MAY_CHANGE = {
    ("search", "goal"),
    ("search", "start"),
    ("search", "confirm"),
    ("search", "trials"),
    ("search", "timeout_seconds"),
    ("search", "sampler"),
    ("search", "pruner"),
    ("search", "schedule"),
    ("search", "keep_adapters"),
    ("search", "enqueue"),
    ("search", "space"),  # only a name; its parameters are compared
    ("evaluation", "batch_size"),
    ("evaluation", "metric_folder"),  # only a place; the files' contents are compared
    ("own_task", "folder"),
    ("own_task", "name"),  # its class is compared, also with one that Python code gave
    *(("data", split) for split in SPLITS),  # only paths; contents are compared
    ("data", "dev_share"),  # as above
    ("data", "bad_rows"),
}
DTYPE = ("base", "dtype")
METRIC_FILES = ("evaluation", "metric_files")
OWN_TASK = ("own_task", "sha256")
_MISSING = "nothing"


def check_comparable(before: StudySpec, now: StudySpec, study: str) -> None:
    """Raise InputError with every difference that makes new trials incomparable to old ones."""
    documents = (spec.model_dump(mode="json", exclude_none=True) for spec in (before, now))
    old, new = (dict(_leaves(document, ())) for document in documents)
    changed = [
        _changed(study, key, old.get(key, _MISSING), new.get(key, _MISSING))
        for key in dict.fromkeys([*old, *new])
        if old.get(key, _MISSING) != new.get(key, _MISSING)
        and key[:2] not in MAY_CHANGE
        and not (key == DTYPE and new.get(key) == "auto")  # the study keeps what it began with
        and not (key == OWN_TASK and key not in old)  # Python code gave the task
    ]
    if changed:
        advice = f"{_advice(study)}; `optuna-study run` of its run folder keeps what it began with"
        raise InputError([*changed, advice])


def _changed(study: str, key: tuple[str, ...], before: Any, now: Any) -> str:
    """Say in one line what changed; of a file's content that it did."""
    if key[:2] == METRIC_FILES and _MISSING not in (before, now):
        return (
            f"{study}: evaluation.metrics: {key[2]} changed after trials were scored with it; "
            "restore it, or give the new metric another file"
        )
    return f"{study}: {'.'.join(key)}: was {before!r}, now {now!r}"


def check_same_data(before: Mapping[str, str], now: Mapping[str, str], study: str) -> None:
    """Raise InputError if the content of a split changed since the study began."""
    changed = [
        f"{study}: data.{split}: its content changed since the study began "
        f"(SHA-256 was {before[split]}, now {digest})"
        for split, digest in now.items()
        if split in before and before[split] != digest
    ]
    if changed:
        raise InputError([*changed, _advice(study)])


def check_same_task(before: str | None, now: str | None, study: str) -> None:
    """Raise InputError if a custom task began a study and another task is to continue it."""
    if before == now:
        return
    shipped = "the one named in the study file"
    raise InputError(
        f"{study}: task: was {before or shipped}, now {now or shipped}; name the task that began "
        'the study with --task "file.py:Class", in Python with run_study(…, task=…)'
    )


def check_same_draws(before: int, now: int, study: str) -> None:
    """Raise InputError if an earlier version, which drew other dropout masks, began a study."""
    if before != now:
        begun = f"{study}: method.dropout: an earlier version drew other masks for the same seeds"
        raise InputError([begun, _advice(study)])


def task_name(task: object | None) -> str | None:
    """Return the class name of a custom task; None without one."""
    return None if task is None else type(task).__name__


def _advice(study: str) -> str:
    return (
        f"{study}: old and new results would not be comparable; "
        "start a new study with another name or --out folder"
    )


def _leaves(document: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    """Yield every value of nested tables with the path of its keys."""
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value
