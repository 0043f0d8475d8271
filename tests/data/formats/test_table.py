"""A new format is a module and one line in the table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fairlead.data.formats.table import FORMATS, Format
from fairlead.data.ledger import Note
from tests.data.samples import PAIR, read_rows


def detect(row: dict[str, Any]) -> bool:
    return "frage" in row


def to_canonical(row: dict[str, Any]) -> tuple[dict[str, Any], Sequence[Note]]:
    return {"prompt": row["frage"], "chosen": row["besser"], "rejected": row["schlechter"]}, [Note("json_text", "x")]


def test_a_format_added_to_the_table_is_detected_and_can_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMATS, "german", Format(detect=detect, to_canonical=to_canonical))
    row = {"frage": "Where is my parcel?", "besser": "On its way.", "schlechter": "So sorry!"}
    for format in ("auto", "german"):
        dataset = read_rows(tmp_path, row, format=format)
        assert dataset.rows[0].prompt == read_rows(tmp_path, PAIR).rows[0].prompt
        assert [entry.code for entry in dataset.ledger.entries] == ["json_text"]


def test_a_named_format_is_the_only_one_tried(tmp_path: Path) -> None:
    dataset = read_rows(tmp_path, {"chosen": "a", "rejected": "b"}, format="canonical")
    (entry,) = dataset.ledger.entries
    assert entry.code == "unknown_shape"
    assert "nearest is preference, which also needs prompt" in entry.detail
