"""Page data to HTML: one template, style and script inlined, everything from data escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.document import part_html, sentence_html
from analysis.plots.palette import css_variables, printable
from reports.page.figures import drawn
from reports.page.model import Page
from study.errors import InputError
from study.store.folders import write_whole


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
        write_whole(out, document)
    except OSError as error:
        raise InputError(f"{out}: cannot write the report: {error.strerror or error}") from error
    return out


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports.page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals["colours"] = Markup(css_variables())
    environment.globals["inlined"] = lambda name: Markup(_template_text(name))
    environment.globals["written"] = lambda part: Markup(part_html(part))
    environment.filters["sentence"] = lambda text: Markup(sentence_html(text))
    return environment


def _template_text(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
