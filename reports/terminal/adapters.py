"""Base against adapters in the terminal, within 80 columns: an overview, then one metric whole."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.plots.palette import printable
from reports.sections.adapter_wording import caution, gaming, noise, title
from reports.terminal.study_tables import WIDTH, empty_table, plain
from reports.wording import alike, alike_signed, probability
from study.errors import InputError, visible
from study.metrics import METRICS

if TYPE_CHECKING:
    from analysis.comparison.adapters import Adapters, Contrast


def adapters_table(found: Adapters, metrics: Sequence[str] = ()) -> RenderableType:
    """All metrics at a glance, the first one (or those that are named) in full, then the flags."""
    parts: list[RenderableType] = [Text(printable(title(found)), style="bold")]
    if len(found.metrics) > 1:
        parts += [Text("\nthe base's score, and what each adapter adds", style="dim")]
        parts += [part for block in _blocks(found) for part in (block, Text())][:-1]
    for metric in metrics or found.metrics[:1]:
        parts += [Text(), _whole(found, metric)]
    said = [*gaming(found), *noise(found, (metrics or found.metrics)[0]), *caution(found)]
    return Group(*parts, *(Text(f"\n{printable(line)}", overflow="fold") for line in said))


# ---------------------------------------------------------------- the overview


def _blocks(found: Adapters) -> Iterator[Table]:
    """The overview, in as many tables as its width needs."""
    names = [m.label for m in (found.base, *found.adapters)]
    room = WIDTH - max(map(len, names)) - 1
    columns = {metric: _column(found, metric) for metric in found.metrics}
    block: list[str] = []
    for metric in found.metrics:
        widths = [max(map(len, columns[m])) + 1 for m in (*block, metric)]
        if block and sum(widths) > room:
            yield _block(names, [columns[m] for m in block])
            block = []
        block.append(metric)
    yield _block(names, [columns[m] for m in block])


def _block(names: Sequence[str], columns: Sequence[Sequence[str]]) -> Table:
    table = empty_table("", ["", *(c[0] for c in columns)])
    table.padding = (0, 1, 0, 0)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, *cells in zip(names, *(c[1:] for c in columns), strict=True):
        table.add_row(*map(plain, [name, *cells]))
    return table


def _column(found: Adapters, metric: str) -> list[str]:
    """Heading, the base's score, then each difference; a star where it is significant."""
    base = found.scores[found.base.name, metric].score
    contrasts = [found.of(model.name, metric) for model in found.adapters]
    write = alike_signed([base, *(c.difference for c in contrasts)])
    cells = [write(c.difference) + ("*" if c.significant else " ") for c in contrasts]
    return [METRICS[metric].label, write(base).lstrip("+") + " ", *cells]


# ---------------------------------------------------------------- one metric


def _whole(found: Adapters, metric: str) -> Table:
    """One metric: score, mean ± sd of the examples, difference, interval, per cent, p."""
    columns = ("score", "mean ± sd", "diff.", "95 % interval", "%", "p Holm")
    table = empty_table("", (METRICS[metric].label, *columns))
    for column in table.columns[1:]:
        column.justify = "right"
    models = (found.base, *found.adapters)
    scores = [found.scores[model.name, metric] for model in models]
    write = alike([value for s in scores for value in (s.score, s.mean)])
    signs = alike_signed([found.of(m.name, metric).difference for m in found.adapters])
    for model, score in zip(models, scores, strict=True):
        row = [model.label, write(score.score), f"{write(score.mean)} ± {write(score.sd)}"]
        if model is not found.base:
            row += _contrast(found.of(model.name, metric), signs)
        table.add_row(*map(plain, row))
    return table


def _contrast(c: Contrast, signs: Any) -> list[str]:
    percent = "" if c.percent is None else f"{c.percent:+.1f}".replace("-", "−")
    star = "*" if c.significant else " "
    interval = f"{signs(c.ci[0])} to {signs(c.ci[1])}"
    p = f"≤ {c.p_holm:.3f}" if c.is_least and c.p_holm >= 0.001 else probability(c.p_holm)
    return [signs(c.difference) + star, interval, percent, p]


