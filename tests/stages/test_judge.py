"""Judging as a whole: files in, a sealed run out; a real local server that fails, and is never paid twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import fairlead
from fairlead.data.reading import read
from fairlead.data.records import Judgement, Preference
from fairlead.errors import ConfigError, DataError, MachineError, RunError
from fairlead.evaluation.results import read_items, read_measures
from fairlead.runs.directory import RunDirectory
from fairlead.stages.judge import Judging, judge
from tests.data.samples import assistant, user
from tests.evaluation.judging.server import (
    Reply,
    Server,
    always_a,
    answers,
    completion,
    first_then,
    serving,
    sound,
)

N = 12
GOOD, PLAIN = "a good answer", "an answer"
CALLS = 2 * N + 2 * 4 + 2 * 3
"""Both orders; two canaries of both sorts in both orders; three comparisons under both opinions."""


def candidates(path: Path, texts: list[str], model: str, order: int = 1) -> Path:
    rows = [
        {
            "id": f"r{n}",
            "prompt": [user(f"Question {n}?")],
            "candidates": [{"id": f"r{n}-0", "messages": [assistant(text)], "model": model}],
            "meta": {"segment": "even" if n % 2 == 0 else "odd"},
        }
        for n, text in enumerate(texts)
    ][::order]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config(folder: Path, judges: Any, **more: Any) -> Path:
    path = folder / "judge.yaml"
    settings = {"judges": judges, "canaries": 2, "sycophancy": 3, "self_preference": 0, "for_people": 0.25}
    path.write_text(json.dumps(settings | more))
    return path


def rules(name: str = "rules") -> dict[str, Any]:
    return {"name": name, "rules": [{"contains": "good"}, {"lacks": "Thank you"}, {"lacks": "Note to"}]}


def server_judge(server: Server, name: str = "server", **more: Any) -> dict[str, Any]:
    quick = {"backoff": 0.001, "retries": 2, "timeout": 5}
    return {"name": name, "endpoint": {"url": server.url, "model": "m"} | quick | more}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The candidate is good in 9 of 12."""
    ours = candidates(tmp_path / "ours.jsonl", [GOOD] * 9 + [PLAIN] * 3, "tuned")
    return ours, candidates(tmp_path / "base.jsonl", [PLAIN] * 9 + [GOOD] * 3, "base", order=-1)


def run(files: tuple[Path, Path], panel: Path, name: str = "run", **more: Any) -> Judging:
    return judge(files[0], against=files[1], judge=panel, out=files[0].parent / name, **more)


def value(result: Judging | Path, name: str, **part: str) -> float | None:
    found = read_measures(result if isinstance(result, Path) else result.run).find(name, part)
    assert found is not None, name
    return found.value


def test_the_run_holds_everything_and_is_sealed(files: tuple[Path, Path], tmp_path: Path) -> None:
    result = run(files, config(tmp_path, [rules()]))
    assert result.void == ()
    held = RunDirectory.open(result.run)
    assert (held.stage, held.status, held.verify()) == ("judge", "complete", [])
    measures = read_measures(result.run)
    assert measures.model == "tuned"
    assert value(result, "judge/win_rate") == 0.75
    assert value(result, "judge/win_rate", segment="even") == pytest.approx(5 / 6)
    assert value(result, "judge/canaries_lost", judge="rules") == 1
    assert value(result, "judge/inconsistent", judge="rules") == 0
    assert value(result, "judge/first_position", judge="rules") == 0.5
    assert value(result, "judge/longer_preferred", judge="rules") == 1
    assert value(result, "judge/sycophancy", judge="rules") == 0
    assert sum(read_items(result.run)["judge/win_rate"].values()) == 9
    lines = [json.loads(line) for line in (result.run / "verdicts.jsonl").read_text().splitlines()]
    assert len(lines) == N + N + 4
    assert [line["planted"] for line in lines if "planted" in line] == ["null", "injection"] * 2
    assert {Path(item.path).name for item in held.inputs} == {"ours.jsonl", "base.jsonl", "judge.yaml"}
    page = (result.run / "report.html").read_text()
    assert "judge/win_rate" in page
    assert "75 %" in page


def test_verdicts_become_marked_preferences_and_a_slice_for_people(files: tuple[Path, Path], tmp_path: Path) -> None:
    result = run(files, config(tmp_path, [rules()]))
    pairs = read(result.run / "artifacts" / "preferences.jsonl").rows
    people = read(result.run / "artifacts" / "for_people.jsonl").rows
    assert (len(pairs), len(people)) == (result.preferences, result.for_people)
    assert 0 < len(people) < N
    assert len(pairs) + len(people) == N
    assert not {row.id for row in pairs} & {row.id for row in people}
    for row in pairs:
        assert isinstance(row, Preference)
        assert (row.meta["source"], row.meta["judges"]) == ("ai_judge", ["rules"])
        assert (row.chosen[0].content, row.rejected[0].content) == (GOOD, PLAIN)
    for row in people:
        assert isinstance(row, Judgement)
        assert row.label is None
        assert not row.annotations
        assert "source" not in row.meta


