"""Every way in which a judge's server fails, met in the middle of a run: what is said, what is kept, what it costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.errors import ConfigError, FairleadError, MachineError
from fairlead.runs.directory import RunDirectory
from fairlead.stages.judge import judge
from tests.evaluation.judging.server import Behaviour, Reply, completion, serving, sound
from tests.stages.test_judge import CALLS, GOOD, PLAIN, N, candidates, config, server_judge, value

PASSES = 10
SLOW = 0.6  # seconds, where a run waits half as long


def failing(fault: Reply) -> Behaviour:
    """Sound for ten calls, then at fault."""
    return lambda number, asked: sound(number, asked) if number < PASSES else fault


@pytest.fixture
def words(tmp_path: Path) -> tuple[Path, Path]:
    ours = candidates(tmp_path / "ours.jsonl", [GOOD] * 9 + [PLAIN] * 3, "tuned")
    return ours, candidates(tmp_path / "base.jsonl", [PLAIN] * 9 + [GOOD] * 3, "base")


STOPS: dict[str, tuple[Reply, type[FairleadError], str, int]] = {
    "401": (Reply(status=401, body=b"who?"), ConfigError, r"api_key_env: .*401", 1),
    "403": (Reply(status=403), ConfigError, r"api_key_env: .*403", 1),
    "404": (Reply(status=404, body=b"no model m"), ConfigError, r"404 \(no model m\).*Check url and model", 1),
    "429": (Reply(status=429), MachineError, r"429 .*the same command goes on", 3),
    "500": (Reply(status=500), MachineError, r"500 .*the same command goes on", 3),
    "slow": (Reply(wait=SLOW, body=b"{}"), MachineError, r"did not answer in time.*the same command goes on", 3),
    "cut": (Reply(body=b'{"choices": []}', cut=True), MachineError, r"cannot be reached.*the same command goes on", 3),
}


@pytest.mark.parametrize("name", STOPS)
def test_a_fault_that_stays_stops_the_run_and_what_came_before_is_kept(
    words: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    fault, kind, message, tries = STOPS[name]
    with serving(failing(fault)) as server:
        panel = config(tmp_path, [server_judge(server, concurrency=1, timeout=SLOW / 2)])
        with pytest.raises(kind, match=message):
            judge(words[0], against=words[1], judge=panel, out=tmp_path / "run")
        assert server.calls == PASSES + tries
        assert not (tmp_path / "run").exists()
        server.behave = sound
        result = judge(words[0], against=words[1], judge=panel, out=tmp_path / "run")
        assert server.calls == CALLS + tries
    assert (result.cached, result.calls, result.void) == (PASSES, CALLS - PASSES, ())
    assert value(result, "judge/win_rate") == 0.75


COUNTED: dict[str, tuple[Behaviour, str, int]] = {
    "malformed": (failing(Reply(body=b"<html>")), "malformed", 3),
    "truncated": (failing(completion('{"verdict": "A', finish="length")), "truncated", 1),
    "empty": (failing(completion("")), "empty", 1),
    "nothing": (failing(completion(None)), "empty", 1),
    "prose": (failing(completion("A is better.")), "not_json", 1),
    "unknown": (failing(completion('{"verdict": "both"}')), "unknown_verdict", 1),
}


@pytest.mark.parametrize("name", COUNTED)
def test_answers_that_are_none_are_counted_and_no_score(words: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    behave, code, tries = COUNTED[name]
    with serving(behave) as server:
        panel = config(tmp_path, [server_judge(server, concurrency=1)])
        result = judge(words[0], against=words[1], judge=panel, out=tmp_path / "run")
        assert server.calls == PASSES + tries * (CALLS - PASSES)
    assert value(result, "judge/unparsed", judge="server") == pytest.approx(1 - PASSES / 2 / N)
    assert RunDirectory.open(result.run).record["extra"]["account"]["faults"] == {code: 2 * N - PASSES}
    assert result.void  # planted answers have no verdict either
    assert [verdict.outcome for verdict in result.verdicts].count(None) == N - PASSES // 2


def test_a_server_that_babbles_is_counted_and_asked_again_later(words: tuple[Path, Path], tmp_path: Path) -> None:
    with serving(lambda *_: Reply(body=b"<html>")) as server:
        panel = config(tmp_path, [server_judge(server, retries=1)])
        result = judge(words[0], against=words[1], judge=panel, out=tmp_path / "run")
        assert result.void
        assert value(result, "judge/unparsed", judge="server") == 1
        assert server.calls == 2 * CALLS
        server.behave = sound
        assert judge(words[0], against=words[1], judge=panel, out=tmp_path / "again").void == ()
