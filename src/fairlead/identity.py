"""Content identity: canonical JSON and sha256 of values, rows and files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON, keys sorted, no spaces: equal values give equal bytes. Refuses NaN and infinities (ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Any) -> str:
    """sha256, in hex, of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def digest_bytes(parts: Iterable[bytes | memoryview]) -> str:
    """sha256, in hex, of the parts laid end to end."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.hexdigest()


def digest_file(path: str | Path) -> str:
    """sha256, in hex, of a file's bytes, read in chunks."""
    with open(path, "rb") as file:
        return digest_bytes(iter(lambda: file.read(CHUNK_BYTES), b""))