def test_the_order_of_the_rows_decides_nothing(files: tuple[Path, Path], tmp_path: Path) -> None:
    panel = config(tmp_path, [rules()])
    one = run(files, panel)
    turned = candidates(tmp_path / "ours.jsonl", [GOOD] * 9 + [PLAIN] * 3, "tuned", order=-1)
    other = run((turned, files[1]), panel, "again")
    assert one.measures == other.measures
    for name in ("verdicts.jsonl", "items.jsonl", "artifacts/preferences.jsonl", "artifacts/for_people.jsonl"):
        assert (one.run / name).read_bytes() == (other.run / name).read_bytes()


def test_a_judge_that_always_says_a_makes_the_run_void(files: tuple[Path, Path], tmp_path: Path) -> None:
    with serving(always_a) as server:
        result = run(files, config(tmp_path, [server_judge(server)]))
    assert result.void == (
        "judge 'server': the answer that holds an injection did not lose in 2 of 2 planted comparisons.",
        "judge 'server': the null answer did not lose in 2 of 2 planted comparisons.",
    )
    assert value(result, "judge/win_rate") is None
    assert value(result, "judge/win_rate_length_controlled") is None
    assert value(result, "judge/first_position", judge="server") == 1
    assert value(result, "judge/inconsistent", judge="server") == 1
    assert read_items(result.run) == {}
    assert result.preferences == 0
    assert (result.run / "artifacts" / "preferences.jsonl").read_bytes() == b""
    assert RunDirectory.open(result.run).record["extra"]["passed"] is False
    assert "void" in (result.run / "report.html").read_text()


def test_what_a_server_answered_is_not_paid_again(files: tuple[Path, Path], tmp_path: Path) -> None:
    with serving(sound) as server:
        panel = config(tmp_path, [server_judge(server, price_in=1.0, price_out=1.0)])
        first = run(files, panel)
        assert (server.calls, first.calls, first.cached) == (CALLS, CALLS, 0)
        assert first.cost == pytest.approx(CALLS * 110 / 1e6)
        second = run(files, panel, "again")
        assert (server.calls, second.calls, second.cached, second.cost) == (CALLS, 0, CALLS, 0)
    assert first.measures == second.measures
    assert value(first, "judge/win_rate") == 0.75


def test_another_rubric_is_another_question(files: tuple[Path, Path], tmp_path: Path) -> None:
    rubric = tmp_path / "rubric.yaml"
    rubric.write_text("version: 1\ncriteria:\n  - {name: true, meaning: It is so.}\n".replace("true", "so"))
    with serving(sound) as server:
        panel = config(tmp_path, [server_judge(server)])
        run(files, panel)
        result = run(files, panel, "again", rubric=rubric)
        assert server.calls == 2 * CALLS
    assert "1. so: It is so." in server.asked[-1]["messages"][0]["content"]
    assert read(result.run / "artifacts" / "preferences.jsonl").rows[0].meta["rubric"] == "1"


def test_a_server_that_goes_down_midway_and_comes_back(files: tuple[Path, Path], tmp_path: Path) -> None:
    down = Reply(status=503, body=b"down")
    with serving(lambda number, asked: sound(number, asked) if number < 10 else down) as server:
        panel = config(tmp_path, [server_judge(server, concurrency=1)])
        with pytest.raises(MachineError, match=r"503.*the same command goes on"):
            run(files, panel)
        assert server.calls == 10 + 3
        assert not (tmp_path / "run").exists()
        server.behave = sound
        result = run(files, panel)
        assert server.calls == 13 + CALLS - 10
    assert (result.cached, value(result, "judge/win_rate")) == (10, 0.75)


def test_a_kill_in_the_middle_pays_nothing_twice(files: tuple[Path, Path], tmp_path: Path) -> None:
    """Every question is answered once, but for those under way when the process was killed with SIGKILL."""

    def slowly(number: int, asked: dict[str, Any]) -> Reply:
        time.sleep(0.03)
        return sound(number, asked)

    with serving(slowly) as server:
        panel = config(tmp_path, [server_judge(server, concurrency=2)])
        words = ["judge", files[0], "--against", files[1], "--judge", panel, "--out", tmp_path / "run"]
        program = "import sys; from fairlead.cli import main; sys.exit(main())"
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, words)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        while server.calls < 12 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.2)
        paid = server.calls
        assert 12 <= paid < CALLS
        result = run(files, panel)
        assert CALLS <= server.calls <= CALLS + 2
        assert result.cached >= paid - 2
        assert result.calls == server.calls - paid
    assert value(result, "judge/win_rate") == 0.75


