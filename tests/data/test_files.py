"""Files as they come: endings, compression, byte order marks, arrays, and files that cannot be read at all."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from fairlead.data import decoding, files
from fairlead.data.reading import read
from fairlead.errors import DataError
from tests.data.samples import PAIR, lines, read_bytes

ONE = lines(PAIR)
OTHER = lines(PAIR | {"margin": 2})
ARRAY = json.dumps([PAIR, PAIR | {"margin": 2}]).encode()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rows.jsonl", ONE + OTHER),
        ("rows.ndjson", ONE + OTHER),
        ("byte order mark.jsonl", b"\xef\xbb\xbf" + ONE + OTHER),
        ("crlf.jsonl", (ONE + OTHER).replace(b"\n", b"\r\n")),
        ("blank lines.jsonl", b"\n" + ONE + b" \r\n\n" + OTHER + b"\n\n"),
        ("no last line end.jsonl", ONE + OTHER.rstrip()),
        ("lines.json", ONE + OTHER),
        ("array.json", ARRAY),
        ("array with byte order mark.json", b"\xef\xbb\xbf \n" + ARRAY),
        ("indented.json", json.dumps(json.loads(ARRAY), indent=1).encode()),
        ("trailing comma.json", ARRAY[:-1] + b" , ]\n"),
        ("rows.jsonl.gz", gzip.compress(ONE + OTHER)),
        ("two members.jsonl.gz", gzip.compress(ONE) + gzip.compress(OTHER)),
        ("array.json.gz", gzip.compress(ARRAY)),
        ("gzip under another name.jsonl", gzip.compress(ONE + OTHER)),
        ("UPPER.JSONL", ONE + OTHER),
    ],
)
def test_the_same_rows_from_every_form(tmp_path: Path, name: str, data: bytes) -> None:
    dataset = read_bytes(tmp_path, data, name)
    assert dataset.ledger.summary() == {"rows_in": 2, "ok": 2, "fixed": 0, "quarantined": 0, "by_code": {}}
    assert [row.margin for row in dataset.rows] == [None, 2.0]
    assert dataset.sha256 == {str(tmp_path / name): hashlib.sha256(data).hexdigest()}


def test_a_truncated_last_line_is_quarantined(tmp_path: Path) -> None:
    dataset = read_bytes(tmp_path, ONE + OTHER[:-9])
    (entry,) = dataset.ledger.entries
    assert (entry.line, entry.code) == (2, "truncated_line")
    assert len(dataset.rows) == 1


def test_a_utf16_file_is_named_so_line_by_line(tmp_path: Path) -> None:
    dataset = read_bytes(tmp_path, (ONE + b"\n" + OTHER).decode().encode("utf-16"))
    assert [(entry.line, entry.code) for entry in dataset.ledger.entries] == [(1, "utf16"), (3, "utf16")]


def test_a_line_of_12_megabytes_is_read(tmp_path: Path) -> None:
    dataset = read_bytes(tmp_path, lines(PAIR | {"meta": {"log": "x" * 12_000_000}}) + OTHER)
    assert dataset.ledger.summary()["ok"] == 2


def test_a_line_beyond_the_limit_is_quarantined_and_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (decoding, files):
        monkeypatch.setattr(module, "MAX_BYTES", 1000)
    dataset = read_bytes(tmp_path, ONE + lines(PAIR | {"meta": {"log": "x" * 5000}}) + OTHER)
    (entry,) = dataset.ledger.entries
    assert (entry.line, entry.code) == (2, "line_too_long")
    assert len(dataset.rows) == 2


@pytest.mark.parametrize(
    ("middle", "code"),
    [
        (b'{"prompt": "a", "prompt": "b"}', "duplicate_key"),
        (b'{"prompt": "\xff"}', "invalid_utf8"),
        (b'{"prompt": NaN}', "not_finite"),
        (b'{"prompt": "a" "b"}', "not_json"),
        (b'"a text, with a comma"', "not_object"),
        (b"", "not_json"),
    ],
)
def test_one_bad_element_does_not_spoil_an_array(tmp_path: Path, middle: bytes, code: str) -> None:
    data = b"[" + ONE.strip() + b", " + middle + b", " + OTHER.strip() + b"]"
    dataset = read_bytes(tmp_path, data, "rows.json")
    (entry,) = dataset.ledger.entries
    assert (entry.line, entry.code) == (2, code)
    assert len(dataset.rows) == 2


@pytest.mark.parametrize("cut", [1, 5, len(OTHER)])
def test_an_array_that_is_not_closed_keeps_what_is_whole(tmp_path: Path, cut: int) -> None:
    dataset = read_bytes(tmp_path, (b"[" + ONE.strip() + b", " + OTHER.strip() + b"]")[:-cut], "rows.json")
    (entry,) = dataset.ledger.entries
    assert (entry.line, entry.code) == (2, "truncated_line")
    assert len(dataset.rows) == 1


def test_text_behind_an_array_is_quarantined(tmp_path: Path) -> None:
    dataset = read_bytes(tmp_path, ARRAY + b" tail", "rows.json")
    assert [(entry.line, entry.code) for entry in dataset.ledger.entries] == [(3, "not_json")]


def test_an_empty_file_has_no_rows_and_is_refused_by_the_check(tmp_path: Path) -> None:
    for name, data in [("a.jsonl", b""), ("b.jsonl", b"\n \n"), ("c.json", b"[]"), ("d.jsonl.gz", gzip.compress(b""))]:
        dataset = read_bytes(tmp_path, data, name)
        assert (dataset.rows, dataset.kind) == ((), "")
        with pytest.raises(DataError, match="holds no rows"):
            dataset.ledger.check(max_quarantined=1.0)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_bytes(ONE)
    with pytest.raises(DataError, match=r"pair\.jsonl: No such file or directory\. .*Did you mean pairs\.jsonl\?") as e:
        read(tmp_path / "pair.jsonl")
    assert e.value.code == "missing_file"


def test_a_folder_names_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_bytes(ONE)
    with pytest.raises(DataError, match=r"is a folder; name the files in it\. It holds pairs\.jsonl\."):
        read(tmp_path)


@pytest.mark.parametrize("name", ["rows.txt", "rows", "rows.gz", "rows.jsonl.zip"])
def test_an_unknown_ending_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"Use \.jsonl, \.json, \.csv or \.parquet") as caught:
        read_bytes(tmp_path, ONE, name)
    assert caught.value.code == "unknown_extension"


@pytest.mark.parametrize("spoil", [lambda data: data[:-12], lambda data: data[:30] + b"\0\1\2\3" + data[34:]])
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, spoil: object) -> None:
    assert callable(spoil)
    with pytest.raises(DataError, match=r"rows\.jsonl\.gz: the file is damaged or cut short") as caught:
        read_bytes(tmp_path, spoil(gzip.compress(ONE + OTHER)), "rows.jsonl.gz")
    assert caught.value.code == "corrupt_file"
