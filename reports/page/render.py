"""Page data to HTML: one template with inline style and script, all data escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.document import part_html, sentence_html
from analysis.plots.palette import css_variables, printable
from reports.page.figures import drawn
from reports.page.parts import Page
from study.store.folders import write_whole


def render(page: Page, failed: dict[str, str] | None = None) -> str:
    """Return the whole HTML document.

    Where `failed` is given, it takes the tracebacks of figures that fail, by identifier, and a
    sentence replaces each of them.
    """
    drawings = drawn(list(page.figures()), failed)
    return printable(_environment().get_template("page.html").render(page=page, drawings=drawings))


def write(document: str, out: Path) -> Path:
    """Write the document in one step, so that nobody reads half a page."""
    write_whole(out, document, "report")
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
    templates = Path(__file__).parent / "templates"
    environment.globals["inlined"] = lambda name: Markup((templates / name).read_text("utf-8"))
    environment.globals["written"] = lambda part: Markup(part_html(part))
    environment.filters["sentence"] = lambda text: Markup(sentence_html(text))
    return environment
