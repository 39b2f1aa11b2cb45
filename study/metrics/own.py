"""A study's own metrics: a Python function of the user, or a command, gives a number per example.

Both get the same about each example: its output, reference and source.  Nothing here is imported or
run by commands that only read a study; what a *stored* study names is under the trust rule
(study/spec/trust.py).
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.errors import InputError, MetricError, reason_of
from study.kinds.metrics import OWN_FILE, own_signature
from study.metrics import Statistics
from study.metrics.means import of_examples
from study.spec.own_files import FAILURES, imported_file, raised, sha256_of

if TYPE_CHECKING:
    from study.spec.evaluation import EvaluationSpec
    from study.spec.scoring import CommandSpec

KEY = "evaluation.metrics"
Score = Callable[[list[str], list[dict[str, str]]], Any]


def own_scores(
    evaluation: EvaluationSpec,
    metrics: Sequence[str],
    outputs: Sequence[str],
    texts: Sequence[tuple[str, str]],
) -> dict[str, Statistics]:
    """Score N outputs by own metrics; `texts` are N pairs of source and reference.

    Raises:
        InputError: a file has changed, or is missing.
        MetricError: a metric fails, or returns anything but a finite number per example.
    """
    found = {}
    for name in metrics:
        examples = [{"source": source, "reference": reference} for source, reference in texts]
        command = evaluation.command
        if command is not None and name == command.name:
            numbers = _by_command(command, evaluation.folder, outputs, examples)
        else:
            numbers = _by_function(name, own_function(name, evaluation), list(outputs), examples)
        values = of_examples(_checked(name, numbers, len(outputs)))
        signature = own_signature(evaluation.row(name).direction, _code(name, evaluation))
        found[name] = Statistics(name, values, signature)
    return found


def try_own_metrics(evaluation: EvaluationSpec, texts: Sequence[tuple[str, str]]) -> None:
    """Score references as if they were outputs, since what fails on them fails on every model.

    Raises:
        InputError: a metric fails, or returns anything but a finite number per example.
    """
    try:
        own_scores(evaluation, evaluation.own_metrics, [target for _, target in texts], texts)
    except MetricError as error:
        raise InputError(
            f"{KEY}: {error} (tried on {len(texts)} references of dev, before any training)"
        ) from None


def _code(name: str, evaluation: EvaluationSpec) -> str:
    """Say by which code an own metric is computed: its files and their hashes."""
    hashes = file_hashes(evaluation)
    if own := OWN_FILE.fullmatch(name):
        return f"function:{own['function']}|sha256:{hashes[own['file']][:12]}"
    assert evaluation.command is not None
    files = (f"sha256:{hashes[part][:12]}" for part in evaluation.command.run if part in hashes)
    return "|".join((f"command:{json.dumps(evaluation.command.run)}", *files))


# ---------------------------------------------------------------- files


def file_hashes(evaluation: EvaluationSpec) -> dict[str, str]:
    """Return the SHA-256 of every file that the own metrics name, by its name in the study file.

    Raises:
        InputError: a metric's file is missing, or differs from when the study began.
    """
    command, folder, before = evaluation.command, evaluation.folder, evaluation.metric_files
    files = [own["file"] for name in evaluation.metrics if (own := OWN_FILE.fullmatch(name))]
    if command is not None:
        files += [part for part in command.run if _is_file(folder / part)]
    return {file: sha256_of(folder / file, KEY, before.get(file)) for file in files}


def _is_file(path: Path) -> bool:
    with suppress(OSError, ValueError):
        return path.is_file()
    return False


# ---------------------------------------------------------------- a function


def own_function(name: str, evaluation: EvaluationSpec) -> Score:
    """Return the function that `file.py:name` names, and import its file.

    Raises:
        InputError: the file is missing or cannot be imported, or it has no such function.
    """
    own = OWN_FILE.fullmatch(name)
    assert own is not None, name
    path = evaluation.folder / own["file"]
    module = imported_file(path, file_hashes(evaluation)[own["file"]], KEY)
    function = getattr(module, own["function"], None)
    if not callable(function):
        raise InputError(f"{KEY}: {path}: has no function {own['function']!r}")
    return function  # type: ignore[no-any-return]


def _by_function(
    name: str, score: Score, outputs: list[str], examples: list[dict[str, str]]
) -> Sequence[Any]:
    """Return what the function returns; if it raises, find out for which example."""
    try:
        numbers = score(list(outputs), [dict(example) for example in examples])
    except FAILURES as error:
        for number, (output, example) in enumerate(zip(outputs, examples, strict=True), 1):
            try:
                score([output], [dict(example)])
            except FAILURES as of_example:
                raise MetricError(f"{name}: example {number}: {raised(of_example)}") from None
        raise MetricError(f"{name}: {raised(error)}") from None
    try:
        return list(numbers)
    except TypeError:
        got = type(numbers).__name__
        raise MetricError(f"{name}: must return a number per example, got {got}") from None


# ---------------------------------------------------------------- a command


def _by_command(
    command: CommandSpec,
    folder: Path,
    outputs: Sequence[str],
    examples: Sequence[Mapping[str, str]],
) -> Sequence[Any]:
    """Return the numbers that a command writes, one per line."""
    lines = (
        json.dumps({"output": output, **example}, ensure_ascii=False)
        for output, example in zip(outputs, examples, strict=True)
    )
    written = _run(command, folder, "".join(f"{line}\n" for line in lines))
    return [_number(line) for line in written.splitlines()]


def _number(line: str) -> Any:
    """Return a line's number, or the line itself, which `_checked` refuses."""
    try:
        return float(line)
    except ValueError:
        return line


def _run(command: CommandSpec, folder: Path, text: str) -> str:
    """Run a command in its own process group, so that nothing of it outlives the time limit."""
    try:
        process = subprocess.Popen(
            command.run,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = f"{command.run[0]}: {reason_of(error)}"
        raise InputError(f"evaluation.command.run: cannot start {reason}") from None
    try:
        written, complaints = process.communicate(text, timeout=command.timeout_seconds)
    except subprocess.TimeoutExpired:
        raise MetricError(
            f"{command.name}: the command took more than {command.timeout_seconds:g} s; "
            "see evaluation.command.timeout_seconds"
        ) from None
    finally:
        _end(process)
    if process.returncode:
        last = (complaints.strip().splitlines() or [""])[-1]
        raise MetricError(f"{command.name}: the command ended with {process.returncode}: {last}")
    return written


def _end(process: subprocess.Popen[str]) -> None:
    """Kill what is left of a command's process group, and close the pipes."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError, ValueError):
                pipe.close()


# ---------------------------------------------------------------- what came back


def _checked(name: str, numbers: Sequence[Any], n: int) -> list[float]:
    """Return N finite numbers; numpy's and other numbers, true and false count too."""
    if len(numbers) != n:
        raise MetricError(f"{name}: must return a number per example, got {len(numbers)} for {n}")
    checked = []
    for number, value in enumerate(numbers, 1):
        try:
            checked.append(math.nan if isinstance(value, (str, bytes)) else float(value))
        except Exception:
            checked.append(math.nan)
        if not math.isfinite(checked[-1]):
            raise MetricError(
                f"{name}: example {number}: must be a finite number, got {value!r:.60}"
            )
    return checked
