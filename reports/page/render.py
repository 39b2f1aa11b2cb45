"""Page data to HTML: one template with inline style and script, all data escaped."""

from __future__ import annotations

import base64
import codecs
import hashlib
import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.document import part_html, sentence_html
from analysis.plots.palette import css_variables
from analysis.wording import printable
from reports.page.figures import drawn
from reports.page.parts import Page
from study.errors import InputError, refusing
from study.store.folders import check_no_url, write_whole

HTML = re.compile(rb"\s*(<!--.*?-->\s*)*(<!doctype\s+html|<html)", re.IGNORECASE | re.DOTALL)


def render(page: Page, failed: dict[str, str] | None = None) -> str:
    """Return the whole HTML document.

    Where `failed` is given, it takes the tracebacks of figures that fail, by identifier, and a
    sentence replaces each of them.
    """
    drawings = drawn(list(page.figures()), failed)
    return printable(_environment().get_template("page.html").render(page=page, drawings=drawings))


def write(document: str, out: Path) -> Path:
    """Write the document in one step, so that a reader never meets half a page.

    Raises InputError where it cannot be written, or `check_place` refuses the place.
    """
    check_place(out)
    write_whole(out, document, "report")
    return out


def check_place(out: Path, targets: Sequence[str] = ()) -> None:
    """Refuse to write a page over what it is made from, or over anything else than a page.

    A link there is replaced, whatever it leads to, unless it is what is read.

    Raises:
        InputError: it is one of `targets`, a URL, a folder, a pipe, or a file that holds no HTML.
    """
    check_no_url(out)
    if os.path.abspath(out) in map(os.path.abspath, targets):
        raise InputError(f"{out}: is read here, so no page is written there; choose another --out")
    if os.path.islink(out) or not os.path.lexists(out):
        return
    what = "a folder" if os.path.isdir(out) else "a pipe, socket or device"
    if os.path.isfile(out):
        with refusing(f"{out}: cannot write the report", OSError), open(out, "rb") as file:
            start = file.read(1000).removeprefix(codecs.BOM_UTF8)
        what = "" if HTML.match(start) or not start else "a file that holds no HTML"
    if what:
        raise InputError(f"{out}: cannot write the report: {what} is there; choose another --out")


def _hash_of(script: Path) -> str:
    """The hash by which a content security policy allows one script."""
    digest = hashlib.sha256(script.read_bytes()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


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
    environment.globals["hash_of"] = lambda name: Markup(_hash_of(templates / name))
    environment.globals["written"] = lambda part: Markup(part_html(part))
    environment.filters["sentence"] = lambda text: Markup(sentence_html(text))
    return environment
