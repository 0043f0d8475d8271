"""LLaMA-Factory's rows: alpaca and sharegpt, each for imitation, for ranking and for KTO."""

from __future__ import annotations

from typing import Any

from fairlead.data.contract import LABEL_WORDS
from fairlead.data.formats.canonical import NOT_A_DEMONSTRATION
from fairlead.data.formats.shapes import (
    Json,
    Shape,
    Shaped,
    assistant,
    list_of,
    rest,
    text_of,
    user,
    value_in_json,
    with_system,
)
from fairlead.data.ledger import Rejected

PLAIN = ("human", "gpt")  # a tuple: what is compared with them may be of any type
ROLES = {"human": "user", "gpt": "assistant", "observation": "tool"}


def prompt_of_alpaca(row: Json) -> list[Any]:
    """System, history and the question, which is the instruction and, on the next line, the input."""
    turns: list[Any] = []
    for position, pair in enumerate(list_of(row.get("history") or [], "history")):
        if type(pair) is not list or len(pair) != 2:
            raise Rejected("bad_field", f"history[{position}]", "a list of question and answer is meant")
        turns += [user(pair[0]), assistant(pair[1])]
    parts = [text_of(row["instruction"], "instruction")]
    if row.get("input") not in (None, ""):
        parts.append(text_of(row["input"], "input"))
    return with_system(row, [*turns, user("\n".join(filter(None, parts)))])


def _others(row: Json, *taken: str) -> Json:
    """What is left of the row, its tools as templates take them."""
    others = rest(row, "instruction", "input", "system", "history", "conversations", "messages", "tools", *taken)
    return others | ({"tools": tools_of(row["tools"])} if row.get("tools") else {})


def tools_of(value: Any) -> Any:
    """Tools, which the format has as JSON text and without the envelope that chat templates expect."""
    found = value_in_json(value, "tools") if type(value) is str else value
    if type(found) is not list:
        return found
    return [
        {"type": "function", "function": tool} if type(tool) is dict and "name" in tool and "type" not in tool else tool
        for tool in found
    ]


def read_alpaca(row: Json) -> Shaped:
    """Instruction and output as a dialogue to imitate, its history included, as the format trains it."""
    return _others(row, "output") | {"messages": [*prompt_of_alpaca(row), assistant(row["output"])]}, ()


def read_alpaca_ranking(row: Json) -> Shaped:
    """Instruction, chosen and rejected."""
    return _others(row) | {"prompt": prompt_of_alpaca(row)}, ()


def read_alpaca_kto(row: Json) -> Shaped:
    """Instruction, output and its thumb."""
    fields = {"prompt": prompt_of_alpaca(row), "completion": row["output"], "label": row["kto_tag"]}
    return _others(row, "output", "kto_tag") | fields, ()


def turns_of(row: Json) -> list[Any]:
    """The dialogue, sharegpt's or with roles, behind its system text."""
    key = "conversations" if "conversations" in row else "messages"
    return with_system(row, [turn_of(turn, f"{key}[{at}]") for at, turn in enumerate(list_of(row[key], key))])


def turn_of(value: Any, field: str) -> Any:
    """One turn by from and value; one that has a role already, and what is no turn, as it is."""
    if type(value) is not dict or "from" not in value:
        return value
    if len(value) == 2 and "value" in value and value["from"] in PLAIN:  # what nearly all are
        return {"role": ROLES[value["from"]], "content": value["value"]}
    speaker, others = value["from"], rest(value, "from", "value")
    if speaker == "function_call":
        return others | assistant("") | {"tool_calls": _calls_in(value.get("value"), f"{field}.value")}
    role = ROLES.get(speaker, speaker) if type(speaker) is str else speaker
    return others | {"role": role, "content": value.get("value")}


def _calls_in(value: Any, field: str) -> list[Json]:
    """The call, or the list of calls, that a function_call turn spells in JSON."""
    found = value_in_json(text_of(value, field), field)
    calls = found if type(found) is list else [found]
    for call in calls:
        if type(call) is not dict or "name" not in call:
            raise Rejected("bad_field", field, "a function's name and arguments are meant")
    return [{"type": "function", "function": call} for call in calls]


def read_dialogue(row: Json) -> Shaped:
    """A dialogue to imitate."""
    return _others(row) | {"messages": turns_of(row)}, ()


def read_ranking(row: Json) -> Shaped:
    """A dialogue, and the two turns that may follow it."""
    answers = {key: _answer(row[key], key) for key in ("chosen", "rejected")}
    return _others(row) | {"prompt": turns_of(row)} | answers, ()


def _answer(value: Any, field: str) -> Any:
    return [turn_of(value, field)] if type(value) is dict else value


