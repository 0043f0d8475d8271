"""Rows as they stand in their file, for those that were quarantined: nothing that came in is lost.

A line of JSON Lines is copied byte for byte. A row of a JSON array, of a CSV file or of a table is written as the JSON
object that it is; what could not be decoded is {"undecoded": its text}, bytes that are not UTF-8 as in Python's
surrogateescape.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from fairlead.data.decoding import decode
from fairlead.data.files import BOM, elements, open_with, utf16_lines
from fairlead.data.hub import is_hub_name, raw_rows
from fairlead.data.ledger import Ledger, Rejected
from fairlead.data.tables import read_csv
from fairlead.errors import DataError

Line = tuple[int, bytes]


def quarantined_lines(ledger: Ledger, sha256: dict[str, str]) -> Iterator[bytes]:
    """The rows in quarantine, each as one line without its end, file by file in the order of their lines.

    Reads the files again; raises `DataError` where one has another sha256 than when it was read.
    """
    wanted: dict[str, set[int]] = {}
    for entry in ledger.entries:
        if entry.outcome == "quarantined":
            wanted.setdefault(entry.path, set()).add(entry.line)
    for path, lines in wanted.items():
        if is_hub_name(path):
            yield from (_dumped(row) for number, row in raw_rows(path) if number in lines)
            continue
        readers = {ending: partial(reader, lines) for ending, reader in READERS.items()}
        records, digest = open_with(readers, path)
        yield from (text for _, text in records)
        if digest() != sha256[path]:
            raise DataError("changed while it was read. Import it again.", path=path, code="corrupt_file")


def _lines(wanted: AbstractSet[int], stream: BinaryIO) -> Iterator[Line]:
    first = stream.readline()
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        yield from ((number, line.encode()) for number, line in utf16_lines(first + stream.read()) if number in wanted)
        return
    line, number = first.removeprefix(BOM), 1
    while line:
        if number in wanted:
            yield number, line.rstrip(b"\r\n")
        line, number = stream.readline(), number + 1


def _array(wanted: AbstractSet[int], stream: BinaryIO) -> Iterator[Line]:
    data = stream.read().removeprefix(BOM)
    if not data.lstrip().startswith(b"["):
        yield from _lines(wanted, io.BytesIO(data))
        return
    for number, (element, _) in enumerate(elements(data), start=1):
        if number in wanted:
            yield number, _one_line(element)


def _one_line(element: bytes) -> bytes:
    if b"\n" not in element and b"\r" not in element:
        return element
    try:
        return _dumped(decode(element))
    except Rejected:
        return _undecoded(element.decode(errors="surrogateescape"))


def _csv(wanted: AbstractSet[int], stream: BinaryIO) -> Iterator[Line]:
    data = stream.read()
    lines = list(io.StringIO(data.decode("utf-8-sig", errors="surrogateescape"), newline=""))
    records = list(read_csv(io.BytesIO(data)))
    ends: Sequence[int] = [number for number, _ in records[1:]] + [len(lines) + 1]
    for (number, value), end in zip(records, ends, strict=True):
        if number in wanted:
            text = "".join(lines[number - 1 : end - 1])
            yield number, _undecoded(text) if isinstance(value, Rejected) else _dumped(value)


def _parquet(wanted: AbstractSet[int], stream: BinaryIO) -> Iterator[Line]:
    import polars

    table = polars.read_parquet(io.BytesIO(stream.read()))
    for number, row in enumerate(table.iter_rows(named=True), start=1):
        if number in wanted:
            yield number, _dumped(row)


def _undecoded(text: str) -> bytes:
    return json.dumps({"undecoded": text}).encode()


def _dumped(value: Any) -> bytes:
    """JSON as Python writes it, NaN included, since that is what stood there; in ASCII, so that nothing is refused."""
    return json.dumps(value, default=lambda item: item.hex() if isinstance(item, bytes) else str(item)).encode()


READERS: dict[str, Callable[[AbstractSet[int], BinaryIO], Iterator[Line]]] = {
    ".jsonl": _lines,
    ".ndjson": _lines,
    ".json": _array,
    ".csv": _csv,
    ".parquet": _parquet,
}


def write_lines(lines: Iterator[bytes], path: Path) -> int:
    """Writes lines to a file; gives their number."""
    count = 0
    with open(path, "wb") as file:
        for line in lines:
            file.write(line + b"\n")
            count += 1
    return count
