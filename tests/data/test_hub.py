"""Data sets of the hub: read through `datasets` from a local folder; what the hub does not have is said plainly."""

from __future__ import annotations

import builtins
import importlib.util
from pathlib import Path
from typing import Any

import polars
import pytest

from fairlead.data.hub import HUB_ID, is_hub_name
from fairlead.data.reading import read
from fairlead.data.verbatim import quarantined_lines
from fairlead.errors import DataError, MachineError
from tests.data.samples import PAIR, lines

installed = pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None, reason="datasets, the extra `hub`, is not installed"
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the library's cache, and one for data."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    if importlib.util.find_spec("datasets") is not None:
        import datasets

        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@installed
def test_a_folder_of_json_lines(home: Path) -> None:
    (home / "train.jsonl").write_bytes(lines(PAIR, PAIR | {"chosen": []}))
    dataset = read(f"hub:{home}")
    assert (dataset.kind, len(dataset.rows)) == ("preference", 1)
    assert [entry.code for entry in dataset.ledger.entries] == ["empty_completion"]
    assert len(list(quarantined_lines(dataset.ledger, dataset.sha256))) == 1
    assert read(f"hub:{home}").sha256 == dataset.sha256


@installed
def test_a_split_is_named_where_there_are_several(home: Path) -> None:
    for split in ("train", "test"):
        rows = {"frage": [f"{split}?"], "chosen": ["a"], "rejected": ["b"]}
        polars.DataFrame(rows).write_parquet(home / f"{split}.parquet")
    with pytest.raises(DataError, match=r"has several splits. Write one of hub:.*:train"):
        read(f"hub:{home}")
    with pytest.raises(DataError, match="has no split 'dev'"):
        read(f"hub:{home}:dev")
    (row,) = read(f"hub:{home}:test", columns={"prompt": "frage"}).rows
    assert row.prompt[0].content == "test?"


@installed
def test_a_folder_without_data(home: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(f"hub:{home / 'none'}")
    assert caught.value.code == "missing_file"


def test_without_the_package_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MachineError, match=r"pip install 'fairlead\[hub\]'"):
        read("hub:owner/name")


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_hub_name("hub:owner/name")
    assert not is_hub_name("owner/name")
    assert HUB_ID.fullmatch("Anthropic/hh-rlhf")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="write hub:Anthropic/hh-rlhf"):
        read("Anthropic/hh-rlhf")
    for name in ("hub:", "hub:a:b:c:d", "hub:a::b"):
        with pytest.raises(DataError, match="hub:ID:CONFIG:SPLIT"):
            read(name)
