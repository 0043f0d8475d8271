"""HH-RLHF: whole dialogues in one text each, turns opened by `\\n\\nHuman:` and `\\n\\nAssistant:`.

Nothing tells a marker that opens a turn from the same words inside a text. A text with such words therefore reads as
more turns; where these do not alternate, the row is quarantined, and none is written that holds a marker in a text.
"""

from __future__ import annotations

import re

from fairlead.data.formats.shapes import Json, Shape, Shaped, text_of
from fairlead.data.formats.trl import split_implicit_prompt
from fairlead.data.ledger import Rejected

MARKERS = {"Human": "user", "Assistant": "assistant"}
NAMES = {role: name for name, role in MARKERS.items()}
MARKER = re.compile(r"\n\n(Human|Assistant):")
OPENING = re.compile(r"\s*(Human|Assistant):")
OPEN_END = "\n\nAssistant:"


def turns_in(text: str, field: str) -> list[Json]:
    """The turns of a dialogue in one text; one space after a marker belongs to it, all else to the turn.

    The first marker may stand without its two line ends. Raises `Rejected` where the text does not begin with one.
    """
    before, *parts = MARKER.split(text)
    if before or not parts:
        if OPENING.match(text) is None:
            raise Rejected("text_without_turns", field, f"it begins {text[:20]!r}, not with Human:")
        parts = MARKER.split(f"\n\n{text.lstrip()}")[1:]
    return [
        {"role": MARKERS[name], "content": content.removeprefix(" ")}
        for name, content in zip(parts[::2], parts[1::2], strict=True)
    ]


def text_with(turns: list[tuple[str, str]]) -> str:
    """The text of turns by role and content; `turns_in` gives them back."""
    return "".join(f"\n\n{NAMES[role]}: {content}" for role, content in turns)


def read_pair(row: Json) -> Shaped:
    """Prompt and completions out of the two dialogues: all turns that they share, up to the answers."""
    dialogues = {key: turns_in(text_of(row[key], key), key) for key in ("chosen", "rejected")}
    return split_implicit_prompt(row | dialogues)


def read_prompted(row: Json) -> Shaped:
    """A prompt in one text that ends where the assistant is to answer, and the plain answers.

    Where the prompt ends with the very marker, the space that belongs to it opens the answers.
    """
    shaped = row | {"prompt": turns_to_answer(row["prompt"], "prompt")}
    if row["prompt"].endswith(OPEN_END):
        for key in ("chosen", "rejected"):
            if type(row[key]) is str:
                shaped[key] = row[key].removeprefix(" ")
    return shaped, ()


def turns_to_answer(text: str, field: str) -> list[Json]:
    """The turns of a prompt in one text, the open marker at its end left out."""
    turns = turns_in(text, field)
    last = turns[-1]
    return turns[:-1] if last["role"] == "assistant" and not last["content"].strip() else turns


def opens_a_dialogue(value: object) -> bool:
    """Whether a text begins as a dialogue of this format does."""
    return type(value) is str and (found := OPENING.match(value)) is not None and found[1] == "Human"


def ends_open(value: object) -> bool:
    """Whether a text is such a dialogue that ends where the assistant is to answer."""
    return type(value) is str and value.rstrip().endswith(OPEN_END) and opens_a_dialogue(value)


def _are_dialogues(row: Json) -> bool:
    return opens_a_dialogue(row["chosen"]) or opens_a_dialogue(row["rejected"])


SHARED = "\n\nHuman: Where is my parcel?\n\nAssistant:"

SHAPES = (
    Shape(
        name="pairs",
        becomes="preference",
        keys=frozenset({"chosen", "rejected"}),
        lacks=frozenset({"prompt"}),
        fits=_are_dialogues,
        read=read_pair,
        origin={"prompt": "chosen"},
        example={"chosen": f"{SHARED} On its way.", "rejected": f"{SHARED} So sorry!"},
    ),
    Shape(
        name="pairs, with the prompt apart",
        becomes="preference",
        keys=frozenset({"prompt", "chosen", "rejected"}),
        fits=lambda row: ends_open(row["prompt"]),
        read=read_prompted,
        example={"prompt": SHARED, "chosen": " On its way.", "rejected": " So sorry!"},
    ),
)
