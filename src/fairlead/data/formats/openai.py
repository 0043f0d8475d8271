"""OpenAI's rows for fine-tuning: preferences (also Together's and Fireworks'), and chats with a weight per turn."""

from __future__ import annotations

from typing import Any

from fairlead.data.formats.canonical import NOT_A_DEMONSTRATION
from fairlead.data.formats.shapes import Json, Shape, Shaped, assistant, rest, user, value_in_json
from fairlead.data.ledger import Rejected


def read_pair(row: Json) -> Shaped:
    """Prompt and tools out of `input`; what else it holds, such as parallel_tool_calls, goes to meta."""
    request = row["input"]
    others = {
        (f"input.{key}" if key in row else key): value
        for key, value in request.items()
        if key not in ("messages", "tools")
    }
    pair = rest(row, "input", "preferred_output", "non_preferred_output") | others
    pair |= {
        "prompt": with_parsed_calls(request.get("messages"), "input.messages"),
        "chosen": with_parsed_calls(row["preferred_output"], "preferred_output"),
        "rejected": with_parsed_calls(row["non_preferred_output"], "non_preferred_output"),
    }
    return pair | ({"tools": request["tools"]} if request.get("tools") else {}), ()


def with_parsed_calls(messages: Any, field: str) -> Any:
    """Messages whose tool calls have arguments as values: the format writes them as JSON text."""
    if type(messages) is not list or not any(type(turn) is dict and turn.get("tool_calls") for turn in messages):
        return messages
    return [
        turn | {"tool_calls": [_parsed(call, f"{field}[{at}].tool_calls") for call in turn["tool_calls"]]}
        if type(turn) is dict and type(turn.get("tool_calls")) is list
        else turn
        for at, turn in enumerate(messages)
    ]


def _parsed(call: Any, field: str) -> Any:
    function = call.get("function") if type(call) is dict else None
    if type(function) is not dict or type(function.get("arguments")) is not str:
        return call
    arguments = value_in_json(function["arguments"], f"{field}.function.arguments")
    return call | {"function": function | {"arguments": arguments}}


def read_chat(row: Json) -> Shaped:
    """A dialogue whose assistant turns are trained unless their weight is 0."""
    messages = with_parsed_calls(row["messages"], "messages")
    if type(messages) is not list:
        return row, ()
    return row | {"messages": [_weighted(turn, f"messages[{at}]") for at, turn in enumerate(messages)]}, ()


def _weighted(turn: Any, field: str) -> Any:
    if type(turn) is not dict or turn.get("weight") is None:
        return turn
    if type(turn["weight"]) not in (int, float) or turn["weight"] not in (0, 1):
        raise Rejected("bad_field", f"{field}.weight", f"it is {turn['weight']!r}; 0 or 1 is meant")
    unweighted = rest(turn, "weight")
    return unweighted if turn["weight"] else unweighted | {"train": False}


def _has_weights(row: Json) -> bool:
    messages = row["messages"]
    return type(messages) is list and any(type(turn) is dict and "weight" in turn for turn in messages)


QUESTION = [user("Where is my parcel?")]

SHAPES = (
    Shape(
        name="preference fine-tuning",
        becomes="preference",
        keys=frozenset({"input", "preferred_output", "non_preferred_output"}),
        fits=lambda row: type(row["input"]) is dict,
        read=read_pair,
        origin={"prompt": "input.messages[]", "chosen": "preferred_output[]", "rejected": "non_preferred_output[]"},
        example={
            "input": {"messages": QUESTION, "tools": [], "parallel_tool_calls": True},
            "preferred_output": [assistant("On its way.")],
            "non_preferred_output": [assistant("So sorry!")],
        },
    ),
    Shape(
        name="chat fine-tuning, with weights",
        becomes="demonstration",
        keys=frozenset({"messages"}),
        lacks=NOT_A_DEMONSTRATION,
        fits=_has_weights,
        read=read_chat,
        example={
            "messages": [
                *QUESTION,
                assistant("Which one?") | {"weight": 0},
                user("The red one."),
                assistant("On its way.") | {"weight": 1},
            ]
        },
    ),
    Shape(
        name="chat fine-tuning",
        becomes="demonstration",
        keys=frozenset({"messages"}),
        lacks=NOT_A_DEMONSTRATION,
        read=read_chat,
        named=True,
        like="canonical",
        example={"messages": [*QUESTION, assistant("On its way.")]},
    ),
)
