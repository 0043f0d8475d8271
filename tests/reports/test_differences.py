"""Texts held against one another: nothing of either is lost, and what is marked is what differs."""

from __future__ import annotations

import random

import pytest

from fairlead.reports.differences import changed_share, marked
from fairlead.reports.page import Piece


def shown(pieces: list[Piece]) -> str:
    signs = {"": "{}", "ins": "[+{}+]", "del": "[-{}-]"}
    return "".join(signs[piece.mark].format(piece.text) for piece in pieces)


@pytest.mark.parametrize(
    ("before", "after", "left", "right"),
    [
        ("the red box", "the blue box", "the [-red-] box", "the [+blue+] box"),
        ("a b", "a b", "a b", "a b"),
        ("a", "a b  c", "a", "a [+b  c+]"),
        ("gone", "", "[-gone-]", ""),
        ("", "new", "", "[+new+]"),
        ("a\n\nb", "a b", "a\n\nb", "a b"),
        ("one two ", "one two", "one two ", "one two"),
        ("  ", "x", "  ", "[+x+]"),
        (
            "we are so sorry for the long trouble with it",
            "please send us the box of it",
            "[-we are so sorry for the long trouble with-] it",
            "[+please send us the box of+] it",
        ),
        ("a few words the", "b the", "[-a few words-] the", "[+b+] the"),
    ],
)
def test_words_that_differ_are_marked(before: str, after: str, left: str, right: str) -> None:
    first, second = marked(before, after)
    assert (shown(first), shown(second)) == (left, right)


def test_no_character_is_lost() -> None:
    draw = random.Random(0)
    for _ in range(300):
        texts = ["".join(draw.choice("ab \n\t<é") for _ in range(draw.randrange(30))) for _ in range(2)]
        first, second = marked(*texts)
        assert ["".join(piece.text for piece in pieces) for pieces in (first, second)] == texts
        same = [" ".join(piece.text for piece in pieces if not piece.mark).split() for pieces in (first, second)]
        assert same[0] == same[1]


def test_the_share_of_words_that_changed() -> None:
    assert changed_share("a b c", "c b a") == 0
    assert changed_share("a b", "c d") == 1
    assert changed_share("a b c d", "a b") == pytest.approx(1 - 4 / 6)
    assert changed_share("", "") == 0
    assert changed_share("", "a") == 1
