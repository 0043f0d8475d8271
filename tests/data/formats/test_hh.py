"""HH-RLHF's dialogues in one text: where turns begin, what the two share, and what cannot be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.data.formats.hh import text_with, turns_in
from fairlead.data.ledger import Rejected
from tests.data.samples import read_rows

ASKED = "\n\nHuman: Where?\n\nAssistant:"
EARLIER = "\n\nHuman: Hello\n\nAssistant: Hello!\n\nHuman: Where?\n\nAssistant:"


def said(turns: tuple[object, ...]) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in turns]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt", "answers"),
    [
        (f"{ASKED} Here.", f"{ASKED} There.", 1, ("Here.", "There.")),
        (f"{ASKED} Here.", f"{ASKED} Here. And there.", 1, ("Here.", "Here. And there.")),  # a prefix of the other
        (f"{EARLIER} Here.", f"{EARLIER} There.", 3, ("Here.", "There.")),
        (f"{ASKED}  Here. \n", f"{ASKED}Here.", 1, (" Here. \n", "Here.")),  # one space is the marker's, no more
        (ASKED.strip() + " a", ASKED.strip() + " b", 1, ("a", "b")),
        (f"{ASKED} As Human: and Assistant: say", f"{ASKED} b", 1, ("As Human: and Assistant: say", "b")),
        (f"{ASKED} a\nHuman: b", f"{ASKED} b", 1, ("a\nHuman: b", "b")),
    ],
)
def test_the_prompt_is_what_both_share(
    tmp_path: Path, chosen: str, rejected: str, prompt: int, answers: tuple[str, str]
) -> None:
    dataset = read_rows(tmp_path, {"chosen": chosen, "rejected": rejected})
    (pair,) = dataset.rows
    assert len(pair.prompt) == prompt
    assert said(pair.chosen + pair.rejected) == [("assistant", answer) for answer in answers]
    assert dataset.shapes == {"hh: pairs": 1}


@pytest.mark.parametrize(
    ("chosen", "rejected", "code"),
    [
        (f"{ASKED} Here.", f"{ASKED} Here.", "identical_pair"),
        (f"{ASKED} Here.", f"{ASKED}", "empty_completion"),
        (f"{ASKED} Here.", f"{ASKED} \n", "empty_completion"),
        (f"{ASKED} Here.", f"{ASKED} Here.\n\nHuman: Thanks\n\nAssistant: You are welcome.", "bad_completion_turns"),
        (f"{ASKED} Here.\n\nHuman: Thanks", f"{ASKED} There.", "bad_completion_turns"),
        (f"{ASKED} a\n\nAssistant: b", f"{ASKED} c\n\nAssistant: d", "same_role_twice"),
        (f"\n\nHuman: x\n\nHuman: y\n\nAssistant: {ASKED} a", f"{ASKED} b", "implicit_prompt_unshared"),
        (f"{ASKED} a", "There.", "text_without_turns"),
        (f"{ASKED} a", None, "missing_field"),
        (f"{ASKED} a", "\n\nHuman: another\n\nAssistant: b", "implicit_prompt_unshared"),
    ],
)
def test_what_cannot_be_told_is_quarantined(tmp_path: Path, chosen: str, rejected: str | None, code: str) -> None:
    (entry,) = read_rows(tmp_path, {"chosen": chosen, "rejected": rejected}).ledger.entries
    assert entry.code == code, str(entry)


def test_the_prompt_may_stand_apart(tmp_path: Path) -> None:
    (pair,) = read_rows(tmp_path, {"prompt": EARLIER, "chosen": " Here.", "rejected": "There."}).rows
    assert said(pair.prompt) == [("user", "Hello"), ("assistant", "Hello!"), ("user", "Where?")]
    assert said(pair.chosen + pair.rejected) == [("assistant", "Here."), ("assistant", "There.")]


def test_an_ordinary_prompt_with_the_words_is_left_alone(tmp_path: Path) -> None:
    row = {"prompt": "Translate: Human: x", "chosen": "a", "rejected": "b"}
    dataset = read_rows(tmp_path, row)
    assert dataset.rows[0].prompt[0].content == "Translate: Human: x"
    assert dataset.shapes == {"canonical: preference": 1}


@pytest.mark.parametrize("contents", [["", " "], ["a", ""], ["\n", "x\n"], ["Human: a", "Assistant: b"]])
def test_text_and_turns_are_each_other_s_inverse(contents: list[str]) -> None:
    turns = list(zip(["user", "assistant"], contents, strict=True))
    assert [(turn["role"], turn["content"]) for turn in turns_in(text_with(turns), "")] == turns


def test_a_text_that_begins_otherwise() -> None:
    with pytest.raises(Rejected, match="text_without_turns"):
        turns_in("Once upon a time\n\nHuman: a", "chosen")
