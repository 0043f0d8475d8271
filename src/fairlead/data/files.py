"""Files to records: each line, element or table row with its number, decoded, or with the reason why it cannot be.

JSON Lines, JSON arrays, CSV and Parquet, plain or gzip. The sha256 is of the very bytes that were read.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fairlead.data.decoding import MAX_BYTES, decode
from fairlead.data.ledger import REASONS, Rejected
from fairlead.data.tables import Record, read_csv, read_parquet
from fairlead.errors import DataError

BOM = b"\xef\xbb\xbf"
CHUNK = 1 << 20


def open_records(path: str | Path) -> tuple[Iterator[Record], Callable[[], str]]:
    """The records of a file, and a function that gives the sha256 (hex) of its bytes once all are read.

    Raises `DataError`: `missing_file`, `unknown_extension`; while reading, `corrupt_file`.
    """
    place = Path(path)
    suffixes = [suffix.lower() for suffix in place.suffixes]
    ending = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else suffixes[-1] if suffixes else ""
    reader = READERS.get(ending)
    if place.is_dir():
        names = sorted(child.name for child in place.iterdir() if READERS.get(child.suffix.lower()))
        hint = f" It holds {', '.join(names[:5])}." if names else ""
        raise DataError(f"is a folder; name the files in it.{hint}", path=path, code="missing_file")
    if reader is None:
        found = f"ending {ending!r}: " if ending else "no ending: "
        raise DataError(found + _explain("unknown_extension"), path=path, code="unknown_extension")
    try:
        raw = open(place, "rb", buffering=0)  # noqa: SIM115  (`_guarded` closes it)
    except OSError as error:
        near = difflib.get_close_matches(place.name, [p.name for p in _siblings(place)], n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise DataError(f"{error.strerror}. Check the path.{hint}", path=path, code="missing_file") from None
    hashed = _Hashed(raw)
    return _guarded(hashed, reader, path), hashed.hexdigest


def _siblings(place: Path) -> list[Path]:
    return list(place.parent.iterdir()) if place.parent.is_dir() else []


def _explain(code: str) -> str:
    return f"{REASONS[code].meaning}. {REASONS[code].remedy}"


class _Hashed(io.RawIOBase):
    """A raw file that hashes what is read from it."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw, self._state = raw, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._raw.readinto(buffer) or 0
        self._state.update(memoryview(buffer)[:count])
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()

    def hexdigest(self) -> str:
        return self._state.hexdigest()


def _guarded(hashed: _Hashed, reader: Callable[[BinaryIO], Iterator[Record]], path: str | Path) -> Iterator[Record]:
    """Reads through gzip where the bytes are gzip, to the very end, and names the file where it is damaged."""
    with io.BufferedReader(hashed, CHUNK) as buffered:
        packed = buffered.peek(2)[:2] == b"\x1f\x8b"
        try:
            yield from reader(gzip.GzipFile(fileobj=buffered) if packed else buffered)  # type: ignore[arg-type]
            while buffered.read(CHUNK):
                pass
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{_explain('corrupt_file')} ({error})", path=path, code="corrupt_file") from None
        except DataError as error:
            raise DataError(str(error), path=path, code=error.code) from None


def _row(text: bytes, last: bool = False) -> dict[str, Any] | Rejected:
    try:
        value = decode(text, last=last)
    except Rejected as rejected:
        return rejected
    return value if type(value) is dict else Rejected("not_object", detail=f"it begins {text[:20]!r}")


def _read_lines(stream: BinaryIO) -> Iterator[Record]:
    first = stream.readline(MAX_BYTES)
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        yield from _utf16_lines(first + stream.read())
        return
    number, line = 1, first.removeprefix(BOM)
    while line:
        ended = line.endswith(b"\n")
        if not ended and len(line) >= MAX_BYTES:
            while (rest := stream.readline(MAX_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield number, Rejected("line_too_long")
        elif not line.isspace():
            yield number, _row(line, last=not ended)
        number += 1
        line = stream.readline(MAX_BYTES)


def _utf16_lines(data: bytes) -> Iterator[Record]:
    for number, line in enumerate(data.decode("utf-16", errors="replace").split("\n"), start=1):
        if line.strip():
            yield number, Rejected("utf16")


def _read_json(stream: BinaryIO) -> Iterator[Record]:
    """An array of rows, or JSON Lines under the ending .json, as many data sets have it."""
    data = stream.read().removeprefix(BOM)
    if not data.lstrip().startswith(b"["):
        yield from _read_lines(io.BytesIO(data))
        return
    for number, (element, closed) in enumerate(_elements(data), start=1):
        yield number, _row(element) if closed else Rejected("truncated_line", detail="the array is not closed")


_structure = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{},]', re.DOTALL)


def _elements(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """The texts of an array's elements; one bad element does not spoil the others.

    The last value is false where the data end before the array does.
    """
    depth, start = 0, 0
    for token in _structure.finditer(data):
        mark = token[0]
        if mark in (b"[", b"{"):
            depth += 1
            if depth == 1:
                start = token.end()
            continue
        closing = mark in (b"]", b"}")
        if depth == 1 and (mark == b"," or closing):
            text = data[start : token.start()].strip()
            if text or mark == b",":
                yield text, True
            start = token.end()
        depth -= closing
        if not depth:
            break
    rest = data[start:].strip()
    if rest or depth:
        yield rest, not depth


READERS: dict[str, Callable[[BinaryIO], Iterator[Record]]] = {
    ".jsonl": _read_lines,
    ".ndjson": _read_lines,
    ".json": _read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
}
