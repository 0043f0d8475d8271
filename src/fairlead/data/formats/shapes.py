"""What a format is made of: the shapes that its rows have; and the small readers that formats share.

A reader renames and rearranges; what a row must hold is checked once, by `fairlead.data.contract`. A field that has no
place in the canonical row stays where it is and so ends in `meta`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fairlead.data.decoding import decode
from fairlead.data.ledger import Note, Rejected
from fairlead.data.turns import kind_of_value

Json = dict[str, Any]
Shaped = tuple[Json, Sequence[Note]]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One shape that rows of a format have.

    name: what the format's own documentation calls it. becomes: the kind of the canonical row.
    keys: what a row must have; lacks: what it must not have, since with it the row is of another shape; when: what else
    its keys must be. fits: what keys alone do not say; looks at types and values, never raises.
    read: the row in canonical shape, and what was changed in it without a guess. Pure, leaves its argument alone,
    raises `Rejected` where it would have to guess.
    named: read only where the format is named, because unnamed the row is another format's, as `like` says.
    origin: for canonical fields, the field of the row that they come from; "field[]" where turns keep their places.
    example: one row of it, for the documentation and the tests.
    """

    name: str
    becomes: str
    keys: frozenset[str]
    read: Callable[[Json], Shaped]
    example: Json
    lacks: frozenset[str] = frozenset()
    when: Callable[[Set[str]], bool] | None = None
    fits: Callable[[Json], bool] | None = None
    named: bool = False
    like: str = ""
    origin: Mapping[str, str] = field(default_factory=dict)


def unchanged(row: Json) -> Shaped:
    """The row itself."""
    return row, ()


def rest(row: Json, *taken: str) -> Json:
    """The row without the keys that a reader has placed elsewhere."""
    return {key: value for key, value in row.items() if key not in taken}


def text_of(value: Any, field: str) -> str:
    """`value` if it is a text. Raises `Rejected`."""
    if type(value) is str:
        return value
    raise Rejected("missing_field" if value is None else "not_text", field, f"it is {kind_of_value(value)}")


def list_of(value: Any, field: str) -> list[Any]:
    """`value` if it is a list. Raises `Rejected`."""
    if type(value) is list:
        return value
    raise Rejected("missing_field" if value is None else "bad_field", field, f"it is {kind_of_value(value)}")


def objects_of(value: Any, field: str) -> list[Json]:
    """`value` if it is a list of objects. Raises `Rejected`."""
    for position, item in enumerate(list_of(value, field)):
        if type(item) is not dict:
            raise Rejected("bad_field", f"{field}[{position}]", f"it is {kind_of_value(item)}; an object is meant")
    return value  # type: ignore[no-any-return]


def user(content: Any) -> Json:
    """A user turn, its content as it was found."""
    return {"role": "user", "content": content}


def assistant(content: Any) -> Json:
    """An assistant turn, its content as it was found."""
    return {"role": "assistant", "content": content}


def are_objects(value: Any) -> bool:
    """Whether a value is a list that begins with an object, as a list of messages does."""
    return type(value) is list and bool(value) and type(value[0]) is dict


def with_system(row: Json, turns: list[Any], field: str = "system") -> list[Any]:
    """`turns` behind the system text that the row has beside them; null and the empty text mean that there is none.

    Raises `Rejected` where the turns begin with a system turn that says something else.
    """
    system = row.get(field)
    if system is None or system == "":
        return turns
    first = turns[0] if turns and type(turns[0]) is dict else {}
    if first.get("role") != "system":
        return [{"role": "system", "content": text_of(system, field)}, *turns]
    if first.get("content") == system:
        return turns
    raise Rejected("system_not_first", field, "the dialogue has a system turn that says something else")


def number_in(value: Any, field: str, notes: list[Note]) -> float:
    """A number, also one that is written as text, as every number of a CSV file is. Raises `Rejected`."""
    if type(value) in (int, float):
        return value  # type: ignore[no-any-return]
    if type(value) is str:
        with suppress(ValueError):
            number = float(value)
            if not math.isfinite(number):
                raise Rejected("not_finite", field, f"it is {value!r}")
            notes.append(Note("number_text", f"{field}: {value!r}"))
            return number
    raise Rejected("missing_field" if value is None else "not_a_number", field, f"it is {kind_of_value(value)}")


def choice_in(value: Any, field: str, choices: Mapping[int, str | None], notes: list[Note]) -> str | None:
    """What the whole number `value` stands for. Raises `Rejected` for another number or none."""
    number = number_in(value, field, notes)
    if number not in choices:
        words = ", ".join(map(str, choices))
        raise Rejected("bad_label", field, f"it is {value!r}; one of {words} is meant")
    return choices[int(number)]


def side_of(score: Any, field: str, most: int, notes: list[Note]) -> tuple[str, int]:
    """A preference from −most to +most, as label and strength: below 0 the first is better, 0 is a tie."""
    number = number_in(score, field, notes)
    if number != round(number) or abs(number) > most:
        raise Rejected("bad_label", field, f"it is {score!r}; a whole number from -{most} to {most} is meant")
    return "a" if number < 0 else "b" if number > 0 else "tie", abs(int(number))


def truth_in(value: Any) -> bool | None:
    """True, false, or None where a value says neither; CSV writes the words."""
    if type(value) is bool:
        return value
    return {"true": True, "false": False}.get(value.lower()) if type(value) is str else None


NUMBERED = re.compile(r"(.*?)[_ -]?(\d+)")


def numbered(keys: Iterable[str], stems: Collection[str] = ()) -> list[str]:
    """The keys that differ in a number at their end alone (response1, response2, …), in the order of the numbers.

    stems: the words before the number that count; any if there are none. Empty where there are not two such keys, or
    where there are two such families of keys.
    """
    families: dict[str, dict[int, str]] = {}
    for key in keys:
        if (match := NUMBERED.fullmatch(key)) and (not stems or match[1].lower() in stems):
            families.setdefault(match[1], {})[int(match[2])] = key
    found = [family for family in families.values() if len(family) > 1]
    return [family[number] for family in found for number in sorted(family)] if len(found) == 1 else []


def value_in_json(text: str, field: str) -> Any:
    """The value that a text spells in JSON, where the format has JSON as text. Raises `Rejected`."""
    try:
        return decode(text.encode(errors="surrogatepass"))
    except Rejected as rejected:
        code = "bad_field" if rejected.code in ("not_json", "truncated_line") else rejected.code
        raise Rejected(code, field, rejected.detail) from None
