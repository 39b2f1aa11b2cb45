"""Which models work: every type in transformers' automatic classes, each in a process of its own.

    python benchmarks/architectures.py                    # all that the results file lacks
    python benchmarks/architectures.py --only mixtral     # again, whatever it has
    python benchmarks/architectures.py --quick            # ten kinds of architecture, a minute
    python benchmarks/architectures.py --table docs/models.md

What is tried is in `one_architecture.py`, how a type becomes tiny in `tiny_models.py`.  Results are
lines of a file, written as they come, so that a run which was stopped continues.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.one_architecture import Outcome, tried

AUTOMATIC = {
    "causal_translation": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "translation": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "classification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "masked_diffusion": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
}
"""A task -> transformers' table of the types whose models it trains."""

QUICK = (
    ("llama", "causal_translation"),  # the usual decoder
    ("gpt2", "causal_translation"),  # Conv1D in place of linear layers
    ("gemma2", "causal_translation"),  # scaled embedding, capped logits
    ("mixtral", "causal_translation"),  # experts
    ("falcon_mamba", "causal_translation"),  # no attention
    ("gpt_neox", "causal_translation"),  # one layer for query, key and value
    ("t5", "translation"),
    ("bart", "classification"),  # a head that is a module of its own
    ("distilbert", "classification"),
    ("modernbert", "masked_diffusion"),
)
PRELOADED = ("llama", "bert", "t5", "mixtral")
VERDICTS = ("packed", "alone", "wrong", "cannot", "not built")
MEMORY = 4 << 30  # bytes of a process
SECONDS = 180


