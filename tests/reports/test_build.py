"""The page: what it says, what it leaves out, and that nothing in a study can break it."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from analysis import StudyData, load
from analysis.document import Table
from reports import build_report
from reports.build import page_of
from reports.page.parts import Figures, Page, ShownExamples
from reports.page.render import render
from reports.results import Results, analyse
from reports.sections.answer import answer, caution
from reports.sections.samples import chosen
from study.errors import InputError
from tests.synthetic import Shape, write_foreign_study, write_study

pytestmark = pytest.mark.whole

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def results(petroleum: StudyData) -> Results:
    """An analysis with few resamples: enough for a page."""
    return analyse(petroleum, surrogate="gp", resamples=4)


@pytest.fixture(scope="module")
def page(results: Results) -> Page:
    """The page as data."""
    return page_of(results)


@pytest.fixture(scope="module")
def document(page: Page) -> str:
    """The page as HTML."""
    return render(page)


class Outline(HTMLParser):
    """Collects what the tests ask about: tags, ids, references and text."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.scripts = 0
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag and what it refers to."""
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "src", "action", "poster", "srcset"):
                self.targets.append(str(value))
            assert not name.startswith("on"), f"an event handler in {tag}"


def _report(path: Path) -> str:
    return render(page_of(analyse(load(path), surrogate="gp", resamples=2)))


# ---------------------------------------------------------------- what it says


def test_the_title_names_the_region(results: Results) -> None:
    """A page about a part of the search space cannot be taken for one about all of it."""
    part = replace(results, data=replace(results.data, region="alpha >= 16"))
    assert page_of(part).title == f"{results.data.name}, where alpha >= 16"


def test_the_page_has_every_section(page: Page) -> None:
    """In the order in which a reader asks."""
    assert [s.identifier for s in page.sections] == [
        "importance",
        "tuning",
        "product",
        "levels",
        "slices",
        "parallel",
        "baselines",
        "adapters",
        "samples",
        "cost",
        "history",
        "trials",
        "failures",
        "provenance",
        "next",
    ]
    assert all(section.reading for section in page.sections)


def test_the_answer_says_what_to_use_what_it_gains_and_what_matters(
    page: Page, petroleum: StudyData
) -> None:
    """Three sentences with the numbers of the study itself."""
    best, gain, importance = page.answer
    assert petroleum.best_trial is not None
    assert best.startswith(f"Trial {petroleum.best_trial.number} is the best of ")
    assert f"alpha {petroleum.best_trial.params['alpha']}" in best
    assert f"BLEU {petroleum.best_trial.value:.1f} on the dev examples" in best
    assert "better than that of the untrained base (95 % interval +" in gain
    assert "better than that of default LoRA" in gain
    assert "matters most: it accounts for" in importance
    assert "alpha" in importance
    assert "beyond chance" in importance


def test_the_page_warns_of_luck_and_of_what_was_forgotten(page: Page) -> None:
    """The best of many is partly luck; the general domain paid."""
    assert any("partly luck" in c for c in page.caution)
    assert any("a loss of" in c for c in page.caution)


def test_the_table_of_trials_holds_every_trial_and_marks_the_best(
    page: Page, petroleum: StudyData
) -> None:
    """Sortable by value, not by what is written."""
    (section,) = [s for s in page.sections if s.identifier == "trials"]
    (table,) = section.parts
    assert isinstance(table, Table)
    assert len(table.rows) == 69
    assert petroleum.best_trial is not None
    assert [table.rows[i][0].key for i in table.marked] == [petroleum.best_trial.number]
    rates = [row[table.columns.index("learning_rate")] for row in table.rows]
    assert rates[0].key == petroleum.best_trial.params["learning_rate"]


def test_the_product_that_acts_as_one_is_named(page: Page) -> None:
    """The synthetic score follows learning rate · alpha / rank, and the page finds it."""
    (section,) = [s for s in page.sections if s.identifier == "product"]
    assert "learning_rate · alpha / rank explains" in str(section)


def test_the_surface_is_drawn_and_said_in_words(page: Page) -> None:
    """Over alpha and learning rate, beside the product."""
    (section,) = [s for s in page.sections if s.identifier == "product"]
    figures = [f for part in section.parts if isinstance(part, Figures) for f in part.figures]
    assert figures[0].identifier == "surface"
    assert "best at alpha" in figures[0].alt


def test_the_page_says_what_importances_rest_on(page: Page, document: str) -> None:
    """Trials, sampler, sample, surrogates, stability, pruned trials, and what was left out."""
    (section,) = [s for s in page.sections if s.identifier == "importance"]
    for text in ("64 complete, 3 pruned", "consistent with uniform", "agree on the top", "R²"):
        assert text in str(section)
    assert "Effect of the pruned trials" in document
    assert "target_modules is left out: it has a single value" in document


def test_a_large_effect_of_pruned_trials_is_a_caution(results: Results) -> None:
    """A share that moves by a fifth or more is said at the top of the page."""
    assert results.importance is not None
    moved = {"drop": {"alpha": 0.8}, "last": {"alpha": 0.3}, "worst": {"alpha": 0.5}}
    changed = replace(results.importance, policies=moved)
    said = caution(replace(results, importances=(changed,)))
    assert any("between 0.30 and 0.80" in c for c in said)


def test_failures_have_their_reasons(document: str) -> None:
    """In the words of the runner."""
    assert document.count("diverged: the loss was not finite at step 61") == 2


def test_samples_show_base_and_best_beside_the_reference(page: Page) -> None:
    """Those that gained most, those among the worst, and others."""
    (section,) = [s for s in page.sections if s.identifier == "samples"]
    (samples,) = section.parts
    assert isinstance(samples, ShownExamples)
    assert [s.why for s in samples.examples].count("gained most") == 3
    for sample in samples.examples:
        assert sample.outputs[0][0] == "base"
        same = [w.text for _, words, _ in sample.outputs for w in words if not w.differs]
        assert all(set(text.split()) <= set(sample.target.split()) for text in same)


def test_samples_are_chosen_by_what_they_show() -> None:
    """Changed most either way, worst, best, ordinary; each example once, no loss where is none."""
    before = np.array([50.0, 50, 50, 50, 90, 10, 50, 50, 50, 50, 50, 50])
    after = np.array([95.0, 90, 85, 50, 40, 10, 96, 52, 53, 51, 50, 20])
    picks = chosen(before, after)
    assert [i for i, why in picks.items() if why == "gained most"] == [6, 0, 1]
    assert [i for i, why in picks.items() if why == "lost most"] == [4, 11]
    assert [i for i, why in picks.items() if why == "among the worst"] == [5]
    assert "lost most" not in chosen(before, before).values()
    assert [i for i, why in chosen(before, before).items() if why == "among the best"] == [4]
    assert chosen(np.empty(0), np.empty(0)) == {}


def test_the_provenance_names_versions_signatures_and_the_study_file(document: str) -> None:
    """What is needed to judge the numbers and to get them again."""
    for text in ("torch", "2.13.0", "tok:13a", "steps = 120", "2 cores", "lora-narrow"):
        assert text in document


def test_what_pairs_hold_is_part_of_the_answer(results: Results) -> None:
    """A large share of a pair, surely above nothing, is said; "no other parameter" is not."""
    assert results.importance is not None
    top, *others = (replace(p, significant=False) for p in results.importance.parameters)
    pair = replace(results.importance.interactions[0], names=("alpha", "rank"), importance=0.3)
    for ci, is_said in (((0.1, 0.4), True), ((0.0, 0.6), False)):
        changed = replace(
            results.importance,
            parameters=(replace(top, significant=True), *others),
            interactions=(replace(pair, ci=ci),),
        )
        said = " ".join(answer(replace(results, importances=(changed,))))
        assert ("Interactions add to this: alpha × rank (0.30)" in said) == is_said
        assert ("No other parameter is beyond chance." in said) != is_said


# ---------------------------------------------------------------- one file, nothing else


def test_nothing_refers_outside_the_page(document: str) -> None:
    """References lead to places on the page, and the page forbids every other."""
    outline = Outline(document)
    ids = set(outline.ids)
    for target in outline.targets:
        assert target == "data:," or target.removeprefix("#") in ids, target
    for reference in re.findall(r"url\(([^)]*)\)", document):
        assert reference.removeprefix("#") in ids
    assert "@import" not in document
    assert "default-src 'none'" in document


def test_ids_are_unique(document: str) -> None:
    """Figures bring ids of their own, prefixed so that none hides another's clip path."""
    ids = Outline(document).ids
    assert len(ids) == len(set(ids))