def read_kto(row: Json) -> Shaped:
    """A dialogue whose last turn has a thumb."""
    turns = turns_of(row)
    if not turns:
        raise Rejected("empty_prompt", "conversations" if "conversations" in row else "messages")
    label = row["kto_tag"] if "kto_tag" in row else row["label"]
    fields = {"prompt": turns[:-1], "completion": turns[-1:], "label": label}
    return _others(row, "kto_tag", "label") | fields, ()


def _is_thumb(row: Json) -> bool:
    """Whether the label is a thumb, or meant as one; other words name something else, such as a topic."""
    label = row["label"]
    return type(label) is not str or label.strip().lower() in LABEL_WORDS


ASKED = {"instruction": "Where is my parcel?", "input": "Order 7."}
TALK = [{"from": "human", "value": "Where is my parcel?"}]
GOOD, BAD = {"from": "gpt", "value": "On its way."}, {"from": "gpt", "value": "So sorry!"}
MESSAGES = [user("Where is my parcel?"), assistant("On its way.")]

_PAIR = frozenset({"chosen", "rejected"})
_OTHERS_PROMPT = frozenset({"prompt", "conversations", "messages"})
_FROM_ALPACA = {"prompt": "instruction", "completion": "output", "messages": "output"}


def _dialogue(name: str, becomes: str, key: str, *also: str, **parts: Any) -> Shape:
    readers = {"demonstration": read_dialogue, "preference": read_ranking, "feedback": read_kto}
    origin = dict.fromkeys(("prompt", "completion", "messages"), key)
    return Shape(
        name=name, becomes=becomes, keys=frozenset({key, *also}), read=readers[becomes], origin=origin, **parts
    )


SHAPES = (
    Shape(
        name="alpaca, ranking",
        becomes="preference",
        keys=frozenset({"instruction", *_PAIR}),
        lacks=_OTHERS_PROMPT,
        read=read_alpaca_ranking,
        origin=_FROM_ALPACA,
        example=ASKED | {"chosen": "On its way.", "rejected": "So sorry!"},
    ),
    Shape(
        name="alpaca, KTO",
        becomes="feedback",
        keys=frozenset({"instruction", "output", "kto_tag"}),
        lacks=_OTHERS_PROMPT,
        read=read_alpaca_kto,
        origin=_FROM_ALPACA | {"label": "kto_tag"},
        example=ASKED | {"output": "On its way.", "kto_tag": True},
    ),
    Shape(
        name="alpaca",
        becomes="demonstration",
        keys=frozenset({"instruction", "output"}),
        lacks=_OTHERS_PROMPT | NOT_A_DEMONSTRATION,
        read=read_alpaca,
        origin=_FROM_ALPACA,
        example=ASKED | {"output": "On its way.", "system": "Be brief.", "history": [["Hello", "Hello!"]]},
    ),
    _dialogue(
        "sharegpt, ranking",
        "preference",
        "conversations",
        *_PAIR,
        lacks=frozenset({"prompt"}),
        example={"conversations": TALK, "chosen": GOOD, "rejected": BAD},
    ),
    _dialogue(
        "sharegpt, KTO",
        "feedback",
        "conversations",
        "kto_tag",
        example={"conversations": [*TALK, GOOD], "kto_tag": True},
    ),
    _dialogue(
        "sharegpt, KTO by label",
        "feedback",
        "conversations",
        "label",
        fits=_is_thumb,
        lacks=frozenset({"kto_tag"}),
        example={"conversations": [*TALK, GOOD], "label": False},
    ),
    _dialogue(
        "sharegpt",
        "demonstration",
        "conversations",
        lacks=NOT_A_DEMONSTRATION,
        example={
            "conversations": [
                *TALK,
                {"from": "function_call", "value": '{"name": "track", "arguments": {"order": 7}}'},
                {"from": "observation", "value": "in transit"},
                GOOD,
            ],
            "system": "Be brief.",
            "tools": '[{"name": "track", "parameters": {"type": "object", "properties": {}}}]',
        },
    ),
    _dialogue(
        "messages, KTO by tag",
        "feedback",
        "messages",
        "kto_tag",
        lacks=frozenset({"prompt"}),
        example={"messages": MESSAGES, "kto_tag": False},
    ),
    _dialogue(
        "messages, KTO",
        "feedback",
        "messages",
        "label",
        lacks=frozenset({"prompt", "kto_tag", *_PAIR}),
        fits=_is_thumb,
        example={"messages": MESSAGES, "label": True},
    ),
    _dialogue(
        "messages, ranking",
        "preference",
        "messages",
        *_PAIR,
        lacks=frozenset({"prompt"}),
        named=True,
        like="axolotl",
        example={"messages": MESSAGES[:1], "chosen": assistant("On its way."), "rejected": assistant("So sorry!")},
    ),
    _dialogue(
        "messages, with a system text",
        "demonstration",
        "messages",
        "system",
        lacks=NOT_A_DEMONSTRATION | {"prompt"},
        example={"messages": MESSAGES, "system": "Be brief."},
    ),
)
