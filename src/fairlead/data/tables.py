"""Tables to records: CSV, whose cells are text, and Parquet, whose columns have types."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import math
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from fairlead.data.decoding import MAX_BYTES, decode
from fairlead.data.ledger import REASONS, Rejected
from fairlead.errors import DataError

Record = tuple[int, "dict[str, Any] | Rejected"]  # the line, or the row's number, and the row

STRUCTURED = frozenset({"tools", "template_kwargs", "meta", "candidates", "annotations", "ranking", "messages"})
TURNS = frozenset({"prompt", "chosen", "rejected", "completion", "response_a", "response_b", "draft", "edited"})
NUMBERS = frozenset({"weight", "margin"})
OPTIONAL = NUMBERS | {"id", "tools", "template_kwargs", "meta", "candidates", "annotations", "ranking", "best", "worst"}

_message_list = re.compile(r'\s*\[\s*\{\s*"')


def read_csv(stream: BinaryIO) -> Iterator[Record]:
    """The records under a header line. Raises `DataError` for a header, or a quote without end, that hides the rest."""
    csv.field_size_limit(MAX_BYTES)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    table = csv.reader(text, strict=True)
    try:
        header = next(table, [])
    except csv.Error as error:
        raise DataError(f"the CSV header cannot be read: {error}.", code="corrupt_file") from None
    joined = "".join(header)
    if "\0" in joined or joined.encode(errors="surrogateescape").startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(REASONS["utf16"].remedy, code="utf16")
    if len(set(header)) < len(header):
        raise DataError(f"two columns of the CSV header share a name: {', '.join(header)}.", code="duplicate_key")
    while True:
        number = table.line_num + 1
        try:
            cells = next(table)
        except StopIteration:
            break
        except csv.Error as error:
            last = table.line_num
            if last > number and "unexpected end" in str(error):
                hidden = f"hides the {last - number} lines after"
                problem = f"the quote that opens in line {number} is never closed and {hidden}."
                raise DataError(f"{problem} Close it.", code="corrupt_file") from None
            yield number, Rejected("csv_record", detail=str(error) + (f", up to line {last}" if last > number else ""))
            continue
        if cells:
            yield number, _csv_row(header, cells)
    text.detach()


def _csv_row(header: list[str], cells: list[str]) -> dict[str, Any] | Rejected:
    if len(cells) != len(header):
        return Rejected("csv_record", detail=f"{len(cells)} cells under {len(header)} names")
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return Rejected("invalid_utf8")
    if any("\0" in cell for cell in cells):
        return Rejected("raw_nul")
    try:
        return {
            name: _csv_cell(name, cell)
            for name, cell in zip(header, cells, strict=True)
            if cell or name not in OPTIONAL
        }
    except Rejected as rejected:
        return rejected


def _csv_cell(name: str, cell: str) -> Any:
    """A cell is text, but for columns that hold numbers or, in JSON, lists and objects."""
    if name in NUMBERS:
        try:
            return float(cell)
        except ValueError:
            raise Rejected("not_a_number", name, f"it is {cell!r}") from None
    if name == "label" and cell.lower() in ("true", "false"):
        return cell.lower() == "true"
    if name in STRUCTURED or (name in TURNS and _message_list.match(cell)):
        try:
            return decode(cell.encode())
        except Rejected as rejected:
            if rejected.code == "not_json":
                return cell
            raise Rejected(rejected.code, name, rejected.detail or rejected.field) from None
    return cell


def read_parquet(stream: BinaryIO) -> Iterator[Record]:
    """The rows of the table. Raises `DataError` for a file that is damaged."""
    import polars  # heavy, and only needed here

    try:
        table = polars.read_parquet(io.BytesIO(stream.read()))
    except (polars.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{REASONS['corrupt_file'].meaning}. {REASONS['corrupt_file'].remedy} ({error})", code="corrupt_file"
        ) from None
    for number, row in enumerate(table.iter_rows(named=True), start=1):
        try:
            yield number, {key: _json_value(value, key) for key, value in row.items()}
        except Rejected as rejected:
            yield number, rejected


def _json_value(value: Any, field: str) -> Any:
    """A Parquet value as JSON has it; dates and decimals as text, in full."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Rejected("not_finite", field, f"it is {value}")
        return value
    if isinstance(value, dict):
        return {key: _json_value(item, f"{field}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_json_value(item, f"{field}[{position}]") for position, item in enumerate(value)]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    raise Rejected("not_text", field, f"it is {type(value).__name__}")
