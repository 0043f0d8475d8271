"""The table of formats: a new one is a line, each documented row is of one format, and the page shows them all."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from fairlead.data.contract import validate
from fairlead.data.formats.detection import Detector
from fairlead.data.formats.shapes import Json, Shape, Shaped
from fairlead.data.formats.table import FORMATS, Format
from fairlead.data.ledger import Note
from fairlead.data.records import KINDS
from tests.data.samples import PAIR, read_rows

SHAPES = [
    pytest.param(name, shape, id=f"{name}: {shape.name}") for name, format in FORMATS.items() for shape in format.shapes
]
# Rows that two formats share; without a name they are read as the second, which reads them the same.
ASKED_FOR = "binarized, to imitate (kind demonstration)"


@pytest.mark.parametrize(("name", "shape"), SHAPES)
def test_each_documented_row_is_of_its_format_and_of_no_other(name: str, shape: Shape) -> None:
    found = Detector("auto", None).find(shape.example)
    if shape.name == ASKED_FOR:
        assert Detector("auto", "demonstration").find(shape.example).shape is shape
    elif shape.named:
        assert found.format == shape.like
        assert found.kind == shape.becomes
        mine, theirs = shape.read(shape.example)[0], found.shape.read(shape.example)[0]
        assert validate(mine, shape.becomes).row == validate(theirs, shape.becomes).row
    else:
        assert (found.format, found.shape) == (name, shape)
        others = {other: format for other, format in FORMATS.items() if other != name}
        assert fitting(shape.example, others) <= {"canonical", "trl"}, "those come last, and only for their own"


def fitting(row: Json, formats: dict[str, Format]) -> set[str]:
    """The formats with a shape that the row has and that need not be named."""
    found = Detector("auto", None, formats)._possible(tuple(row))[0]
    return {each.format for each in found if each.shape.fits is None or each.shape.fits(row)}


@pytest.mark.parametrize(("name", "shape"), SHAPES)
def test_each_documented_row_becomes_what_is_stated(tmp_path: Path, name: str, shape: Shape) -> None:
    before = copy.deepcopy(shape.example)
    dataset = read_rows(tmp_path, shape.example, format=name, kind=shape.becomes or None)
    assert shape.example == before
    if shape.becomes:
        assert type(dataset.rows[0]) is KINDS[shape.becomes]
        assert dataset.ledger.summary()["by_code"].keys() <= {"annotation_left_out"}
    else:
        assert dataset.ledger.summary()["by_code"] == {"text_without_turns": 1}


def read_german(row: Json) -> Shaped:
    return {"prompt": row["frage"], "chosen": row["besser"], "rejected": row["schlechter"]}, [Note("json_text", "x")]


GERMAN = Shape(
    name="Paare",
    becomes="preference",
    keys=frozenset({"frage", "besser", "schlechter"}),
    read=read_german,
    example={"frage": "Where is my parcel?", "besser": "On its way.", "schlechter": "So sorry!"},
)


def test_a_format_added_to_the_table_is_detected_and_can_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMATS, "german", Format(title="German", shapes=[GERMAN]))
    for format in ("auto", "german"):
        dataset = read_rows(tmp_path, GERMAN.example, format=format)
        assert dataset.rows[0].prompt == read_rows(tmp_path, PAIR).rows[0].prompt
        assert [entry.code for entry in dataset.ledger.entries] == ["json_text"]
        assert dataset.shapes == {"german: Paare": 1}


def test_a_named_format_is_the_only_one_tried(tmp_path: Path) -> None:
    dataset = read_rows(tmp_path, {"chosen": "a", "rejected": "b"}, format="canonical")
    (entry,) = dataset.ledger.entries
    assert entry.code == "unknown_shape"
    assert "nearest is preference, which also needs prompt" in entry.detail


def test_what_is_remembered_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.data.formats.detection.MOST_REMEMBERED", 3)
    detector = Detector("auto", None)
    for number in range(10):
        assert detector.find(PAIR | {f"key {number}": 1}).kind == "preference"
    assert len(detector._remembered) <= 3
