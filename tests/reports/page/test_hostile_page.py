"""A page of attacks in a real browser: nothing in a study's texts runs, loads or shows a dialog."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from reports import build_report
from tests.reports.page.test_browser import Seen, opened
from tests.security.hostile import MARKUP, write_hostile

pytestmark = pytest.mark.slow

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
    seen = opened(folder, "profile")
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
