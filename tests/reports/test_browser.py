"""The page in a real browser: nothing overflows, nothing fails, sorting works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reports import build_report
from tests.security.hostile import MARKUP, write_hostile

pytestmark = pytest.mark.slow

HARNESS = """<!doctype html><meta charset="utf-8"><body><script>
const widths = [400, 1280], found = {};
let waiting = widths.length;
for (const width of widths) {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 900; frame.style.border = 0; frame.src = "report.html";
  frame.onload = () => {
    const page = frame.contentDocument, root = page.documentElement;
    const wide = [...page.body.querySelectorAll("*")].filter((e) =>
      !e.closest(".scroll") && !e.closest("pre") && !e.closest("svg") &&
      e.getBoundingClientRect().right > width + 1);
    const table = page.querySelector("#trials table");
    const column = () => [...table.tBodies[0].rows].map((r) => r.cells[2].dataset.key);
    const button = table.tHead.rows[0].cells[2].querySelector("button");
    button.click(); const up = column(); button.click(); const down = column();
    const clipped = [...page.querySelectorAll("svg text")].filter((t) => {
      const box = t.getBoundingClientRect(), own = t.ownerSVGElement.getBoundingClientRect();
      return box.left < own.left - 2 || box.right > own.right + 2 || box.bottom > own.bottom + 2;
    }).map((t) => t.textContent);
    const small = [...page.querySelectorAll("svg text")].map((t) => {
      const matrix = t.getScreenCTM();  // turned text has its scale in both entries
      return parseFloat(getComputedStyle(t).fontSize) * Math.hypot(matrix.a, matrix.b);
    });
    found[width] = {overflow: root.scrollWidth - root.clientWidth, up, down, clipped,
      wide: wide.map((e) => e.tagName + "." + e.className), smallest: Math.min(...small),
      requests: frame.contentWindow.performance.getEntriesByType("resource").map((e) => e.name)};
    if (!--waiting) document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
  };
  document.body.append(frame);
}
</script></body>"""

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-file-access-from-files",
    "--enable-logging=stderr",
    "--window-size=1400,2000",
    "--virtual-time-budget=10000",
]


@dataclass(frozen=True)
class Seen:
    """What the browser measured at each width, and what it wrote to its console."""

    at: dict[str, Any]
    console: list[str]


@pytest.fixture(scope="module", params=["light", "dark"])
def seen(
    request: pytest.FixtureRequest, petroleum_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Seen:
    """The page opened at 400 and 1280 pixels."""
    folder = tmp_path_factory.mktemp("page")
    build_report(petroleum_run, folder / "report.html", surrogate="gp", resamples=4)
    (folder / "harness.html").write_text(HARNESS, encoding="utf-8")
    theme = ["--blink-settings=preferredColorScheme=0"] if request.param == "dark" else []
    return opened(folder, *theme)


def opened(folder: Path, *flags: str) -> Seen:
    """Open a folder's `harness.html` and return what its script found."""
    profile = f"--user-data-dir={folder / 'profile'}"
    url = (folder / "harness.html").as_uri()
    command = [_browser(), *FLAGS, *flags, profile, "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r"FOUND(.*)END", done.stdout, flags=re.S)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    text = found.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return Seen(json.loads(text), [li for li in done.stderr.splitlines() if "CONSOLE" in li])


def _browser() -> str:
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    path = next(filter(None, map(shutil.which, filter(None, names))), None)
    assert path, "this test needs Chromium: apt-get install chromium, or set CHROMIUM to its path"
    return path


@pytest.mark.parametrize("width", ["400", "1280"])
def test_nothing_overflows(seen: Seen, width: str) -> None:
    """No sideways scrolling of the page; wide tables scroll inside their own frame."""
    assert seen.at[width]["overflow"] == 0
    assert seen.at[width]["wide"] == []


@pytest.mark.parametrize("width", ["400", "1280"])
def test_no_text_of_a_figure_is_cut_off_or_tiny(seen: Seen, width: str) -> None:
    """Labels stay inside their figure and can be read on a phone."""
    assert seen.at[width]["clipped"] == []
    assert seen.at[width]["smallest"] >= 7.5


def test_the_console_is_silent(seen: Seen) -> None:
    """No error, no warning, no violated policy."""
    assert seen.console == []


def test_nothing_is_requested(seen: Seen) -> None:
    """The page is complete in itself."""
    assert all(at["requests"] == [] for at in seen.at.values())


def test_the_trials_sort_by_value(seen: Seen) -> None:
    """Once upwards, again downwards, cells without a value last both times."""
    up, down = seen.at["1280"]["up"], seen.at["1280"]["down"]
    values = [float(v) for v in up if v]
    assert values == sorted(values)
    assert [float(v) for v in down if v] == values[::-1]
    assert up[-1] == down[-1] == ""


# ---------------------------------------------------------------- a page of attacks

INSPECTION = """<!doctype html><meta charset="utf-8"><body><script>
const frame = document.createElement("iframe");
frame.width = 1280; frame.height = 900; frame.src = "report.html";
frame.onload = () => setTimeout(() => {
  const page = frame.contentDocument, all = [...page.querySelectorAll("*")];
  const named = (...names) => all.filter((e) => names.includes(e.localName)).length;
  const found = {scripts: named("script"), foreign: named("img", "iframe", "object", "base"),
    handlers: all.filter((e) => [...e.attributes].some((a) => a.name.startsWith("on"))).length,
    links: [...page.querySelectorAll("[href], [src]")].map((e) => e.getAttribute("href") ||
      e.getAttribute("src")).filter((url) => !url.startsWith("#") && url !== "data:,"),
    refresh: page.querySelectorAll("meta[http-equiv=refresh]").length,
    dialogs: frame.contentWindow.dialogs || 0, at: frame.contentWindow.location.pathname,
    text: page.body.textContent.includes("<script>alert(1)")};
  document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
}, 1000);
document.body.append(frame);
</script></body>"""
CLEAN = {"foreign": 0, "handlers": 0, "links": [], "refresh": 0, "dialogs": 0, "scripts": 1}


class Listener:
    """A server on this machine that counts who asks for anything."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                self.send_response(404)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def place(self) -> str:
        """Return its address in the form that hostile texts name one."""
        return f"127.0.0.1:{self.server.server_port}/"


def inspected(folder: Path, document: str) -> tuple[Seen, list[str]]:
    """Open a page whose attacks lead to a listening server; returns what was seen and asked for."""
    listener = Listener()
    document = document.replace("127.0.0.1:9/", listener.place).replace("alert(", "dialogs=1+(")
    (folder / "report.html").write_text(document, encoding="utf-8")
    (folder / "harness.html").write_text(
        INSPECTION.replace("alert(1)", "dialogs=1+(1)"), encoding="utf-8"
    )
    seen = opened(folder)
    listener.server.shutdown()
    listener.server.server_close()
    return seen, listener.asked


def test_a_page_of_attacks_does_nothing(tmp_path: Path) -> None:
    """No element, handler, link, request or console line comes out of a study's own texts."""
    run = write_hostile(tmp_path / "run")
    build_report(run, tmp_path / "report.html", surrogate="forest", resamples=4)
    seen, asked = inspected(tmp_path, (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert {key: seen.at[key] for key in CLEAN} == CLEAN
    assert seen.at["text"]
    assert seen.at["at"].endswith("/report.html")
    assert (asked, seen.console) == ([], [])


def test_the_inspection_sees_attacks(tmp_path: Path) -> None:
    """The same texts, not escaped, are seen in every way."""
    body = f"<!doctype html><body>{MARKUP.split('<base')[0]}"
    seen, asked = inspected(tmp_path, body)
    assert seen.at["scripts"] >= 1
    assert seen.at["foreign"] == 1
    assert seen.at["handlers"] == 1
    assert seen.at["links"]
    assert seen.at["dialogs"]
    assert asked == ["/x"]
    assert seen.console
