"""`export`: canonical rows into the files of other trainers, with the account of what these cannot hold."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fairlead.data.formats.layouts import UNWRITABLE, Layout, Unwritable, Written, lost_fields
from fairlead.data.formats.table import FORMATS
from fairlead.data.reading import read
from fairlead.data.records import Row
from fairlead.data.writing import check_lines, write
from fairlead.errors import ConfigError, DataError, Fault
from fairlead.runs.atomic import write_bytes
from fairlead.stages.import_rows import MAX_QUARANTINED, beside


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """How many rows could not be written for one reason."""

    rows: int
    meaning: str


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What was written and what was not: rows_in = written + left_out + quarantined.

    lost: for each field without a place in the format, how many of the written rows had it. reasons: why rows were left
    out; they are in `left_out_rows`, None where there are none. snippet: what the trainer's configuration says to read
    `out`. ledger: the account of reading the rows.
    """

    out: Path
    format: str
    layout: str
    kind: str
    rows_in: int
    written: int
    left_out: int
    quarantined: int
    reasons: Mapping[str, LeftOut]
    lost: Mapping[str, int]
    left_out_rows: Path | None
    snippet: str
    ledger: Mapping[str, Any]


@dataclass(frozen=True)
class _Laid:
    """Rows in one layout: those that it holds, and the reason for each of the others."""

    layout: Layout
    written: list[tuple[Row, Written]]
    refused: list[tuple[Row, str]]


def export(
    paths: str | Path | Sequence[str | Path],
    *,
    to: str,
    out: str | Path,
    kind: str | None = None,
    strict: bool = False,
    max_quarantined: float = MAX_QUARANTINED,
) -> ExportReport:
    """Write rows to `out` (.jsonl) as the trainer `to` reads them: trl, openai, llama-factory, axolotl, hh.

    Of several layouts for a kind, the one that holds most rows is taken. Rows that it cannot hold are written to
    out.left_out.jsonl as they are; strict: with one of them, or one in quarantine, nothing is written and `DataError`
    is raised. Raises it also for rows of a kind that the format has no place for, and where no row can be written;
    `ConfigError` for an unknown format.
    """
    layouts = _layouts(to)
    target = Path(out)
    check_lines(target)
    names = [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if {target.resolve(), beside(target, "left_out").resolve()} & {Path(name).resolve() for name in names}:
        raise DataError("is an input too, and would be written over. Choose another name.", path=target)
    dataset = read(names, kind=kind)
    dataset.ledger.check(max_quarantined=max_quarantined, strict=strict)
    if dataset.kind not in layouts:
        raise _wrong_kind(to, dataset.kind, layouts, names)
    laid = _best(dataset.rows, layouts[dataset.kind])
    reasons = Counter(reason for _, reason in laid.refused)
    left_out = {code: LeftOut(rows=reasons[code], meaning=UNWRITABLE[code]) for code in sorted(reasons)}
    if laid.refused and (strict or not laid.written):
        raise _refused(to, laid, left_out, strict)
    holds = laid.layout.holds
    lost = Counter(field for row, found in laid.written for field in (*lost_fields(row, holds), *found.lost))
    write_bytes(target, b"".join(_lines(laid)))
    aside = beside(target, "left_out")
    aside.unlink(missing_ok=True)
    if laid.refused:
        write([row for row, _ in laid.refused], aside)
    summary = dataset.ledger.summary()
    return ExportReport(
        out=target,
        format=to,
        layout=laid.layout.name,
        kind=dataset.kind,
        rows_in=summary["rows_in"],
        written=len(laid.written),
        left_out=len(laid.refused),
        quarantined=summary["quarantined"],
        reasons=left_out,
        lost=dict(sorted(lost.items())),
        left_out_rows=aside if laid.refused else None,
        snippet=_filled(laid.layout.snippet, target),
        ledger=summary,
    )


def _filled(snippet: str, path: Path) -> str:
    """The snippet with the file's path and a name made of it, in one pass: either may hold the other's word."""
    words = {"FILE": str(path), "NAME": path.stem}
    return re.sub("FILE|NAME", lambda match: words[match[0]], snippet)


def _layouts(to: str) -> Mapping[str, Sequence[Layout]]:
    known = [name for name, format in FORMATS.items() if format.layouts]
    if to not in known:
        near = difflib.get_close_matches(to, known, n=1)
        meant = f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(sorted(known))}."
        raise ConfigError([Fault(field="to", problem=f"{to!r} cannot be written.", remedy=meant)], source="export")
    return FORMATS[to].layouts


def _best(rows: Sequence[Row], layouts: Sequence[Layout]) -> _Laid:
    """The first layout that holds all rows, else the one that holds most."""
    tried = []
    for layout in layouts:
        tried.append(_lay(rows, layout))
        if not tried[-1].refused:
            return tried[-1]
    return max(tried, key=lambda laid: len(laid.written))


def _lay(rows: Sequence[Row], layout: Layout) -> _Laid:
    laid = _Laid(layout, [], [])
    for row in rows:
        try:
            laid.written.append((row, layout.write(row)))
        except Unwritable as unwritable:
            laid.refused.append((row, unwritable.code))
    return laid


def _lines(laid: _Laid) -> list[bytes]:
    """One JSON object per row; a column that some rows have is in all of them, where the layout says what fills it."""
    columns = {key for _, written in laid.written for key in written.row}
    fill = {key: value for key, value in laid.layout.fill.items() if key in columns}
    return [msgspec.json.encode(fill | written.row) + b"\n" for _, written in laid.written]


def _wrong_kind(to: str, kind: str, layouts: Mapping[str, Sequence[Layout]], names: Sequence[str]) -> DataError:
    remedy = f"It takes {', '.join(layouts)}."
    if kind in ("judgement", "ranking", "candidates", "edit") and "preference" in layouts:
        remedy += " Make preferences of these rows first (`fairlead pairs`)."
    problem = f"holds {kind} rows, which {FORMATS[to].title} has no place for."
    return DataError(f"{problem} {remedy}", path=", ".join(names), code="wrong_kind")


def _refused(to: str, laid: _Laid, reasons: Mapping[str, LeftOut], strict: bool) -> DataError:
    counts = "; ".join(f"{code}, {found.rows}: {found.meaning}" for code, found in reasons.items())
    total = len(laid.refused) + len(laid.written)
    rule = "With strict, all must be." if strict else "Nothing was written."
    first = ", ".join(row.id for row, _ in laid.refused[:3])
    problem = f"{len(laid.refused)} of {total} rows cannot be written as {FORMATS[to].title}: {counts}."
    return DataError(f"{problem} The first: {first}. {rule}")
