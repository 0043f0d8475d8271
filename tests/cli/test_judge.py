"""`fairlead judge`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.calling import call
from tests.evaluation.judging.server import Reply, always_a, serving
from tests.stages.test_judge import GOOD, PLAIN, N, candidates, config, rules, server_judge


@pytest.fixture
def words(tmp_path: Path) -> list[object]:
    ours = candidates(tmp_path / "ours.jsonl", [GOOD] * 9 + [PLAIN] * 3, "tuned")
    base = candidates(tmp_path / "base.jsonl", [PLAIN] * 9 + [GOOD] * 3, "base")
    return ["judge", ours, "--against", base, "--out", tmp_path / "run", "--judge"]


def test_it_says_who_wins_and_what_the_judge_is_worth(
    words: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*words, config(tmp_path, [rules()])) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "12 comparisons; 38 answers of judges."
    assert shown[1].split() == ["judge/win_rate", "75.0%", "[46.8%,", "91.1%]", "n", "=", "12"]
    assert any(line.split()[:3] == ["judge/canaries_lost", "[judge", "rules]"] for line in shown)
    assert shown[-1] == f"The run is in {tmp_path / 'run'}; its page is {tmp_path / 'run' / 'report.html'}."


def test_more_than_two_models_are_ranked(
    words: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    third = candidates(tmp_path / "third.jsonl", [PLAIN, GOOD] * 6, "third")
    assert call(*words[:2], third, *words[2:], config(tmp_path, [rules()])) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].split() == ["model", "strength", "win", "rate"]
    assert [line.split()[:2] for line in shown[2:5]] == [["1", "tuned"], ["2", "third"], ["3", "base"]]
    assert shown[2].split()[-3] == "68.8%"
    assert any(line.split()[:3] == ["judge/win_rate", "[against", "base]"] for line in shown)
    assert call(*words[:2], "--against", third, *words[2:], config(tmp_path, [rules()])) == 2  # the run is there
    capsys.readouterr()
    words[words.index("--out") + 1] = tmp_path / "again"
    assert call(*words[:2], "--against", third, *words[2:], config(tmp_path, [rules()]), "--json") == 0
    assert json.loads(capsys.readouterr().out)["ranking"]["models"] == ["tuned", "third", "base"]


def test_as_json(words: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words, config(tmp_path, [rules()]), "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["comparisons"], shown["verdicts"], shown["void"]) == (N, N, [])
    assert shown["measures"][0]["value"] == 0.75
    assert shown["run"] == str(tmp_path / "run")


def test_a_void_run_ends_with_1(words: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(always_a) as server:
        assert call(*words, config(tmp_path, [server_judge(server)])) == 1
    shown = capsys.readouterr().out
    assert "VOID: judge 'server': the null answer did not lose in 2 of 2 planted comparisons." in shown
    assert "Preferences, marked as a machine's: 0; set aside for people: " in shown


def test_mistakes_end_with_2_and_machines_with_3(
    words: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(lambda *_: Reply(status=401)) as server:
        assert call(*words, config(tmp_path, [server_judge(server)])) == 2
        assert "judges.server.endpoint.api_key_env" in capsys.readouterr().err
        server.behave = lambda *_: Reply(status=500)
        assert call(*words, config(tmp_path, [server_judge(server)])) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "the same command goes on from there" in captured.err
    assert call(*words, tmp_path / "none.yaml") == 2
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
