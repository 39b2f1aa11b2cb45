"""Page data to HTML: one template, style and script inlined, everything from data escaped."""

from __future__ import annotations

import os
import re
import tempfile
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from analysis.plots.palette import printable
from reports.page.figures import drawn
from reports.page.model import Page
from study.errors import InputError

CODE = re.compile("`([^`\n]+)`")


def render(page: Page, failed: dict[str, str] | None = None) -> str:
    """Return the whole HTML document.

    Where `failed` is given, it takes the tracebacks of figures that fail, each by its identifier;
    the document has a sentence in their place.
    """
    drawings = drawn(list(page.figures()), failed)
    return printable(_environment().get_template("page.html").render(page=page, drawings=drawings))


def write(document: str, out: Path) -> Path:
    """Write the document in one step, so that a reader never meets half a page."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(document)
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(out)
    except OSError as error:
        raise InputError(f"{out}: cannot write the report: {error.strerror or error}") from error
    return out


def _umask() -> int:
    """Return what the user wants nobody else to do with new files; asking means setting it."""
    before = os.umask(0o077)
    os.umask(before)
    return before


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports.page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals["inlined"] = lambda name: Markup(_template_text(name))
    environment.filters["coded"] = _coded
    return environment


def _coded(text: str) -> Markup:
    """The text escaped, what stands between backticks as code, per cents beside their number."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text)).replace(" %", "\u00a0%")))


def _template_text(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
