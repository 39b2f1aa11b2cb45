"""What to search next, in words and as a table: for the page and for the terminal."""

from __future__ import annotations

from analysis.document import Cell, Document, Prose, Table
from analysis.next_study.proposal import Change, Proposal
from analysis.wording import listing, number, setting
from reports.next_file import next_file
from reports.page.model import Code, Part, Section
from reports.results import Results


def next_section(results: Results) -> Section | None:
    """The next study; None where this program did not run the study."""
    proposal = results.proposal
    if proposal is None:
        return None
    parts: tuple[Part, ...] = next_document(proposal).parts
    if proposal.changes_space:
        parts = (*parts, Code("The next study file", next_file(results.data, proposal)))
    return Section(
        "next",
        "What next",
        "From the evidence above: where to search next, and how many trials would settle the open "
        "questions. `optuna-study next` writes this as a study file.",
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
    """The sentences that say what to do."""
    said = []
    if proposal.objectives > 1:
        said.append(
            f"Based on {proposal.objective} alone, the first of {proposal.objectives} objectives."
        )
    if proposal.settled:
        said.append(
            "This search has nothing more to teach: what matters has its best value inside its "
            "range, and the rest does not matter. Test the winner on fresh seeds "
            "(`optuna-study confirm`), or ask another question."
        )
        return tuple(said)
    if not proposal.reliable:
        said.append("There are too few trials to change the search.")
    if proposal.more_trials is not None:
        total = proposal.used + proposal.more_trials
        goal = (
            f"show whether {listing(proposal.undecided)} "
            f"matter{'s' * (len(proposal.undecided) == 1)}"
            if proposal.undecided
            else "show more"
        )
        said.append(
            f"About {number(proposal.more_trials)} more trials would {goal}: run the same command "
            f"with --trials {total} to continue this study."
        )
    if proposal.changes_space:
        said.append(f"The next study searches a different space, with {proposal.trials} trials:")
    return tuple(said)


def _written(change: Change) -> str:
    """A search parameter in a few words."""
    becomes = change.becomes
    if "value" in becomes:
        return setting(becomes["value"])
    if "choices" in becomes:
        return ", ".join(map(setting, becomes["choices"]))
    scale = ", log" if becomes.get("log") else ""
    return f"{setting(becomes['low'])} to {setting(becomes['high'])}{scale}"
