"""One row for people: who says what, nothing that a terminal would obey."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.data.plain_view import LONGEST, view
from tests.data.samples import CALLING, QUESTION, RESULT, ROWS, assistant, read_rows, user

SHOWN = {
    "preference": "prompt:\n  user: Where is my parcel?\nchosen:\n  assistant: On its way.\nrejected:\n"
    "  assistant: So sorry!",
    "feedback": "prompt:\n  user: Where is my parcel?\ncompletion:\n  assistant: On its way.\nlabel: good",
    "demonstration": "messages:\n  user: Where is my parcel?\n  assistant: On its way.",
    "edit": "prompt:\n  user: Where is my parcel?\ndraft:\n  assistant: So sorry!\nedited:\n  assistant: On its way.",
}


@pytest.mark.parametrize("kind", ROWS)
def test_every_kind_can_be_shown(tmp_path: Path, kind: str) -> None:
    shown = view(read_rows(tmp_path, ROWS[kind]).rows[0])
    assert shown == SHOWN.get(kind, shown)
    assert "Where is my parcel?" in shown
    assert "On its way." in shown


def test_what_was_said_of_completions_is_shown(tmp_path: Path) -> None:
    shown = {kind: view(read_rows(tmp_path, ROWS[kind]).rows[0]) for kind in ("judgement", "ranking", "candidates")}
    assert shown["judgement"].endswith("label: a\nannotations: ann a")
    assert "ranking: y > x" in shown["ranking"]
    assert "ranking by bea: best y, worst x" in shown["ranking"]
    assert shown["candidates"].endswith('scores: {"x":{"r":0.5}}')


def test_calls_results_and_marks_are_shown(tmp_path: Path) -> None:
    turns = [*QUESTION, CALLING, RESULT, assistant("a") | {"train": False}, user("b"), assistant("c")]
    shown = view(read_rows(tmp_path, {"messages": turns}).rows[0])
    assert '    calls {"function":{"arguments":{"order":7},"name":"track"}' in shown
    assert "  tool: in transit" in shown
    assert "  assistant (not trained): a" in shown


def test_long_and_unprintable_texts(tmp_path: Path) -> None:
    row = {"prompt": "x" * (LONGEST + 5), "completion": "red\x1b[31m\nnext"}
    shown = view(read_rows(tmp_path, row).rows[0])
    assert "x … (5 more characters)" in shown
    assert "red\\x1b[31m\\nnext" in shown
    assert "\x1b" not in shown
