"""Tables to records: CSV, whose cells are text, and Parquet, whose columns have types."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from fairlead.data.decoding import MAX_BYTES, decode
from fairlead.data.ledger import REASONS, Rejected
from fairlead.errors import DataError

Record = tuple[int, "dict[str, Any] | Rejected"]  # the line, or the row's number, and the row

STRUCTURED = frozenset({"tools", "template_kwargs", "meta", "candidates", "annotations", "ranking", "messages"})
TURNS = frozenset({"prompt", "chosen", "rejected", "completion", "response_a", "response_b", "draft", "edited"})
NUMBERS = frozenset({"weight", "margin"})
OPTIONAL = NUMBERS | {"id", "tools", "template_kwargs", "meta", "candidates", "annotations", "ranking", "best", "worst"}

# Cells that are JSON only where they look like what a format has there; else they are texts, which may look like JSON.
_turns = re.compile(r'\s*(\[\s*)?\{\s*"(role|content|from|value|tool_calls|tool_call_id|train)"\s*:')
_objects = re.compile(r'\s*\[\s*\{\s*"')
SOMETIMES_JSON: dict[str, re.Pattern[str]] = {
    **dict.fromkeys(TURNS, _turns),
    **dict.fromkeys(("context", "conversations", "non_preferred_output", "preferred_output"), _turns),
    **dict.fromkeys(("answers", "completions", "individual_preference"), _objects),
    **dict.fromkeys(("all_preferences_unprocessed", "three_most_similar_preferences"), _objects),
    "chat_template_kwargs": re.compile(r'\s*\{\s*("|\})'),
    "data": re.compile(r'\s*\{\s*"'),
    "history": re.compile(r'\s*\[\s*\[\s*"'),
    "input": re.compile(r'\s*\{\s*"(messages|tools|parallel_tool_calls)"\s*:'),
}
ANSWERS = (".responses", ".responses.users", ".responses.status")  # at the end of a column of Argilla's
_list = re.compile(r"\s*\[")


def read_csv(stream: BinaryIO, rename: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> Iterator[Record]:
    """The records under a header line, their columns renamed before cells become values.

    Raises `DataError` for a header, or a quote without end, that hides the rest.
    """
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
            yield number, _csv_row(header, cells, rename)
    text.detach()


def _csv_row(
    header: list[str], cells: list[str], rename: Callable[[dict[str, Any]], dict[str, Any]] | None
) -> dict[str, Any] | Rejected:
    if len(cells) != len(header):
        return Rejected("csv_record", detail=f"{len(cells)} cells under {len(header)} names")
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return Rejected("invalid_utf8")
    if any("\0" in cell for cell in cells):
        return Rejected("raw_nul")
    texts = dict(zip(header, cells, strict=True))
    if rename is not None:
        texts = rename(texts)
    try:
        return {name: _csv_cell(name, cell) for name, cell in texts.items() if cell or name not in OPTIONAL}
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
    if name in STRUCTURED or _is_json(name, cell):
        try:
            return decode(cell.encode())
        except Rejected as rejected:
            if rejected.code == "not_json":
                return cell
            raise Rejected(rejected.code, name, rejected.detail or rejected.field) from None
    return cell


def _is_json(name: str, cell: str) -> bool:
    pattern = SOMETIMES_JSON.get(name) or (_list if name.endswith(ANSWERS) else None)
    return pattern is not None and pattern.match(cell) is not None


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
            yield number, {key: json_value(value, key) for key, value in row.items()}
        except Rejected as rejected:
            yield number, rejected


def json_value(value: Any, field: str) -> Any:
    """A value of a table as JSON has it; dates and decimals as text, in full."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Rejected("not_finite", field, f"it is {value}")
        return value
    if isinstance(value, dict):
        return {key: json_value(item, f"{field}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [json_value(item, f"{field}[{position}]") for position, item in enumerate(value)]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    raise Rejected("not_text", field, f"it is {type(value).__name__}")
