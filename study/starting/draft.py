"""A study file in the making: values by section, each with the reason that its comment gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.spec.writing import comment, toml

ORDER = ("", "base", "data", "method", "training", "diffusion", "evaluation", "search")


class Draft:
    """Collects values in the order in which a person should read them."""

    def __init__(self) -> None:
        self._head: list[str] = []
        self._sections: dict[str, dict[str, Any]] = {}
        self._reasons: dict[tuple[str, str], str] = {}
        self._hints: dict[str, list[str]] = {}

    def begin(self, *paragraphs: str) -> None:
        """Set the comment at the top of the file."""
        self._head = list(paragraphs)

    def set(self, section: str, key: str, value: Any, reason: str = "") -> None:
        """Set a value; a later reason replaces an earlier one.  The top level has no name."""
        self._sections.setdefault(section, {})[key] = value
        if reason:
            self._reasons[section, key] = reason

    def set_all(self, section: str, values: Mapping[str, Any], reason: str = "") -> None:
        """Set several values, the reason above the first."""
        for key, value in values.items():
            self.set(section, key, value, reason)
            reason = ""

    def hint(self, section: str, *lines: str) -> None:
        """Add lines that are commented out, for a person to try."""
        self._hints.setdefault(section, []).extend(lines)

    @staticmethod
    def _place(section: str) -> int:
        """Return where a section comes: as in the pages, and parameters in the order of setting."""
        return ORDER.index(section) if section in ORDER else len(ORDER)

    def text(self) -> str:
        """Return the file."""
        parts = ["\n".join(comment(paragraph).rstrip() for paragraph in self._head)]
        for section in sorted(self._sections, key=self._place):
            values = self._sections[section]
            lines = [f"[{section}]\n"] if section else []
            for key, value in values.items():
                lines += [comment(self._reasons.get((section, key), "")), toml({key: value})]
            lines += [f"# {line}\n" for line in self._hints.get(section, ())]
            parts.append("".join(lines).rstrip())
        return "\n\n".join(parts) + "\n"
