"""Rows as OpenAI's fine-tuning reads them (and Together's and Fireworks')."""

from __future__ import annotations

from typing import Any

from fairlead.data.formats.layouts import Layout, Unwritable, Written, lost_in, message, only_turn
from fairlead.data.formats.shapes import Json, rest
from fairlead.data.records import Demonstration, Message, Preference, Row, Turns
from fairlead.identity import canonical_json

PARALLEL = "parallel_tool_calls"
HOLDS = frozenset({"tools", f"meta.{PARALLEL}"})
JOB = """\
{
  "model": "MODEL",
  "training_file": "the id that uploading FILE with the purpose fine-tune gives",
  "method": %s
}
"""


def write_pair(row: Preference) -> Written:
    """input, preferred_output, non_preferred_output: one turn each."""
    chosen, rejected = only_turn(row.chosen), only_turn(row.rejected)
    request = {"messages": _turns(row.prompt)} | _request(row)
    written = {"input": request, "preferred_output": [_turn(chosen)], "non_preferred_output": [_turn(rejected)]}
    return Written(written, lost_in(row.prompt + row.chosen + row.rejected, "train"))


def write_chat(row: Demonstration) -> Written:
    """messages; an assistant turn that is not to be trained has the weight 0."""
    turns = [
        written | ({"weight": 0} if turn.role == "assistant" and not turn.train else {})
        for turn, written in zip(row.messages, _turns(row.messages), strict=True)
    ]
    others = tuple(turn for turn in row.messages if turn.role != "assistant")
    return Written({"messages": turns} | _request(row), lost_in(others, "train"))


def _request(row: Row) -> Json:
    parallel = row.meta.get(PARALLEL)
    return ({"tools": list(row.tools)} if row.tools else {}) | ({} if parallel is None else {PARALLEL: parallel})


def _turns(turns: Turns) -> list[Json]:
    return [_turn(turn) for turn in turns]


def _turn(turn: Message) -> Json:
    """A turn with the arguments of its calls as JSON text; calls and results need ids."""
    written = message(turn)
    if turn.role == "tool" and turn.tool_call_id is None:
        raise Unwritable("call_without_id")
    if turn.tool_calls:
        written["tool_calls"] = [_call(call) for call in turn.tool_calls]
        if not turn.content:
            del written["content"]
    return written


def _call(call: Json) -> Json:
    if type(call.get("id")) is not str:
        raise Unwritable("call_without_id")
    function = call.get("function")
    if call.get("type") != "function" or type(function) is not dict or not {"name", "arguments"} <= function.keys():
        raise Unwritable("not_a_function")
    arguments: Any = function["arguments"]
    text = arguments if type(arguments) is str else canonical_json(arguments).decode()
    return rest(call, "function") | {"function": function | {"arguments": text}}


LAYOUTS = {
    "preference": (
        Layout(
            name="preference fine-tuning",
            write=write_pair,
            snippet=JOB % '{"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1}}}',
            holds=HOLDS,
        ),
    ),
    "demonstration": (
        Layout(
            name="chat fine-tuning",
            write=write_chat,
            snippet=JOB % '{"type": "supervised"}',
            holds=HOLDS,
        ),
    ),
}
