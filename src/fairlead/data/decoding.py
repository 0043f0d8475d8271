"""One JSON text to a value, strictly: nothing that JSON forbids, nothing lost, nothing changed.

The fast path is msgspec. It already refuses invalid UTF-8, NaN, lone surrogates and raw control characters, and keeps
whole numbers of any size; the one thing it passes over in silence is a key named twice. Whether that happened is seen
by counting keys, in C: those of the text against those of the value written out again. Where the count does not match
or the fast path refuses, the strict decoder of the standard library finds out why.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec

from fairlead.data.ledger import Rejected

MAX_DEPTH = 200  # levels of nesting; well inside what every JSON library and the recursion limit bear
MAX_BYTES = 64 << 20  # of one line

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()
_spaced_colon = re.compile(rb'"[ \t]+:')
_bad_number = re.compile(r'"([^"\\]*)"\s*:\s*-?(?:NaN|Infinity|[\d.]+[eE])')


def decode(text: bytes, *, last: bool = False) -> Any:
    """The value of one JSON text. `last` says that the text ends its file without a line end, so it may be cut short.

    Raises `Rejected`: `invalid_utf8`, `utf16`, `raw_nul`, `lone_surrogate`, `truncated_line`, `not_json`,
    `duplicate_key`, `not_finite`, `line_too_long`, `too_deep`.
    """
    if len(text) > MAX_BYTES:
        raise Rejected("line_too_long", detail=f"{len(text)} bytes")
    try:
        value = _decoder.decode(text)
        if not _keys_countable(text) or _key_count(text) != _key_count(_encoder.encode(value)):
            value = _decode_strictly(text, last)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = _decode_strictly(text, last)
    except RecursionError:
        raise Rejected("too_deep") from None
    if text.count(b"{") + text.count(b"[") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        raise Rejected("too_deep")
    return value


def _keys_countable(text: bytes) -> bool:
    """Whether `_key_count` is exact for this text: no blank before a colon, no backslash at the end of a key."""
    return b'\\\\":' not in text and not _spaced_colon.search(text)


def _key_count(text: bytes) -> int:
    """Number of `"key":` in a JSON text; inside strings a quote before a colon is always escaped."""
    return text.count(b'":') - text.count(b'\\":')


def _decode_strictly(text: bytes, last: bool) -> Any:
    try:
        characters = text.decode()
    except UnicodeDecodeError as error:
        code = "utf16" if _looks_utf16(text) else "invalid_utf8"
        raise Rejected(code, detail=f"byte {error.start} of the line") from None
    if "\0" in characters:
        raise Rejected("utf16" if _looks_utf16(text) else "raw_nul")
    try:
        value = json.loads(
            characters, object_pairs_hook=_object, parse_constant=_refuse_number, parse_float=_finite_float
        )
        _encoder.encode(value)
    except json.JSONDecodeError as error:
        cut = last and characters.lstrip()[:1] in ("{", "[")
        raise Rejected("truncated_line" if cut else "not_json", detail=f"{error.msg}, column {error.colno}") from None
    except UnicodeEncodeError:
        raise Rejected("lone_surrogate") from None
    except Rejected as rejected:
        if rejected.code == "not_finite" and (found := _bad_number.search(characters)):
            rejected.field = found[1]
        raise
    except ValueError as error:  # a whole number of more digits than Python converts
        raise Rejected("not_json", detail=str(error)) from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Rejected("duplicate_key", twice)
    return value


def _refuse_number(literal: str) -> Any:
    raise Rejected("not_finite", detail=f"the literal {literal}")


def _finite_float(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):
        raise Rejected("not_finite", detail=f"{literal[:40]} is beyond the range of a float")
    return number


def _looks_utf16(text: bytes) -> bool:
    return text.startswith((b"\xff\xfe", b"\xfe\xff")) or text.count(0) * 3 >= len(text)


def _deeper_than(value: Any, limit: int) -> bool:
    level: list[Any] = [[value]]
    for _ in range(limit + 1):
        children = (child for parent in level for child in (parent.values() if isinstance(parent, dict) else parent))
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return False
    return True