def jobs(only: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return pairs of type and task, all or those of some types."""
    from transformers.models.auto import modeling_auto

    every = [
        (kind, task) for task, table in AUTOMATIC.items() for kind in vars(modeling_auto)[table]
    ]
    return sorted(job for job in every if not only or job[0] in only)


def preload() -> None:
    """Import what every process needs, once: they are forks of this one."""
    import importlib

    import peft  # noqa: F401
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in PRELOADED:
        importlib.import_module(f"transformers.models.{name}.modeling_{name}")


def run(
    todo: Iterable[tuple[str, str]], results: Path, processes: int, seconds: int = SECONDS
) -> None:
    """Try each job in a fork with limits of time and memory; append its outcome to a file."""
    running: dict[int, tuple[tuple[str, str], Path, float]] = {}
    waiting = list(todo)
    results.parent.mkdir(parents=True, exist_ok=True)
    while waiting or running:
        while waiting and len(running) < processes:
            job, folder = waiting.pop(0), Path(tempfile.mkdtemp(prefix="architecture-"))
            running[_forked(job, folder, seconds)] = job, folder, time.monotonic()
        pid, status = os.wait()
        job, folder, started = running.pop(pid)
        outcome = _outcome(job, folder, status, seconds)
        shutil.rmtree(folder, ignore_errors=True)
        outcome = replace(outcome, seconds=round(time.monotonic() - started, 1))
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")
        print(f"{job[0]:28} {job[1]:20} {outcome.verdict:10} {outcome.reason[:100]}", flush=True)


def _forked(job: tuple[str, str], folder: Path, seconds: int) -> int:
    """Start a fork that tries a job and writes its outcome into the folder; return its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends it even where it hangs outside Python
        signal.alarm(seconds)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        with (folder / "log").open("w") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        (folder / "model").mkdir()
        outcome = tried(*job, folder / "model")
        (folder / "outcome.json").write_text(json.dumps(asdict(outcome)), encoding="utf-8")
    finally:
        os._exit(0)


def _outcome(job: tuple[str, str], folder: Path, status: int, seconds: int) -> Outcome:
    """Return what a fork wrote, or how it ended."""
    with contextlib.suppress(OSError, ValueError):
        return Outcome(**json.loads((folder / "outcome.json").read_text(encoding="utf-8")))
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    why = f"took longer than {seconds} s" if number == signal.SIGALRM else f"died (signal {number})"
    return Outcome(*job, "cannot", why)


def read(results: Path) -> dict[tuple[str, str], Outcome]:
    """Return the last outcome of each job in a results file."""
    if not results.is_file():
        return {}
    rows = map(json.loads, results.read_text(encoding="utf-8").splitlines())
    return {(row["model_type"], row["task"]): Outcome(**row) for row in rows}


# ---------------------------------------------------------------- the table


def page(outcomes: Iterable[Outcome]) -> str:
    """Return docs/models.md: the totals, and one row per type and task."""
    rows = sorted(outcomes, key=lambda row: (row.model_type, row.task))
    built = [row for row in rows if row.verdict != "not built"]
    return "\n".join(
        [
            *INTRODUCTION.format(**_totals(rows), versions=_versions()).strip().splitlines(),
            "",
            "| task | types | built | " + " | ".join(VERDICTS[:-1]) + " |",
            "|---|" + "--:|" * (len(VERDICTS) + 1),
            *map(_total, *_by_task(rows)),
            "",
            "## Every type",
            "",
            "| model type | class | result | why |",
            "|---|---|---|---|",
            *(
                f"| {row.model_type} | {row.model_class} | {WORDS[row.verdict]} | {_short(row)} |"
                for row in built
            ),
            "",
            "## Not built here",
            "",
            "Their default configuration does not become a tiny model of text: nothing was tried.",
            "",
            "| model type | task | why |",
            "|---|---|---|",
            *(
                f"| {row.model_type} | {row.task} | {_short(row)} |"
                for row in rows
                if row.verdict == "not built"
            ),
            "",
        ]
    )


INTRODUCTION = """
# Models

Of the {types} model types in transformers' automatic classes for causal and sequence-to-sequence
language models, sequence classification and masked language models, {built} become a tiny model of
random weights here. **{trains} of them train, {packed} of these packed**; {wrong} gave a wrong
result.

`nox -s architectures` makes this page: {versions}. Each type is saved as a checkpoint, loaded
as `base.model`, and trained for two steps with `all-linear` targets, or with `attention` where
only these pack: in the engine that the project chooses, and alone with PEFT. The adapter is
then saved and loaded by plain PEFT over the plain base. *Packed* and *alone* say that losses
agree to 0.1 % in both engines, after reloading, and in the model's own forward pass over the
same batch, and that generated outputs and labels agree after reloading. Where the losses of
single, unpadded examples differ too, the row says that results depend on padding. *Alone*
trains one trial at a time, for the reason given. *Cannot* is refused or fails. **Wrong**
differs where the self-check noticed nothing, or is trained alone and still differs. Pretrained
weights are tested by `nox -s real` (MiniLM and Gemma 3).
"""
WORDS = {"packed": "packed", "alone": "alone", "wrong": "**wrong**", "cannot": "cannot"}


def _totals(rows: Sequence[Outcome]) -> dict[str, int]:
    """Return how many types there are, and how many do what in at least one task."""

    def types(*verdicts: str) -> int:
        return len({row.model_type for row in rows if row.verdict in verdicts})

    return {
        "types": types(*VERDICTS),
        "built": types(*VERDICTS[:-1]),
        "trains": types("packed", "alone"),
        "packed": types("packed"),
        "wrong": types("wrong"),
    }


def _by_task(rows: Sequence[Outcome]) -> tuple[list[str], list[Counter[str]]]:
    tasks = sorted({row.task for row in rows})
    return tasks, [Counter(row.verdict for row in rows if row.task == task) for task in tasks]


def _total(task: str, counts: Counter[str]) -> str:
    cells = [counts.total(), counts.total() - counts["not built"]]
    cells += [counts[verdict] for verdict in VERDICTS[:-1]]
    return f"| {task} | " + " | ".join(map(str, cells)) + " |"


def _short(row: Outcome) -> str:
    text = row.reason.replace("|", "\\|").replace("<", "&lt;")
    return text if len(text) <= 180 else text[:177] + "…"


def _versions() -> str:
    import peft
    import torch
    import transformers

    return (
        f"transformers {transformers.__version__}, peft {peft.__version__}, "
        f"torch {torch.__version__.split('+')[0]}, float32 on a CPU"
    )


def main() -> int:
    """Run what is asked; the status is 1 where a result was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="TYPE", help="try these again")
    parser.add_argument("--quick", action="store_true", help="ten kinds of architecture")
    parser.add_argument("--results", type=Path, default=Path("runs/architectures.jsonl"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", type=Path, help="write the page from the results")
    asked = parser.parse_args()
    if unknown := set(asked.only) - {kind for kind, _ in jobs()}:
        parser.error(f"--only: transformers has no type {', '.join(sorted(unknown))} for a task")
    known = {} if asked.only else read(asked.results)
    chosen = sorted(QUICK) if asked.quick else jobs(asked.only)
    todo = [job for job in chosen if job not in known]
    print(f"{len(todo)} to try, {len(chosen) - len(todo)} known from {asked.results}", flush=True)
    if todo:
        preload()
        run(todo, asked.results, asked.processes)
    outcomes = read(asked.results)
    if asked.table:
        asked.table.write_text(page(outcomes.values()), encoding="utf-8")
    counts = Counter(outcomes[job].verdict for job in chosen)
    print(", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS))
    return int(counts["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
