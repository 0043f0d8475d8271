"""Text → token ids, where only the template's own control tokens become control tokens.

A control token that somebody typed is held out of the template's sight and tokenised as the plain text it is. All other
text is tokenised whole, as at inference: in pieces, tokens at the joins would come out otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

# Stand for held text in what the template reads: private-use characters, which no template looks for.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"
_HELD = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")

REMEMBERED = 256
"""Texts whose ids are kept: turn headers, and prompts that several completions follow."""

Ids = tuple[int, ...]


class Encoder:
    """Tokenises rendered text with one tokenizer; `control` are its control tokens."""

    def __init__(self, tokenizer: Any, control: Collection[str]) -> None:
        self._tokenizer = tokenizer
        self._control = _any_of(control)
        self._to_hold = _any_of([*control, _OPEN, _CLOSE])
        self._control_ids = frozenset(tokenizer.convert_tokens_to_ids(sorted(control)))
        self._independent = _any_of(_independent(tokenizer) if tokenizer.is_fast else ())
        self._encode = lru_cache(maxsize=REMEMBERED)(self._call)
        self._anchors = tuple((anchor, self._encode(anchor)) for anchor in ("\n", "a"))

    def control_in(self, text: str) -> list[re.Match[str]]:
        """The control tokens that a text spells, from left to right."""
        return list(self._control.finditer(text))

    def without_control(self, text: str) -> str:
        """The text between the control tokens."""
        return self._control.sub("", text)

    def is_spelled_in(self, value: Any) -> bool:
        """Whether `value` (text, or lists and mappings of it) spells a control token."""
        if isinstance(value, str):
            return self._control.search(value) is not None
        if isinstance(value, Mapping):
            return any(self.is_spelled_in(name) or self.is_spelled_in(item) for name, item in value.items())
        return isinstance(value, list | tuple) and any(map(self.is_spelled_in, value))

    def hold(self, value: Any, held: list[str]) -> Any:
        """`value` (text, or lists and mappings of it) with its control text moved to `held`."""

        def take(match: re.Match[str]) -> str:
            held.append(match.group())
            return f"{_OPEN}{len(held) - 1}{_CLOSE}"

        return _map_texts(value, lambda text: self._to_hold.sub(take, text))

    def ids(self, text: str, held: Sequence[str]) -> Ids:
        """Ids of rendered text from its very beginning; what is held comes back as plain text."""
        return self._join(text, held, self._encode)

    def continuation(self, context: str, text: str, held: Sequence[str]) -> Ids:
        """Ids of `text` behind the ids of `context`, which are fixed: they are what the model has read when it begins.

        Where the two would join into other tokens (`\\n` and `\\n\\nHello`), the text is tokenised apart.
        """
        # What stands before a control token does not change the tokens from it on: that much need not be done again.
        near = context[max((match.start() for match in self._independent.finditer(context)), default=0) :]
        fixed, whole = self.ids(near, held), self.ids(near + text, held)
        return whole[len(fixed) :] if whole[: len(fixed)] == fixed else self._join(text, held, self._inside)

    def _join(self, text: str, held: Sequence[str], encode_first: Callable[[str], Ids]) -> Ids:
        if not held:
            return encode_first(text)
        first, *others = _HELD.split(text)
        ids = list(encode_first(first))
        for place, part in enumerate(others):
            ids += self._inside(part) if place % 2 else self._plain(held[int(part)])
        return tuple(ids)

    def _plain(self, text: str) -> Ids:
        """Ids of control text as the plain text it is, wherever it stands."""
        ids = self._inside(text, split=True)
        if self._control_ids.isdisjoint(ids):
            return ids
        # The vocabulary holds the whole text as one plain token too, with the same id: letters cannot be mistaken.
        return tuple(token for letter in text for token in self._inside(letter, split=True))

    def _inside(self, text: str, *, split: bool = False) -> Ids:
        """Ids of text that stands behind other text: without the space some tokenizers put before what comes first."""
        if not text:
            return ()
        for anchor, known in self._anchors:
            ids = self._encode(anchor + text, split)
            if ids[: len(known)] == known:
                return ids[len(known) :]
        return self._encode(text, split)

    def _call(self, text: str, split: bool = False) -> Ids:
        called = self._tokenizer(text, add_special_tokens=False, split_special_tokens=split, verbose=False)
        return tuple(called["input_ids"])


def _independent(tokenizer: Any) -> list[str]:
    """Special tokens that are cut out of the raw text before all else, so that each side is tokenised by itself."""
    added = tokenizer.added_tokens_decoder.values()
    return [token.content for token in added if token.special and not token.normalized and not token.single_word]


def _any_of(texts: Collection[str]) -> re.Pattern[str]:
    """Matches any of the texts, the longest first, as tokenizers do; nothing where there are none."""
    longest_first = sorted(set(texts), key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first)) if longest_first else "(?!)")


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_map_texts(name, change): _map_texts(item, change) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map_texts(item, change) for item in value]
    return value
