"""Base against adapted on the page and in the terminal: one set of numbers, flags in words."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from analysis import StudyData, load
from analysis.comparison.adapters import Adapters, against_base
from analysis.comparison.adapters_document import (
    adapter_rows,
    adapters_json,
    comparison_document,
    write_csv,
)
from analysis.document import Prose, Table
from analysis.wording import alike_signed
from reports.page.figures import drawn
from reports.page.parts import Figures, Page, Section, ShownExamples
from reports.page.render import render
from reports.results import Results, analyse
from reports.sections.adapters import adapters_section
from reports.sections.samples import samples_section
from study.errors import InputError
from tests.adapter_study import GAMER, write_adapter_study

pytestmark = pytest.mark.whole

SHOWN = ("rouge1", "rouge2", "bleu4", "chrf")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A study of nine adapters, two of one configuration and one that games."""
    folder = write_adapter_study(tmp_path_factory.mktemp("page"), 40, SHOWN)
    return analyse(load(folder), surrogate="gp", resamples=2)


@pytest.fixture(scope="module")
def found(results: Results) -> Adapters:
    """Its comparison."""
    assert results.adapters is not None
    return results.adapters


@pytest.fixture(scope="module")
def section(results: Results) -> Section:
    """The section of the page."""
    made = adapters_section(results)
    assert made is not None
    return made


def _shown(found: Adapters, *metrics: str) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(comparison_document(found, metrics).to_rich())
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    return text


# ---------------------------------------------------------------- the page


def _tables(section: Section) -> dict[str, Table]:
    return {part.caption: part for part in section.parts if isinstance(part, Table)}


def test_the_section_opens_with_the_flag(section: Section) -> None:
    """What must not be overlooked stands first, as a warning."""
    first = section.parts[0]
    assert isinstance(first, Prose)
    assert first.tone == "warning"
    assert first.paragraphs[0].startswith(f"Metric gaming: trial {GAMER} gains")


def test_the_overview_has_every_adapter_and_metric(section: Section, found: Adapters) -> None:
    """The base's scores, then the differences; stars are those of the corrected p-values."""
    table = _tables(section)["The base's scores and each adapter's difference"]
    assert table.columns == ("model", "ROUGE-1", "BLEU-4", "chrF", "ROUGE-2", "loss")
    assert len(table.rows) == 10
    assert table.marked == {1 + GAMER}
    for row, model in zip(table.rows[1:], found.adapters, strict=True):
        for cell, metric in zip(row[1:], found.metrics, strict=True):
            assert (cell.mark == "*") == found.of(model.name, metric).clear


def test_each_metric_has_bars_and_violins_with_boxes(section: Section) -> None:
    """A loss that is the same for every example has no spread to draw."""
    (figures,) = (part for part in section.parts if isinstance(part, Figures))
    names = [figure.identifier for figure in figures.figures]
    expected = [f"{kind}-{m}" for m in (*SHOWN, "loss") for kind in ("bars", "violins")]
    assert sorted(names) == sorted(set(expected) - {"violins-loss"})
    drawings = drawn(figures.figures).values()
    assert all("trial 3 a" in svg and f"trial {GAMER} (flagged)" in svg for svg in drawings)


def test_looks_and_seed_noise_have_tables(section: Section, found: Adapters) -> None:
    """The references stand below the models; the twins' scores metric by metric."""
    tables = _tables(section)
    looks = tables["Features of the outputs"]
    assert [row[0].text for row in looks.rows][-1] == "references"
    assert looks.rows[1 + GAMER][-1].text.startswith("gains")
    noise = tables["Effect of the seed alone"]
    assert [row[1].text for row in noise.rows] == ["trial 3 and trial 5 (a)"] * len(found.metrics)
    assert len(tables["All adapters, all metrics"].rows) == 10 * len(found.metrics)


def test_samples_show_base_best_and_what_is_flagged_side_by_side(results: Results) -> None:
    """Each example with what the base and three adapters made of it."""
    section = samples_section(results)
    assert section is not None
    (samples,) = section.parts
    assert isinstance(samples, ShownExamples)
    best = results.data.best_trial
    assert best is not None
    names = [name for name, _, _ in samples.examples[0].outputs]
    assert names[:3] == ["base", f"trial {best.number}", f"trial {GAMER}"]
    assert len(names) == 4


