"""SHP: two comments on a post, of which readers preferred one."""

from __future__ import annotations

from fairlead.data.formats.shapes import Json, Shape, Shaped, choice_in, rest, text_of
from fairlead.data.ledger import Note

SIDES = {1: "a", 0: "b"}


def read(row: Json) -> Shaped:
    """The post as prompt, the comments as responses; labels 1 means that A is preferred, 0 that B is."""
    notes: list[Note] = []
    judged = {
        "prompt": text_of(row["history"], "history"),
        "response_a": row["human_ref_A"],
        "response_b": row["human_ref_B"],
        "label": choice_in(row["labels"], "labels", SIDES, notes),
    }
    return rest(row, "history", "human_ref_A", "human_ref_B", "labels") | judged, notes


SHAPES = (
    Shape(
        name="comments",
        becomes="judgement",
        keys=frozenset({"history", "human_ref_A", "human_ref_B", "labels"}),
        read=read,
        origin={"prompt": "history", "response_a": "human_ref_A", "response_b": "human_ref_B"},
        example={
            "post_id": "himc90",
            "domain": "askhistorians_train",
            "history": "Where is my parcel?",
            "human_ref_A": "On its way.",
            "human_ref_B": "So sorry!",
            "score_A": 25,
            "score_B": 3,
            "labels": 1,
            "score_ratio": 8.33,
        },
    ),
)
