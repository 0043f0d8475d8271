"""How rows are laid out for other trainers: what a layout writes, what it cannot hold, and how its file is named.

A field without a place in a layout is lost, and counted; a row that the layout would change or that its reader would
refuse is not written at all, and the reason is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fairlead.data.formats.shapes import Json
from fairlead.data.records import Demonstration, Message, Preference, Row, Turns

UNWRITABLE: dict[str, str] = {
    "call_without_id": "a tool call or result has no id, which the format asks for",
    "content_with_calls": "a turn both says something and calls a tool, and the format has one place for both",
    "empty_text": "a turn is empty, which the format's reader refuses",
    "marker_in_text": "a text holds the words that open a turn, and would be read as more turns",
    "not_a_function": "a tool call is no plain function call, the only one that the format has",
    "open_end": "the dialogue does not end with an assistant turn, which the format's reader asks for",
    "parallel_results": "two tool results follow each other, which the format's reader refuses",
    "partly_trained": "some of its assistant turns are not to be trained, which the format cannot say",
    "several_turns": "the completion or the prompt has several turns, and the format has one",
    "system_turn": "the format has no system turn",
    "tool_turns": "the format has no tool calls and no tool results",
}


LOAD = """\
from datasets import load_dataset

rows = load_dataset("json", data_files="FILE", split="train")
"""


class Unwritable(Exception):
    """Raised while one row is written: it is left out, with a reason of `UNWRITABLE`. Never leaves `data`."""

    def __init__(self, code: str) -> None:
        assert code in UNWRITABLE, code
        self.code = code
        super().__init__(code)


class Written(NamedTuple):
    """A row as the format has it, and the parts of its turns that found no place."""

    row: Json
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way in which a format holds rows of one kind.

    holds: fields of a row beside its turns that have a place. write: raises `Unwritable`. fill: what stands in rows
    without a column that other rows of the file have. snippet: what the trainer's configuration says to read the file,
    with FILE for its path and NAME for a name made of it.
    """

    name: str
    write: Callable[[Any], Written]
    snippet: str
    holds: frozenset[str] = frozenset()
    fill: Mapping[str, Any] = field(default_factory=dict)


def lost_fields(row: Row, holds: frozenset[str]) -> list[str]:
    """The fields that the row has, beside its turns, and that have no place in a layout; of meta each key."""
    lost = ["id"]
    if row.tools and "tools" not in holds:
        lost.append("tools")
    if row.template_kwargs and "template_kwargs" not in holds:
        lost.append("template_kwargs")
    if row.weight != 1 and "weight" not in holds:
        lost.append("weight")
    if isinstance(row, Preference) and row.margin is not None and "margin" not in holds:
        lost.append("margin")
    return lost + [f"meta.{key}" for key in row.meta if f"meta.{key}" not in holds]


def message(turn: Message) -> Json:
    """A turn as most formats have it."""
    written: Json = {"role": turn.role, "content": turn.content}
    if turn.tool_calls:
        written["tool_calls"] = list(turn.tool_calls)
    if turn.name is not None:
        written["name"] = turn.name
    if turn.tool_call_id is not None:
        written["tool_call_id"] = turn.tool_call_id
    return written


def plain_message(turn: Message) -> Json:
    """A turn by role and content alone. Raises `Unwritable` for calls and results."""
    if turn.role == "tool" or turn.tool_calls:
        raise Unwritable("tool_turns")
    return {"role": turn.role, "content": turn.content}


def lost_in(turns: Turns, *parts: str) -> tuple[str, ...]:
    """Which of these parts some turn has: name, tool_call_id, train."""
    absent = {"name": None, "tool_call_id": None, "train": True}
    return tuple(f"turns.{part}" for part in parts if any(getattr(turn, part) != absent[part] for turn in turns))


def only_turn(turns: Turns) -> Message:
    """The one turn of a completion. Raises `Unwritable` where there are more."""
    if len(turns) != 1:
        raise Unwritable("several_turns")
    return turns[0]


def is_trained_whole(row: Demonstration) -> bool:
    """Whether every assistant turn is to be trained."""
    return all(turn.train for turn in row.messages if turn.role == "assistant")


def trained_from(row: Demonstration) -> int:
    """The turn from which on every assistant turn is trained, and before which none is. Raises `Unwritable`."""
    places = [at for at, turn in enumerate(row.messages) if turn.role == "assistant"]
    trained = [at for at in places if row.messages[at].train]
    if trained != [at for at in places if at >= trained[0]]:
        raise Unwritable("partly_trained")
    return trained[0]


def without_system(turns: Turns) -> tuple[str, Turns]:
    """The text of the opening system turn, empty where there is none, and the other turns."""
    return (turns[0].content, turns[1:]) if turns and turns[0].role == "system" else ("", turns)
