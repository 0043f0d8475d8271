"""The ledger's balance, its moves, its messages and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.data.ledger import REASONS, Ledger, Place
from fairlead.errors import DataError


def filled() -> Ledger:
    ledger = Ledger(["pairs.jsonl"])
    for line in range(1, 402):
        ledger.ok(Place("pairs.jsonl", line, f"r{line}"))
    for line in range(402, 410):
        ledger.fix(Place("pairs.jsonl", line, f"r{line}"), "role_alias", "human → user")
    for line in range(410, 413):
        ledger.quarantine(Place("pairs.jsonl", line), "empty_completion", "chosen")
    return ledger


def test_the_line_a_person_reads() -> None:
    assert str(filled()) == "pairs.jsonl: 412 rows in = 401 ok + 8 fixed + 3 quarantined"


def test_the_summary_counts_rows_by_code() -> None:
    ledger = filled()
    ledger.count("r1", "control_text")
    ledger.count("r1", "control_text")
    assert ledger.summary() == {
        "rows_in": 412,
        "ok": 401,
        "fixed": 8,
        "quarantined": 3,
        "by_code": {"control_text": 1, "empty_completion": 3, "role_alias": 8},
    }


moves = st.lists(
    st.tuples(st.sampled_from(["ok", "fix", "quarantine", "fix_row", "quarantine_row", "count"]), st.integers(0, 9))
)


@given(moves)
@settings(max_examples=60, deadline=None)
def test_rows_in_is_always_ok_plus_fixed_plus_quarantined(steps: list[tuple[str, int]]) -> None:
    ledger, kept, entered = Ledger(["f"]), set(), 0
    for number, (step, pick) in enumerate(steps):
        place = Place("f", number, f"r{number}")
        target = sorted(kept)[pick % len(kept)] if kept else None
        if step == "quarantine":
            ledger.quarantine(place, "not_json")
            entered += 1
        elif step in ("ok", "fix"):
            ledger.ok(place) if step == "ok" else ledger.fix(place, "label_word")
            kept.add(place.id)
            entered += 1
        elif target is not None and step == "fix_row":
            ledger.fix_row(target, "completion_truncated")
        elif target is not None and step == "count":
            ledger.count(target, "control_text")
        elif target is not None:
            ledger.quarantine_row(target, "prompt_too_long")
            kept.discard(target)
        total = ledger.summary()
        assert total["rows_in"] == total["ok"] + total["fixed"] + total["quarantined"] == entered
        assert total["ok"] + total["fixed"] == len(kept)


def test_a_later_check_moves_rows_towards_quarantine_only() -> None:
    ledger = Ledger(["f"])
    ledger.ok(Place("f", 1, "a"))
    ledger.fix_row("a", "prompt_turns_dropped", "2 oldest turns")
    ledger.quarantine_row("a", "no_trained_tokens", "nothing left", field="chosen")
    assert [(entry.code, entry.outcome, entry.field) for entry in ledger.entries] == [
        ("prompt_turns_dropped", "fixed", ""),
        ("no_trained_tokens", "quarantined", "chosen"),
    ]
    assert str(ledger) == "f: 1 row in = 0 ok + 0 fixed + 1 quarantined"
    with pytest.raises(AssertionError):
        ledger.fix_row("a", "completion_truncated")


def test_a_code_is_used_for_its_own_outcome_only() -> None:
    with pytest.raises(AssertionError):
        Ledger().quarantine(Place("f", 1), "role_alias")


def test_entries_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    ledger = Ledger(["one", "two"])
    ledger.quarantine(Place("two", 1), "not_json")
    ledger.quarantine(Place("one", 9), "not_json")
    ledger.fix(Place("one", 2, "x"), "label_word", "yes → true")
    ledger.count("x", "prompt_echoed")
    ledger.write(tmp_path / "ledger.jsonl")
    written = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(item["path"], item["line"], item["code"]) for item in written] == [
        ("one", 2, "label_word"),
        ("one", 9, "not_json"),
        ("two", 1, "not_json"),
        ("one", 2, "prompt_echoed"),
    ]
    assert written[0] == {
        "path": "one",
        "line": 2,
        "id": "x",
        "field": "",
        "code": "label_word",
        "outcome": "fixed",
        "remedy": REASONS["label_word"].remedy,
        "detail": "yes → true",
    }


def test_check_passes_within_the_limit() -> None:
    filled().check(max_quarantined=0.02)


def test_check_names_file_line_code_and_remedy_beyond_the_limit() -> None:
    with pytest.raises(DataError) as caught:
        filled().check(max_quarantined=0.005)
    text = str(caught.value)
    assert caught.value.code == "too_many_quarantined"
    assert "412 rows in = 401 ok + 8 fixed + 3 quarantined" in text
    assert "3 rows (0.73%) quarantined, and the limit is 0.50%" in text
    assert "pairs.jsonl:410: empty_completion in chosen" in text
    assert REASONS["empty_completion"].remedy in text
    assert "\n" not in text


def test_strict_bears_no_quarantined_row_and_says_how_many_more_there_are() -> None:
    ledger = filled()
    ledger.quarantine(Place("pairs.jsonl", 413), "not_json")
    with pytest.raises(DataError, match=r"with strict, none may be.* … and 1 more\."):
        ledger.check(max_quarantined=0.5, strict=True)


def test_only_bad_rows_and_no_rows_are_refused_whatever_the_limit() -> None:
    ledger = Ledger(["f.jsonl"])
    with pytest.raises(DataError, match=r"f\.jsonl: the file holds no rows") as caught:
        ledger.check(max_quarantined=1.0)
    assert caught.value.code == "empty_file"
    ledger.quarantine(Place("f.jsonl", 1), "not_json")
    with pytest.raises(DataError, match=r"no row is left to use. f\.jsonl:1: not_json") as caught:
        ledger.check(max_quarantined=1.0)
    assert caught.value.code == "only_bad_rows"
