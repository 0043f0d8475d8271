"""The contract: one canonical dict in, one frozen row out, or the reason why not (docs/rows.md).

Every row of every format passes here once, and only here: formats bring a row into canonical shape, this module says
whether it holds. A plain text in the place of a message list is one turn: the user's in a prompt, else the assistant's.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from fairlead.data.decoding import decode
from fairlead.data.ledger import Note, Rejected
from fairlead.data.records import KINDS, Annotation, Candidate, Row
from fairlead.data.turns import Notes, check_completion, check_order, check_prompt, is_blank, kind_of_value, read_turns

ID_HEX = 16  # 64 bits of sha256: no accidental clash below some hundred million rows

REQUIRED: dict[str, frozenset[str]] = {
    "preference": frozenset({"prompt", "chosen", "rejected"}),
    "feedback": frozenset({"prompt", "completion", "label"}),
    "judgement": frozenset({"prompt", "response_a", "response_b"}),
    "edit": frozenset({"prompt", "draft", "edited"}),
    "candidates": frozenset({"prompt"}),
    "demonstration": frozenset({"messages"}),
}
KNOWN = {kind: frozenset(row.__struct_fields__) for kind, row in KINDS.items()}

LABEL_WORDS: dict[str, bool] = {
    **dict.fromkeys(("true", "yes", "1", "up", "thumbs_up", "good", "like", "desirable", "👍"), True),
    **dict.fromkeys(("false", "no", "0", "down", "thumbs_down", "bad", "dislike", "undesirable", "👎"), False),
}
VERDICTS = frozenset({"a", "b", "tie", "both_bad"})
VERDICT_WORDS = {"equal": "tie", "draw": "tie", "neither": "both_bad"}
UNSETTLED = frozenset({"none", ""})
ECHO_LENGTH = 20  # characters; a shorter prompt may well open its own answer ("Hello" → "Hello! …")

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


def read_id(value: Any, field: str = "id") -> str | None:
    """A row's id as text: whole numbers digit for digit; None where there is none. Raises `Rejected`."""
    if type(value) is str:
        return value if value.strip() else None
    if value is None:
        return None
    if type(value) is int:
        return str(value)
    raise Rejected("bad_field", field, f"it is {kind_of_value(value)}; a text or a whole number is meant")


def content_id(kind: str, fields: dict[str, Any]) -> str:
    """The id of a row that brought none: a hash of its kind and content, the same in every process and file."""
    return hashlib.sha256(kind.encode() + _sorted_json.encode(fields)).hexdigest()[:ID_HEX]


def _add_common(row: dict[str, Any], kind: str, fields: dict[str, Any], notes: Notes) -> None:
    """Adds tools, template_kwargs, weight and meta to `fields` where the row has them; unknown keys go to meta."""
    if row.get("tools") is not None:
        fields["tools"] = tuple(_objects(row, "tools", notes))
    if row.get("template_kwargs") is not None:
        fields["template_kwargs"] = _object(row, "template_kwargs", notes)
    if row.get("weight") is not None:
        fields["weight"] = _number(row["weight"], "weight", least=0.0)
    meta = _object(row, "meta", notes) if row.get("meta") is not None else {}
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
    value = _json_text(row["messages"], "messages", notes)
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
    fields = _prompted(row, ("chosen", "rejected"), notes)
    if fields["chosen"] == fields["rejected"]:
        raise Rejected("identical_pair", "rejected")
    if row.get("margin") is not None:
        fields["margin"] = _number(row["margin"], "margin")
    return fields


def _feedback(row: dict[str, Any], notes: Notes) -> dict[str, Any]:
    return _prompted(row, ("completion",), notes) | {"label": _thumb(row["label"], notes)}


def _candidates(row: dict[str, Any], notes: Notes) -> dict[str, Any]:
    fields = _prompted(row, (), notes)
    if row.get("candidates") is not None:
        found = [_candidate(item, position, notes) for position, item in enumerate(_objects(row, "candidates", notes))]
        if len({candidate.id for candidate in found}) < len(found):
            raise Rejected("bad_field", "candidates", "two candidates share an id")
        fields["candidates"] = tuple(found)
    return fields


def _candidate(value: dict[str, Any], position: int, notes: Notes) -> Candidate:
    where = f"candidates[{position}]"
    name = read_id(value.get("id"), f"{where}.id")
    if name is None:
        raise Rejected("missing_field", f"{where}.id")
    messages = read_turns(value.get("messages"), f"{where}.messages", "assistant", notes)
    check_completion(messages, f"{where}.messages", may_be_blank=True)
    if is_blank(messages[-1]):
        notes.add("empty_candidate", name)
    sampling, scores = value.get("sampling") or {}, value.get("scores") or {}
    if type(sampling) is not dict or type(scores) is not dict:
        raise Rejected("bad_field", where, "sampling and scores are objects")
    _set_aside(value, Candidate, where, notes)
    return Candidate(
        id=name,
        messages=messages,
        model=_text(value, "model", where),
        sampling=sampling,
        scores={key: _number(score, f"{where}.scores.{key}") for key, score in scores.items()},
    )