def test_figures_are_text_with_words_for_those_who_cannot_see(document: str) -> None:
    """Text as text, an image role, a label, and colours that follow the theme."""
    figures = re.findall(r"<svg .*?</svg>", document, flags=re.S)
    assert len(figures) >= 10
    for figure in figures:
        assert "<text" in figure
        assert re.search(r'role="img" aria-label="[^"]{20,}"', figure)
        assert not re.search(r"#[0-9a-f]{6}", figure), "a colour that no theme can change"


def test_the_same_study_gives_the_same_page(petroleum_run: Path, document: str) -> None:
    """No date of building, no random ids."""
    again = analyse(load(petroleum_run), surrogate="gp", resamples=4)
    assert render(page_of(again)) == document


# ---------------------------------------------------------------- hostile and odd studies


def _hostile(path: Path) -> None:
    study = optuna.create_study(
        storage=f"sqlite:///{path}", study_name=HOSTILE, direction="maximize"
    )
    study.set_user_attr(HOSTILE, {HOSTILE: HOSTILE})
    study.set_user_attr("objectives", [HOSTILE])
    study.set_user_attr("broken", "\ud800")
    space = {
        HOSTILE: CategoricalDistribution([HOSTILE, "</text></svg><script>alert(2)</script>"]),
        '"><img src=x onerror=alert(3)>': FloatDistribution(0, 1),
        "$\\frac{": FloatDistribution(0, 1),
        "\x07bell\x1b[31m": FloatDistribution(0, 1),
    }
    for number in range(12):
        trial = study.ask(space)
        trial.set_user_attr("failure", HOSTILE)
        if number % 4:
            trial.report(float(number), 1)
            study.tell(trial, float(number))
        else:
            study.tell(trial, state=TrialState.FAIL)


