"""Columns under other names: renamed before anything else looks at them, and a mistaken name is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.data.columns import Columns
from fairlead.errors import ConfigError
from tests.data.samples import read_bytes, read_rows

GERMAN = {"frage": "Where is my parcel?", "besser": "On its way.", "schlechter": "So sorry!"}
NAMES = {"prompt": "frage", "chosen": "besser", "rejected": "schlechter"}


def test_rows_with_odd_names_are_read(tmp_path: Path) -> None:
    (row,) = read_rows(tmp_path, GERMAN | {"abteilung": "Versand"}, columns=NAMES | {"segment": "abteilung"}).rows
    assert (row.prompt[0].content, row.chosen[0].content) == ("Where is my parcel?", "On its way.")
    assert row.meta == {"segment": "Versand"}


def test_a_column_whose_name_was_given_away_is_kept(tmp_path: Path) -> None:
    (row,) = read_rows(tmp_path, GERMAN | {"prompt": "internal"}, columns=NAMES).rows
    assert row.meta == {"original.prompt": "internal"}


def test_a_dotted_name_leads_inside_and_a_column_of_that_name_comes_first(tmp_path: Path) -> None:
    row = {"data": {"frage": "Where?"}, "chosen": "a", "rejected": "b"}
    (found,) = read_rows(tmp_path, row, columns={"prompt": "data.frage"}).rows
    assert (found.prompt[0].content, found.meta) == ("Where?", {"data": {"frage": "Where?"}})
    (found,) = read_rows(tmp_path, row | {"data.frage": "When?"}, columns={"prompt": "data.frage"}).rows
    assert found.prompt[0].content == "When?"


def test_names_may_be_exchanged(tmp_path: Path) -> None:
    row = {"prompt": "Where?", "chosen": "bad", "rejected": "good"}
    (found,) = read_rows(tmp_path, row, columns={"chosen": "rejected", "rejected": "chosen"}).rows
    assert (found.chosen[0].content, found.rejected[0].content, found.meta) == ("good", "bad", {})


def test_cells_of_csv_have_the_type_of_the_field_they_are_for(tmp_path: Path) -> None:
    data = b"frage,besser,schlechter,gewicht\nWhere?,a,b,0.5\n"
    (row,) = read_bytes(tmp_path, data, "rows.csv", columns=NAMES | {"weight": "gewicht"}).rows
    assert row.weight == 0.5


def test_the_ledger_names_the_column(tmp_path: Path) -> None:
    dataset = read_rows(tmp_path, GERMAN, GERMAN | {"besser": 5}, columns=NAMES)
    assert [(entry.code, entry.field) for entry in dataset.ledger.entries] == [("not_text", "besser")]


def test_a_column_that_no_row_has_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no row has a column 'fragen'. Did you mean frage\?"):
        read_rows(tmp_path, GERMAN, columns=NAMES | {"prompt": "fragen"})
    dataset = read_rows(tmp_path, GERMAN, {"besser": "x"}, columns=NAMES)
    assert [entry.line for entry in dataset.ledger.entries] == [2]


def test_words_of_the_command_line() -> None:
    assert Columns.parse(["prompt=frage, chosen=besser", "rejected=schlechter"]) == NAMES
    for words in (["prompt"], ["prompt="], ["=frage"], ["prompt=a,prompt=b"]):
        with pytest.raises(ConfigError, match="is not of the form field=column"):
            Columns.parse(words)
    with pytest.raises(ConfigError, match="names nothing"):
        Columns({"prompt": ""})
