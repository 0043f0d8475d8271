"""Turns as one text, and its words: the one place that says what is counted where lengths and words are compared."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.data.records import Message


def text_of(turns: Sequence[Message]) -> str:
    """The contents of the turns, joined by line ends. Tool calls are no text."""
    return turns[0].content if len(turns) == 1 else "\n".join([turn.content for turn in turns])


def words(text: str) -> list[str]:
    """What stands between white space."""
    return text.split()


def normalized(text: str) -> str:
    """The text with letter case and white space folded: texts that differ in these alone become equal."""
    return " ".join(text.casefold().split())