def test_a_hostile_study_is_harmless(tmp_path: Path) -> None:
    """Whatever a name holds is text: in headings, tables, figures and attributes."""
    _hostile(tmp_path / "x.db")
    document = _report(tmp_path / "x.db")
    outline = Outline(document)
    assert outline.tags.count("script") == 1
    assert "img" not in outline.tags
    assert "<script>alert" not in document
    assert "&lt;script&gt;alert(1)" in document
    assert "\x07" not in document
    document.encode("utf-8")


@pytest.mark.usefixtures("one_figure")
def test_hostile_texts_of_our_own_tables_are_harmless(tmp_path: Path) -> None:
    """The study file, provenance and outputs are escaped as well."""
    run = write_study(tmp_path / "r", Shape(complete=8, failed=0, name=HOSTILE, examples=9))
    document = _report(run)
    assert Outline(document).tags.count("script") == 1
    assert "<script>alert" not in document


def test_a_study_without_trials_says_so(tmp_path: Path) -> None:
    """One sentence and the provenance; no empty section."""
    optuna.create_study(storage=f"sqlite:///{tmp_path / 'x.db'}", study_name="empty")
    page = page_of(analyse(load(tmp_path / "x.db")))
    assert "No trial of this study has finished yet" in page.answer[0]
    assert [s.identifier for s in page.sections] == ["provenance"]
    assert "<svg" not in render(page)


def test_a_foreign_study_of_two_objectives_has_a_page(tmp_path: Path) -> None:
    """Importances an objective, the front, and no section about what is not stored."""
    write_foreign_study(f"sqlite:///{tmp_path / 'x.db'}")
    page = page_of(analyse(load(tmp_path / "x.db"), surrogate="gp", resamples=2))
    found = [s.identifier for s in page.sections]
    assert found == [
        "importance",
        "tuning",
        "levels",
        "slices",
        "parallel",
        "pareto",
        "history",
        "trials",
        "failures",
        "provenance",
    ]
    assert "on the Pareto front" in page.answer[0]


@pytest.mark.parametrize("values", [[1.0], [2.0] * 6, [float("inf")] * 3])
def test_thin_studies_say_that_they_are_thin(tmp_path: Path, values: list[float]) -> None:
    """One trial, a constant or infinite objective: a page that claims nothing."""
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'x.db'}", study_name="thin")
    for value in values:
        study.tell(study.ask({"x": FloatDistribution(0, 1)}), value)
    page = page_of(analyse(load(tmp_path / "x.db")))
    assert any("are not reliable" in c for c in page.caution)
    assert not any("matters most" in a for a in page.answer)
    render(page)


# ---------------------------------------------------------------- the file


def test_a_page_has_the_size_of_a_mail(document: str) -> None:
    """At most 2 MB, with all its figures."""
    assert len(document.encode()) < 2_000_000


@pytest.mark.usefixtures("one_figure")
def test_the_report_is_written_where_asked(tmp_path: Path) -> None:
    """Folders are made, and nothing is left beside the file."""
    run = write_study(tmp_path / "r", Shape(complete=3, failed=0, enqueued=0, examples=4))
    out = tmp_path / "new" / "report.html"
    assert build_report(run, out, surrogate="gp", resamples=2) == out
    assert [p.name for p in out.parent.iterdir()] == ["report.html"]


@pytest.mark.usefixtures("one_figure")
def test_a_place_that_cannot_be_written_is_one_problem(tmp_path: Path) -> None:
    """The message names the file; nothing else is said."""
    (tmp_path / "file").write_text("")
    write_study(tmp_path / "r", Shape(complete=2, failed=0, enqueued=0, examples=4))
    with pytest.raises(InputError, match=r"report.html: cannot write the report"):
        build_report(tmp_path / "r", tmp_path / "file" / "report.html")


def test_a_target_that_is_no_study_is_refused(tmp_path: Path) -> None:
    """Before anything is computed."""
    with pytest.raises(InputError, match="no such file"):
        build_report(tmp_path / "nothing.db", tmp_path / "report.html")
