"""HelpSteer2: rows per response with five scores, and its preferences; HelpSteer3: preferences from −3 to 3.

A preference of 0 is a tie: such a row is a judgement, and never a pair of a chosen and a rejected response. The raters
of an item are not named; they are numbered within their row, and a number means nothing beyond it.
"""

from __future__ import annotations

import re
from typing import Any

from fairlead.data.formats.shapes import (
    Json,
    Shape,
    Shaped,
    assistant,
    number_in,
    objects_of,
    rest,
    side_of,
    text_of,
    user,
)
from fairlead.data.ledger import Note

SCORES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
STRONGEST = 3

_turn = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")


def prompt_of(value: Any) -> list[Json]:
    """The turns of a prompt: one user turn, or several parted by `<extra_id_1>Assistant` and `<extra_id_1>User`."""
    parts = _turn.split(text_of(value, "prompt"))
    turns = [user(parts[0])]
    for speaker, text in zip(parts[1::2], parts[2::2], strict=True):
        turns.append(user(text) if speaker == "User" else assistant(text))
    return turns


def read_scored(row: Json) -> Shaped:
    """One response with its scores: a candidate of its prompt. `pairs` brings those of one prompt together."""
    notes: list[Note] = []
    scores = {key: number_in(row[key], key, notes) for key in SCORES}
    candidate = {"id": "0", "messages": [assistant(text_of(row["response"], "response"))], "scores": scores}
    return rest(row, "response", *SCORES) | {"prompt": prompt_of(row["prompt"]), "candidates": [candidate]}, notes


def read_preference2(row: Json) -> Shaped:
    """Two responses and a strength; below 0 the first is better."""
    raters = (
        "all_preferences_unprocessed" if row.get("all_preferences_unprocessed") else "three_most_similar_preferences"
    )
    fields = {"prompt": prompt_of(row["prompt"]), "response_a": row["response_1"], "response_b": row["response_2"]}
    return _judged(row, fields, "preference_strength", raters, "strength", ("prompt", "response_1", "response_2"))


def read_preference3(row: Json) -> Shaped:
    """Two responses and an overall preference; below 0 the first is better."""
    fields = {"prompt": row["context"], "response_a": row["response1"], "response_b": row["response2"]}
    taken = ("context", "response1", "response2")
    return _judged(row, fields, "overall_preference", "individual_preference", "score", taken)


def _judged(row: Json, fields: Json, overall: str, raters: str, score: str, taken: tuple[str, ...]) -> Shaped:
    notes: list[Note] = []
    label, strength = side_of(row[overall], overall, STRONGEST, notes)
    annotations = []
    for position, item in enumerate(objects_of(row.get(raters) or [], raters)):
        side, how_much = side_of(item.get(score), f"{raters}[{position}].{score}", STRONGEST, notes)
        words = {key: text for key, text in item.items() if key != score and type(text) is str}
        others = {key: value for key, value in item.items() if key != score and key not in words}
        said = {"annotator": f"rater {position + 1}", "label": side, "strength": how_much}
        note = "\n".join(f"{key}: {text}" for key, text in words.items())
        annotations.append(others | said | ({"note": note} if note else {}))
    judged = {"label": label, "strength": strength, "annotations": annotations}
    return rest(row, overall, raters, *taken) | fields | judged, notes


SHAPES = (
    Shape(
        name="HelpSteer2",
        becomes="candidates",
        keys=frozenset({"prompt", "response", *SCORES}),
        read=read_scored,
        origin={"candidates": "response"},
        example={
            "prompt": "Where is my parcel?",
            "response": "On its way.",
            "helpfulness": 3,
            "correctness": 4,
            "coherence": 4,
            "complexity": 1,
            "verbosity": 0,
        },
    ),
    Shape(
        name="HelpSteer2, preferences",
        becomes="judgement",
        keys=frozenset({"prompt", "response_1", "response_2", "preference_strength"}),
        read=read_preference2,
        origin={"response_a": "response_1", "response_b": "response_2"},
        example={
            "split": "train",
            "prompt": "Hello\n<extra_id_1>Assistant\nHello!\n<extra_id_1>User\nWhere is my parcel?",
            "response_1": "So sorry!",
            "response_2": "On its way.",
            "preference_strength": 2,
            "preference_statement": "Response 2 is better than Response 1.",
            "three_most_similar_preferences": [
                {"statement": "Response 2 is better.", "elaboration": "It answers.", "strength": 2},
                {"statement": "About the same.", "elaboration": "Both are short.", "strength": 0},
            ],
        },
    ),
    Shape(
        name="HelpSteer3",
        becomes="judgement",
        keys=frozenset({"context", "response1", "response2", "overall_preference"}),
        read=read_preference3,
        origin={"prompt": "context[]", "response_a": "response1", "response_b": "response2"},
        example={
            "domain": "general",
            "language": "english",
            "context": [user("Where is my parcel?")],
            "response1": "On its way.",
            "response2": "So sorry!",
            "overall_preference": -3,
            "individual_preference": [
                {"score": -3, "reasoning": "Only the first answers.", "feedback": None},
                {"score": -2, "reasoning": "The first is to the point."},
            ],
        },
    ),
)
