"""What has been measured, in one JSON file: a finished cell is not measured again, a broken off matrix goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.against_trl.cells import Cell
from bench.against_trl.duel import Refused
from fairlead.errors import RunError
from fairlead.runs.atomic import write_json

FORMAT = 1
Record = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """Records of cells by name, and why others have none, all of one machine."""

    path: Path
    machine: dict[str, Any]
    cells: dict[str, Record]
    failures: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Results:
        """What the file holds."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(path, found["machine"], found["cells"], found["failures"])

    @classmethod
    def open(cls, path: Path, facts: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> Results:
        """The file's results, to go on with; a new file where there is none, with what `measure` says of the machine.

        Raises RunError where the file was measured on another machine or with other threads: `facts` differ.
        """
        if not path.is_file():
            return cls(path, {**facts, **measure()}, {}, {})
        found = cls.read(path)
        different = [name for name, value in facts.items() if found.machine.get(name) != value]
        if different:
            raise RunError(
                f"{path} was measured with another {', '.join(different)}, and one table must not mix machines. "
                "Name another file with --results."
            )
        return found

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """Those of the cells that have no record, in their order."""
        return [cell for cell in cells if cell.name not in self.cells]

    def put(self, cell: Cell, record: Record) -> None:
        """Keep a record, on disk at once."""
        self.cells[cell.name] = record
        self.failures.pop(cell.name, None)
        self._save()

    def fail(self, cell: Cell, reason: str) -> None:
        """Keep the reason why a cell has no record; it is tried again the next time."""
        self.failures[cell.name] = reason.splitlines()[0]
        self._save()

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(
            self.path,
            {"format": FORMAT, "machine": self.machine, "cells": self.cells, "failures": self.failures},
        )


def run_missing(
    results: Results,
    cells: Iterable[Cell],
    run: Callable[[Cell], Record],
    *,
    may_start: Callable[[], bool],
    say: Callable[[str], None],
) -> list[Cell]:
    """Measure what is missing, in order, as long as another cell may start; returns what is still missing then."""
    wanted = list(cells)
    missing = results.missing(wanted)
    for number, cell in enumerate(missing, start=1):
        if not may_start():
            break
        say(f"[{number}/{len(missing)}] {cell.name}")
        try:
            record = run(cell)
        except Refused as refusal:
            results.fail(cell, str(refusal))
            say(f"  not timed: {refusal}")
        else:
            results.put(cell, record)
            ratio = record["ratio"]
            say(f"  {ratio['median']:.2f} times as fast ({ratio['min']:.2f} to {ratio['max']:.2f})")
    return results.missing(wanted)
