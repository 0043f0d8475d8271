"""The table of rows that break others: each with the code, the field and the outcome that the contract promises."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from fairlead.data.ledger import REASONS
from fairlead.data.records import Demonstration, Feedback, Preference
from tests.data.samples import (
    CALL,
    CALLING,
    CANDIDATES,
    DIALOGUE,
    EDIT,
    JUDGEMENT,
    PAIR,
    QUESTION,
    RANKING,
    RESULT,
    THUMB,
    TOOL,
    assistant,
    lines,
    read_bytes,
    read_rows,
    user,
)

SYSTEM = {"role": "system", "content": "Be brief."}
BLANK = assistant(" \n")

QUARANTINED: list[tuple[str, dict[str, Any], str, str]] = [
    ("empty completion", PAIR | {"chosen": [assistant("")]}, "empty_completion", "chosen[0]"),
    ("white space only", PAIR | {"rejected": [BLANK]}, "empty_completion", "rejected[0]"),
    ("empty text", PAIR | {"chosen": ""}, "empty_completion", "chosen[0]"),
    ("empty completion, KTO", THUMB | {"completion": [BLANK]}, "empty_completion", "completion[0]"),
    ("empty turn in a dialogue", {"messages": [*QUESTION, BLANK]}, "empty_completion", "messages[1]"),
    ("chosen: []", PAIR | {"chosen": []}, "empty_completion", "chosen"),
    ("prompt: []", PAIR | {"prompt": []}, "empty_prompt", "prompt"),
    ("blank prompt", PAIR | {"prompt": [user("  ")]}, "empty_prompt", "prompt"),
    ("system turn only", PAIR | {"prompt": [SYSTEM]}, "empty_prompt", "prompt"),
    ("messages: []", {"messages": []}, "no_assistant_turn", "messages"),
    ("no trained turn", {"messages": [*QUESTION, assistant("a") | {"train": False}]}, "no_assistant_turn", "messages"),
    ("chosen == rejected", PAIR | {"rejected": PAIR["chosen"]}, "identical_pair", "rejected"),
    ("unknown role", PAIR | {"prompt": [{"role": "boss", "content": "x"}]}, "unknown_role", "prompt[0].role"),
    ("no role", PAIR | {"prompt": [{"content": "x"}]}, "unknown_role", "prompt[0].role"),
    ("role is a list", PAIR | {"prompt": [{"role": ["user"], "content": "x"}]}, "unknown_role", "prompt[0].role"),
    ("content null", PAIR | {"chosen": [assistant(None)]}, "not_text", "chosen[0].content"),
    ("content a number", PAIR | {"chosen": [assistant(5)]}, "not_text", "chosen[0].content"),
    ("content a boolean", PAIR | {"prompt": [user(True)]}, "not_text", "prompt[0].content"),
    ("content a list", PAIR | {"chosen": [assistant([{"type": "text"}])]}, "not_text", "chosen[0].content"),
    ("completion a number", PAIR | {"chosen": 5}, "not_text", "chosen"),
    ("message a text", PAIR | {"chosen": ["On its way."]}, "not_text", "chosen[0]"),
    ("completion null", PAIR | {"chosen": None}, "missing_field", "chosen"),
    *[
        (f"label {label!r}", THUMB | {"label": label}, "bad_label", "label")
        for label in (-1, 2, 0.5, "perhaps", "", None, [True])
    ],
    ("label NaN", THUMB | {"label": math.nan}, "not_finite", "label"),
    ("verdict", JUDGEMENT | {"label": "left"}, "bad_label", "label"),
    ("vote", JUDGEMENT | {"annotations": [{"annotator": "x", "label": 1}]}, "bad_label", "annotations[0].label"),
    ("weight NaN", PAIR | {"weight": math.nan}, "not_finite", "weight"),
    ("margin infinite", PAIR | {"margin": -math.inf}, "not_finite", "margin"),
    ("margin beyond a float", PAIR | {"margin": 10**400}, "not_finite", "margin"),
    ("weight a text", PAIR | {"weight": "0.5"}, "not_a_number", "weight"),
    ("weight a boolean", PAIR | {"weight": True}, "not_a_number", "weight"),
    ("weight negative", PAIR | {"weight": -1}, "out_of_range", "weight"),
    ("system in the middle", {"messages": [*QUESTION, SYSTEM, assistant("a")]}, "system_not_first", "messages[1]"),
    ("one to rank", RANKING | {"candidates": CANDIDATES["candidates"][:1]}, "bad_field", "candidates"),
    ("nothing placed", RANKING | {"annotations": [{"annotator": "x"}]}, "missing_field", "annotations[0].ranking"),
    ("no ranker", RANKING | {"annotations": [{"best": "x"}]}, "missing_field", "annotations[0].annotator"),
    ("ranks a stranger", RANKING | {"ranking": ["x", "z"]}, "bad_ranking", "ranking"),
    ("ranks one twice", RANKING | {"ranking": ["x", ["x", "y"]]}, "bad_ranking", "ranking"),
    ("an empty place", RANKING | {"ranking": ["x", [], "y"]}, "bad_ranking", "ranking"),
    ("ranks nobody", RANKING | {"ranking": []}, "bad_ranking", "ranking"),
    ("ranks in words", RANKING | {"ranking": "x over y"}, "bad_ranking", "ranking"),
    ("best elsewhere", RANKING | {"best": "x"}, "bad_ranking", "best"),
    ("worst elsewhere", RANKING | {"worst": "y"}, "bad_ranking", "worst"),
    (
        "best is worst",
        RANKING | {"annotations": [{"annotator": "x", "best": "x", "worst": "x"}]},
        "bad_ranking",
        "annotations[0].worst",
    ),
    (
        "shown a stranger",
        RANKING | {"annotations": [{"annotator": "x", "best": "x", "shown": ["q"]}]},
        "bad_ranking",
        "annotations[0].shown",
    ),
    (
        "two assistant turns",
        {"messages": [*QUESTION, assistant("a"), assistant("b")]},
        "same_role_twice",
        "messages[2]",
    ),
    ("two user turns", PAIR | {"prompt": QUESTION * 2}, "same_role_twice", "prompt[1]"),
    ("assistant first", {"messages": [assistant("Hi"), *QUESTION, assistant("a")]}, "assistant_first", "messages[0]"),
    (
        "result without call",
        {"messages": [*QUESTION, RESULT, assistant("a")]},
        "tool_result_without_call",
        "messages[1]",
    ),
    (
        "result of another call",
        {"messages": [*QUESTION, CALLING, RESULT | {"tool_call_id": "c2"}, assistant("a")]},
        "tool_result_without_call",
        "messages[2]",
    ),
    ("call without result", {"messages": [*QUESTION, CALLING, *QUESTION]}, "tool_call_unanswered", "messages[2]"),
    (
        "prompt lacks a result",
        PAIR | {"prompt": [*QUESTION, CALLING | {"tool_calls": [CALL, CALL | {"id": "c2"}]}, RESULT]},
        "tool_call_unanswered",
        "prompt[2]",
    ),
    ("user calls a tool", PAIR | {"prompt": [user("x") | {"tool_calls": [CALL]}]}, "bad_field", "prompt[0].tool_calls"),
    ("prompt ends with an answer", PAIR | {"prompt": [*QUESTION, assistant("a")]}, "bad_prompt_end", "prompt[1]"),
    ("user turn in a completion", PAIR | {"chosen": [assistant("a"), user("b")]}, "bad_completion_turns", "chosen[1]"),
    ("completion ends with a result", PAIR | {"chosen": [CALLING, RESULT]}, "bad_completion_turns", "chosen"),
    ("tools not objects", PAIR | {"tools": ["track"]}, "bad_field", "tools"),
    ("meta not an object", PAIR | {"meta": [1]}, "bad_field", "meta"),
    ("train not a boolean", {"messages": [*QUESTION, assistant("a") | {"train": 0}]}, "bad_field", "messages[1].train"),
    ("id a fraction", PAIR | {"id": 1.5}, "bad_field", "id"),
    ("name a number", PAIR | {"prompt": [user("x") | {"name": 3}]}, "bad_field", "prompt[0].name"),
    (
        "shown",
        JUDGEMENT | {"annotations": [{"annotator": "x", "label": "a", "shown": "a"}]},
        "bad_field",
        "annotations[0].shown",
    ),
    ("no annotator", JUDGEMENT | {"annotations": [{"label": "a"}]}, "missing_field", "annotations[0].annotator"),
    ("candidate without id", CANDIDATES | {"candidates": [{"messages": "a"}]}, "missing_field", "candidates[0].id"),
    (
        "two candidates of one id",
        CANDIDATES | {"candidates": [{"id": "x", "messages": "a"}, {"id": "x", "messages": "b"}]},
        "bad_field",
        "candidates",
    ),
    (
        "score a text",
        CANDIDATES | {"candidates": [{"id": "x", "messages": "a", "scores": {"r": "high"}}]},
        "not_a_number",
        "candidates[0].scores.r",
    ),
    ("editor a number", EDIT | {"editor": 4}, "bad_field", "editor"),
    (
        "implicit prompt, texts",
        {"chosen": "The sky is blue.", "rejected": "The sky is red."},
        "implicit_prompt_text",
        "chosen",
    ),
    (
        "implicit prompt, nothing shared",
        {"chosen": [user("a"), assistant("x")], "rejected": [user("b"), assistant("y")]},
        "implicit_prompt_unshared",
        "chosen",
    ),
    ("a text alone", {"text": "The sky is blue."}, "text_without_turns", "text"),
    ("dialogue as a text", {"messages": "The sky is blue."}, "text_without_turns", "messages"),
    ("unknown keys", {"question": "a", "answer": "b"}, "unknown_shape", ""),
    ("stepwise supervision", {"prompt": "a", "completions": ["b"], "labels": [True]}, "unknown_shape", ""),
    ("dialogue of a topic", DIALOGUE | {"label": "billing"}, "unknown_shape", ""),
    ("pictures", PAIR | {"images": ["cat.png"]}, "not_only_text", "images"),
]

UNDECODABLE: list[tuple[str, bytes, str]] = [
    ("invalid UTF-8", b'{"prompt": "caf\xe9", "chosen": "a", "rejected": "b"}\n', "invalid_utf8"),
    ("UTF-8 of half a pair", b'{"prompt": "\xed\xa0\x80", "chosen": "a", "rejected": "b"}\n', "invalid_utf8"),
    ("half a pair", b'{"prompt": "\\ud83d", "chosen": "a", "rejected": "b"}\n', "lone_surrogate"),
    ("raw NUL", b'{"prompt": "a\x00b", "chosen": "a", "rejected": "b"}\n', "raw_nul"),
    ("UTF-16 line", '{"prompt": "a", "chosen": "a", "rejected": "b"}\n'.encode("utf-16"), "utf16"),
    ("not JSON", b"prompt: a\n", "not_json"),
    ("Python's repr", b"{'prompt': 'a'}\n", "not_json"),
    ("a list", b'["a", "b"]\n', "not_object"),
    ("a key twice", b'{"prompt": "a", "chosen": "b", "rejected": "c", "chosen": "d"}\n', "duplicate_key"),
    (
        "a key twice, inside",
        b'{"prompt":[{"role":"user","content":"a","content":"b"}],"chosen":"b"}\n',
        "duplicate_key",
    ),
    ("NaN in meta", b'{"prompt": "a", "chosen": "b", "rejected": "c", "meta": {"score": NaN}}\n', "not_finite"),
    ("1e999", b'{"prompt": "a", "chosen": "b", "rejected": "c", "margin": 1e999}\n', "not_finite"),
    ("1,200 levels", b'{"meta": ' + b"[" * 1200 + b"]" * 1200 + b"}\n", "too_deep"),
    ("201 levels", b'{"meta": ' + b"[" * 201 + b"]" * 201 + b"}\n", "too_deep"),
    ("a long whole number", b'{"id": ' + b"9" * 5000 + b"}\n", "not_json"),
]

FIXED: list[tuple[str, dict[str, Any], str]] = [
    ("human and gpt", {"messages": [{"role": "human", "content": "a"}, {"role": "gpt", "content": "b"}]}, "role_alias"),
    ("letter case", PAIR | {"prompt": [{"role": "User", "content": "a"}]}, "role_alias"),
    ("prompt repeated", PAIR | {"chosen": [*QUESTION, assistant("On its way.")]}, "prompt_repeated"),
    ("label a word", THUMB | {"label": "Thumbs Up"}, "label_word"),
    ("label 1", THUMB | {"label": 1}, "label_word"),
    ("unsettled", JUDGEMENT | {"label": "none"}, "label_word"),
    ("tools as JSON text", PAIR | {"tools": json.dumps([TOOL])}, "json_text"),
    ("a message's own key", PAIR | {"chosen": [assistant("a") | {"thinking": "b"}]}, "unplaced_keys"),
    ("a key in meta too", PAIR | {"meta": {"source": "x"}, "source": "y"}, "meta_key_clash"),
]


@pytest.mark.parametrize(("row", "code", "field"), [case[1:] for case in QUARANTINED], ids=[c[0] for c in QUARANTINED])
def test_a_row_that_breaks_the_contract_is_quarantined(
    tmp_path: Path, row: dict[str, Any], code: str, field: str
) -> None:
    dataset = read_bytes(tmp_path, lines(PAIR) + lines(row | {"id": "bad"} if "id" not in row else row))
    (entry,) = dataset.ledger.entries
    assert (entry.line, entry.code, entry.field, entry.outcome) == (2, code, field, "quarantined")
    assert entry.remedy == REASONS[code].remedy
    assert len(entry.remedy) > 5
    assert len(dataset.rows) == 1


@pytest.mark.parametrize(("line", "code"), [case[1:] for case in UNDECODABLE], ids=[c[0] for c in UNDECODABLE])
def test_a_line_that_cannot_be_decoded_is_quarantined_and_the_rest_is_read(
    tmp_path: Path, line: bytes, code: str
) -> None:
    before, after = lines(PAIR), lines(PAIR | {"margin": 2})
    dataset = read_bytes(tmp_path, before + line.removeprefix(b"\xff\xfe") + after)
    bad = [entry for entry in dataset.ledger.entries if entry.outcome == "quarantined"]
    assert (bad[0].line, bad[0].code) == (2, code)
    assert len(dataset.rows) == (1 if code == "utf16" else 2)  # a UTF-16 line end swallows the start of the next line


@pytest.mark.parametrize(("row", "code"), [case[1:] for case in FIXED], ids=[c[0] for c in FIXED])
def test_a_row_that_can_be_mended_without_a_guess_is_fixed(tmp_path: Path, row: dict[str, Any], code: str) -> None:
    dataset = read_rows(tmp_path, row)
    (entry,) = dataset.ledger.entries
    assert (entry.line, entry.code, entry.outcome) == (1, code, "fixed")
    assert entry.id == dataset.rows[0].id
    assert dataset.ledger.summary()["fixed"] == 1


def test_what_fixes_make_of_a_row(tmp_path: Path) -> None:
    by_code = {case[0]: read_rows(tmp_path, case[1]).rows[0] for case in FIXED}
    assert [turn.role for turn in by_code["human and gpt"].messages] == ["user", "assistant"]
    assert [turn.content for turn in by_code["prompt repeated"].chosen] == ["On its way."]
    assert by_code["label a word"].label is True
    assert by_code["unsettled"].label is None
    assert by_code["tools as JSON text"].tools == (TOOL,)
    assert by_code["a message's own key"].meta == {"unplaced": {"chosen[0].thinking": "b"}}
    assert by_code["a key in meta too"].meta == {"source": "x", "row.source": "y"}


@pytest.mark.parametrize(
    ("word", "label"), [("false", False), ("NO", False), ("thumbs-down", False), ("👍", True), (0, False)]
)
def test_documented_label_words(tmp_path: Path, word: str | int, label: bool) -> None:
    (row,) = read_rows(tmp_path, THUMB | {"label": word}).rows
    assert isinstance(row, Feedback)
    assert row.label is label


def test_valid_tool_dialogues_are_kept_as_they_are(tmp_path: Path) -> None:
    dialogue = {"messages": [SYSTEM, *QUESTION, CALLING, RESULT, assistant("In transit.")], "tools": [TOOL]}
    pair = PAIR | {
        "prompt": [*QUESTION, CALLING, RESULT],
        "chosen": [CALLING, RESULT, assistant("a")],
        "rejected": [CALLING],
    }
    (row,) = read_rows(tmp_path, dialogue).rows
    assert isinstance(row, Demonstration)
    assert row.messages[2].tool_calls == (CALL,)
    assert row.messages[2].content == ""
    dataset = read_rows(tmp_path, pair)
    assert str(dataset.ledger).endswith("1 row in = 1 ok + 0 fixed + 0 quarantined")
    assert isinstance(dataset.rows[0], Preference)


def test_an_answer_that_opens_with_a_short_question_is_left_alone(tmp_path: Path) -> None:
    dataset = read_rows(tmp_path, {"prompt": "Hello", "chosen": "Hello! How are you?", "rejected": "Hello"})
    assert dataset.rows[0].chosen[0].content == "Hello! How are you?"
    assert dataset.ledger.summary()["by_code"] == {}


def test_an_empty_sample_is_counted_but_kept_because_it_is_what_the_model_said(tmp_path: Path) -> None:
    dataset = read_rows(tmp_path, CANDIDATES | {"candidates": [{"id": "x", "messages": [assistant("")]}]})
    assert dataset.rows[0].candidates[0].messages[0].content == ""
    assert [(entry.code, entry.detail) for entry in dataset.ledger.counted] == [("empty_candidate", "x")]


def test_a_long_prompt_echoed_by_both_answers_is_counted_not_cut(tmp_path: Path) -> None:
    question = "Which number is the larger one?"
    dataset = read_rows(tmp_path, {"prompt": question, "chosen": question + " 7", "rejected": question + " 5"})
    assert dataset.rows[0].chosen[0].content == question + " 7"
    assert [entry.code for entry in dataset.ledger.counted] == ["prompt_echoed"]
    assert dataset.ledger.summary()["ok"] == 1
