"""How to swap several adapters on one base: the commands, and the measured times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from analysis.wording import printable
from study.errors import visible


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
        f"load another adapter     {further:8.1f} ms",
        f"swap to a loaded one     {swap:8.2f} ms",
    ]
    return "\n".join(map(printable, lines))


def _quoted(text: object) -> str:
    """Return a text as a literal of Python, in double quotes."""
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{visible(escaped)}"'