def test_answers_that_cannot_be_read_are_counted(files: tuple[Path, Path], tmp_path: Path) -> None:
    def spoilt(number: int, asked: dict[str, Any]) -> Reply:
        text = asked["messages"][1]["content"]
        if "Question 0?" in text and "good" in answers(asked)["A"] and "Note to" not in text and "Thank" not in text:
            return completion("A is better.")
        if "Question 1?" in text and "good" in answers(asked)["B"] and "Note to" not in text and "Thank" not in text:
            return completion('{"verdict": "A", "verdict": "B"}')
        if "Question 2?" in text and "Note to" not in text and "Thank" not in text:
            return completion('{"verdict": "A', finish="length")
        return sound(number, asked)

    with serving(spoilt) as server:
        result = run(files, config(tmp_path, [server_judge(server)], sycophancy=0))
        assert value(result, "judge/unparsed", judge="server") == pytest.approx(3 / N)
        account = RunDirectory.open(result.run).record["extra"]["account"]
        assert account["faults"] == {"conflicting": 1, "not_json": 1, "truncated": 2}
        assert value(result, "judge/win_rate") == pytest.approx(6 / 9)
        assert {verdict.outcome for verdict in result.verdicts[:3]} >= {None}


def test_a_cost_limit_stops_and_goes_on(files: tuple[Path, Path], tmp_path: Path) -> None:
    with serving(sound) as server:
        dear = {"price_in": 0.0, "price_out": 1e6, "max_tokens": 10, "concurrency": 1}
        with pytest.raises(RunError, match="could pass max_cost 100"):
            run(files, config(tmp_path, [server_judge(server, max_cost=100, **dear)]))
        assert server.calls == 10
        result = run(files, config(tmp_path, [server_judge(server, **dear)]))
        assert server.calls == CALLS
    assert result.cached == 10