# ---------------------------------------------------------------- for programs


def adapters_json(found: Adapters) -> dict[str, Any]:
    """The document that `optuna-study compare TARGET --json` prints."""
    return {
        "study": found.study,
        "split": found.split,
        "n_examples": found.n_examples,
        "metrics": list(found.metrics),
        "signatures": dict(found.signatures),
        "family": found.family,
        "left_out": found.left_out,
        "adapters": [
            {"name": m.name, "seed": m.seed, "config": dict(m.config), "same_as": _twins(found, m)}
            for m in found.adapters
        ],
        "scores": adapter_rows(found),
        "seed_noise": [{**asdict(n), "sd": n.sd} for n in found.noise],
        "gaming": None if found.examined is None else _gaming_json(found),
    }


def _twins(found: Adapters, model: Any) -> list[str]:
    same = (m.name for m in found.adapters if model.twins and m.twins == model.twins)
    return [name for name in same if name != model.name]


def _gaming_json(found: Adapters) -> dict[str, Any]:
    assert found.examined is not None
    looks = {**found.examined.looks, "references": found.examined.references}
    return {
        "looks": {name: _finite(asdict(look)) for name, look in looks.items()},
        "verdicts": [
            {
                "adapter": v.adapter,
                "flagged": v.flagged,
                "reason": v.words,
                "gains": dict(v.gains),
                "symptoms": [asdict(symptom) for symptom in v.symptoms],
            }
            for v in found.examined.verdicts
        ],
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {k: v if math.isfinite(v) else None for k, v in values.items()}


def adapter_rows(found: Adapters) -> list[dict[str, Any]]:
    """One row a model and metric, the base included: what `--csv` writes."""
    flags = {v.adapter: v.words for v in found.examined.verdicts} if found.examined else {}
    rows = []
    for metric in found.metrics:
        for model in (found.base, *found.adapters):
            s = found.scores[model.name, metric]
            row: dict[str, Any] = {
                "model": model.name,
                "configuration": model.twins,
                "metric": metric,
            }
            row |= {"split": found.split, "n_examples": found.n_examples, "score": s.score}
            row |= {"score_low": s.ci[0], "score_high": s.ci[1], "mean": s.mean, "sd": s.sd}
            rows.append({**row, **_contrast_row(found, model.name, metric, flags)})
    return rows


def _contrast_row(found: Adapters, name: str, metric: str, flags: dict[str, str]) -> dict[str, Any]:
    names = ("difference", "ci_low", "ci_high", "percent", "p", "p_holm", "family", "flag")
    if name == found.base.name:
        return dict.fromkeys(names)
    c = found.of(name, metric)
    values = (c.difference, *c.ci, c.percent, c.p_value, c.p_holm, found.family, flags.get(name))
    return dict(zip(names, values, strict=True))


def write_csv(found: Adapters, path: Path) -> None:
    """Write `adapter_rows`; raises InputError where the file cannot be written."""
    rows = adapter_rows(found)
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise InputError(f"--csv: cannot write {path}: {error.strerror}") from None


def _quoted(text: object) -> str:
    """Return a text as a literal of Python, in double quotes."""
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{visible(escaped)}"'


def swap_text(folders: Sequence[Path], loading: float, further: float, swap: float) -> str:
    """How several adapters share one base, and the milliseconds that this takes here."""
    first, *rest = folders
    lines = [
        "",
        f"model = PeftModel.from_pretrained(base, {_quoted(first)}, "
        f"adapter_name={_quoted(first.name)})",
        *(f"model.load_adapter({_quoted(f)}, adapter_name={_quoted(f.name)})" for f in rest),
        f"model.set_adapter({_quoted(folders[-1].name)}, inference_mode=True)  # the swap",
        "",
        f"load base and adapter    {loading:8.1f} ms",
        f"load a further adapter   {further:8.1f} ms",
        f"swap to a loaded one     {swap:8.2f} ms",
    ]
    return "\n".join(map(printable, lines))
