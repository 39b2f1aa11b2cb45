"""Shared by the tables: names of rows in a study file, and names of functions in a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

Row = TypeVar("Row")


@dataclass(frozen=True, eq=False)
class NameIn:
    """Marks a string of a study file that must name a row of a table.

    Pydantic reports other strings as it does for a `Literal` of the same names; unlike a `Literal`,
    this also allows rows added to the table later.
    """

    table: Mapping[str, object]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Check the name before pydantic checks that it is a string."""
        return core_schema.no_info_before_validator_function(self._checked, handler(source))

    def _checked(self, name: Any) -> str:
        if isinstance(name, str) and name in self.table:
            return name
        *most, last = map(repr, self.table)
        expected = f"{', '.join(most)} or {last}" if most else last
        raise PydanticKnownError("literal_error", {"expected": expected})


def names_where(table: Mapping[str, Row], fits: Callable[[Row], bool]) -> list[str]:
    """Return the names of the rows that fit."""
    return [name for name, row in table.items() if fits(row)]


def imported(path: str) -> Any:
    """Import what a row names as `package.module:name`.

    Rows name their code this way so that the tables import neither torch nor the modules that read
    the tables.
    """
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def call(path: str, *arguments: Any) -> Any:
    """Call what a row names as `package.module:name`."""
    return imported(path)(*arguments)
