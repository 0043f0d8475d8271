"""The account of every row: `rows_in = ok + fixed + quarantined`, always, with file, line, id, reason and remedy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from fairlead.data.reasons import REASONS, Outcome, Reason
from fairlead.errors import DataError

__all__ = ["REASONS", "Entry", "Ledger", "Note", "Outcome", "Place", "Reason", "Rejected"]

SHOWN = 3  # rows named in an error: enough to see what is wrong, few enough to read


class Place(NamedTuple):
    """Where a row stands: file, line (in a JSON array and in Parquet the row's number), and its id if it has one."""

    path: str
    line: int
    id: str | None = None


class Note(NamedTuple):
    """Something that was changed in a row (`fixed`) or noticed about it (`counted`)."""

    code: str
    detail: str = ""


class Rejected(Exception):
    """Raised while one row is read: it goes to quarantine, and reading goes on with the next. Never leaves `data`."""

    def __init__(self, code: str, field: str = "", detail: str = "") -> None:
        self.code, self.field, self.detail = code, field, detail
        super().__init__(f"{code} {field} {detail}")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to one row."""

    path: str
    line: int
    id: str | None
    field: str
    code: str
    outcome: Outcome
    remedy: str
    detail: str

    def __str__(self) -> str:
        where = f" in {self.field}" if self.field else ""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.path}:{self.line}: {self.code}{where}: {REASONS[self.code].meaning}{detail}. {self.remedy}"


class _Account:
    """One row's standing; `order` keeps entries in the order of the input."""

    __slots__ = ("order", "outcome", "place")

    def __init__(self, place: Place, outcome: Literal["ok", "fixed", "quarantined"], order: int) -> None:
        self.place, self.outcome, self.order = place, outcome, order


class Ledger:
    """What became of every row of some files.

    `ok`, `fix` and `quarantine` enter a row by its place; the id of a row that is kept must be unique. A later check
    moves rows by id with `fix_row` and `quarantine_row`, or notes something without moving them with `count`. A row
    only ever moves towards quarantine.
    """

    def __init__(self, paths: Sequence[str | Path] = ()) -> None:
        self.paths: dict[str, int] = dict.fromkeys(map(str, paths), 0)
        self._tally = {"ok": 0, "fixed": 0, "quarantined": 0}
        self._entered = 0
        self._by_id: dict[str, _Account] = {}
        self._entries: list[tuple[_Account, Entry]] = []

    def ok(self, place: Place) -> None:
        """Enters a row that is used as it is."""
        assert place.id is not None, "a row that is kept has an id"
        assert place.id not in self._by_id, f"two rows with the id {place.id!r}"
        self._by_id[place.id] = self._open(place, "ok")

    def fix(self, place: Place, code: str, detail: str = "") -> None:
        """Enters a row that is used after the change `code`; a further call with its id adds a further change."""
        if place.id not in self._by_id:
            self.ok(place)
        assert place.id is not None
        self.fix_row(place.id, code, detail)

    def quarantine(self, place: Place, code: str, field: str = "", detail: str = "") -> None:
        """Enters a row that is left out. Its id, where it has one, need not be unique."""
        self._enter(self._open(place, "quarantined"), code, "quarantined", field, detail)

    def fix_row(self, row_id: str, code: str, detail: str = "") -> None:
        """Says that a row that was entered before has been changed."""
        account = self._by_id[row_id]
        assert account.outcome != "quarantined", f"{row_id!r} is in quarantine"
        self._move(account, "fixed")
        self._enter(account, code, "fixed", "", detail)

    def quarantine_row(self, row_id: str, code: str, detail: str = "", *, field: str = "") -> None:
        """Takes a row that was entered before out of use."""
        account = self._by_id[row_id]
        self._move(account, "quarantined")
        self._enter(account, code, "quarantined", field, detail)

    def count(self, row_id: str, code: str, detail: str = "") -> None:
        """Notes something about a row that stays as it is."""
        self._enter(self._by_id[row_id], code, "counted", "", detail)

    def _open(self, place: Place, outcome: Literal["ok", "quarantined"]) -> _Account:
        account = _Account(place, outcome, self._entered)
        self._entered += 1
        self._tally[outcome] += 1
        self.paths[place.path] = self.paths.get(place.path, 0) + 1
        return account

    def _move(self, account: _Account, outcome: Literal["fixed", "quarantined"]) -> None:
        self._tally[account.outcome] -= 1
        self._tally[outcome] += 1
        account.outcome = outcome

    def _enter(self, account: _Account, code: str, outcome: Outcome, field: str, detail: str) -> None:
        reason = REASONS[code]
        assert reason.outcome == outcome, f"{code} is {reason.outcome}, not {outcome}"
        path, line, row_id = account.place
        entry = Entry(
            path=path,
            line=line,
            id=row_id,
            field=field,
            code=code,
            outcome=outcome,
            remedy=reason.remedy,
            detail=detail,
        )
        self._entries.append((account, entry))

    @property
    def rows_in(self) -> int:
        """Every row that was met, whatever became of it."""
        assert self._entered == sum(self._tally.values()), "a row was lost"
        return self._entered

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What happened to each row that is not simply ok, in the order of the files; a row may have several."""
        return self._ordered("fixed", "quarantined")

    @property
    def counted(self) -> tuple[Entry, ...]:
        """What was noticed about rows without changing them."""
        return self._ordered("counted")

    def _ordered(self, *outcomes: Outcome) -> tuple[Entry, ...]:
        order = {path: position for position, path in enumerate(self.paths)}
        chosen = [(account, entry) for account, entry in self._entries if entry.outcome in outcomes]
        chosen.sort(key=lambda pair: (order[pair[1].path], pair[1].line, pair[0].order))
        return tuple(entry for _, entry in chosen)

    def summary(self) -> dict[str, Any]:
        """`rows_in`, `ok`, `fixed`, `quarantined`, and `by_code`: how many rows met each reason code."""
        rows = {(entry.code, account.order) for account, entry in self._entries}
        by_code = Counter(code for code, _ in rows)
        return {"rows_in": self.rows_in, **self._tally, "by_code": dict(sorted(by_code.items()))}

    def __str__(self) -> str:
        names = list(self.paths) or ["rows"]
        name = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        tally = self._tally
        return (
            f"{name}: {_rows(self.rows_in)} in = "
            f"{tally['ok']} ok + {tally['fixed']} fixed + {tally['quarantined']} quarantined"
        )

    def write(self, path: str | Path) -> None:
        """Writes `entries` and then `counted` as JSON Lines."""
        lines = [msgspec.json.encode(entry) + b"\n" for entry in (*self.entries, *self.counted)]
        Path(path).write_bytes(b"".join(lines))

    def check(self, *, max_quarantined: float, strict: bool = False) -> None:
        """Passes when the rows that are left may be used.

        max_quarantined: greatest share of quarantined rows, 0 to 1. strict: no quarantined row at all.
        Raises `DataError` with code `empty_file`, `only_bad_rows` or `too_many_quarantined`, naming the first rows.
        """
        empty = [path for path, rows in self.paths.items() if not rows]
        if empty or not self.rows_in:
            raise _refusal("empty_file", f"{', '.join(empty) or 'the input'}: {REASONS['empty_file'].meaning}.")
        bad = self._tally["quarantined"]
        share = bad / self.rows_in
        if bad == self.rows_in:
            raise _refusal("only_bad_rows", f"{self}: {REASONS['only_bad_rows'].meaning}. {self._first_bad()}")
        if (strict and bad) or share > max_quarantined:
            limit = "with strict, none may be" if strict else f"the limit is {max_quarantined:.2%}"
            text = f"{self}: {_rows(bad)} ({share:.2%}) quarantined, and {limit}. {self._first_bad()}"
            raise _refusal("too_many_quarantined", text)

    def _first_bad(self) -> str:
        entries = [entry for entry in self.entries if entry.outcome == "quarantined"]
        more = f" … and {len(entries) - SHOWN} more." if len(entries) > SHOWN else ""
        return " ".join(str(entry) for entry in entries[:SHOWN]) + more


def _rows(count: int) -> str:
    return f"{count} row" if count == 1 else f"{count} rows"


def _refusal(code: str, text: str) -> DataError:
    return DataError(f"{text} {REASONS[code].remedy}", code=code)
