"""Export: the file, the account of what it cannot hold, the rows left out, the snippet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairlead.data.reading import read
from fairlead.errors import ConfigError, DataError
from fairlead.stages.export import export
from tests.data.samples import JUDGEMENT, PAIR, TOOL, assistant, lines, user

SYSTEM = {"role": "system", "content": "Be brief."}


def put(folder: Path, *rows: Any) -> Path:
    (folder / "in.jsonl").write_bytes(lines(*rows))
    return folder / "in.jsonl"


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


ROW = PAIR | {"id": "p1", "weight": 0.5, "margin": 2.0, "segment": "billing", "tools": [TOOL]}


@pytest.mark.parametrize(
    ("format", "keys", "lost"),
    [
        ("trl", {"prompt", "chosen", "rejected", "margin", "tools"}, {"id", "weight", "meta.segment"}),
        (
            "openai",
            {"input", "preferred_output", "non_preferred_output"},
            {"id", "weight", "margin", "meta.segment"},
        ),
        (
            "llama-factory",
            {"conversations", "chosen", "rejected", "system", "tools"},
            {"id", "weight", "margin", "meta.segment"},
        ),
        ("axolotl", {"messages", "chosen", "rejected"}, {"id", "weight", "margin", "tools", "meta.segment"}),
        ("hh", {"chosen", "rejected"}, {"id", "weight", "margin", "tools", "meta.segment"}),
    ],
)
def test_each_format_says_what_it_cannot_hold(tmp_path: Path, format: str, keys: set[str], lost: set[str]) -> None:
    report = export(put(tmp_path, ROW), to=format, out=tmp_path / "out.jsonl")
    (row,) = written(report.out)
    assert row.keys() == keys
    assert report.lost == dict.fromkeys(lost, 1)
    assert (report.rows_in, report.written, report.left_out, report.left_out_rows) == (1, 1, 0, None)
    assert str(report.out) in report.snippet
    assert "FILE" not in report.snippet


def test_rows_that_cannot_be_written_are_listed_and_kept(tmp_path: Path) -> None:
    with_system = PAIR | {"id": "s", "prompt": [SYSTEM, user("Where?")]}
    source = put(tmp_path, ROW, with_system)
    report = export(source, to="hh", out=tmp_path / "out.jsonl")
    assert (report.written, report.left_out) == (1, 1)
    assert report.reasons["system_turn"].rows == 1
    assert report.left_out_rows is not None
    assert [row.id for row in read(report.left_out_rows).rows] == ["s"]
    with pytest.raises(DataError, match=r"1 of 2 rows cannot be written as HH-RLHF: system_turn, 1: .* With strict"):
        export(source, to="hh", out=tmp_path / "strict.jsonl", strict=True)
    assert not (tmp_path / "strict.jsonl").exists()
    again = export(put(tmp_path, ROW), to="hh", out=tmp_path / "out.jsonl")
    assert again.left_out_rows is None
    assert not report.left_out_rows.exists()


def test_where_no_row_can_be_written_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Nothing was written"):
        export(put(tmp_path, PAIR | {"prompt": [SYSTEM, user("Where?")]}), to="hh", out=tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_column_of_some_rows_is_filled_in_the_others(tmp_path: Path) -> None:
    rows = [ROW | {"template_kwargs": {"x": 1}}, PAIR | {"id": "plain"}]
    first, second = written(export(put(tmp_path, *rows), to="trl", out=tmp_path / "out.jsonl").out)
    assert first["chat_template_kwargs"] == {"x": 1}
    assert (second["chat_template_kwargs"], second["tools"], second["margin"]) == ({}, None, 0.0)


def test_of_two_layouts_the_one_that_holds_more_is_taken(tmp_path: Path) -> None:
    whole = {"messages": [user("a"), assistant("b")]}
    last = {"messages": [user("a"), assistant("b") | {"train": False}, user("c"), assistant("d")]}
    report = export(put(tmp_path, whole, last), to="trl", out=tmp_path / "out.jsonl")
    assert (report.layout, report.left_out) == ("prompt-completion, conversational", 0)
    report = export(put(tmp_path, whole, whole), to="trl", out=tmp_path / "out.jsonl")
    assert report.layout == "language modelling, conversational"
    report = export(put(tmp_path, last), to="llama-factory", out=tmp_path / "out.jsonl")
    assert "mask_history: true" in report.snippet


def test_kinds_without_a_place_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds judgement rows, which TRL has no place for\..*`fairlead pairs`"):
        export(put(tmp_path, JUDGEMENT), to="trl", out=tmp_path / "out.jsonl")


def test_unknown_trainers_and_other_endings(tmp_path: Path) -> None:
    source = put(tmp_path, ROW)
    with pytest.raises(ConfigError, match=r"Did you mean axolotl\?"):
        export(source, to="axolot", out=tmp_path / "out.jsonl")
    with pytest.raises(ConfigError, match=r"'shp' cannot be written\. Use one of axolotl, hh, llama-fac"):
        export(source, to="shp", out=tmp_path / "out.jsonl")
    with pytest.raises(DataError, match=r"end the name in \.jsonl"):
        export(source, to="trl", out=tmp_path / "out.json")
    with pytest.raises(DataError, match="is an input too"):
        export(source, to="trl", out=source)


def test_rows_in_quarantine_are_part_of_the_account(tmp_path: Path) -> None:
    bad = PAIR | {"chosen": []}
    with pytest.raises(DataError, match="the limit is"):
        export(put(tmp_path, ROW, bad), to="trl", out=tmp_path / "out.jsonl")
    report = export(put(tmp_path, ROW, bad), to="trl", out=tmp_path / "out.jsonl", max_quarantined=0.5)
    assert (report.rows_in, report.written, report.quarantined) == (2, 1, 1)
