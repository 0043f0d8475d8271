"""The row types that TRL documents (huggingface.co/docs/trl/dataset_formats), standard and conversational.

Its explicit types have canonical keys already, and a plain text is one turn by the contract, so only the others change.
Stepwise supervision (completions, labels) has no counterpart and is no known shape.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fairlead.data.formats.canonical import NOT_A_DEMONSTRATION, is_prompt_alone
from fairlead.data.formats.shapes import Json, Shape, Shaped, assistant, rest, unchanged, user
from fairlead.data.ledger import Rejected
from fairlead.data.turns import canonical_role

KWARGS = "chat_template_kwargs"


def split_implicit_prompt(row: Json) -> Shaped:
    """The turns that both completions share, up to the last place where both go on with an assistant turn."""
    chosen, rejected = row["chosen"], row["rejected"]
    if type(chosen) is not list or type(rejected) is not list:
        texts = type(chosen) is str and type(rejected) is str
        raise Rejected(
            "implicit_prompt_text" if texts else "not_text", "chosen" if type(chosen) is not list else "rejected"
        )
    if chosen == rejected:
        raise Rejected("identical_pair", "rejected")
    end = 0
    for position, (ours, theirs) in enumerate(zip(chosen, rejected, strict=False)):
        if position and _is_assistant(ours) and _is_assistant(theirs):
            end = position
        if ours != theirs:
            break
    if not end:
        raise Rejected("implicit_prompt_unshared", "chosen")
    return row | {"prompt": chosen[:end], "chosen": chosen[end:], "rejected": rejected[end:]}, ()


def _is_assistant(message: Any) -> bool:
    return type(message) is dict and canonical_role(message.get("role")) == "assistant"


def join_prompt_and_completion(row: Json) -> Shaped:
    """One dialogue whose assistant turns are trained from the completion on."""
    prompt = _untrained(_as_turns(row["prompt"], "prompt", "user"))
    completion = _as_turns(row["completion"], "completion", "assistant")
    if not completion:
        raise Rejected("empty_completion", "completion")
    if not _is_assistant(completion[0]):
        raise Rejected("bad_completion_turns", "completion[0]")
    return rest(row, "prompt", "completion") | {"messages": prompt + completion}, ()


def _untrained(messages: list[Any]) -> list[Any]:
    return [message | {"train": False} if _is_assistant(message) else message for message in messages]


def _as_turns(value: Any, field: str, speaker: str) -> list[Any]:
    if type(value) is str:
        return [{"role": speaker, "content": value}]
    if type(value) is list:
        return value
    raise Rejected("missing_field" if value is None else "not_text", field)


def refuse_text(row: Json) -> Shaped:
    """No row: a text does not say who speaks."""
    raise Rejected("text_without_turns", "text")


def _are_no_messages(row: Json) -> bool:
    return type(row["chosen"]) is not dict and type(row["rejected"]) is not dict  # a lone message: another format's


def _with_kwargs(shape: Shape) -> Shape:
    """The same shape with arguments for the chat template, which TRL calls by another name than we do."""

    def read(row: Json) -> Shaped:
        return shape.read(rest(row, KWARGS) | {"template_kwargs": row[KWARGS]})

    name, example = f"{shape.name}, with {KWARGS}", shape.example | {KWARGS: {"enable_thinking": False}}
    return replace(shape, name=name, keys=shape.keys | {KWARGS}, read=read, named=False, like="", example=example)


SKY, BLUE, GREEN = [user("The sky is")], [assistant(" blue.")], [assistant(" green.")]

PLAIN = (
    Shape(
        name="preference",
        becomes="preference",
        keys=frozenset({"prompt", "chosen", "rejected"}),
        read=unchanged,
        named=True,
        like="canonical",
        example={"prompt": "The sky is", "chosen": " blue.", "rejected": " green."},
    ),
    Shape(
        name="preference, implicit prompt",
        becomes="preference",
        keys=frozenset({"chosen", "rejected"}),
        lacks=frozenset({"prompt"}),
        fits=_are_no_messages,
        read=split_implicit_prompt,
        origin={"prompt": "chosen[]"},
        example={"chosen": SKY + BLUE, "rejected": SKY + GREEN},
    ),
    Shape(
        name="unpaired preference",
        becomes="feedback",
        keys=frozenset({"prompt", "completion", "label"}),
        read=unchanged,
        named=True,
        like="canonical",
        example={"prompt": "The sky is", "completion": " blue.", "label": True},
    ),
    Shape(
        name="prompt-completion",
        becomes="demonstration",
        keys=frozenset({"prompt", "completion"}),
        lacks=frozenset({"label"}),
        read=join_prompt_and_completion,
        example={"prompt": "The sky is", "completion": " blue."},
    ),
    Shape(
        name="language modelling",
        becomes="demonstration",
        keys=frozenset({"messages"}),
        lacks=NOT_A_DEMONSTRATION,
        read=unchanged,
        named=True,
        like="canonical",
        example={"messages": SKY + BLUE},
    ),
    Shape(
        name="prompt-only",
        becomes="candidates",
        keys=frozenset({"prompt"}),
        when=lambda keys: is_prompt_alone(keys - {KWARGS}),
        read=unchanged,
        named=True,
        like="canonical",
        example={"prompt": "The sky is"},
    ),
)
SHAPES = (
    *map(_with_kwargs, PLAIN),
    *PLAIN,
    Shape(
        name="language modelling, plain",
        becomes="",
        keys=frozenset({"text"}),
        read=refuse_text,
        example={"text": "The sky is blue."},
    ),
)