def test_the_section_is_drawn(section: Section) -> None:
    """The templates take it as they take the others."""
    page = Page("x", "", (), (), (), (section,), "")
    document = render(page)
    assert "Base against adapted" in document
    assert "Holm" in document


def test_what_has_no_base_has_no_section(petroleum: StudyData) -> None:
    """Nothing to compare, nothing shown."""
    import dataclasses

    bare = dataclasses.replace(petroleum, evaluations=(), score_rows=())
    assert adapters_section(analyse(bare, surrogate="gp", resamples=2)) is None


# ---------------------------------------------------------------- the terminal


def test_the_terminal_shows_all_metrics_at_a_glance(found: Adapters) -> None:
    """Then the objective in full, the flag, and what the seed does; within 80 columns."""
    text = " ".join(_shown(found).split())
    for metric in ("ROUGE-1", "ROUGE-2", "BLEU-4", "chrF", "loss"):
        assert metric in text
    assert "* p < 0.05, corrected for 45 tests; each 95 % interval concerns one test" in text
    assert "mean ± sd" in text
    assert f"Metric gaming: trial {GAMER} gains" in text
    assert "Seed noise: trial 3 and trial 5 share one configuration (a)" in text
    assert "may come from the seed alone" in text


def test_metrics_that_are_named_are_shown_in_full(found: Adapters) -> None:
    """One block each."""
    assert _shown(found).count("95 % interval  ") == 1
    assert _shown(found, "bleu4", "chrf").count("95 % interval  ") == 2


def test_more_metrics_than_fit_take_a_second_table(tmp_path: Path) -> None:
    """Nothing is left out for want of width."""
    names = ("rouge1", "rouge2", "rougeL", "meteor", "bleu1", "bleu2", "bleu3", "bleu4", "chrf")
    data = load(write_adapter_study(tmp_path, 8, ("chrf",), "a"))
    found = against_base(data, names, trials=[0, 1])
    text = _shown(found)
    for name in names:
        assert (
            name.upper().replace("BLEU", "BLEU-").replace("ROUGE", "ROUGE-") in text
            or name == "chrf"
        )


def test_the_best_of_many_come_with_a_caution(petroleum: StudyData) -> None:
    """Who was chosen by a score flatters in it."""
    text = " ".join(_shown(against_base(petroleum)).split())
    assert "59 trials with lower scores are not shown" in text
    assert "corrected for every trial" in text


# ---------------------------------------------------------------- programs


def test_json_and_csv_hold_every_number(found: Adapters, tmp_path: Path) -> None:
    """One row a model and metric; the document is JSON without NaN."""
    document = json.loads(json.dumps(adapters_json(found), allow_nan=False))
    assert document["family"] == 45
    assert document["adapters"][3]["same_as"] == ["trial 5"]
    flags = [v["adapter"] for v in document["gaming"]["verdicts"] if v["flagged"]]
    assert flags == [f"trial {GAMER}"]
    write_csv(found, tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(adapter_rows(found)) == 10 * 5
    row = next(r for r in rows if (r["model"], r["metric"]) == ("trial 2", "bleu4"))
    assert float(row["difference"]) == found.of("trial 2", "bleu4").difference
    assert float(row["p_holm"]) == found.of("trial 2", "bleu4").p_adjusted
    assert rows[0]["difference"] == ""


def test_a_csv_that_cannot_be_written_is_a_line(found: Adapters, tmp_path: Path) -> None:
    """Where, and why."""
    with pytest.raises(InputError, match=r"^.*: cannot write: Is a directory"):
        write_csv(found, tmp_path)


def test_differences_are_written_alike() -> None:
    """Points with one decimal, shares with three, always with a sign."""
    assert alike_signed([50.0, 3.25])(3.25) == "+3.2"
    assert alike_signed([0.6, -0.05])(-0.05) == "−0.050"
    assert alike_signed([])(0.0) == "+0.0"
