"""Argilla's flat records: fields of any name, and for each question the answers, who gave them, and their status."""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from typing import Any

from fairlead.data.formats.shapes import Json, Shape, Shaped, assistant, list_of, numbered, rest
from fairlead.data.ledger import Note, Rejected

RESPONSES = ".responses"
PROMPTS = ("prompt", "instruction", "question", "input")
STEMS = frozenset({"response", "completion", "generation", "answer", "output", "text"})
QUESTIONS = ("preference", "ranking", "label", "choice")  # which of several is the one that compares
SUBMITTED = "submitted"

_separators = re.compile(r"[\s_-]+")


def is_flat_record(keys: Set[str]) -> bool:
    """Whether there is a question with its answers and who gave them."""
    return any(key.endswith(RESPONSES) and f"{key}.users" in keys for key in keys)


def read(row: Json) -> Shaped:
    """A judgement of two responses, or a ranking of more, with an annotation for each submitted answer.

    Answers that were not submitted are noted, and kept in meta.left_out. Raises `Rejected` where the record does not
    say which field is the prompt, which are the responses, or which question compares them.
    """
    prompt, fields, question = _prompt_of(row), _responses_of(row), _question_of(row)
    notes: list[Note] = []
    annotations, left_out = [], []
    for user, status, value in _answers(row, question):
        if status != SUBMITTED or value is None:
            left_out.append({"annotator": user, "status": status, "value": value})
            notes.append(Note("annotation_left_out", f"{user}: {status if value is not None else 'no answer'}"))
        else:
            annotations.append({"annotator": user} | _said(value, fields, f"{question}{RESPONSES}"))
    answers = (f"{question}{RESPONSES}{part}" for part in ("", ".users", ".status"))
    meta = rest(row, "id", prompt, *fields, *answers) | ({"left_out": left_out} if left_out else {})
    record = {"prompt": row[prompt], "annotations": annotations, "meta": meta} | (
        {"id": row["id"]} if "id" in row else {}
    )
    if len(fields) == 2:
        return record | {"response_a": row[fields[0]], "response_b": row[fields[1]]}, notes
    candidates = [{"id": field, "messages": _turns(row[field])} for field in fields]
    return record | {"candidates": candidates}, notes


def _prompt_of(row: Json) -> str:
    for name in PROMPTS:
        if row.get(name) is not None:
            return name
    raise Rejected("missing_field", "prompt", "no field is the prompt: say which, as --columns prompt=FIELD")


def _fields_in(keys: Iterable[str]) -> list[str]:
    """The fields that are responses, in their order; none where their names do not say so."""
    names = [key for key in keys if "." not in key]
    return ["response_a", "response_b"] if {"response_a", "response_b"} <= {*names} else numbered(names, STEMS)


def _responses_of(row: Json) -> list[str]:
    found = _fields_in(row)
    if not found:
        detail = "no fields are the responses: say which, as --columns response_a=FIELD,response_b=FIELD"
        raise Rejected("missing_field", "response_a", detail)
    return found


def _question_of(row: Json) -> str:
    names = [key.removesuffix(RESPONSES) for key in row if key.endswith(RESPONSES) and f"{key}.users" in row]
    if len(names) == 1:
        return names[0]
    known = [name for name in QUESTIONS if name in names]
    if len(known) == 1:
        return known[0]
    detail = f"several questions were answered ({', '.join(names)}): name the one that compares `preference`"
    raise Rejected("missing_field", "preference.responses", detail)


def _answers(row: Json, question: str) -> list[tuple[Any, Any, Any]]:
    """Annotator, status and value of each answer."""
    key = f"{question}{RESPONSES}"
    values = list_of(row[key] or [], key)
    users = list_of(row[f"{key}.users"] or [], f"{key}.users")
    statuses = list_of(row.get(f"{key}.status") or [SUBMITTED] * len(values), f"{key}.status")
    if not len(values) == len(users) == len(statuses):
        raise Rejected("bad_field", key, f"{len(values)} answers by {len(users)} users with {len(statuses)} statuses")
    return list(zip(users, statuses, values, strict=True))


def _turns(value: Any) -> Any:
    return [assistant(value)] if type(value) is not list else value


def _said(value: Any, fields: list[str], where: str) -> Json:
    """One answer: a ranking of the responses, or the name of one; other words are left to the contract."""
    if type(value) is list:
        ranking = _ranking(value, fields, where)
        if len(fields) > 2:
            return {"ranking": ranking}
        if sorted(map(len, ranking)) == [1, 1]:
            return {"label": "a" if ranking[0] == [fields[0]] else "b"}
        if len(ranking) == 1 and len(ranking[0]) == 2:
            return {"label": "tie"}
        raise Rejected("bad_ranking", where, "both responses are to be placed")
    name = _field_meant(value, fields)
    if len(fields) > 2:
        return {"best": name or value}
    return {"label": value if name is None else "ab"[fields.index(name)]}


def _field_meant(value: Any, fields: list[str]) -> str | None:
    """The response that a text names, as its field or with other separators (response-1 for response_1)."""
    if type(value) is not str:
        return None
    folded = _separators.sub("", value).lower()
    return next((field for field in fields if _separators.sub("", field).lower() == folded), None)


def _ranking(items: list[Any], fields: list[str], where: str) -> list[list[str]]:
    """Places from best to worst: names in order, or values with ranks, where equal ranks are ties."""
    places: dict[Any, list[str]] = {}
    for position, item in enumerate(items):
        ranked = type(item) is dict
        name = _field_meant(item.get("value") if ranked else item, fields)
        rank = item.get("rank") if ranked else position
        if name is None or type(rank) is not int:
            raise Rejected("bad_ranking", f"{where}[{position}]", f"it is {item!r}")
        places.setdefault(rank, []).append(name)
    return [places[rank] for rank in sorted(places)]


_RECORD = {
    "id": "r1",
    "status": "completed",
    "_server_id": "3f7c",
    "prompt": "Where is my parcel?",
    "response_1": "So sorry!",
    "response_2": "On its way.",
}

SHAPES = (
    Shape(
        name="flat record, two responses",
        becomes="judgement",
        keys=frozenset(),
        when=lambda keys: is_flat_record(keys) and len(_fields_in(keys)) <= 2,
        read=read,
        example=_RECORD
        | {
            "preference.responses": ["response_2", "response_2", None],
            "preference.responses.users": ["ann", "bea", "cid"],
            "preference.responses.status": ["submitted", "submitted", "discarded"],
            "preference.suggestion": "response_2",
            "preference.suggestion.agent": "gpt-4",
        },
    ),
    Shape(
        name="flat record, ranking",
        becomes="ranking",
        keys=frozenset(),
        when=lambda keys: is_flat_record(keys) and len(_fields_in(keys)) > 2,
        read=read,
        example=_RECORD
        | {
            "response_3": "Tomorrow.",
            "ranking.responses": [["response_2", "response_3", "response_1"]],
            "ranking.responses.users": ["ann"],
            "ranking.responses.status": ["submitted"],
        },
    ),
)
