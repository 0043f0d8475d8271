"""Messages and the order of turns: from JSON values to `Turns`, and the rules that make a dialogue legal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fairlead.data.ledger import Note, Rejected
from fairlead.data.records import Message, Turns

ROLES = frozenset({"system", "user", "assistant", "tool"})

ROLE_ALIASES = {
    "ai": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "chatgpt": "assistant",
    "developer": "system",
    "function": "tool",
    "gpt": "assistant",
    "human": "user",
    "ipython": "tool",
    "model": "assistant",
    "observation": "tool",
    "prompter": "user",
}

ECHO_LENGTH = 20  # characters; a shorter prompt may well open its own answer ("Hello" → "Hello! …")

MESSAGE_KEYS = frozenset(Message.__struct_fields__)


class Notes:
    """Collects, while one row is read, what was changed or noticed, and keys that have no place where they stood."""

    __slots__ = ("changes", "unplaced")

    def __init__(self, changes: Iterable[Note] = ()) -> None:
        self.changes = list(changes)
        self.unplaced: dict[str, Any] = {}

    def add(self, code: str, detail: str = "") -> None:
        """Notes a change or a finding."""
        self.changes.append(Note(code, detail))


def kind_of_value(value: Any) -> str:
    """What a JSON value is, in words for a message."""
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list"}
    return names.get(type(value), "an object" if isinstance(value, dict) else type(value).__name__)


def canonical_role(value: Any) -> str | None:
    """The role that `value` means, also by another name or in other letters; None where it means none."""
    if type(value) is not str:
        return None
    if value in ROLES:
        return value
    folded = value.strip().lower()
    return folded if folded in ROLES else ROLE_ALIASES.get(folded)


def read_turns(value: Any, field: str, speaker: str, notes: Notes) -> Turns:
    """Turns from a list of messages, or from a plain text, which is one turn of `speaker`.

    Raises `Rejected`: `missing_field`, `not_text`, `unknown_role`, `bad_field`.
    """
    if type(value) is str:
        return (Message(role=speaker, content=value),)
    if type(value) is list:
        return tuple([_message(item, field, position, notes) for position, item in enumerate(value)])
    if value is None:
        raise Rejected("missing_field", field)
    raise Rejected("not_text", field, f"it is {kind_of_value(value)}; a text or a list of messages is meant")


def _message(value: Any, field: str, position: int, notes: Notes) -> Message:
    if type(value) is not dict:
        raise Rejected("not_text", f"{field}[{position}]", f"it is {kind_of_value(value)}; a message is meant")
    role, content = value.get("role"), value.get("content")
    if len(value) == 2 and type(content) is str and type(role) is str and role in ROLES:  # what nearly all are
        return Message(role=role, content=content)
    return _unusual_message(value, f"{field}[{position}]", notes)


def _unusual_message(value: dict[str, Any], field: str, notes: Notes) -> Message:
    written = value.get("role")
    role = canonical_role(written)
    if role is None:
        raise Rejected("unknown_role", f"{field}.role", f"it is {written!r}")
    if role != written:
        notes.add("role_alias", f"{field}: {written} → {role}")
    calls = value.get("tool_calls") or []
    if type(calls) is not list or not all(type(call) is dict for call in calls):
        raise Rejected("bad_field", f"{field}.tool_calls", "a list of objects is meant")
    if calls and role != "assistant":
        raise Rejected("bad_field", f"{field}.tool_calls", f"a {role} turn cannot call tools")
    content = value.get("content")
    if content is None and calls:
        content = ""  # a call alone: null, absent and empty mean the same
    if type(content) is not str:
        raise Rejected("not_text", f"{field}.content", f"it is {kind_of_value(content)}")
    train = value.get("train", True)
    if type(train) is not bool:
        raise Rejected("bad_field", f"{field}.train", "true or false is meant")
    for key, item in value.items():
        if key not in MESSAGE_KEYS and item is not None:
            notes.unplaced[f"{field}.{key}"] = item
    return Message(
        role=role,
        content=content,
        tool_calls=tuple(calls),
        name=_optional_text(value, "name", field),
        tool_call_id=_optional_text(value, "tool_call_id", field),
        train=train,
    )


def _optional_text(value: dict[str, Any], key: str, field: str) -> str | None:
    text = value.get(key)
    if text is None or type(text) is str:
        return text
    raise Rejected("bad_field", f"{field}.{key}", f"it is {kind_of_value(text)}; a text is meant")


def read_prompted(row: dict[str, Any], completions: Sequence[str], notes: Notes) -> dict[str, Any]:
    """The prompt and the named completions of a row, checked, the prompt's own turns stripped from each completion."""
    prompt = read_turns(row["prompt"], "prompt", "user", notes)
    check_prompt(prompt)
    fields: dict[str, Any] = {"prompt": prompt}
    echo = prompt[-1].content if len(prompt[-1].content) >= ECHO_LENGTH and completions else ""
    for key in completions:
        turns = read_turns(row[key], key, "assistant", notes)
        if turns[: len(prompt)] == prompt:
            turns = turns[len(prompt) :]
            notes.add("prompt_repeated", key)
        check_completion(turns, key)
        if echo and not turns[0].content.startswith(echo):
            echo = ""
        fields[key] = turns
    if echo:
        notes.add("prompt_echoed")
    return fields