def _judgement(row: dict[str, Any], notes: Notes) -> dict[str, Any]:
    fields = _prompted(row, ("response_a", "response_b"), notes)
    if row.get("annotations") is not None:
        items = enumerate(_objects(row, "annotations", notes))
        fields["annotations"] = tuple(_annotation(item, position, notes) for position, item in items)
    label = row.get("label")
    if type(label) is str and label.strip().lower() in UNSETTLED:
        notes.add("label_word", f"label: {label!r} → null")
    elif label is not None:
        fields["label"] = _verdict(label, "label", notes)
    return fields


def _annotation(value: dict[str, Any], position: int, notes: Notes) -> Annotation:
    where = f"annotations[{position}]"
    annotator = read_id(value.get("annotator"), f"{where}.annotator")
    if annotator is None:
        raise Rejected("missing_field", f"{where}.annotator")
    strength, seconds = value.get("strength"), value.get("seconds")
    shown = _text(value, "shown", where)
    if shown not in (None, "ab", "ba"):
        raise Rejected("bad_field", f"{where}.shown", f"it is {shown!r}; ab or ba is meant")
    _set_aside(value, Annotation, where, notes)
    return Annotation(
        annotator=annotator,
        label=_verdict(value.get("label"), f"{where}.label", notes),
        strength=None if strength is None else _number(strength, f"{where}.strength"),
        at=_text(value, "at", where),
        seconds=None if seconds is None else _number(seconds, f"{where}.seconds", least=0.0),
        shown=shown,
        rubric=_text(value, "rubric", where),
        note=_text(value, "note", where),
    )


def _edit(row: dict[str, Any], notes: Notes) -> dict[str, Any]:
    fields = _prompted(row, ("draft", "edited"), notes)
    return fields | {"editor": _text(row, "editor"), "at": _text(row, "at")}


_FIELDS: dict[str, Callable[[dict[str, Any], Notes], dict[str, Any]]] = {
    "demonstration": _demonstration,
    "preference": _preference,
    "feedback": _feedback,
    "candidates": _candidates,
    "judgement": _judgement,
    "edit": _edit,
}


def _prompted(row: dict[str, Any], completions: Sequence[str], notes: Notes) -> dict[str, Any]:
    """The prompt and the named completions of a row, checked, the prompt's own turns stripped from each completion."""
    prompt = read_turns(row["prompt"], "prompt", "user", notes)
    check_prompt(prompt)
    fields: dict[str, Any] = {"prompt": prompt}
    echo = prompt[-1].content if len(prompt[-1].content) >= ECHO_LENGTH and completions else ""
    for key in completions:
        turns = read_turns(row[key], key, "assistant", notes)
        if turns[: len(prompt)] == prompt:
            turns = turns[len(prompt) :]
            notes.add("prompt_repeated", key)
        check_completion(turns, key)
        if echo and not turns[0].content.startswith(echo):
            echo = ""
        fields[key] = turns
    if echo:
        notes.add("prompt_echoed")
    return fields


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


def _verdict(value: Any, field: str, notes: Notes) -> str:
    if type(value) is str:
        if value in VERDICTS:
            return value
        folded = value.strip().lower().replace(" ", "_").replace("-", "_")
        found = folded if folded in VERDICTS else VERDICT_WORDS.get(folded)
        if found is not None:
            notes.add("label_word", f"{field}: {value!r} → {found}")
            return found
    raise Rejected("bad_label", field, f"it is {value!r}; a, b, tie or both_bad is meant")


def _number(value: Any, field: str, *, least: float = -math.inf) -> float:
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


def _text(value: dict[str, Any], key: str, where: str = "") -> str | None:
    text = value.get(key)
    if text is None or type(text) is str:
        return text
    raise Rejected("bad_field", f"{where}.{key}" if where else key, f"it is {kind_of_value(text)}; a text is meant")


def _json_text(value: Any, field: str, notes: Notes) -> Any:
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


def _object(row: dict[str, Any], key: str, notes: Notes) -> dict[str, Any]:
    value = _json_text(row[key], key, notes)
    if type(value) is not dict:
        raise Rejected("bad_field", key, f"it is {kind_of_value(value)}; an object is meant")
    return value


def _objects(row: dict[str, Any], key: str, notes: Notes) -> list[dict[str, Any]]:
    value = _json_text(row[key], key, notes)
    if type(value) is not list or not all(type(item) is dict for item in value):
        raise Rejected("bad_field", key, "a list of objects is meant")
    return value


def _set_aside(value: dict[str, Any], record: type[Candidate] | type[Annotation], where: str, notes: Notes) -> None:
    """Keeps keys of a nested object that `record` has no place for, under their path."""
    for key, item in value.items():
        if key not in record.__struct_fields__ and item is not None:
            notes.unplaced[f"{where}.{key}"] = item
