"""`fairlead split`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.calling import call
from tests.stages.test_split import ROWS, row, write_rows


def test_it_says_what_was_made_and_proves_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, to = write_rows(tmp_path, *ROWS), tmp_path / "split"
    assert call("split", path, "--to", to, "--fraction", 0.2, "--stratify") == 0
    shown = capsys.readouterr().out
    assert "240 rows in; 240 prompts in 120 clusters, the largest of 2." in shown
    assert "192 rows (80.0%) with 192 prompts to train on" in shown
    assert "  s1: 64 train, 16 held out" in shown
    assert "held-out prompts that stand in training: 0 the same, 0 nearly (Jaccard ≥ 0.7)" in shown
    assert "split that was here" not in shown
    assert call("split", path, "--to", to, "--fraction", 0.2, "--stratify") == 0
    assert "Of 240 prompts of the split that was here, 0 moved to training, 0 to the held-out side." in (
        capsys.readouterr().out
    )


def test_exact_only_says_what_it_lets_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("split", write_rows(tmp_path, *ROWS), "--to", tmp_path / "split", "--exact-only") == 0
    assert "Without --exact-only, nearly the same prompts are kept on one side." in capsys.readouterr().out


def test_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_rows(tmp_path, *(row(number, 0, f"s{number}") for number in range(20)))
    options = ["--by", "segment", "--held-out-segment", "s3", "--held-out-segment", "s5", "--fraction", 0, "--json"]
    assert call("split", path, "--to", tmp_path / "split", *options) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["held_out"]["rows"] == 2
    assert shown["settings"]["held_out_segments"] == ["s3", "s5"]
    assert shown["proof"]["near_prompts"] == 0


def test_many_segments_are_not_all_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_rows(tmp_path, *(row(number, 0, f"s{number}") for number in range(20)))
    assert call("split", path, "--to", tmp_path / "split", "--fraction", 0.5) == 0
    assert "and 8 segments more" in capsys.readouterr().out


def test_a_mistake_is_one_paragraph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_rows(tmp_path, *ROWS)
    assert call("split", path, "--to", tmp_path / "split", "--held-out-segment", "s11") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no row is in the segment 's11'. Did you mean 's1'?" in captured.err
