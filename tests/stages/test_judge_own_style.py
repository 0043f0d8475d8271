"""Self-preference through a real local server: a judge with a taste for its own style is found, a fair one is not."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from fairlead.config.gate_policy import GatePolicy
from fairlead.data.reading import read
from fairlead.data.records import Judgement
from fairlead.evaluation.gate import Evidence, Measured, decide
from fairlead.evaluation.results import Measurement, read_measures
from fairlead.runs.directory import RunDirectory
from fairlead.stages.judge import Judging, judge
from tests.evaluation.judging.server import (
    STYLE,
    Asked,
    Behaviour,
    Reply,
    answers,
    completion,
    question,
    serving,
    sound,
    vain,
)
from tests.stages.test_judge import GOOD, PLAIN, candidates, config, rules, server_judge

N = 40
SELF = "judge/self_preference"
EQUAL = "judge/self_preference_equal_opportunity"
POLICY = {
    "version": 1,
    "measures": [{"measure": SELF, "slice": {"judge": "server", "against": "panel"}, "maximum": 0.2}],
}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Both models are good, or neither is, so that it does not matter whose answer stands against the judge's own."""
    texts = [GOOD if n % 4 < 2 else PLAIN for n in range(N)]
    return candidates(tmp_path / "ours.jsonl", texts, "tuned"), candidates(tmp_path / "base.jsonl", texts, "base")


def run(files: tuple[Path, Path], panel: Path, name: str = "run", human: Path | None = None) -> Judging:
    return judge(files[0], against=files[1], judge=panel, out=files[0].parent / name, human=human)


def found(result: Judging, name: str, **part: str) -> Measurement:
    measure = read_measures(result.run).find(name, {"judge": "server", **part})
    assert measure is not None, name
    return measure


def passes(result: Judging) -> bool:
    evidence = Evidence(judge=Measured(measures=read_measures(result.run)))
    return decide(GatePolicy.model_validate(POLICY), evidence).passed


@pytest.mark.parametrize(("behave", "bias", "gate"), [(vain, 0.5, False), (sound, 0.0, True)])
def test_a_taste_for_the_own_style_is_found(
    files: tuple[Path, Path], tmp_path: Path, behave: Behaviour, bias: float, gate: bool
) -> None:
    with serving(behave) as server:
        result = run(files, config(tmp_path, [server_judge(server), rules()], self_preference=N))
        written = [asked for asked in server.asked if len(asked["messages"]) == 1]
    assert result.void == ()
    assert sorted(question(asked) for asked in written) == sorted(f"Question {n}?" for n in range(N))
    assert found(result, "judge/own_preferred").n == N
    measure = found(result, SELF, against="panel")
    assert (measure.value, measure.n) == (bias, N // 2)
    assert measure.low is not None
    assert measure.high is not None
    assert (measure.low > 0) == bool(bias)
    assert found(result, EQUAL, against="panel").value == 2 * bias
    assert passes(result) is gate
    page = (result.run / "report.html").read_text()
    assert "judge/self_preference (against panel)" in page
    assert ("Judge &#39;server&#39; prefers its own answers more often" in page) == bool(bias)
    assert f"Answers that judges wrote themselves</dt><dd>{N}" in page


def test_people_judge_the_own_answers_and_nothing_is_paid_again(files: tuple[Path, Path], tmp_path: Path) -> None:
    """A judge alone, without a panel: its own answers are handed to people, and their labels come back."""
    with serving(vain) as server:
        panel = config(tmp_path, [server_judge(server)], self_preference=N)
        first = run(files, panel)
        calls = server.calls
        assert first.own_for_people == N
        rows = read(first.run / "artifacts" / "own_answers_for_people.jsonl").rows
        labelled = tmp_path / "labelled.jsonl"
        lines = []
        for row in rows:
            assert isinstance(row, Judgement)
            assert row.label is None
            a, b = (GOOD in side[0].content for side in (row.response_a, row.response_b))
            label = "tie" if a == b else "a" if a else "b"
            lines.append({**msgspec.to_builtins(row), "label": label})
        labelled.write_text("".join(json.dumps(line) + "\n" for line in lines))
        second = run(files, panel, "again", human=labelled)
        assert (server.calls, second.calls) == (calls, 0)
    assert not any("against" in measure.slice for measure in first.measures)
    measure = found(second, SELF, against="people")
    assert (measure.value, measure.n) == (0.5, N // 2)
    # Of all people's judgements none is of other answers than the judge's own: they say nothing of its agreement.
    assert not any("human" in each.name for each in second.measures)


def test_what_is_handed_to_people_names_nobody(files: tuple[Path, Path], tmp_path: Path) -> None:
    with serving(vain) as server:
        result = run(files, config(tmp_path, [server_judge(server)], self_preference=N))
    text = (result.run / "artifacts" / "own_answers_for_people.jsonl").read_text()
    assert "server" not in text
    rows = read(result.run / "artifacts" / "own_answers_for_people.jsonl").rows
    own_first = [row.response_a[0].content.startswith(STYLE) for row in rows if isinstance(row, Judgement)]
    assert 5 < sum(own_first) < N - 5


def test_own_answers_that_cannot_be_compared_are_counted(files: tuple[Path, Path], tmp_path: Path) -> None:
    def brief(number: int, asked: Asked) -> Reply:
        if answers(asked):
            return sound(number, asked)
        return completion("Well, I", finish="length") if "7" in question(asked) else completion(" ")

    with serving(brief) as server:
        result = run(files, config(tmp_path, [server_judge(server), rules()], self_preference=N))
    account = RunDirectory.open(result.run).record["extra"]["account"]
    assert (account["own_answers"], account["own_answers_left_out"]) == (N, {"blank": N - 4, "truncated": 4})
    assert not (result.run / "artifacts" / "own_answers_for_people.jsonl").exists()
    assert not any(measure.name.startswith("judge/own") for measure in result.measures)


def test_judges_that_write_nothing_are_not_asked_to(files: tuple[Path, Path], tmp_path: Path) -> None:
    result = run(files, config(tmp_path, [rules()], self_preference=N))
    assert result.own_for_people == 0
    assert not any(measure.name.startswith(("judge/own", SELF)) for measure in result.measures)
