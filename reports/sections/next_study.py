"""What to search next, in words and as a table, for page and terminal."""

from __future__ import annotations

from analysis.document import Cell, Document, Prose, Table
from analysis.next_study.proposal import Change, Proposal
from analysis.wording import listing, number, setting
from reports.next_file import next_file
from reports.page.parts import Code, PagePart, Section
from reports.results import Results


def next_section(results: Results) -> Section | None:
    """The next study; None where this program did not run the study."""
    proposal = results.proposal
    if proposal is None:
        return None
    parts: tuple[PagePart, ...] = next_document(proposal).parts
    if proposal.changes_space:
        parts = (*parts, Code("The next study file", next_file(results.data, proposal)))
    return Section(
        "next",
        "What next",
        "The evidence above suggests where to search next, and how many trials would settle the "
        "open questions. `optuna-study next` writes this as a study file.",
        parts,
    )


def next_document(proposal: Proposal) -> Document:
    """The conclusion, and what becomes of each parameter."""
    rows = tuple(
        (Cell(c.parameter), Cell(c.kind), Cell(_written(c)), Cell(c.reason))
        for c in proposal.changes
    )
    table = Table("Parameters in the next study", ("parameter", "change", "to", "reason"), rows)
    return Document("", (Prose(conclusion(proposal)), table))


def conclusion(proposal: Proposal) -> tuple[str, ...]:
    """What to do next, in sentences."""
    said = []
    if proposal.objectives > 1:
        said.append(
            f"This is based only on {proposal.objective}, the first of {proposal.objectives} "
            "objectives."
        )
    if proposal.settled:
        said.append(
            "This search is settled: every parameter that matters has its best value inside its "
            "range, and the others do not matter. Test the winner on fresh seeds "
            "(`optuna-study confirm`), or search other parameters."
        )
        return tuple(said)
    if not proposal.reliable:
        said.append("There is too little evidence to change the search space.")
    if proposal.more_trials is not None:
        total = proposal.counted + proposal.more_trials
        goal = (
            f"show whether {listing(proposal.undecided)} "
            f"matter{'s' * (len(proposal.undecided) == 1)}"
            if proposal.undecided
            else "allow an answer"
        )
        said.append(
            f"About {number(proposal.more_trials)} more trials would {goal}: run the same command "
            f"with --trials {total} to continue this study."
        )
    if proposal.changes_space:
        said.append(f"The next study searches a different space with {proposal.trials} trials:")
    return tuple(said)


def _written(change: Change) -> str:
    """The range, choices or value of a search parameter."""
    becomes = change.becomes
    if "value" in becomes:
        return setting(becomes["value"])
    if "choices" in becomes:
        return ", ".join(map(setting, becomes["choices"]))
    scale = ", log" if becomes.get("log") else ""
    return f"{setting(becomes['low'])} to {setting(becomes['high'])}{scale}"
