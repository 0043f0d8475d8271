"""The contract: one canonical dict in, one frozen row out, or the reason why not (docs/rows.md).

Every row of every format passes here once, and only here: formats bring a row into canonical shape, this module says
whether it holds. A plain text in the place of a message list is one turn: the user's in a prompt, else the assistant's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from fairlead.data.fields import parse_json_text, read_id, read_number, read_object, read_objects, read_text
from fairlead.data.judged import read_candidates, read_judgement, read_ranking
from fairlead.data.ledger import Note, Rejected
from fairlead.data.records import KINDS, Row
from fairlead.data.turns import Notes, check_order, is_blank, read_prompted, read_turns

ID_HEX = 16  # 64 bits of sha256: no accidental clash below some hundred million rows

REQUIRED: dict[str, frozenset[str]] = {
    "preference": frozenset({"prompt", "chosen", "rejected"}),
    "feedback": frozenset({"prompt", "completion", "label"}),
    "judgement": frozenset({"prompt", "response_a", "response_b"}),
    "edit": frozenset({"prompt", "draft", "edited"}),
    "ranking": frozenset({"prompt", "candidates"}),
    "candidates": frozenset({"prompt"}),
    "demonstration": frozenset({"messages"}),
}
KNOWN = {kind: frozenset(row.__struct_fields__) for kind, row in KINDS.items()}

LABEL_WORDS: dict[str, bool] = {
    **dict.fromkeys(("true", "yes", "1", "up", "thumbs_up", "good", "like", "desirable", "👍"), True),
    **dict.fromkeys(("false", "no", "0", "down", "thumbs_down", "bad", "dislike", "undesirable", "👎"), False),
}

_sorted_json = msgspec.json.Encoder(order="sorted")


class Checked(NamedTuple):
    """A row that holds, and what was changed or noticed. `given` tells whether its id came with it."""

    row: Row
    notes: Sequence[Note]
    given: bool


def validate(row: dict[str, Any], kind: str, changes: Sequence[Note] = ()) -> Checked:
    """The row of `kind` that a canonical dict stands for; `changes` are those made before it came here.

    Raises `Rejected` with the reason code, the field, and what was found there.
    """
    notes = Notes(changes)
    if not REQUIRED[kind] <= row.keys():
        raise Rejected("missing_field", min(REQUIRED[kind] - row.keys()))
    fields = _FIELDS[kind](row, notes)
    _add_common(row, kind, fields, notes)
    given = read_id(row.get("id"))
    fields["id"] = given or content_id(kind, fields)
    return Checked(KINDS[kind](**fields), notes.changes, given is not None)


def content_id(kind: str, fields: dict[str, Any]) -> str:
    """The id of a row that brought none: a hash of its kind and content, the same in every process and file."""
    return hashlib.sha256(kind.encode() + _sorted_json.encode(fields)).hexdigest()[:ID_HEX]


def _add_common(row: dict[str, Any], kind: str, fields: dict[str, Any], notes: Notes) -> None:
    """Adds tools, template_kwargs, weight and meta to `fields` where the row has them; unknown keys go to meta."""
    if row.get("tools") is not None:
        fields["tools"] = tuple(read_objects(row, "tools", notes))
    if row.get("template_kwargs") is not None:
        fields["template_kwargs"] = read_object(row, "template_kwargs", notes)
    if row.get("weight") is not None:
        fields["weight"] = read_number(row["weight"], "weight", least=0.0)
    meta = read_object(row, "meta", notes) if row.get("meta") is not None else {}
    known = KNOWN[kind]
    unknown = {key: row[key] for key in row if key not in known}
    for key, value in unknown.items():
        if key in meta and meta[key] != value:
            notes.add("meta_key_clash", key)
            key = f"row.{key}"
        meta = meta | {key: value}
    if notes.unplaced:
        earlier = meta.get("unplaced", {})
        meta = meta | {"unplaced": (earlier if type(earlier) is dict else {"": earlier}) | notes.unplaced}
        notes.add("unplaced_keys", ", ".join(notes.unplaced))
    if meta:
        fields["meta"] = meta


def _demonstration(row: dict[str, Any], notes: Notes) -> dict[str, Any]:
    value = parse_json_text(row["messages"], "messages", notes)
    if type(value) is str:
        raise Rejected("text_without_turns", "messages")
    messages = read_turns(value, "messages", "assistant", notes)
    trained = [position for position, turn in enumerate(messages) if turn.role == "assistant" and turn.train]
    if not trained:
        raise Rejected("no_assistant_turn", "messages")
    for position in trained:
        if is_blank(messages[position]):
            raise Rejected("empty_completion", f"messages[{position}]")
    check_order(messages, "messages")
    if not any(turn.role == "user" and not is_blank(turn) for turn in messages[: trained[-1]]):
        raise Rejected("empty_prompt", "messages")
    return {"messages": messages}


def _preference(row: dict[str, Any], notes: Notes) -> dict[str, Any]:
    fields = read_prompted(row, ("chosen", "rejected"), notes)
    if fields["chosen"] == fields["rejected"]:
        raise Rejected("identical_pair", "rejected")
    if row.get("margin") is not None:
        fields["margin"] = read_number(row["margin"], "margin")
    return fields


def _feedback(row: dict[str, Any], notes: Notes) -> dict[str, Any]:
    return read_prompted(row, ("completion",), notes) | {"label": _thumb(row["label"], notes)}


def _edit(row: dict[str, Any], notes: Notes) -> dict[str, Any]:
    fields = read_prompted(row, ("draft", "edited"), notes)
    return fields | {"editor": read_text(row, "editor"), "at": read_text(row, "at")}


def _thumb(value: Any, notes: Notes) -> bool:
    if type(value) is bool:
        return value
    found = None
    if type(value) in (int, float) and value in (0, 1):
        found = bool(value)
    elif type(value) is str:
        found = LABEL_WORDS.get(value.strip().lower().replace(" ", "_").replace("-", "_"))
    if found is None:
        raise Rejected("bad_label", "label", f"it is {value!r}; true or false is meant")
    notes.add("label_word", f"label: {value!r} → {'true' if found else 'false'}")
    return found


_FIELDS: dict[str, Callable[[dict[str, Any], Notes], dict[str, Any]]] = {
    "demonstration": _demonstration,
    "preference": _preference,
    "feedback": _feedback,
    "candidates": read_candidates,
    "judgement": read_judgement,
    "ranking": read_ranking,
    "edit": _edit,
}
