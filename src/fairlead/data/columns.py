"""Columns under other names: which column of the input each field of a row is read from."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.errors import ConfigError, Fault

DISPLACED = "original."  # before a column whose name was given to another one; it ends in meta
MOST_NAMES = 50  # of the columns that are met, for the message that one is missing


class Columns:
    """Renames the columns of rows: `names` gives for a field the column it is read from ("data.x": x inside data).

    A column that bears the name of such a field itself is kept as `original.<name>`. Counts which columns were met, so
    that a mistaken name is an error, not a file of unknown rows.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        faults = [
            Fault(field="columns", problem=f"{field!r}={column!r} names nothing.", remedy="Write field=column.")
            for field, column in names.items()
            if not field or not column
        ]
        if faults:
            raise ConfigError(faults, source="columns")
        self._names = dict(names)
        self._sources = frozenset(self._names.values())
        self._met: set[str] = set()
        self._seen: dict[str, None] = {}

    @classmethod
    def parse(cls, words: Sequence[str]) -> dict[str, str]:
        """Names out of texts such as "prompt=frage,chosen=besser". Raises `ConfigError`."""
        names: dict[str, str] = {}
        for part in (part.strip() for word in words for part in word.split(",")):
            field, equals, column = (side.strip() for side in part.partition("="))
            if not equals or not field or not column or field in names:
                problem = f"{part!r} is not of the form field=column, each field once."
                fault = Fault(field="--columns", problem=problem, remedy="For instance prompt=frage,chosen=besser.")
                raise ConfigError([fault], source="columns")
            names[field] = column
        return names

    def rename(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with its columns under the names of fields."""
        if len(self._seen) < MOST_NAMES:
            self._seen.update(dict.fromkeys(row))
        renamed = {}
        for field, column in self._names.items():
            found, value = _look_up(row, column)
            if found:
                self._met.add(column)
                renamed[field] = value
        for key, value in row.items():
            if key in self._names and self._names[key] != key:
                if key not in self._sources:
                    renamed[DISPLACED + key] = value
            elif key not in self._sources:
                renamed[key] = value
        return renamed

    def original(self, field: str) -> str:
        """The column that a field is read from; the field itself where it was not renamed."""
        return self._names.get(field, field)

    def check(self) -> None:
        """Passes when every column that was named has been met. Raises `ConfigError`."""
        missing = [column for column in self._sources if column not in self._met]
        if not missing or not self._seen:
            return
        faults = []
        for column in sorted(missing):
            near = difflib.get_close_matches(column, self._seen, n=1)
            meant = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(self._seen))}."
            faults.append(Fault(field="columns", problem=f"no row has a column {column!r}.", remedy=meant))
        raise ConfigError(faults, source="columns")


def _look_up(row: dict[str, Any], column: str) -> tuple[bool, Any]:
    """Whether the row has this column, and its value; a dotted name that is no column itself leads inside objects."""
    if column in row:
        return True, row[column]
    value: Any = row
    for part in column.split("."):
        if type(value) is not dict or part not in value:
            return False, None
        value = value[part]
    return True, value
