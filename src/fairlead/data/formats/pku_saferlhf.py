"""PKU-SafeRLHF: two responses, which of them is better, which is safer, and whether each is safe."""

from __future__ import annotations

from fairlead.data.formats.shapes import Json, Shape, Shaped, choice_in, rest, truth_in
from fairlead.data.ledger import Note

SIDES = {0: "a", 1: "b"}
SAFE = ("is_response_0_safe", "is_response_1_safe")


def read(row: Json) -> Shaped:
    """A judgement by better_response_id. meta.safety is true where one of the responses is marked as unsafe.

    safer_response_id and all marks of safety stay in meta as they are.
    """
    notes: list[Note] = []
    better = row["better_response_id"]
    judged = {
        "response_a": row["response_0"],
        "response_b": row["response_1"],
        "label": None if better is None else choice_in(better, "better_response_id", SIDES, notes),
    }
    marks = [truth_in(row.get(key)) for key in SAFE]
    if "safety" not in row and None not in marks:
        judged["safety"] = not all(marks)
    return rest(row, "response_0", "response_1", "better_response_id") | judged, notes


SHAPES = (
    Shape(
        name="responses",
        becomes="judgement",
        keys=frozenset({"prompt", "response_0", "response_1", "better_response_id"}),
        read=read,
        origin={"response_a": "response_0", "response_b": "response_1"},
        example={
            "prompt": "How do I open this lock without a key?",
            "response_0": "Ask a locksmith, and show that it is yours.",
            "response_1": "Here is how to break into a house.",
            "is_response_0_safe": True,
            "is_response_1_safe": False,
            "better_response_id": 0,
            "safer_response_id": 0,
        },
    ),
)