def check_prompt(turns: Turns, field: str = "prompt") -> None:
    """A prompt is a legal dialogue with a user turn that says something, and ends where the assistant is to answer.

    Raises `Rejected` with the rule that is broken.
    """
    if not any(turn.role == "user" and not is_blank(turn) for turn in turns):
        raise Rejected("empty_prompt", field)
    if len(turns) > 1:
        waiting = check_order(turns, field)
        end = f"{field}[{len(turns) - 1}]"
        if turns[-1].role == "assistant":
            raise Rejected("bad_prompt_end", end)
        if waiting:
            raise Rejected("tool_call_unanswered", end, f"{waiting} results are missing at the end of the prompt")


def check_completion(turns: Turns, field: str, *, may_be_blank: bool = False) -> None:
    """A completion is an assistant turn, or assistant/tool/…/assistant; each assistant turn says or calls something.

    may_be_blank: for what a model has sampled, which may be nothing and is not trained on as it stands.
    Raises `Rejected` with the rule that is broken.
    """
    if not turns:
        raise Rejected("empty_completion", field)
    for position, turn in enumerate(turns):
        if turn.role not in ("assistant", "tool"):
            raise Rejected("bad_completion_turns", f"{field}[{position}]", f"it is a {turn.role} turn")
        if turn.role == "assistant" and is_blank(turn) and not may_be_blank:
            raise Rejected("empty_completion", f"{field}[{position}]")
    if turns[0].role != "assistant" or turns[-1].role != "assistant":
        raise Rejected("bad_completion_turns", field, "it begins or ends with a tool turn")
    if len(turns) > 1:
        check_order(turns, field, after="user")


def check_order(turns: Turns, field: str, after: str | None = None) -> int:
    """A legal dialogue: system only first, user and assistant take turns, each tool call gets its result.

    `after` is the role of the turn before the first one, None at the start of a dialogue. Returns how many calls
    have no result yet at the end. Raises `Rejected` with the rule that is broken.
    """
    previous = after
    pending: list[Any] = []  # the ids (or None) of calls that wait for a result
    for position, turn in enumerate(turns):
        role, where = turn.role, f"{field}[{position}]"
        if role == "tool":
            _answer(turn, pending, where)
        elif role == "system":
            if previous is not None:
                raise Rejected("system_not_first", where)
        elif pending:
            raise Rejected("tool_call_unanswered", where, f"{len(pending)} results are missing before this turn")
        elif role == previous:
            raise Rejected("same_role_twice", where, f"two {role} turns in a row")
        elif role == "assistant" and previous in (None, "system"):
            raise Rejected("assistant_first", where)
        if turn.tool_calls:
            pending = [call.get("id") for call in turn.tool_calls]
        previous = role
    return len(pending)


def _answer(turn: Message, pending: list[Any], where: str) -> None:
    """Takes the call that a tool turn answers off the list: by its id where both carry one, else the oldest."""
    if not pending:
        raise Rejected("tool_result_without_call", where)
    if turn.tool_call_id is None or None in pending:
        pending.pop(0)
    elif turn.tool_call_id in pending:
        pending.remove(turn.tool_call_id)
    else:
        raise Rejected("tool_result_without_call", where, f"no call has the id {turn.tool_call_id!r}")


def is_blank(turn: Message) -> bool:
    """Whether a turn neither says nor calls anything."""
    return not turn.tool_calls and (not turn.content or turn.content.isspace())
