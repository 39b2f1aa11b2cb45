"""What the terminal shows of importances: the answer first, then what it rests on.

Nothing is wider than 80 columns: names fold before numbers do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from reports.sections.evidence import EVALUATORS, POLICY_WORDS, SURROGATES, evidence, policy_rows
from reports.terminal.study_tables import empty_table, plain
from reports.wording import interval, listing, number, setting, share, signed

if TYPE_CHECKING:
    from analysis.importance.compute import Importances, InteractionImportance
    from analysis.importance.confounding import Confounding, Explanation
    from analysis.importance.other_questions import Answer

SMALLEST_PAIR, MAX_PAIRS = 0.01, 3


def importance_table(
    result: Importances, joint: Confounding | None = None, size: Confounding | None = None
) -> RenderableType:
    """Shares with intervals and chance line, whether to believe them, and what they rest on."""
    method = EVALUATORS.get(result.evaluator, result.evaluator)
    parts: list[RenderableType] = [_question(result.question, method, result.surrogate)]
    parts.append(_belief(result))
    if result.parameters:
        parts += [Text(), _shares(result)]
    if result.policies:
        parts += [Text(), _policies(result)]
    notes = [*evidence(result).items()]
    if joint is not None:
        notes.append(("acts as one", _joint(joint, joint.columns[0])))
    if size is not None:
        counted = next(c for c in size.columns if c.name == "trainable_parameters")
        notes.append(("size", _joint(size, counted)))
    if notes:
        parts += [Text(), _facts(notes)]
    parts += [_bullet(remark) for remark in result.remarks]
    return Group(*parts)


def answer_table(answer: Answer) -> RenderableType:
    """The answer to another question than fANOVA's: its shares, or the steps of its way."""
    parts: list[RenderableType] = [_question(answer.question, answer.method)]
    if answer.reasons:
        parts.append(_warning(f"not reliable: {'; '.join(answer.reasons)}"))
    if answer.steps:
        table = empty_table(
            f"gain in {answer.objective}", ["change", "from", "to", "gain", "reaches"]
        )
        for s in answer.steps:
            ends = [setting(s.before), setting(s.after), signed(s.gain), number(s.predicted)]
            table.add_row(*map(plain, [s.name, *ends]))
        parts += [Text(), table]
    elif answer.shares:
        table = empty_table("", ["parameter", "share"])
        for name, value in answer.shares.items():
            table.add_row(plain(name), plain(share(value)))
        parts += [Text(), table]
    return Group(*parts, *([Text()] if answer.remarks else []), *map(_bullet, answer.remarks))


def _question(question: str, method: str, surrogate: str = "") -> Text:
    words = f" ({method}" + (f", {SURROGATES[surrogate]})" if surrogate in SURROGATES else ")")
    asked = question[:1].upper() + question[1:]
    return Text.assemble(plain(asked), plain(words))


def _belief(result: Importances) -> Text:
    count = result.trials["used"]
    used = f"{count} trial{'s' * (count != 1)} used"
    if not result.reliable:
        return _warning(f"not reliable: {'; '.join(result.reasons)} ({used})")
    r2 = share(result.held_out_r2)
    return Text(f"reliable: held-out R² {r2}, {used}", overflow="fold")


def _shares(result: Importances) -> Table:
    table = empty_table("", ["parameter", "share", "95 % interval", "chance", ""])
    for p in result.parameters:
        verdict = "beyond chance" if p.significant else ""
        cells = [p.name, share(p.importance), interval(p.ci, share), share(p.null), verdict]
        table.add_row(*map(plain, cells), style="bold" if p.significant else None)
    for effect in _shown(result.interactions):
        ci = "–" if effect.ci is None else interval(effect.ci, share)
        cells = [" × ".join(effect.names), share(effect.importance), ci, "", ""]
        table.add_row(*map(plain, cells))
    table.add_row("unexplained", share(result.unexplained), "", "", "")
    return table


def _shown(effects: Sequence[InteractionImportance]) -> list[InteractionImportance]:
    """The largest pairs that matter, and every larger subset: somebody asked for it."""
    pairs = [e for e in effects if len(e.names) == 2 and e.importance >= SMALLEST_PAIR]
    return [*pairs[:MAX_PAIRS], *(e for e in effects if len(e.names) > 2)]


def _policies(result: Importances) -> Table:
    headings = ["share, pruned trials", *(POLICY_WORDS[policy] for policy in result.policies)]
    table = empty_table("", headings)
    for name, shares in policy_rows(result):
        table.add_row(*map(plain, [name, *shares]))
    return table


def _joint(found: Confounding, column: Explanation) -> str:
    verb = "explain" if column.formula.endswith("s") else "explains"
    return (
        f"{listing(found.group)} together hold {share(found.joint)} of the variance; "
        f"{column.formula} {verb} {share(column.explained)} of that"
    )


def _facts(facts: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in facts:
        table.add_row(plain(name), plain(text))
    return table


def _bullet(text: str) -> Padding:
    table = Table.grid(padding=(0, 1))
    table.add_row(Text("·"), plain(text))
    return Padding(table, 0, style="dim")


def _warning(text: str) -> Text:
    words = plain(text)
    words.stylize("yellow")
    return words
