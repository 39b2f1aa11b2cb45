"""What the tables of kinds share: a study file's name of a row, and a row's name of a function."""

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
    """Marks a text of a study file that names a row of a table; any other is an error.

    Pydantic reports it as it reports a `Literal` of the same names, but a row that is added to the
    table is allowed at once.
    """

    table: Mapping[str, object]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Check the name before pydantic checks that it is text."""
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
    """Return what a row names as `package.module:name`.

    Rows name what they need of torch and of the modules that read the tables, so that the tables
    themselves import neither.
    """
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def call(path: str, *arguments: Any) -> Any:
    """Call what a row names as `package.module:name`."""
    return imported(path)(*arguments)
