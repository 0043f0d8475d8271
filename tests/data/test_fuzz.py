"""Mutated rows of every format: no traceback, no row unaccounted for, one result whatever the hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairlead.data.formats.table import FORMATS
from fairlead.data.reading import read
from fairlead.data.records import KINDS
from tests.data.fuzzing import mutated_lines

ROOT = Path(__file__).parents[2]


def results(path: Path, seeds: int) -> set[str]:
    """What processes with so many different hash seeds make of a file."""
    found = set()
    for seed in range(seeds):
        environment = os.environ | {"PYTHONHASHSEED": str(seed)}
        child = [sys.executable, "-m", "tests.data.fuzzing", str(path)]
        done = subprocess.run(child, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    return found


def write_lines(path: Path, count: int, seed: int) -> Path:
    path.write_bytes(b"\n".join(mutated_lines(count, seed)) + b"\n")
    return path


def test_two_thousand_mutated_rows(tmp_path: Path) -> None:
    assert len(results(write_lines(tmp_path / "rows.jsonl", 2_000, seed=0), seeds=2)) == 1


@pytest.mark.parametrize("format", FORMATS)
def test_no_named_format_trips_over_rows_of_the_others(tmp_path: Path, format: str) -> None:
    path = write_lines(tmp_path / "rows.jsonl", 600, seed=1)
    ledger = read(path, format=format).ledger
    assert ledger.rows_in == 600


@pytest.mark.parametrize("kind", KINDS)
def test_nor_does_a_named_kind(tmp_path: Path, kind: str) -> None:
    path = write_lines(tmp_path / "rows.jsonl", 600, seed=2)
    assert read(path, kind=kind).ledger.rows_in == 600


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20, 26))
def test_no_named_format_or_kind_trips_over_a_hundred_thousand(tmp_path: Path, seed: int) -> None:
    path = write_lines(tmp_path / "rows.jsonl", 20_000, seed)
    for format in ("auto", *FORMATS):
        assert read(path, format=format).ledger.rows_in == 20_000
    for kind in KINDS:
        assert read(path, kind=kind).ledger.rows_in == 20_000


@pytest.mark.soak
def test_a_hundred_thousand_mutated_rows(tmp_path: Path) -> None:
    assert len(results(write_lines(tmp_path / "rows.jsonl", 100_000, seed=3), seeds=10)) == 1
