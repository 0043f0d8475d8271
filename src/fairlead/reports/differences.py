"""Two texts held against one another word by word."""

from __future__ import annotations

import re
from collections import Counter
from difflib import SequenceMatcher
from typing import Literal

from fairlead.reports.page import Piece

WORD = re.compile(r"\s*\S+|\s+\Z")
"""A word with the white space before it; white space at the end is a word of its own."""
PASSAGE = 3
"""Words from which a change is a rewritten passage."""

Run = tuple[bool, int, int, int, int]
"""Whether the words are equal, and the places of the run in the first and in the second text."""


def marked(before: str, after: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces, with the words that only the first has marked `del` and those only the second has `ins`.

    The longest common runs of words are found first (Ratcliff and Metzener 1988, as in difflib); words are equal
    whatever white space is around them. A single common word between two rewritten passages counts as rewritten too:
    it is there by chance, and would break both up. The pieces of each side, joined, are its text.
    """
    first, second = WORD.findall(before), WORD.findall(after)
    matcher = SequenceMatcher(None, [word.strip() for word in first], [word.strip() for word in second], autojunk=False)
    left: list[Piece] = []
    right: list[Piece] = []
    for equal, start, end, from_, to in _runs(matcher):
        _add(left, "".join(first[start:end]), "" if equal else "del")
        _add(right, "".join(second[from_:to]), "" if equal else "ins")
    return left, right


def _runs(matcher: SequenceMatcher[str]) -> list[Run]:
    """Equal and changed runs in turn."""
    found = [(sort == "equal", start, end, from_, to) for sort, start, end, from_, to in matcher.get_opcodes()]
    runs: list[Run] = []
    for place, (equal, start, end, from_, to) in enumerate(found):
        around = [found[place - 1], found[place + 1]] if 0 < place < len(found) - 1 else []
        by_chance = equal and end - start == 1 and bool(around) and all(_length(run) >= PASSAGE for run in around)
        kept = equal and not by_chance
        if runs and runs[-1][0] == kept:
            _, first, _, second, _ = runs.pop()
            start, from_ = first, second
        runs.append((kept, start, end, from_, to))
    return runs


def _length(run: Run) -> int:
    return max(run[2] - run[1], run[4] - run[3])


def _add(pieces: list[Piece], text: str, mark: Literal["", "ins", "del"]) -> None:
    """The white space before a marked run stays unmarked: a line under it would look like a word."""
    bare = text.lstrip()
    if mark and bare != text and bare:
        pieces.append(Piece(text=text[: len(text) - len(bare)]))
        text = bare
    if text:
        pieces.append(Piece(text=text, mark=mark if bare else ""))


def changed_share(before: str, after: str) -> float:
    """The share of both texts' words that the other does not have, whatever their order: 0 for equal bags, 1 for none
    in common (1 − the Dice coefficient of the two bags of words, Dice 1945). Two empty texts are equal."""
    first, second = Counter(before.split()), Counter(after.split())
    total = first.total() + second.total()
    return 1 - 2 * (first & second).total() / total if total else 0.0
