"""Files to rows: every row of the input becomes a row of one kind, or an entry in the ledger that says why not."""

from __future__ import annotations

import difflib
import gc
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from fairlead.data.contract import REQUIRED, Checked, validate
from fairlead.data.fields import read_id
from fairlead.data.files import open_records
from fairlead.data.formats import canonical
from fairlead.data.formats.table import FORMATS
from fairlead.data.ledger import REASONS, Ledger, Note, Place, Rejected
from fairlead.data.records import KINDS, Row
from fairlead.errors import ConfigError, Fault

_encoder = msgspec.json.Encoder(order="sorted")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Rows of one kind, in the order of the input, and the account of all rows that came in.

    kind: a key of `KINDS`; "" where no row was left and none was asked for. sha256: of each file's bytes, by path.
    """

    rows: tuple[Row, ...]
    kind: str
    ledger: Ledger
    sha256: dict[str, str]


class _Read(NamedTuple):
    place: Place
    kind: str
    checked: Checked


def read(paths: str | Path | Sequence[str | Path], *, kind: str | None = None, format: str = "auto") -> Dataset:
    """Reads rows from JSON Lines, JSON, CSV or Parquet files (or gzip of these), all of one kind.

    kind: a key of `KINDS`; without it, the kind of most rows, and the others are quarantined as `wrong_kind`.
    format: a name in `FORMATS`; `auto` tries them row by row. The result depends on the bytes of the files alone.
    Call `ledger.check` before rows are used: nothing is raised here for rows that are at fault, only for a file that
    cannot be read as a whole (`DataError`) and for an unknown kind or format (`ConfigError`).
    """
    _check_names(kind, format)
    names = [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    ledger = Ledger(names)
    found: list[_Read] = []
    sha256 = {}
    with _without_garbage_collection():
        for name in names:
            records, digest = open_records(name)
            for line, value in records:
                try:
                    if isinstance(value, Rejected):
                        raise value
                    found.append(_Read(Place(name, line), *_understand(value, kind, format)))
                except Rejected as rejected:
                    place = Place(name, line, _id_of(value))
                    ledger.quarantine(place, rejected.code, rejected.field, rejected.detail)
            sha256[name] = digest()
        settled = kind or _commonest(found)
        rows = _enter([read for read in found if read.kind == settled], ledger)
    for other in found:
        if other.kind != settled:
            detail = f"it is a {other.kind} row among {settled} rows"
            ledger.quarantine(other.place._replace(id=_given_id(other.checked)), "wrong_kind", "", detail)
    return Dataset(rows=rows, kind=settled, ledger=ledger, sha256=sha256)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Reading makes many objects and no cycles: looking for cycles in them again and again would halve its speed."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _check_names(kind: str | None, format: str) -> None:
    faults = []
    for field, value, known in (("kind", kind, [*KINDS]), ("format", format, ["auto", *FORMATS])):
        if value is not None and value not in known:
            near = difflib.get_close_matches(value, known, n=1)
            meant = f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(known)}."
            faults.append(Fault(field=field, problem=f"{value!r} is not known.", remedy=meant))
    if faults:
        raise ConfigError(faults, source="read")


def _understand(row: dict[str, Any], kind: str | None, format: str) -> tuple[str, Checked]:
    """The kind of a row, and the row itself. Raises `Rejected`."""
    if format != "auto":
        reader = FORMATS[format]
    elif kind is not None and canonical.fits(row, kind):
        reader = FORMATS["canonical"]  # the kind was named and its keys are there: nothing to detect
    else:
        for reader in FORMATS.values():
            if reader.detect(row):
                break
        else:
            raise Rejected("unknown_shape", detail=_nearest_shape(row))
    shaped, changes = reader.to_canonical(row)
    found = kind if kind is not None and canonical.fits(shaped, kind) else canonical.kind_of(shaped)
    if found is None:
        raise Rejected("unknown_shape", detail=_nearest_shape(shaped))
    return found, validate(shaped, found, changes)


def _nearest_shape(row: dict[str, Any]) -> str:
    keys = ", ".join(list(row)[:8]) or "none"
    kind = max(REQUIRED, key=lambda name: len(REQUIRED[name] & row.keys()) / len(REQUIRED[name]))
    lacking = sorted(REQUIRED[kind] - row.keys())
    nearest = f"; nearest is {kind}, which also needs {', '.join(lacking)}" if lacking else f"; it might be {kind}"
    return f"its keys: {keys}" + (nearest if REQUIRED[kind] & row.keys() else "")


def _id_of(value: dict[str, Any] | Rejected) -> str | None:
    try:
        return None if isinstance(value, Rejected) else read_id(value.get("id"))
    except Rejected:
        return None


def _given_id(checked: Checked) -> str | None:
    return checked.row.id if checked.given else None


def _commonest(found: Sequence[_Read]) -> str:
    """The kind of most rows; of equally many, the first in the order of `KINDS`, whatever the order of the rows."""
    counts = Counter(read.kind for read in found)
    return max(KINDS, key=lambda kind: counts[kind]) if counts else ""


def _enter(found: Sequence[_Read], ledger: Ledger) -> tuple[Row, ...]:
    """Enters rows in the ledger under ids that are unique, and gives them back with these ids.

    Where rows share a given id, a hash of the content is added to all of them, so that the result does not depend on
    their order. Rows without an id share one only where their whole content is the same: copies are numbered.
    """
    ids = Counter(read.checked.row.id for read in found)
    copies: Counter[str] = Counter()
    rows = []
    for place, _, (row, notes, given) in found:
        if ids[row.id] > 1:
            base = f"{row.id}~{_short_hash(row)}" if given else row.id
            copies[base] += 1
            name = base if copies[base] == 1 else f"{base}~{copies[base]}"
            while name != row.id and name in ids:
                name += "~"
            if given:
                notes = [*notes, Note("duplicate_id", f"{row.id} → {name}")]
            elif name != row.id:
                notes = [*notes, Note("duplicate_row", f"of {row.id}")]
            row = msgspec.structs.replace(row, id=name)
        rows.append(row)
        _record(ledger, Place(place.path, place.line, row.id), notes)
    return tuple(rows)


def _short_hash(row: Row) -> str:
    return hashlib.sha256(_encoder.encode(row)).hexdigest()[:8]


def _record(ledger: Ledger, place: Place, notes: Sequence[Note]) -> None:
    if not notes:
        ledger.ok(place)
        return
    details: dict[str, list[str]] = {}
    for code, detail in notes:
        details.setdefault(code, []).append(detail)
    if not any(REASONS[code].outcome == "fixed" for code in details):
        ledger.ok(place)
    for code in sorted(details, key=lambda code: REASONS[code].outcome != "fixed"):
        detail = "; ".join(filter(None, details[code]))
        if REASONS[code].outcome == "fixed":
            ledger.fix(place, code, detail)
        else:
            assert place.id is not None
            ledger.count(place.id, code, detail)
