"""Rows as LLaMA-Factory reads them: sharegpt, for imitation, for ranking and for KTO."""

from __future__ import annotations

from itertools import pairwise

from fairlead.data.formats.layouts import (
    Layout,
    Unwritable,
    Written,
    is_trained_whole,
    lost_in,
    only_turn,
    trained_from,
    without_system,
)
from fairlead.data.formats.shapes import Json
from fairlead.data.records import Demonstration, Feedback, Message, Preference, Row, Turns
from fairlead.identity import canonical_json

ENTRY = """\
  "NAME": {{
    "file_name": "FILE",
    "formatting": "sharegpt",{ranking}
    "columns": {{"messages": "conversations", {columns}"system": "system", "tools": "tools"}}
  }}
"""
HOLDS = frozenset({"tools"})
PLAIN = "the entry of dataset_info.json:\n"
MASKED = "the entry of dataset_info.json, with mask_history: true in the training's configuration:\n"


def write_ranking(row: Preference) -> Written:
    """conversations, and the two turns that may follow."""
    chosen, rejected = only_turn(row.chosen), only_turn(row.rejected)
    written = _talk(row, row.prompt) | {"chosen": _turn(chosen), "rejected": _turn(rejected)}
    return Written(written, _lost(row.prompt + row.chosen + row.rejected) + lost_in(row.prompt, "train"))


def write_kto(row: Feedback) -> Written:
    """conversations with the completion as the last turn, and its thumb."""
    turns = (*row.prompt, only_turn(row.completion))
    return Written(_talk(row, turns) | {"kto_tag": row.label}, _lost(turns) + lost_in(turns, "train"))


def write_dialogue(row: Demonstration) -> Written:
    """conversations, all of whose assistant turns are trained."""
    if not is_trained_whole(row):
        raise Unwritable("partly_trained")
    if row.messages[-1].role != "assistant":
        raise Unwritable("open_end")
    return Written(_talk(row, row.messages), _lost(row.messages))


def write_last_turn(row: Demonstration) -> Written:
    """conversations, only the last turn of which is trained."""
    if trained_from(row) != len(row.messages) - 1:
        raise Unwritable("partly_trained")
    return Written(_talk(row, row.messages), _lost(row.messages))


def _talk(row: Row, turns: Turns) -> Json:
    """The dialogue, its system text and its tools. The reader wants each column in every row, empty where need be."""
    system, others = without_system(turns)
    if not system and len(others) < len(turns):
        raise Unwritable("empty_text")
    if any(first.role == second.role == "tool" for first, second in pairwise(others)):
        raise Unwritable("parallel_results")
    tools = [tool["function"] if tool.keys() == {"type", "function"} else tool for tool in row.tools]
    return {
        "conversations": [_turn(turn) for turn in others],
        "system": system,
        "tools": canonical_json(tools).decode() if tools else "",
    }


def _turn(turn: Message) -> Json:
    if turn.tool_calls:
        if turn.content:
            raise Unwritable("content_with_calls")
        calls = [_call(call) for call in turn.tool_calls]
        return {"from": "function_call", "value": canonical_json(calls if len(calls) > 1 else calls[0]).decode()}
    speaker = {"user": "human", "assistant": "gpt", "tool": "observation"}[turn.role]
    return {"from": speaker, "value": turn.content}


def _call(call: Json) -> Json:
    function = call.get("function")
    if call.get("type") != "function" or type(function) is not dict or function.keys() != {"name", "arguments"}:
        raise Unwritable("not_a_function")
    return function


def _lost(turns: Turns) -> tuple[str, ...]:
    calls = [call for turn in turns for call in turn.tool_calls]
    keys = {key for call in calls for key in call} - {"type", "function"}
    return lost_in(turns, "name", "tool_call_id") + tuple(f"turns.tool_calls.{key}" for key in sorted(keys))


_PAIR = '"chosen": "chosen", "rejected": "rejected", '

LAYOUTS = {
    "preference": (
        Layout(
            name="sharegpt, ranking",
            write=write_ranking,
            snippet=PLAIN + ENTRY.format(ranking='\n    "ranking": true,', columns=_PAIR),
            holds=HOLDS,
        ),
    ),
    "feedback": (
        Layout(
            name="sharegpt, KTO",
            write=write_kto,
            snippet=PLAIN + ENTRY.format(ranking="", columns='"kto_tag": "kto_tag", '),
            holds=HOLDS,
        ),
    ),
    "demonstration": (
        Layout(
            name="sharegpt",
            write=write_dialogue,
            snippet=PLAIN + ENTRY.format(ranking="", columns=""),
            holds=HOLDS,
        ),
        Layout(
            name="sharegpt, last turn trained",
            write=write_last_turn,
            snippet=MASKED + ENTRY.format(ranking="", columns=""),
            holds=HOLDS,
        ),
    ),
}
