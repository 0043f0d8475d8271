"""Each verb hands its arguments to its stage and prints what comes back. The stages here are tiny fakes."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fairlead.cli.application import app
from fairlead.cli.output import plain
from fairlead.data.records import Candidate, Candidates, Message


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@dataclass
class Stage:
    """Remembers what it was called with and returns `result`."""

    result: Any
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.arguments, self.options = arguments, options
        return self.result


Put = Callable[[str, Any], Stage]


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Put:
    """Put a fake stage in place of a verb's own."""

    def put_stage(verb: str, result: Any) -> Stage:
        stage = Stage(result)
        monkeypatch.setitem(sys.modules, f"fairlead.stages.{verb}", SimpleNamespace(**{verb: stage}))
        return stage

    return put_stage


@dataclass(frozen=True)
class Trained:
    run: Path = Path("runs/one")
    best_step: int | None = 20
    steps: int = 24
    metrics: dict[str, float] = field(default_factory=lambda: {"eval/loss": 0.61239, "kl": math.nan})
    artifact: Path = Path("runs/one/artifacts/adapter")
    ledger: dict[str, int] = field(default_factory=lambda: {"rows_in": 8})
    stopped_early: bool = False


def test_train(put: Put) -> None:
    stage = put("train", Trained())
    shown = call("train", "fairlead.yaml", "--set", "loss.beta=0.3", "--set", "train.seed=1", "--resume").stdout
    assert stage.arguments == (Path("fairlead.yaml"),)
    assert list(stage.options["overrides"]) == ["loss.beta=0.3", "train.seed=1"]
    assert stage.options["resume"] is True
    assert "0.6124" in shown
    assert "nan" in shown
    assert "fairlead report runs/one" in shown


def test_train_as_json(put: Put) -> None:
    put("train", Trained())
    shown = json.loads(call("train", "fairlead.yaml", "--json").stdout)
    assert shown["metrics"] == {"eval/loss": 0.61239, "kl": "NaN"}
    assert shown["artifact"] == "runs/one/artifacts/adapter"
    assert shown["best_step"] == 20


def candidates() -> list[Candidates]:
    def said(role: str, text: str) -> tuple[Message]:
        return (Message(role=role, content=text),)

    made = tuple(Candidate(id=str(n), messages=said("assistant", f"answer {n}")) for n in range(2))
    return [Candidates(id="p1", prompt=said("user", "question"), candidates=made)]


def test_generate_prints_completions_or_says_where_they_are(put: Put) -> None:
    stage = put("generate", candidates())
    shown = call("generate", "p.jsonl", "--model", "m", "-n", "2", "--temperature", "0.7", "--precision", "fp32").stdout
    assert stage.arguments == ("m", Path("p.jsonl"))
    assert {key: stage.options[key] for key in ("to", "n", "temperature", "precision", "seed", "top_p")} == {
        "to": None,
        "n": 2,
        "temperature": 0.7,
        "precision": "fp32",
        "seed": 0,
        "top_p": 1.0,
    }
    assert "[p1] question" in shown
    assert "answer 1" in shown
    assert (
        "2 completions of 1 prompts are in c.jsonl" in call("generate", "p", "--model", "m", "--to", "c.jsonl").stdout
    )


def test_generate_as_json(put: Put) -> None:
    put("generate", candidates())
    shown = json.loads(call("generate", "p.jsonl", "--model", "m", "--json").stdout)
    assert shown["rows"][0]["candidates"][1]["messages"] == [{"role": "assistant", "content": "answer 1"}]
    shown = json.loads(call("generate", "p.jsonl", "--model", "m", "--json", "--to", "c.jsonl").stdout)
    assert shown == {"prompts": 1, "completions": 2, "to": "c.jsonl"}


@dataclass(frozen=True)
class Merged:
    path: Path = Path("merged")
    max_logp_difference: float = 1.5e-5
    greedy_equal: bool = True
    prompts: int = 4


def test_merge(put: Put) -> None:
    stage = put("merge", Merged())
    shown = call("merge", "runs/one", "--to", "merged").stdout
    assert stage.arguments == (Path("runs/one"),)
    assert stage.options["to"] == Path("merged")
    assert "1.5e-05" in shown
    assert json.loads(call("merge", "runs/one", "--to", "merged", "--json").stdout)["prompts"] == 4


def test_report(put: Put) -> None:
    stage = put("report", Path("one.html"))
    assert "one.html" in call("report", "runs/one", "runs/two", "--to", "one.html").stdout
    assert stage.arguments == ([Path("runs/one"), Path("runs/two")],)
    assert stage.options == {"to": Path("one.html")}
    assert json.loads(call("report", "runs/one", "--json").stdout) == {"report": "one.html"}


def test_init_writes_a_project_that_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shown = json.loads(call("init", str(folder), "--json").stdout)
    assert str(folder / "fairlead.yaml") in shown["written"]
    assert all(Path(path).is_file() for path in shown["written"])


def test_init_prints_the_schema() -> None:
    assert "TrainConfig" in json.loads(call("init", "--schema").stdout)["$defs"]


def test_only_what_json_can_hold_is_printed_as_json() -> None:
    assert plain({1: (math.inf, -math.inf, True, None)}) == {"1": ["Infinity", "-Infinity", True, None]}
    with pytest.raises(AssertionError, match="complex"):
        plain(1j)
