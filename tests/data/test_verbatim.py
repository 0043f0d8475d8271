"""Rows in quarantine are kept as they came, whatever made them unreadable."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars
import pytest

from fairlead.data.verbatim import quarantined_lines
from fairlead.errors import DataError
from tests.data.samples import PAIR, lines, read_bytes

BAD = {"prompt": "a", "chosen": None, "rejected": "b"}


def kept(folder: Path, data: bytes, name: str = "rows.jsonl", **options: Any) -> list[bytes]:
    dataset = read_bytes(folder, data, name, **options)
    found = list(quarantined_lines(dataset.ledger, dataset.sha256))
    assert len(found) == dataset.ledger.summary()["quarantined"]
    return found


def test_lines_are_kept_byte_for_byte(tmp_path: Path) -> None:
    bad = [b'{"prompt": "caf\xe9"}', b'{"a":  1.50, "a": 2}', b'{"prompt": "a", "chosen": NaN}', b'{"prompt": "cut']
    data = b"\xef\xbb\xbf" + bad[0] + b"\r\n\n" + lines(PAIR) + b"\n".join(bad[1:])
    assert kept(tmp_path, data) == bad
    assert kept(tmp_path, gzip.compress(data), "rows.jsonl.gz") == bad
    assert kept(tmp_path, data, "rows.json") == bad


def test_what_is_kept_can_be_repaired_and_read(tmp_path: Path) -> None:
    (line,) = kept(tmp_path, lines(PAIR, BAD))
    dataset = read_bytes(tmp_path, line.replace(b"null", b'"c"') + b"\n")
    assert dataset.ledger.summary()["ok"] == 1


def test_utf16_is_kept_as_text(tmp_path: Path) -> None:
    assert kept(tmp_path, '{"prompt": "ä"}\n'.encode("utf-16")) == ['{"prompt": "ä"}'.encode()]


def test_elements_of_an_array_are_one_line_each(tmp_path: Path) -> None:
    text = json.dumps([PAIR, BAD, {"x": NAN}], indent=1).encode()
    first, second = kept(tmp_path, text, "rows.json")
    assert json.loads(first) == BAD
    assert json.loads(json.loads(second)["undecoded"])["x"] is not None
    assert kept(tmp_path, b'[{"a":1},{"b":2', "rows.json") == [b'{"a":1}', b'{"b":2']


NAN = float("nan")


def test_csv_records_are_objects_or_their_text(tmp_path: Path) -> None:
    data = b'prompt,chosen,rejected\na,b,c\na,b\nd,"e\nf",e x\na,"","x"\n' + b"g,caf\xe9,h\n"
    short, empty, latin = kept(tmp_path, data, "rows.csv")
    assert json.loads(short) == {"undecoded": "a,b\n"}
    assert json.loads(empty) == {"prompt": "a", "chosen": "", "rejected": "x"}
    assert json.loads(latin)["undecoded"].encode(errors="surrogateescape") == b"g,caf\xe9,h\n"


def test_rows_of_a_table_are_objects(tmp_path: Path) -> None:
    table = polars.DataFrame({"prompt": ["a", "a"], "chosen": ["b", None], "rejected": ["c", "d"], "x": [1.0, NAN]})
    table.write_parquet(tmp_path / "rows.parquet")
    (line,) = kept(tmp_path, (tmp_path / "rows.parquet").read_bytes(), "rows.parquet")
    assert line == b'{"prompt": "a", "chosen": null, "rejected": "d", "x": NaN}'


def test_a_file_that_changed_in_between_is_refused(tmp_path: Path) -> None:
    dataset = read_bytes(tmp_path, lines(PAIR, BAD))
    (tmp_path / "rows.jsonl").write_bytes(lines(BAD, PAIR))
    with pytest.raises(DataError, match="changed while it was read"):
        list(quarantined_lines(dataset.ledger, dataset.sha256))
