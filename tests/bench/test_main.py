"""The command, with contenders that only pretend."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.against_trl import __main__ as command
from bench.against_trl import floor
from bench.against_trl.cells import Cell, Job
from bench.against_trl.models import SHAPES, write_model
from tests.bench.small import TINY, record


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    done: list[Job] = []

    def pretend(cell: Cell, job: Job) -> dict[str, Any]:
        done.append(job)
        return record()

    monkeypatch.setattr(command, "run_cell", pretend)
    monkeypatch.setattr(command, "SCRATCH", tmp_path / "scratch")
    monkeypatch.setattr(floor, "PEAK_SIZE", 64)
    for shape in ("30M", "135M"):
        monkeypatch.setitem(SHAPES, shape, TINY)
    return done


def run(*arguments: str) -> str:
    done = CliRunner().invoke(command.app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_cells_are_measured_once_and_listed(jobs: list[Job], tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    chosen = ("--only", "150/100", "--only", "lora", "--results", str(results))
    said = run(*chosen)
    assert "8 cells" not in said  # none is left
    assert [job.method for job in jobs] == ["dpo", "dpo", "dpo", "kto", "orpo", "simpo", "sft", "reward"]
    assert {Path(job.model).name for job in jobs} == {"30M", "135M", "30M-reward"}
    run(*chosen)
    assert len(jobs) == 8
    listed = run("--plan", "--results", str(results)).splitlines()
    assert sum(line.startswith("done") for line in listed) == 8
    kept = json.loads(results.read_text())["cells"]["30M|dpo|lora|fp32|150/100|precomputed"]
    assert kept["floor_seconds"] > 0
    assert kept["operations"] > kept["sequence_tokens"] > 0
    assert "trl" in kept["packages"]


def test_time_that_is_up_leaves_the_rest_for_the_next_time(
    jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each_length = ("--only", "dpo", "--only", "lora", "--only", "each step")
    minutes = itertools.count()
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: 60.0 * next(minutes)))
    said = run("--minutes", "2.5", *each_length, "--results", str(tmp_path / "results.json"))
    assert len(jobs) == 2
    assert "1 of 3 cells have no figures yet" in said


def test_a_model_of_ones_own_takes_the_place_of_the_large_shape(jobs: list[Job], tmp_path: Path) -> None:
    model = write_model(tmp_path / "MyModel", TINY, reward=False)
    run("--model", str(model), "--only", "bf16", "--results", str(tmp_path / "results.json"))
    assert {job.model for job in jobs} == {str(model)}
    names = json.loads((tmp_path / "results.json").read_text())["cells"]
    assert all(name.startswith("MyModel|dpo|") for name in names)
