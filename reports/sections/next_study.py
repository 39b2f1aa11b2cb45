"""What to do next, in words: for the page's last section, and for the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from analysis.next_study.proposal import Change, Proposal
from reports.next_file import next_file
from reports.page.model import Cell, Code, Part, Prose, Section, Table
from reports.results import Results
from reports.terminal.study_tables import empty_table, plain
from reports.wording import listing, number


def next_section(results: Results) -> Section | None:
    """The next study; None where this program did not run the study."""
    proposal = results.proposal
    if proposal is None:
        return None
    rows = tuple(
        (Cell(c.parameter), Cell(c.kind), Cell(written(c)), Cell(c.reason))
        for c in proposal.changes
    )
    table = Table("What becomes of each parameter", ("parameter", "next", "as", "why"), rows)
    parts: tuple[Part, ...] = (Prose(conclusion(proposal)), table)
    if proposal.changes_space:
        parts = (*parts, Code("The next study file", next_file(results.data, proposal)))
    return Section(
        "next",
        "What next",
        "From the evidence above: where to search next, and how many trials would decide what is "
        "undecided. `optuna-study next` writes this as a study file.",
        parts,
    )


def next_table(proposal: Proposal) -> RenderableType:
    """The same for the terminal, in 80 columns."""
    parts: list[RenderableType] = [Text(sentence) for sentence in conclusion(proposal)]
    table = empty_table("", ["parameter", "next", "as", "why"])
    for change in proposal.changes:
        table.add_row(*map(plain, (change.parameter, change.kind, written(change), change.reason)))
    return Group(*parts, Text(), table)


def conclusion(proposal: Proposal) -> tuple[str, ...]:
    """The sentences that say what to do."""
    judged = (
        (f"Judged by {proposal.objective} alone, the first of {proposal.objectives} objectives.",)
        if proposal.objectives > 1
        else ()
    )
    if proposal.settled:
        return (
            *judged,
            "Nothing is left to learn from this search: what matters lies inside its range, and "
            "the rest does not matter. Test the winner on fresh seeds (`optuna-study confirm`), or "
            "change the question.",
        )
    said = [*judged]
    if not proposal.reliable:
        said.append("The trials are too few to change anything in the search.")
    if proposal.more_trials is not None:
        open_ones = (
            f"whether {listing(proposal.undecided)} matter" if proposal.undecided else "more"
        )
        total = proposal.used + proposal.more_trials
        said.append(
            f"About {number(proposal.more_trials)} more trials would decide {open_ones}: "
            f"the same command with --trials {total} continues this study."
        )
    if proposal.changes_space:
        said.append(f"The next study asks elsewhere, with {proposal.trials} trials:")
    return tuple(said)


def written(change: Change) -> str:
    """A search parameter in a few words."""
    becomes = change.becomes
    if "value" in becomes:
        return _short(becomes["value"])
    if "choices" in becomes:
        return ", ".join(_short(choice) for choice in becomes["choices"])
    scale = ", log" if becomes.get("log") else ""
    return f"{_short(becomes['low'])} to {_short(becomes['high'])}{scale}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
