"""Fairlead's own rows: nothing to rename, the keys say which kind a row is."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

from fairlead.data.contract import KNOWN, REQUIRED
from fairlead.data.formats.shapes import Json, Shape, assistant, unchanged, user

# What makes of `messages` something else than a dialogue to imitate; read as one, bad answers would be trained on.
NOT_A_DEMONSTRATION = frozenset({"label", "kto_tag", "chosen", "rejected", "completion", "score"})
ANSWERS = frozenset({"chosen", "rejected", "completion", "response_a", "response_b", "draft", "edited"})
PLACES = frozenset({"annotations", "ranking", "best", "worst"})  # what makes a ranking of candidates


def fits(row: dict[str, Any], kind: str) -> bool:
    """Whether a row has what `kind` needs, where the user says that it is of this kind.

    A system text beside the turns is no part of a canonical row: left in meta, it would be lost to training.
    """
    if not REQUIRED[kind] <= row.keys() or row.get("system"):
        return False
    return kind != "candidates" or (ANSWERS | PLACES).isdisjoint(row)


def has_places(keys: Set[str]) -> bool:
    """Whether candidates are placed: by annotators, or settled."""
    return not PLACES.isdisjoint(keys)


def is_prompt_alone(keys: Set[str]) -> bool:
    """Whether there is no key that we do not know: beside a prompt, that is probably an answer under another name."""
    return keys <= KNOWN["candidates"]


FOREIGN = frozenset({"chat_template_kwargs"})  # TRL's name for template_kwargs

QUESTION = [user("Where is my parcel?")]
TWO = [{"id": "x", "messages": [assistant("On its way.")]}, {"id": "y", "messages": [assistant("Tomorrow.")]}]


def _shape(
    kind: str,
    example: Json,
    *also: str,
    lacks: frozenset[str] = frozenset(),
    when: Callable[[Set[str]], bool] | None = None,
) -> Shape:
    return Shape(
        name=kind,
        becomes=kind,
        keys=REQUIRED[kind] | set(also),
        lacks=lacks | FOREIGN,
        when=when,
        read=unchanged,
        example=example,
    )


# A row that fits several is of the first.
SHAPES = (
    _shape(
        "preference",
        {"prompt": QUESTION, "chosen": [assistant("On its way.")], "rejected": [assistant("So sorry!")], "margin": 1.5},
    ),
    _shape("feedback", {"prompt": QUESTION, "completion": [assistant("On its way.")], "label": True}),
    _shape(
        "judgement",
        {
            "prompt": "Where is my parcel?",
            "response_a": "On its way.",
            "response_b": "So sorry!",
            "label": "a",
            "annotations": [{"annotator": "ann", "label": "a"}],
        },
    ),
    _shape("edit", {"prompt": QUESTION, "draft": [assistant("So sorry!")], "edited": [assistant("On its way.")]}),
    _shape("ranking", {"prompt": QUESTION, "candidates": TWO, "ranking": [["y"], ["x"]]}, when=has_places),
    _shape("candidates", {"prompt": QUESTION, "candidates": TWO}, "candidates", lacks=PLACES),
    _shape("candidates", {"prompt": QUESTION}, when=is_prompt_alone),
    _shape("demonstration", {"messages": [*QUESTION, assistant("On its way.")]}, lacks=NOT_A_DEMONSTRATION),
)
