"""Every format in every sort of file: what a CSV cell or a table's column cannot be is brought back."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import polars
import pytest

from fairlead.data.formats.shapes import Json, Shape
from fairlead.data.formats.table import FORMATS
from fairlead.data.reading import Dataset
from tests.data.samples import read_bytes, read_rows

SHAPES = [
    pytest.param(name, shape, id=f"{name}: {shape.name}")
    for name, format in FORMATS.items()
    for shape in format.shapes
    if shape.becomes
]


FIXED = {"number_text", "label_word", "annotation_left_out", "json_text"}


def as_csv(row: Json) -> bytes:
    """Lists and objects as JSON, numbers and booleans as text, null as the empty cell."""

    def cell(value: Any) -> str:
        if value is None:
            return ""
        return value if isinstance(value, str) else json.dumps(value)

    text = io.StringIO()
    writer = csv.DictWriter(text, list(row))
    writer.writeheader()
    writer.writerow({key: cell(value) for key, value in row.items()})
    return text.getvalue().encode()


def as_parquet(row: Json) -> bytes:
    data = io.BytesIO()
    polars.DataFrame([row]).write_parquet(data)
    return data.getvalue()


def told(dataset: Dataset) -> Any:
    """The turns of the one row, and what was said of them."""
    (row,) = dataset.rows
    names = ("prompt", "chosen", "rejected", "completion", "messages", "label", "candidates", "ranking", "annotations")
    return [getattr(row, name, None) for name in names]


@pytest.mark.parametrize(("name", "shape"), SHAPES)
def test_a_row_is_the_same_from_csv(tmp_path: Path, name: str, shape: Shape) -> None:
    options: dict[str, Any] = {"format": name, "kind": shape.becomes}
    dataset = read_bytes(tmp_path, as_csv(shape.example), "rows.csv", **options)
    assert dataset.ledger.summary()["by_code"].keys() <= FIXED
    assert told(dataset) == told(read_rows(tmp_path, shape.example, **options))


@pytest.mark.parametrize(("name", "shape"), SHAPES)
def test_a_row_is_the_same_from_a_table(tmp_path: Path, name: str, shape: Shape) -> None:
    options: dict[str, Any] = {"format": name, "kind": shape.becomes}
    dataset = read_bytes(tmp_path, as_parquet(shape.example), "rows.parquet", **options)
    assert told(dataset) == told(read_rows(tmp_path, shape.example, **options))


def test_an_answer_that_is_json_stays_a_text(tmp_path: Path) -> None:
    row = {"prompt": "List them", "chosen": '[{"name": "x"}]', "rejected": '{"a": 1}'}
    dataset = read_bytes(tmp_path, as_csv(row), "rows.csv")
    (pair,) = dataset.rows
    assert (pair.chosen[0].content, pair.rejected[0].content) == (row["chosen"], row["rejected"])
