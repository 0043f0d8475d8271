"""An evaluation on this machine that is killed goes on where it was, and ends as if it had not been."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import fairlead
from fairlead.data.records import Candidates, Message, Preference
from fairlead.errors import RunError
from fairlead.evaluation.results import ITEMS, MEASURES, read_item_list
from fairlead.reports.evaluation_report import COMPARISON
from fairlead.runs.directory import MANIFEST, RunDirectory
from fairlead.stages import evaluation_answers
from fairlead.stages.evaluate import evaluate
from tests.tiny import save_tiny

KILLED_AFTER = """
import os, signal, sys
from fairlead.stages import evaluation_answers as answers

whole = answers.write

def write(rows, target):
    whole(rows, target)
    if {place!r} in str(target):
        os.kill(os.getpid(), signal.SIGKILL)

answers.write = write
from fairlead.cli import main
sys.exit(main())
"""


def turn(text: str, role: str = "user") -> tuple[Message, ...]:
    return (Message(role=role, content=text),)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    return [str(save_tiny(folder / name, seed=seed)) for seed, name in enumerate(("one", "two"))]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    rows = [Candidates(id=f"p{n}", prompt=turn(f"where is it? {n}")) for n in range(4)]
    pairs = [
        Preference(id=f"h{n}", prompt=turn(f"a {n}"), chosen=turn("b", "assistant"), rejected=turn("c", "assistant"))
        for n in range(4)
    ]
    fairlead.write(rows, tmp_path / "p.jsonl")
    fairlead.write(pairs, tmp_path / "h.jsonl")
    (tmp_path / "facts.jsonl").write_text(json.dumps({"id": "sum", "question": "2 + 2?", "answer": "4"}) + "\n")
    sections: dict[str, Any] = {
        "held_out": {"rows": "h.jsonl"},
        "generation": {"prompts": "p.jsonl", "max_new_tokens": 4},
        "factual": {"questions": "facts.jsonl", "max_new_tokens": 4},
    }
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def files_of(run: Path) -> dict[str, bytes]:
    """What two evaluations of the same have in common, byte by byte."""
    names = (MEASURES, ITEMS, COMPARISON)
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.name in names}


@pytest.mark.parametrize(("place", "again"), [("answers-factual", ["prompts"]), ("compared/1-two", ["factual"])])
def test_a_killed_evaluation_goes_on(
    models: list[str], suite: Path, tmp_path: Path, place: str, again: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed within either model: sections and models that were whole are not done again."""
    out = tmp_path / "killed" / "run"
    arguments = ["eval", *models, "--suite", suite, "--out", out, "--precision", "fp32"]
    program = KILLED_AFTER.format(place=place)
    process = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL
    assert not (out / MANIFEST).exists()
    measured = {path: path.stat().st_mtime_ns for path in out.rglob(MEASURES)}
    assert list(measured) == ([] if place == "answers-factual" else [out / MEASURES])
    asked: list[int] = []
    whole = evaluation_answers.complete

    def complete(lm: Any, rows: Any, *rest: Any, **more: Any) -> Any:
        asked.append(len(rows))
        return whole(lm, rows, *rest, **more)

    monkeypatch.setattr(evaluation_answers, "complete", complete)
    found = evaluate(models, suite, out=out, precision="fp32")
    assert asked == ([4, 1] if place == "answers-factual" else [1])
    assert all(path.stat().st_mtime_ns == time for path, time in measured.items())
    for run in (out, out / "compared" / "1-two"):
        assert RunDirectory.open(run).verify() == []
    plain = evaluate(models, suite, out=tmp_path / "plain" / "run", precision="fp32")
    ours, theirs = files_of(found.run), files_of(plain.run)
    assert ours == theirs
    assert set(ours) >= {MEASURES, ITEMS, COMPARISON, f"compared/1-two/{MEASURES}"}


def test_a_complete_evaluation_is_given_back(
    models: list[str], suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate(models, suite, out=tmp_path / "run", precision="fp32")
    before = (first.run / MANIFEST).read_bytes()
    monkeypatch.setattr(evaluation_answers, "complete", None)
    again = evaluate(models, suite, out=tmp_path / "run", precision="fp32")
    assert again == first
    assert (first.run / MANIFEST).read_bytes() == before
    assert RunDirectory.open(first.run).verify() == []


def test_what_is_something_else_is_refused(models: list[str], suite: Path, tmp_path: Path) -> None:
    evaluate(models[0], suite, out=tmp_path / "run", precision="fp32")
    for change in ({"precision": "bf16"}, {"seed": 1}):
        with pytest.raises(RunError, match=f"which differs in {next(iter(change))}"):
            evaluate(models[0], suite, out=tmp_path / "run", **({"precision": "fp32"} | change))
    with pytest.raises(RunError, match="which differs in model, the content of its files"):
        evaluate(models[1], suite, out=tmp_path / "run", precision="fp32")
    fairlead.write([Candidates(id="p", prompt=turn("where?"))], tmp_path / "p.jsonl")
    with pytest.raises(RunError, match="which differs in the content of its files"):
        evaluate(models[0], suite, out=tmp_path / "run", precision="fp32")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("dear")
    with pytest.raises(RunError, match="something of that name already"):
        evaluate(models[0], suite, out=tmp_path / "full", precision="fp32")


def test_items_of_a_damaged_run_are_an_error(models: list[str], suite: Path, tmp_path: Path) -> None:
    found = evaluate(models[0], suite, out=tmp_path / "run", precision="fp32")
    assert read_item_list(found.run)
    (found.run / ITEMS).write_text("{\n")
    with pytest.raises(RunError, match="The file was damaged"):
        evaluate(models[0], suite, out=tmp_path / "run", precision="fp32")
