"""Axolotl's rows for preferences (chat_template.default, and chatml or llama3 with their column names) and for KTO."""

from __future__ import annotations

from typing import Any

from fairlead.data.formats.canonical import NOT_A_DEMONSTRATION
from fairlead.data.formats.shapes import Json, Shape, Shaped, assistant, rest, text_of, unchanged, user, with_system
from fairlead.data.formats.trl import join_prompt_and_completion

_PAIR = frozenset({"chosen", "rejected"})


def read_chat_template(row: Json) -> Shaped:
    """Messages, and the two turns that may follow them."""
    messages = row["messages"]
    pair = {key: [row[key]] if type(row[key]) is dict else row[key] for key in ("chosen", "rejected")}
    turns = with_system(row, messages) if type(messages) is list else messages
    return rest(row, "messages", "system") | {"prompt": turns} | pair, ()


def _read_columns(row: Json, question: str, **answers: str) -> Shaped:
    """A question under one name and answers under others, with a system text beside them."""
    turn = user(text_of(row[question], question))
    found = {key: _without_question(row[source], turn) for key, source in answers.items()}
    others = rest(row, "system", question, *answers.values())
    return others | {"prompt": with_system(row, [turn])} | found, ()


def _without_question(value: Any, question: Json) -> Any:
    """An answer; where it is a dialogue, as in `ultra`, without the question that opens it."""
    if type(value) is list and value and value[0] == question:
        return value[1:]
    return value


def read_argilla(row: Json) -> Shaped:
    """instruction, chosen_response, rejected_response."""
    return _read_columns(row, "instruction", chosen="chosen_response", rejected="rejected_response")


def read_icr(row: Json) -> Shaped:
    """input, chosen, rejected."""
    return _read_columns(row, "input", chosen="chosen", rejected="rejected")


def read_intel(row: Json) -> Shaped:
    """question, chosen, rejected."""
    return _read_columns(row, "question", chosen="chosen", rejected="rejected")


def read_prompt(row: Json) -> Shaped:
    """prompt with answers under their canonical names, and a system text; the prompt may be turns already."""
    prompt = row["prompt"]
    turns = [user(prompt)] if type(prompt) is str else prompt
    if type(turns) is not list:
        text_of(prompt, "prompt")
    answers = {
        key: _without_question(row[key], turns[-1])
        for key in ("chosen", "rejected", "completion")
        if key in row and turns
    }
    return rest(row, "system") | {"prompt": with_system(row, turns)} | answers, ()


def read_prompt_completion(row: Json) -> Shaped:
    """prompt and completion with a system text, to imitate; only the completion is trained."""
    return join_prompt_and_completion(read_prompt(row)[0])


def read_kto(row: Json, question: str) -> Shaped:
    """A question under one name, completion, label."""
    return _read_columns(row, question, completion="completion")


QUESTION, GOOD, BAD = "Where is my parcel?", "On its way.", "So sorry!"
SYSTEM = {"system": "Be brief."}
ANSWERS = {"chosen": GOOD, "rejected": BAD}

SHAPES = (
    Shape(
        name="chat_template.default",
        becomes="preference",
        keys=frozenset({"messages", *_PAIR}),
        lacks=frozenset({"prompt"}),
        read=read_chat_template,
        origin={"prompt": "messages[]"},
        example={"messages": [user(QUESTION)], "chosen": assistant(GOOD), "rejected": assistant(BAD)},
    ),
    Shape(
        name="argilla",
        becomes="preference",
        keys=frozenset({"instruction", "chosen_response", "rejected_response"}),
        lacks=frozenset({"prompt", *_PAIR}),
        read=read_argilla,
        origin={"prompt": "instruction", "chosen": "chosen_response", "rejected": "rejected_response"},
        example=SYSTEM | {"instruction": QUESTION, "chosen_response": GOOD, "rejected_response": BAD},
    ),
    Shape(
        name="icr",
        becomes="preference",
        keys=frozenset({"input", *_PAIR}),
        lacks=frozenset({"prompt", "instruction", "messages", "conversations", "question"}),
        read=read_icr,
        origin={"prompt": "input"},
        example=SYSTEM | {"input": QUESTION} | ANSWERS,
    ),
    Shape(
        name="intel",
        becomes="preference",
        keys=frozenset({"question", *_PAIR}),
        read=read_intel,
        named=True,
        like="orca",
        origin={"prompt": "question"},
        example=SYSTEM | {"question": QUESTION} | ANSWERS,
    ),
    Shape(
        name="prompt_pairs",
        becomes="preference",
        keys=frozenset({"system", "prompt", *_PAIR}),
        fits=lambda row: type(row["chosen"]) is not list,
        read=read_prompt,
        example=SYSTEM | {"prompt": QUESTION} | ANSWERS,
    ),
    Shape(
        name="ultra",
        becomes="preference",
        keys=frozenset({"system", "prompt", *_PAIR}),
        fits=lambda row: type(row["chosen"]) is list,
        read=read_prompt,
        example=SYSTEM
        | {
            "prompt": QUESTION,
            "chosen": [user(QUESTION), assistant(GOOD)],
            "rejected": [user(QUESTION), assistant(BAD)],
        },
    ),
    Shape(
        name="prompt_pairs or ultra, without a system text",
        becomes="preference",
        keys=frozenset({"prompt", *_PAIR}),
        read=read_prompt,
        named=True,
        like="canonical",
        example={"prompt": QUESTION} | ANSWERS,
    ),
    Shape(
        name="chat_template",
        becomes="demonstration",
        keys=frozenset({"messages"}),
        lacks=NOT_A_DEMONSTRATION,
        read=unchanged,
        named=True,
        like="canonical",
        example={"messages": [user(QUESTION), assistant(GOOD)]},
    ),
    Shape(
        name="KTO, argilla",
        becomes="feedback",
        keys=frozenset({"instruction", "completion", "label"}),
        lacks=frozenset({"prompt"}),
        read=lambda row: read_kto(row, "instruction"),
        origin={"prompt": "instruction"},
        example=SYSTEM | {"instruction": QUESTION, "completion": GOOD, "label": True},
    ),
    Shape(
        name="KTO, intel",
        becomes="feedback",
        keys=frozenset({"question", "completion", "label"}),
        lacks=frozenset({"prompt", "instruction"}),
        read=lambda row: read_kto(row, "question"),
        origin={"prompt": "question"},
        example=SYSTEM | {"question": QUESTION, "completion": GOOD, "label": True},
    ),
    Shape(
        name="KTO, prompt_pairs or ultra",
        becomes="feedback",
        keys=frozenset({"system", "prompt", "completion", "label"}),
        read=read_prompt,
        example=SYSTEM | {"prompt": QUESTION, "completion": GOOD, "label": True},
    ),
    Shape(
        name="prompt and completion, with a system text",
        becomes="demonstration",
        keys=frozenset({"system", "prompt", "completion"}),
        lacks=frozenset({"label"}),
        read=read_prompt_completion,
        example=SYSTEM | {"prompt": QUESTION, "completion": GOOD},
    ),
)