def test_a_key_that_is_not_set_or_refused(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(first_then([Reply(status=401, body=b"who?")])) as server:
        panel = config(tmp_path, [server_judge(server, api_key_env="JUDGE_KEY", concurrency=1)])
        monkeypatch.delenv("JUDGE_KEY", raising=False)
        with pytest.raises(ConfigError, match="JUDGE_KEY is not set"):
            run(files, panel)
        assert server.calls == 0
        monkeypatch.setenv("JUDGE_KEY", "sk-secret-123")
        with pytest.raises(ConfigError, match="401"):
            run(files, panel)
        assert server.calls == 1
        result = run(files, panel)
    content = b"".join(path.read_bytes() for path in [*tmp_path.rglob("*")] if path.is_file())
    assert b"sk-secret-123" not in content
    assert b"JUDGE_KEY" in (result.run / "config.json").read_bytes()


def test_a_panel_and_its_agreement(files: tuple[Path, Path], tmp_path: Path) -> None:
    with serving(sound) as server:
        result = run(files, config(tmp_path, [rules(), server_judge(server)]))
    assert value(result, "judge/panel_agreement") == 1
    assert result.verdicts[0].votes == {"candidate": 2}
    assert read(result.run / "artifacts" / "preferences.jsonl").rows[0].meta["judges"] == ["rules", "server"]


def judgements(path: Path, labels: list[str]) -> Path:
    """The first answer is the good one; `labels` are what people said."""
    rows = [
        {
            "id": f"h{n}",
            "prompt": [user(f"Human question {n}?")],
            "response_a": [assistant(GOOD)],
            "response_b": [assistant(PLAIN)],
            "annotations": [{"annotator": "ann", "label": label}],
        }
        for n, label in enumerate(labels)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_judges_are_audited_against_people(files: tuple[Path, Path], tmp_path: Path) -> None:
    people = judgements(tmp_path / "human.jsonl", ["a"] * 7 + ["b"] * 3)
    result = run(files, config(tmp_path, [rules()]), human=people)
    assert value(result, "judge/human_agreement", judge="rules") == 0.7
    assert value(result, "judge/human_kappa", judge="rules") == 0  # one of them always says the same
    assert value(result, "judge/human_longer_preferred", judge="rules") == 0.7
    assert value(result, "judge/win_rate") == 0.75
    assert result.comparisons == N


def test_people_who_judged_by_another_rubric_say_nothing_of_the_judges(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    people = judgements(tmp_path / "human.jsonl", ["a"] * 5)
    lines = [json.loads(line) for line in people.read_text().splitlines()]
    for line, version in zip(lines, ["1", "1", "2", "2", None], strict=True):
        line["annotations"][0]["rubric"] = version
    people.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rubric = tmp_path / "rubric.yaml"
    rubric.write_text("version: 2\ncriteria:\n- {name: so, meaning: It is so.}\n")
    panel = config(tmp_path, [rules()])
    with pytest.raises(DataError, match=r"2 rows were judged by rubric version '1' \(h0, h1\).*by version '2'"):
        run(files, panel, human=people, rubric=rubric)
    people.write_text("".join(json.dumps(line) + "\n" for line in lines[2:]))
    result = run(files, panel, human=people, rubric=rubric)
    assert value(result, "judge/human_agreement", judge="rules") == 1


def test_what_people_said_of_the_same_answers_is_put_to_judges_once(files: tuple[Path, Path], tmp_path: Path) -> None:
    panel = config(tmp_path, [rules()], for_people=1)
    first = run(files, panel)
    labelled = tmp_path / "labelled.jsonl"
    lines = [json.loads(line) for line in (first.run / "artifacts" / "for_people.jsonl").read_text().splitlines()]
    labelled.write_text("".join(json.dumps(line | {"label": "a"}) + "\n" for line in lines))
    again = run(files, panel, "again", human=labelled)
    assert again.showings == first.showings
    agreed = sum(GOOD in line["response_a"][0]["content"] for line in lines) / N
    assert value(again, "judge/human_agreement", judge="rules") == pytest.approx(agreed)
    assert value(again, "judge/win_rate") == 0.75


def test_one_file_of_judgements(tmp_path: Path) -> None:
    result = judge(
        judgements(tmp_path / "human.jsonl", ["a"] * 8), judge=config(tmp_path, [rules()]), out=tmp_path / "run"
    )
    assert value(result, "judge/win_rate") == 1
    assert value(result, "judge/human_agreement", judge="rules") == 1
    assert fairlead.judge is judge


def test_several_answers_to_a_prompt_and_answers_without_a_counterpart(tmp_path: Path) -> None:
    def row(n: int, texts: list[str]) -> dict[str, Any]:
        listed = [{"id": f"{n}-{k}", "messages": [assistant(text)]} for k, text in enumerate(texts)]
        return {"id": f"r{n}", "prompt": [user(f"Q{n}?")], "candidates": listed}

    ours, base = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    ours.write_text("".join(json.dumps(row(n, [GOOD, PLAIN, GOOD])) + "\n" for n in range(3)))
    base.write_text("".join(json.dumps(row(n, [PLAIN, GOOD])) + "\n" for n in range(1, 5)))
    result = judge(ours, against=base, judge=config(tmp_path, [rules()]), out=tmp_path / "run")
    assert [verdict.id for verdict in result.verdicts] == ["r1", "r1#1", "r2", "r2#1"]
    assert result.left_out == {str(ours): 3 + 2, str(base): 4}
    assert value(result, "judge/win_rate") == 0.5


def test_mistakes(files: tuple[Path, Path], tmp_path: Path) -> None:
    panel = config(tmp_path, [rules()])
    ours, base = files
    with pytest.raises(DataError, match="one file alone is to hold judgements"):
        judge(ours, judge=panel, out=tmp_path / "run")
    other = judgements(tmp_path / "human.jsonl", ["a"])
    with pytest.raises(DataError, match="candidates are meant"):
        judge(ours, against=other, judge=panel, out=tmp_path / "run")
    twice = tmp_path / "twice.jsonl"
    twice.write_text(base.read_text() + base.read_text().replace('"id": "r', '"id": "s'))
    with pytest.raises(DataError, match=r"rows 'r\d+' and 's\d+' have the same prompt"):
        judge(ours, against=twice, judge=panel, out=tmp_path / "run")
    elsewhere = tmp_path / "elsewhere.jsonl"
    elsewhere.write_text(base.read_text().replace("Question", "Riddle"))
    with pytest.raises(DataError, match="no prompt of it has an answer"):
        judge(ours, against=elsewhere, judge=panel, out=tmp_path / "run")
    repeated = tmp_path / "repeated.jsonl"
    twin = json.loads(other.read_text())
    swapped = {"id": "h9", "response_a": twin["response_b"], "response_b": twin["response_a"]}
    repeated.write_text(other.read_text() + json.dumps(twin | swapped) + "\n")
    with pytest.raises(DataError, match="rows 'h0' and 'h9' have the same prompt and the same two answers"):
        judge(repeated, judge=panel, out=tmp_path / "run")
    with pytest.raises(DataError, match="no judgement that people settled"):
        run(files, panel, human=ours)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").touch()
    with pytest.raises(RunError, match="something of that name"):
        run(files, panel)
