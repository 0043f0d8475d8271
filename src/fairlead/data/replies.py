"""What can be counted in a reply without a model: repetition, lists, Markdown, apologies, refusals.

The phrases are English and few; they are all here. A measure of your own is a function (docs/python.md).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

NGRAM = 4
"""Tokens in an n-gram of `repetition`: seq-rep-4 of Welleck et al. 2020 (arXiv:1908.04319)."""

APOLOGIES = ("sorry", "apologies", "apologize", "apologise", "apology", "regret", "forgive me", "pardon me")
"""A reply that holds one of these, as whole words, apologises."""

REFUSALS = (
    "i can't",
    "i cannot",
    "i can not",
    "i could not",
    "i couldn't",
    "i won't",
    "i will not",
    "i'm unable to",
    "i am unable to",
    "i'm not able to",
    "i am not able to",
    "i'm not allowed to",
    "i am not allowed to",
    "i must decline",
    "i have to decline",
    "i'm sorry, but",
    "i am sorry, but",
    "as an ai",
)
"""A reply that holds one of these among its first `REFUSAL_WITHIN` characters refuses."""

REFUSAL_WITHIN = 200
"""A refusal comes first; later on, "I cannot recommend it enough" is none."""

LIST_ITEM = re.compile(r"^[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]+\S", re.M)
MARKDOWN = (
    re.compile(r"^#{1,6} +\S", re.M),  # heading
    re.compile(r"^[ \t]*(?:```|~~~)", re.M),  # fenced code
    re.compile(r"^[ \t]*\|.*\|[ \t]*$", re.M),  # table
    re.compile(r"(?<!\w)(\*\*|__)(?=\S).+?(?<=\S)\1(?!\w)"),  # bold
    re.compile(r"\[[^\]\n]+\]\([^)\s]+\)"),  # link
    re.compile(r"`[^`\n]+`"),  # code in a line
)


def repetition(ids: Sequence[int], *, n: int = NGRAM) -> float | None:
    """Share of the n-grams of token ids that stood earlier in the same reply: 1 − distinct / all.

    0 repeats nothing; a loop tends to 1. None for fewer than n tokens, which have no n-gram.
    """
    count = len(ids) - n + 1
    if count < 1:
        return None
    return 1 - len({tuple(ids[at : at + n]) for at in range(count)}) / count


def has_list(text: str) -> bool:
    """Whether a line begins as an item of a bulleted or numbered list."""
    return LIST_ITEM.search(text) is not None


def has_markdown(text: str) -> bool:
    """Whether there is Markdown other than a list: a heading, bold, code, a table, a link."""
    return any(pattern.search(text) for pattern in MARKDOWN)


def apologises(text: str) -> bool:
    """Whether one of `APOLOGIES` stands in it."""
    return _holds(text, APOLOGIES)


def refuses(text: str) -> bool:
    """Whether one of `REFUSALS` stands near its beginning."""
    return _holds(text[:REFUSAL_WITHIN], REFUSALS)


def _holds(text: str, phrases: Sequence[str]) -> bool:
    plain = " ".join(text.lower().replace("’", "'").split())
    return any(re.search(rf"\b{re.escape(phrase)}\b", plain) for phrase in phrases)
