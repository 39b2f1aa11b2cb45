"""The pages in a real browser: nothing overflows, nothing fails, tables and hovering work.

`nox -s report` installs axe-core beside it and names it in AXE_CORE.
"""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from analysis import load
from reports.build import page_of
from reports.page.render import render, write
from reports.results import analyse
from reports.side_by_side.page import page_of_studies
from tests.analysis.comparison.test_confirmation import confirmed
from tests.synthetic import Shape, write_study

pytestmark = pytest.mark.slow

HARNESS = Path(__file__).parent / "harness.html"
PAGES = ("report.html", "comparison.html")
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
    "--virtual-time-budget=120000",
]
EVERYWHERE = pytest.mark.parametrize("where", [f"{p} {w}" for p in PAGES for w in (400, 1280)])


@dataclass(frozen=True)
class Seen:
    """What the browser measured on each page at each width, and what it wrote to its console."""

    at: dict[str, Any]
    console: list[str]


@pytest.fixture(scope="module")
def folder(petroleum_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page of one study, its winner confirmed, and that of two."""
    folder = tmp_path_factory.mktemp("page")
    results = analyse(load(petroleum_run), surrogate="gp", resamples=4)
    whole = page_of(replace(results, confirmation=confirmed(0.2)))
    write(render(whole), folder / "report.html")
    other = write_study(folder / "other", Shape(name="petroleum-after", seed=3, pruned=1))
    page = page_of_studies([load(petroleum_run), load(other)], surrogate="gp", resamples=4)
    write(render(page), folder / "comparison.html")
    return folder


@pytest.fixture(scope="module", params=["light", "dark"])
def seen(request: pytest.FixtureRequest, folder: Path) -> Seen:
    """The pages opened at 400 and 1280 pixels, and used."""
    source = os.environ.get("AXE_CORE", "")
    axe = json.dumps(Path(source).read_text("utf-8") if source else "").replace("</", "<\\/")
    harness = HARNESS.read_text("utf-8").replace("PAGES", json.dumps(PAGES), 1)
    (folder / "harness.html").write_text(harness.replace("AXE", axe, 1), "utf-8")
    theme = ["--blink-settings=preferredColorScheme=0"] if request.param == "dark" else []
    return opened(folder, f"profile-{request.param}", *theme)


def opened(folder: Path, profile: str, *flags: str) -> Seen:
    """Open a folder's `harness.html` and return what its script found."""
    url = (folder / "harness.html").as_uri()
    command = [_browser(), *FLAGS, *flags, f"--user-data-dir={folder / profile}", "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    found = re.search(r"<body>FOUND(.*)END", done.stdout, flags=re.S)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Seen(json.loads(html.unescape(found.group(1))), lines)


def _browser() -> str:
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    path = next(filter(None, map(shutil.which, filter(None, names))), None)
    assert path, "this test needs Chromium: apt-get install chromium, or set CHROMIUM to its path"
    return path


@EVERYWHERE
def test_nothing_overflows(seen: Seen, where: str) -> None:
    """No sideways scrolling of the page; wide tables scroll inside their own frame."""
    assert seen.at[where]["overflow"] == 0
    assert seen.at[where]["wide"] == []


@EVERYWHERE
def test_no_text_of_a_figure_is_cut_off_or_tiny(seen: Seen, where: str) -> None:
    """Labels stay inside their figure and can be read on a phone."""
    assert seen.at[where]["clipped"] == []
    assert seen.at[where]["smallest"] >= 7.5


@EVERYWHERE
def test_the_keyboard_reaches_everything_in_its_order(seen: Seen, where: str) -> None:
    """Links, headings to sort by, controls, what scrolls: each can have the focus and shows it."""
    assert seen.at[where]["unreached"] == []


@EVERYWHERE
def test_axe_finds_no_barrier(seen: Seen, where: str) -> None:
    """Contrast, names, headings, tables: no rule of axe-core is violated."""
    if seen.at[where]["violations"] is None:
        pytest.skip(
            "accessibility is NOT tested: set AXE_CORE to axe.min.js, as `nox -s report` does"
        )
    assert seen.at[where]["violations"] == []


def test_the_console_is_silent(seen: Seen) -> None:
    """No error, no warning, no violated policy."""
    assert seen.console == []


def test_nothing_is_requested(seen: Seen) -> None:
    """The page is complete in itself."""
    assert all(at["requests"] == [] for at in seen.at.values())


def test_the_trials_sort_by_value(seen: Seen) -> None:
    """Once upwards, again downwards, cells without a value last both times."""
    at = seen.at["report.html 1280"]
    up, down = at["up"], at["down"]
    values = [float(v) for v in up if v]
    assert values == sorted(values)
    assert [float(v) for v in down if v] == values[::-1]
    assert up[-1] == down[-1] == ""


def test_the_trials_can_be_filtered(seen: Seen, petroleum_run: Path) -> None:
    """By words, by a column's value, by state; and the number of rows is said."""
    trials = load(petroleum_run).frozen_trials
    alpha = sum(t.params["alpha"] == 32 for t in trials)
    at = seen.at["report.html 400"]["filter"]
    assert at["choices"] == ["", "complete", "complete (enqueued)", "failed", "pruned"]
    assert at["typed"] == [alpha, f"{alpha} of {len(trials)} rows"]
    assert at["nothing"][0] == 0
    assert at["chosen"][0] == 3


def test_a_table_saves_what_it_shows(seen: Seen) -> None:
    """The rows that are left by the filter, numbers in full."""
    heading, *rows = csv.reader(io.StringIO(seen.at["report.html 1280"]["csv"]))
    rate = heading.index("learning_rate")
    assert [row[1] for row in rows] == ["pruned"] * 3
    assert all(len(row[rate]) > 10 for row in rows)


def test_a_dot_tells_its_trial(seen: Seen) -> None:
    """Pointing at a dot shows the trial's row and marks it in every figure; Escape ends that."""
    tip = seen.at["report.html 1280"]["tip"]
    assert tip["shown"]
    assert not tip["after"]
    assert tip["text"].startswith(f"trial {tip['trial']}state ")
    assert "learning_rate" in tip["text"]
    assert tip["same"] > 3


def test_a_dot_of_several_studies_tells_its_own(seen: Seen) -> None:
    """The study's name stands ahead, and only that study's trial of this number is marked."""
    tip = seen.at["comparison.html 1280"]["tip"]
    place, number = tip["trial"].split(":")
    study = ("petroleum", "petroleum-after")[int(place)]
    assert tip["text"].startswith(f"study {study}trial {number}state complete")
    assert tip["same"] == 2  # an improvement of the search, and a dot of the violin
    assert not tip["after"]
