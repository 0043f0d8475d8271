from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.against_trl.cells import Cell
from bench.against_trl.duel import Refused
from bench.against_trl.results import Results, run_missing
from fairlead.errors import RunError
from tests.bench.small import cell, record

FACTS = {"processor": "Some CPU", "cores": 2, "threads": 2}
CELLS = [cell("dpo"), cell("kto"), cell("sft", reference="none")]


def opened(path: Path, **facts: Any) -> Results:
    return Results.open(path, {**FACTS, **facts}, lambda: {"peak": 1})


def yes() -> bool:
    return True


def test_a_finished_cell_is_not_run_again(tmp_path: Path) -> None:
    path, ran = tmp_path / "results.json", []

    def run(one: Cell) -> dict[str, Any]:
        ran.append(one.name)
        return record()

    left = iter([True, True, False])
    still = run_missing(opened(path), CELLS, run, may_start=lambda: next(left), say=lambda _: None)
    assert still == CELLS[2:]
    assert run_missing(opened(path), CELLS, run, may_start=yes, say=lambda _: None) == []
    assert ran == [one.name for one in CELLS]
    assert Results.read(path).machine == {**FACTS, "peak": 1}


def test_what_was_measured_is_kept_when_the_next_cell_breaks(tmp_path: Path) -> None:
    path = tmp_path / "results.json"

    def run(one: Cell) -> dict[str, Any]:
        if one is CELLS[1]:
            raise KeyboardInterrupt
        return record()

    with pytest.raises(KeyboardInterrupt):
        run_missing(opened(path), CELLS, run, may_start=yes, say=lambda _: None)
    assert list(Results.read(path).cells) == [CELLS[0].name]


def test_a_refused_cell_has_a_reason_and_no_figures_and_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "results.json"

    def refuse(one: Cell) -> dict[str, Any]:
        raise Refused("the losses differ\nby a lot")

    assert run_missing(opened(path), CELLS[:1], refuse, may_start=yes, say=lambda _: None) == CELLS[:1]
    found = Results.read(path)
    assert found.failures == {CELLS[0].name: "the losses differ"}
    assert not found.cells
    assert not run_missing(opened(path), CELLS[:1], lambda _: record(), may_start=yes, say=lambda _: None)
    assert not Results.read(path).failures


def test_one_file_holds_the_figures_of_one_machine(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    opened(path).put(CELLS[0], record())
    with pytest.raises(RunError, match="another threads"):
        opened(path, threads=4)
