"""`generate` with a model behind a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.data.reading import read
from fairlead.data.records import Candidate, Candidates, Message
from fairlead.errors import ConfigError, DataError, MachineError
from fairlead.stages.generate import generate
from tests.evaluation.judging.server import Asked, Reply, Server, completion, first_then, serving


def turn(text: str, role: str = "user") -> Message:
    return Message(role=role, content=text)


ROWS = [
    Candidates(id=f"r{number}", prompt=(turn("Be brief.", "system"), turn(f"question {number}"))) for number in range(4)
]


def parrot(number: int, asked: Asked) -> Reply:
    return completion(" | ".join(each["content"] for each in asked["messages"]), tokens=(9, 7))


def run(server: Server, folder: Path, rows: Any = ROWS, **settings: Any) -> list[Candidates]:
    endpoint = folder / "endpoint.yaml"
    how = {name: settings.pop(name) for name in ("retries", "concurrency") if name in settings}
    endpoint.write_text(yaml.safe_dump({"url": server.url, "backoff": 0.001} | how))
    return generate("org/tuned", rows, endpoint=str(endpoint), **settings)


def test_rows_are_answered_and_written(tmp_path: Path) -> None:
    with serving(parrot) as server:
        rows = run(server, tmp_path, to=tmp_path / "out.jsonl", max_new_tokens=9)
    assert [row.prompt for row in rows] == [row.prompt for row in ROWS]
    (one,) = rows[2].candidates
    assert (one.id, one.model, one.messages[0].content) == ("r2-0", "org/tuned", "Be brief. | question 2")
    assert one.sampling == {"temperature": 0.0, "top_p": 1.0, "max_new_tokens": 9, "seed": 0}
    assert one.scores == {"tokens": 7, "finished": 1}
    assert {asked["max_tokens"] for asked in server.asked} == {9}
    assert list(read(tmp_path / "out.jsonl").rows) == rows
    assert {path.name for path in tmp_path.iterdir()} == {"endpoint.yaml", "out.jsonl"}


def test_an_answer_that_was_cut_is_one_and_says_so(tmp_path: Path) -> None:
    with serving(lambda *_: completion("It is", finish="length")) as server:
        (row,) = run(server, tmp_path, ROWS[:1])
    assert (row.candidates[0].messages[0].content, row.candidates[0].scores["finished"]) == ("It is", 0)


def test_system_turns_may_be_left_out_of_what_is_asked(tmp_path: Path) -> None:
    with serving(parrot) as server:
        rows = run(server, tmp_path, without_system=True)
    assert rows[0].candidates[0].messages[0].content == "question 0"
    assert rows[0].prompt == ROWS[0].prompt
    assert rows[0].candidates[0].sampling["without_system"] is True


def test_candidates_that_are_there_stay(tmp_path: Path) -> None:
    own = Candidate(id="r-0", messages=(turn("mine", "assistant"),))
    with serving(parrot) as server:
        (row,) = run(server, tmp_path, [Candidates(id="r", prompt=(turn("a"),), candidates=(own,))], n=2)
    assert [each.id for each in row.candidates] == ["r-0", "r-1", "r-2"]
    assert row.candidates[0] == own
    assert server.calls == 1  # greedy answers to one prompt are one


def test_what_was_answered_is_kept_until_the_file_is_written(tmp_path: Path) -> None:
    with serving(first_then([parrot(0, {"messages": [{"content": "x"}]})] * 2, lambda *_: Reply(status=500))) as server:
        with pytest.raises(MachineError, match="model 'org/tuned'"):
            run(server, tmp_path, to=tmp_path / "out.jsonl", retries=0, concurrency=1)
        assert not (tmp_path / "out.jsonl").exists()
        server.behave = parrot
        run(server, tmp_path, to=tmp_path / "out.jsonl", retries=0, concurrency=1)
        assert server.calls == 2 + 1 + 2
    assert {path.name for path in tmp_path.iterdir()} == {"endpoint.yaml", "out.jsonl"}


def test_rows_without_an_answer_are_an_error(tmp_path: Path) -> None:
    with (
        serving(lambda *_: Reply(body=b"[]")) as server,
        pytest.raises(DataError, match=r"4 of 4 rows got no answer \(r0, r1, r2, r3\): malformed"),
    ):
        run(server, tmp_path, retries=0)


def test_faults(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="adapter: is put on models of this machine only"):
        generate("m", ROWS, endpoint="http://127.0.0.1:9/v1", adapter="lora")
    with pytest.raises(ConfigError, match="url: is no address"):
        generate("m", ROWS, endpoint="ftp://127.0.0.1")
