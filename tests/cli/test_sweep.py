"""`fairlead sweep`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.calling import call
from tests.stages.sweeping import make_project, write_gate


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    make_project(tmp_path, loss={"beta": 0.1})
    monkeypatch.chdir(tmp_path)
    return ["sweep", "fairlead.yaml", "--suite", "suite.yaml", "--precision", "fp32", "--set", "loss.beta=0.1,5"]


def test_the_table_the_pick_and_where_the_run_is(words: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words, "--out", "sweep") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["point", "ranking_accuracy", "kl/k1", "constraints"]
    assert [line.split()[0] for line in lines[1:4]] == ["base", "beta=0.1", "beta=5"]
    assert sum(line.endswith("picked") for line in lines[1:4]) == 1
    assert "The rule: the highest ranking_accuracy whose constraints hold" in out
    assert lines[-1] == "The run is in sweep; its page is sweep/report.html."
    assert "train: point 2 of 2, beta=5" in err
    assert "train points:  2/2 points" in err
    assert call("report", "sweep", "--to", "page.html") == 0
    assert Path("page.html").read_bytes() == Path("sweep/report.html").read_bytes()


def test_as_json_and_exit_code_1_where_nothing_is_picked(
    words: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = write_gate(tmp_path, "version: 1\nmeasures: [{measure: length/words, minimum: 1000}]\n")
    assert call(*words, "--constraints", gate, "--max-kl", "9", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["picked"] is None
    assert found["why"].startswith("No point is eligible. base: length/words ≥ 1000 fails")
    assert found == {"run": found["run"], "failed": {}, "prompting": []} | json.loads(
        Path(found["run"], "frontier.json").read_text()
    )
    assert "-sweep-" in found["run"]


def test_a_dry_run_prints_what_each_point_changes(words: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words, "--dry-run", "--out", "sweep") == 0
    assert capsys.readouterr().out.splitlines() == [
        "2 points:",
        "",
        "beta=0.1",
        "  as in the configuration",
        "",
        "beta=5",
        "  loss.beta: 0.1 → 5",
    ]
    assert call(*words, "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["points"][1]["changes"] == {"loss.beta": [0.1, 5]}
    assert not Path("sweep").exists()


def test_mistakes_end_with_2(words: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words, "--set", "train.epochs=0", "--max-kl", "0") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "sweep: 2 faults" in err
    assert "train.epochs: must be greater than 0" in err
    assert "Traceback" not in err
    assert not Path("runs").exists()
