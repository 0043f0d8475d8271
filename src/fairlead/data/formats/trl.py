"""The row types that TRL documents (huggingface.co/docs/trl/dataset_formats), standard and conversational.

| type | keys | becomes |
|---|---|---|
| preference | prompt, chosen, rejected | preference |
| preference, implicit prompt | chosen, rejected | preference; the shared leading turns are the prompt |
| unpaired preference | prompt, completion, label | feedback |
| prompt-completion | prompt, completion | demonstration; earlier assistant turns are not trained |
| language modelling | messages | demonstration |
| language modelling, standard | text | quarantined: a text does not say who speaks |
| prompt-only | prompt | candidates without a candidate yet |

Explicit types have canonical keys already, and a plain text is one turn by the contract, so only the others change.
Stepwise supervision (completions, labels) has no counterpart and is no known shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.data.formats import canonical
from fairlead.data.ledger import Note, Rejected
from fairlead.data.turns import canonical_role


def detect(row: dict[str, Any]) -> bool:
    """Whether the row is of a TRL type."""
    if canonical.kind_of(row) in ("preference", "feedback", "demonstration", "candidates"):
        return True
    return _has_implicit_prompt(row) or _is_prompt_completion(row) or "text" in row


def to_canonical(row: dict[str, Any]) -> tuple[dict[str, Any], Sequence[Note]]:
    """The row in canonical shape, and what was changed. Raises `Rejected` where the prompt's end would be a guess."""
    if _has_implicit_prompt(row):
        return _split_implicit_prompt(row), ()
    if _is_prompt_completion(row):
        return _join_prompt_and_completion(row), ()
    if "text" in row and canonical.kind_of(row) is None:
        raise Rejected("text_without_turns", "text")
    return row, ()


def _has_implicit_prompt(row: dict[str, Any]) -> bool:
    if "prompt" in row or "chosen" not in row or "rejected" not in row:
        return False
    return type(row["chosen"]) is not dict and type(row["rejected"]) is not dict  # a lone message: another format's


def _is_prompt_completion(row: dict[str, Any]) -> bool:
    return "prompt" in row and "completion" in row and "label" not in row


def _split_implicit_prompt(row: dict[str, Any]) -> dict[str, Any]:
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
    return row | {"prompt": chosen[:end], "chosen": chosen[end:], "rejected": rejected[end:]}


def _is_assistant(message: Any) -> bool:
    return type(message) is dict and canonical_role(message.get("role")) == "assistant"


def _join_prompt_and_completion(row: dict[str, Any]) -> dict[str, Any]:
    """One dialogue whose assistant turns are trained from the completion on."""
    prompt = _untrained(_as_turns(row["prompt"], "prompt", "user"))
    completion = _as_turns(row["completion"], "completion", "assistant")
    if not completion:
        raise Rejected("empty_completion", "completion")
    if not _is_assistant(completion[0]):
        raise Rejected("bad_completion_turns", "completion[0]")
    others = {key: value for key, value in row.items() if key not in ("prompt", "completion")}
    return others | {"messages": prompt + completion}


def _untrained(messages: list[Any]) -> list[Any]:
    return [message | {"train": False} if _is_assistant(message) else message for message in messages]


def _as_turns(value: Any, field: str, speaker: str) -> list[Any]:
    if type(value) is str:
        return [{"role": speaker, "content": value}]
    if type(value) is list:
        return value
    raise Rejected("missing_field" if value is None else "not_text", field)
