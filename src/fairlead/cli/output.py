"""What verbs print on stdout: one JSON object, or lines of names and values."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]


def print_json(value: Any) -> None:
    """Print one JSON object. NaN and infinities, which JSON lacks, are printed as words, as in events.jsonl."""
    json.dump(plain(value), sys.stdout, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def plain(value: Any) -> Any:
    """`value` as mappings, lists, text and numbers: dataclasses and rows by their fields, paths as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "__struct_fields__"):
        import msgspec

        return plain(msgspec.to_builtins(value))
    raise AssertionError(f"a result holds {type(value).__name__}, which has no form in JSON")


def print_values(values: Mapping[str, Any]) -> None:
    """Print one line per value, the names padded to one width; numbers with four digits."""
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        print(f"{name:<{width}}  {text}")
