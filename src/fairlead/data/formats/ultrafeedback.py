"""UltraFeedback: raw, with rated completions of several models; and binarized to pairs of dialogues."""

from __future__ import annotations

from typing import Any

from fairlead.data.formats.shapes import (
    Json,
    Shape,
    Shaped,
    are_objects,
    assistant,
    objects_of,
    rest,
    text_of,
    user,
)
from fairlead.data.ledger import Note, Rejected

SCORES = ("overall_score", "fine-grained_score")
PLACED = frozenset({"response", "model", *SCORES})
SAMPLING = ("principle", "custom_system_prompt")


def read_raw(row: Json) -> Shaped:
    """Candidates by their place, with all their numbers as scores; the words about them go to meta.completions."""
    notes: list[Note] = []
    candidates, words = [], {}
    for position, item in enumerate(objects_of(row["completions"], "completions")):
        name, field = str(position), f"completions[{position}]"
        candidates.append(_candidate(item, name, field, notes))
        words[name] = {key: value for key, value in item.items() if key not in PLACED and key not in SAMPLING}
    others = rest(row, "instruction", "completions")
    question = text_of(row["instruction"], "instruction")
    return others | {"prompt": question, "candidates": candidates, "completions": words}, notes


def _candidate(item: Json, name: str, field: str, notes: list[Note]) -> Json:
    scores = {key: item[key] for key in SCORES if item.get(key) is not None}
    annotations = item.get("annotations")
    if type(annotations) is dict:
        scores |= {
            aspect: rating
            for aspect, said in annotations.items()
            if type(said) is dict and (rating := _rating(said)) is not None
        }
    return {
        "id": name,
        "messages": [assistant(item.get("response"))],
        "model": item.get("model"),
        "sampling": {key: item[key] for key in SAMPLING if item.get(key) is not None},
        "scores": {key: _score(value, f"{field}.{key}") for key, value in scores.items()},
    }


def _rating(said: Json) -> float | None:
    """A rating, which the format writes as text; N/A and the like stay in meta.completions as words."""
    rating = said.get("Rating")
    if type(rating) is str and rating.strip().isdecimal():
        return int(rating)
    return rating if type(rating) in (int, float) else None


def _score(value: Any, field: str) -> Any:
    if type(value) is not str:
        return value
    try:
        return float(value)
    except ValueError:
        raise Rejected("not_a_number", field, f"it is {value!r}") from None


def read_binarized(row: Json) -> Shaped:
    """Prompt and the answers behind it; `messages`, which repeats the chosen dialogue, is left out where it does."""
    question = user(row["prompt"])
    pair = {key: _answer(row[key], question) for key in ("chosen", "rejected")}
    return (rest(row, "messages") if row.get("messages") == row["chosen"] else row) | pair, ()


def _answer(turns: list[Any], question: Json) -> list[Any]:
    return turns[1:] if turns[0] == question else turns


def read_imitated(row: Json) -> Shaped:
    """The chosen dialogue, to imitate; read where demonstrations are asked for."""
    return rest(row, "prompt", "chosen", "rejected"), ()


def _are_dialogues(row: Json) -> bool:
    return type(row["prompt"]) is str and are_objects(row["chosen"]) and are_objects(row["rejected"])


def _has_responses(row: Json) -> bool:
    completions = row["completions"]
    return are_objects(completions) and "response" in completions[0]


_BINARIZED = frozenset({"prompt", "chosen", "rejected", "score_chosen", "score_rejected"})
GOOD = [user("Where is my parcel?"), assistant("On its way.")]
BAD = [user("Where is my parcel?"), assistant("So sorry!")]
PAIR = {
    "prompt": "Where is my parcel?",
    "prompt_id": "f0e37e9f",
    "chosen": GOOD,
    "rejected": BAD,
    "messages": GOOD,
    "score_chosen": 8.5,
    "score_rejected": 4.0,
}

SHAPES = (
    Shape(
        name="raw",
        becomes="candidates",
        keys=frozenset({"instruction", "completions"}),
        lacks=frozenset({"prompt"}),
        fits=_has_responses,
        read=read_raw,
        origin={"prompt": "instruction", "candidates": "completions[]"},
        example={
            "source": "sharegpt",
            "instruction": "Where is my parcel?",
            "models": ["alpaca-7b", "gpt-4"],
            "completions": [
                {
                    "model": "alpaca-7b",
                    "principle": "helpfulness",
                    "custom_system_prompt": "Be of help.",
                    "response": "So sorry!",
                    "overall_score": 3.0,
                    "fine-grained_score": 2.25,
                    "critique": "No answer.",
                    "annotations": {"helpfulness": {"Rating": "2", "Rationale": "It says nothing."}},
                },
                {
                    "model": "gpt-4",
                    "response": "On its way.",
                    "overall_score": 8.5,
                    "annotations": {"helpfulness": {"Rating": "N/A", "Rationale": "–"}},
                },
            ],
        },
    ),
    Shape(
        name="binarized",
        becomes="preference",
        keys=_BINARIZED,
        fits=_are_dialogues,
        read=read_binarized,
        example=PAIR,
    ),
    Shape(
        name="binarized, to imitate (kind demonstration)",
        becomes="demonstration",
        keys=_BINARIZED | {"messages"},
        fits=_are_dialogues,
        read=read_imitated,
        example=PAIR,
    ),
)
