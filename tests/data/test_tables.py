"""CSV, whose cells are text, and Parquet."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import io
import json
from pathlib import Path
from typing import Any

import polars
import pytest

from fairlead.data.reading import read
from fairlead.errors import DataError
from tests.data.samples import JUDGEMENT, PAIR, RANKING, THUMB, assistant, read_bytes


def table(*rows: dict[str, Any]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


PLAIN = {
    "id": "00123",
    "prompt": "A",
    "chosen": 'B, "quoted"\nand more',
    "rejected": "C",
    "weight": "0.5",
    "year": "2024",
}


def test_cells_are_text_but_for_known_numbers(tmp_path: Path) -> None:
    for name, data in [("rows.csv", table(PLAIN)), ("rows.csv.gz", gzip.compress(b"\xef\xbb\xbf" + table(PLAIN)))]:
        dataset = read_bytes(tmp_path, data, name)
        (row,) = dataset.rows
        assert (row.id, row.weight, row.meta) == ("00123", 0.5, {"year": "2024"})
        assert row.chosen[0].content == 'B, "quoted"\nand more'
        assert dataset.ledger.summary()["ok"] == 1


@pytest.mark.parametrize("given", [JUDGEMENT, RANKING | {"best": "", "weight": ""}])
def test_lists_and_objects_stand_in_cells_as_json(tmp_path: Path, given: dict[str, Any]) -> None:
    packed = {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
    (row,) = read_bytes(tmp_path, table(packed), "rows.csv").rows
    filled = {key: value for key, value in given.items() if value != ""}
    (same,) = read_bytes(tmp_path, json.dumps(filled).encode(), "rows.json").rows
    assert row == same


def test_a_text_in_brackets_stays_a_text(tmp_path: Path) -> None:
    (row,) = read_bytes(
        tmp_path, table({"prompt": "[1, 2] and?", "chosen": "[]", "rejected": "[NaN]"}), "rows.csv"
    ).rows
    assert [turns[0].content for turns in (row.prompt, row.chosen, row.rejected)] == ["[1, 2] and?", "[]", "[NaN]"]


@pytest.mark.parametrize(("cell", "label"), [("True", True), ("false", False), ("1", True), ("no", False)])
def test_labels(tmp_path: Path, cell: str, label: bool) -> None:
    (row,) = read_bytes(tmp_path, table({"prompt": "a", "completion": "b", "label": cell}), "rows.csv").rows
    assert row.label is label


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (b"a,b\r\n", "csv_record"),
        (b"a,b,c,d\r\n", "csv_record"),
        (b'"a"x,b,c\r\n', "csv_record"),
        (b"a,\xff,c\r\n", "invalid_utf8"),
        (b"a,b\0,c\r\n", "raw_nul"),
        (b"a,,c\r\n", "empty_completion"),
        (b'a,"[{""role"": ""assistant"", ""role"": ""user""}]",c\r\n', "duplicate_key"),
    ],
)
def test_a_bad_record_is_quarantined_and_the_rest_is_read(tmp_path: Path, record: bytes, code: str) -> None:
    data = b'prompt,chosen,rejected\r\na,"b\n",c\r\n' + record + b"\r\nd,e,f\r\n"
    dataset = read_bytes(tmp_path, data, "rows.csv")
    (entry,) = dataset.ledger.entries
    assert (entry.line, entry.code) == (4, code)
    assert len(dataset.rows) == 2


def test_a_quote_that_is_never_closed_is_refused_because_it_hides_rows(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"rows\.csv: the quote that opens in line 3 is never closed and hides the 2 lines"
    ):
        read_bytes(tmp_path, b'prompt,chosen,rejected\na,b,c\na,"b,c\nd,e,f\nd,e,g\n', "rows.csv")
    dataset = read_bytes(tmp_path, b'prompt,chosen,rejected\na,b,c\na,b,"c\n', "rows.csv")
    assert [(entry.line, entry.code) for entry in dataset.ledger.entries] == [(3, "csv_record")]


def test_an_empty_label_is_no_demonstration(tmp_path: Path) -> None:
    dataset = read_bytes(tmp_path, b"prompt,completion,label\na,b,\n", "rows.csv")
    assert [entry.code for entry in dataset.ledger.entries] == ["bad_label"]


def test_a_weight_that_is_no_number(tmp_path: Path) -> None:
    dataset = read_bytes(tmp_path, table(PLAIN | {"weight": "high"}, PLAIN | {"weight": "nan"}), "rows.csv")
    assert [(entry.code, entry.field) for entry in dataset.ledger.entries] == [
        ("not_a_number", "weight"),
        ("not_finite", "weight"),
    ]


@pytest.mark.parametrize(
    "data", [b"prompt,chosen,chosen\na,b,c\n", "prompt,chosen\na,b\n".encode("utf-16"), b'"a"b,c\n']
)
def test_a_header_that_cannot_be_read_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DataError, match=r"rows\.csv: "):
        read_bytes(tmp_path, data, "rows.csv")


def test_parquet_gives_the_rows_that_json_gives(tmp_path: Path) -> None:
    number = 2**53 + 1
    frame = polars.DataFrame(
        [
            PAIR | {"id": number, "margin": None, "day": datetime.date(2026, 1, 31), "sum": decimal.Decimal("1.10")},
            PAIR | {"id": 2, "margin": 0.5, "day": None, "sum": None},
        ]
    )
    frame.write_parquet(tmp_path / "rows.parquet")
    dataset = read(tmp_path / "rows.parquet")
    assert dataset.ledger.summary()["ok"] == 2
    assert [row.id for row in dataset.rows] == [str(number), "2"]
    assert [row.margin for row in dataset.rows] == [None, 0.5]
    assert dataset.rows[0].meta == {"day": "2026-01-31", "sum": "1.10"}
    assert dataset.rows[0].chosen[0].content == "On its way."


def test_parquet_fills_absent_keys_with_null_which_means_absent(tmp_path: Path) -> None:
    row = PAIR | {"chosen": [assistant("a") | {"tool_calls": None, "name": None, "thinking": None}]}
    frame = polars.DataFrame([row])
    frame.write_parquet(tmp_path / "rows.parquet")
    assert str(read(tmp_path / "rows.parquet").ledger).endswith("1 ok + 0 fixed + 0 quarantined")


def test_nan_and_bytes_in_parquet_are_quarantined(tmp_path: Path) -> None:
    rows = [
        THUMB | {"weight": float("nan"), "raw": None},
        THUMB | {"weight": 1.0, "raw": b"\0"},
        THUMB | {"weight": 2.0},
    ]
    polars.DataFrame(rows).write_parquet(tmp_path / "rows.parquet")
    dataset = read(tmp_path / "rows.parquet")
    assert [(entry.line, entry.code, entry.field) for entry in dataset.ledger.entries] == [
        (1, "not_finite", "weight"),
        (2, "not_text", "raw"),
    ]


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="damaged or cut short") as caught:
        read_bytes(tmp_path, b"PAR1 and no more", "rows.parquet")
    assert caught.value.code == "corrupt_file"
