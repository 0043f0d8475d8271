"""Typed readers of the fields of a row: the value as it is meant, or the reason why it is not that."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from fairlead.data.decoding import decode
from fairlead.data.ledger import Rejected
from fairlead.data.turns import Notes, kind_of_value


def read_id(value: Any, field: str = "id") -> str | None:
    """A row's id as text: whole numbers digit for digit; None where there is none. Raises `Rejected`."""
    if type(value) is str:
        return value if value.strip() else None
    if value is None:
        return None
    if type(value) is int:
        return str(value)
    raise Rejected("bad_field", field, f"it is {kind_of_value(value)}; a text or a whole number is meant")


def read_number(value: Any, field: str, *, least: float = -math.inf) -> float:
    """A finite number of at least `least`. Raises `Rejected`: `not_a_number`, `not_finite`, `out_of_range`."""
    if type(value) not in (int, float):
        raise Rejected("not_a_number", field, f"it is {kind_of_value(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Rejected("not_finite", field, f"it is {number}")
    if number < least:
        raise Rejected("out_of_range", field, f"it is {value}")
    return number


def read_text(value: dict[str, Any], key: str, where: str = "") -> str | None:
    """The text under `key`, None where there is none; `where` is the path of `value`. Raises `Rejected`."""
    text = value.get(key)
    if text is None or type(text) is str:
        return text
    raise Rejected("bad_field", f"{where}.{key}" if where else key, f"it is {kind_of_value(text)}; a text is meant")


def parse_json_text(value: Any, field: str, notes: Notes) -> Any:
    """The list or object that a text spells in JSON, as some writers store one; any other value as it is."""
    if type(value) is not str or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        parsed = decode(value.encode())
    except Rejected as rejected:
        if rejected.code in ("not_json", "truncated_line"):
            return value
        raise
    notes.add("json_text", field)
    return parsed


def read_object(row: dict[str, Any], key: str, notes: Notes) -> dict[str, Any]:
    """The object under `key`, also one that is written as JSON text. Raises `Rejected`."""
    value = parse_json_text(row[key], key, notes)
    if type(value) is not dict:
        raise Rejected("bad_field", key, f"it is {kind_of_value(value)}; an object is meant")
    return value


def read_objects(row: dict[str, Any], key: str, notes: Notes) -> list[dict[str, Any]]:
    """The list of objects under `key`, also one that is written as JSON text. Raises `Rejected`."""
    value = parse_json_text(row[key], key, notes)
    if type(value) is not list or not all(type(item) is dict for item in value):
        raise Rejected("bad_field", key, "a list of objects is meant")
    return value


def set_aside(value: dict[str, Any], record: type[msgspec.Struct], where: str, notes: Notes) -> None:
    """Keeps keys of a nested object that `record` has no place for, under their path."""
    for key, item in value.items():
        if key not in record.__struct_fields__ and item is not None:
            notes.unplaced[f"{where}.{key}"] = item
