from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import MachineError, RunError
from fairlead.runs import atomic
from fairlead.runs.directory import Input, RunDirectory, find_unfinished, run_name


def create(path: Path, *, stage: str = "train", config_path: Path | None = None) -> RunDirectory:
    config = {"train": {"seed": 3}}
    return RunDirectory.create(
        path, stage=stage, config=config, user_set=["train.seed"], seed=3, config_path=config_path
    )


def values(run: RunDirectory) -> list[tuple[int, str, float]]:
    return [(event.step, event.name, event.value) for event in run.events()]


def test_a_new_run_says_what_it_is(tmp_path: Path) -> None:
    run = RunDirectory.create(
        tmp_path / "runs" / "one",
        stage="train",
        config={"train": {"seed": 3}},
        user_set=["train.seed", "model.path"],
        seed=3,
        extra={"device": "cpu"},
    )
    run.update_extra(reference="base")
    found = RunDirectory.open(run.path)
    assert (found.stage, found.status, found.is_complete()) == ("train", "running", False)
    assert found.config == {"train": {"seed": 3}}
    assert found.user_set == ["model.path", "train.seed"]
    assert found.record["extra"] == {"device": "cpu", "reference": "base"}
    assert found.record["seed"] == 3
    assert found.record["packages"]["python"] == sys.version.split()[0]
    assert found.record["hardware"]["cores"] >= 1
    assert found.checkpoints.is_dir()
    assert found.artifact("adapter") == run.path / "artifacts" / "adapter"


def test_inputs_are_kept_relative_to_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("project").mkdir()
    Path("project/pairs.jsonl").write_text("{}\n")
    inputs = [
        Input(path="project/pairs.jsonl", sha256="a" * 64, rows=1, parent_run="project/runs/parent"),
        Input(path="my-org/my-model", sha256="b" * 64),
    ]
    run = RunDirectory.create("project/runs/one", stage="train", config={}, inputs=inputs, seed=0)
    assert run.inputs == inputs
    Path("project").rename("moved")
    moved = RunDirectory.open("moved/runs/one").inputs
    assert moved[0].path == os.path.join("moved", "pairs.jsonl")
    assert moved[0].parent_run == os.path.join("moved", "runs", "parent")
    assert moved[1] == inputs[1]


def test_a_run_that_was_killed_while_it_was_made_is_made_again(
    tmp_path: Path,
) -> None:
    whole = create(tmp_path / "whole")
    for left in range(len(list(whole.path.iterdir()))):
        path = tmp_path / f"killed-{left}"
        path.mkdir()
        for name in ("checkpoints", "artifacts")[:left]:
            (path / name).mkdir()
        for name in ("config.json", "inputs.json")[: max(0, left - 2)]:
            (path / name).write_text("{}")
            (path / f".{name}.77.part").write_text("{")
        assert create(path).status == "running"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(RunError, match="already"):
        create(tmp_path / "mine")


def test_what_killed_writers_left_is_not_sealed(tmp_path: Path) -> None:
    run = create(tmp_path / "one")
    (run.artifacts / ".adapter.77.partial").mkdir()
    (run.artifacts / ".adapter.77.partial" / "weights").write_text("half")
    (run.path / ".run.json.77.part").write_text("{")
    (run.path / ".gitignore").write_text("*")
    run.seal()
    assert run.verify() == []
    assert sorted(path.name for path in run.path.rglob(".*")) == [".gitignore"]


def test_a_name_is_not_taken_twice(tmp_path: Path) -> None:
    create(tmp_path / "one")
    with pytest.raises(RunError, match="already"):
        create(tmp_path / "one")
    assert run_name("dpo", day=date(2026, 11, 23)).startswith("2026-11-23-dpo-")
    assert len({run_name("dpo") for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no run.json"), ("{", "cannot be read"), ("[]", "damaged"), ('{"format": 9}', "format 9"), ("{}", "None")],
)
def test_what_is_no_run_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=words):
        RunDirectory.open(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such folder"):
        RunDirectory.open(tmp_path / "none")


def test_nan_is_kept_and_never_shown_as_zero(tmp_path: Path) -> None:
    run = create(tmp_path / "one")
    run.append(1, {"loss": math.nan, "kl": -math.inf, "grad_norm": math.inf, "lr": 1e-5})
    text = (run.path / "events.jsonl").read_text()
    assert json.loads(text.splitlines()[0]) == {"step": 1, "name": "loss", "value": "NaN"}
    read = {event.name: event.value for event in run.events()}
    assert math.isnan(read["loss"])
    assert (read["kl"], read["grad_norm"], read["lr"]) == (-math.inf, math.inf, 1e-5)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**9), st.text(min_size=1), st.floats(allow_nan=False))))
def test_events_come_back_as_they_went(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    run = create(tmp_path_factory.mktemp("events") / "one")
    for step, name, value in rows:
        run.append(step, {name: value})
    assert values(run) == rows


def test_events_are_cut_back_to_a_checkpoint(tmp_path: Path) -> None:
    run = create(tmp_path / "one")
    assert run.events_size() == 0
    run.truncate_events(0)
    run.append(1, {"loss": 1.0})
    size = run.events_size()
    run.append(2, {"loss": 2.0})
    run.truncate_events(size)
    run.append(2, {"loss": 3.0})
    assert values(run) == [(1, "loss", 1.0), (2, "loss", 3.0)]
    with pytest.raises(RunError, match="cut"):
        run.truncate_events(10_000)


def test_a_torn_last_line_is_passed_over_and_a_damaged_one_is_not(tmp_path: Path) -> None:
    run = create(tmp_path / "one")
    run.append(1, {"loss": 1.0})
    events = run.path / "events.jsonl"
    whole = events.read_bytes()
    for cut in range(1, len(whole)):
        events.write_bytes(whole + whole[:cut])
        assert values(run)[0] == (1, "loss", 1.0)
        assert len(values(run)) == 1
    events.write_bytes(b'{"step": 1}\n' + whole)
    with pytest.raises(RunError, match=r"events\.jsonl:1"):
        values(run)


def test_a_sealed_run_is_complete_and_cannot_be_changed(tmp_path: Path) -> None:
    run = create(tmp_path / "one")
    run.append(1, {"loss": 1.0})
    run.artifact("note.txt").write_text("kept")
    assert run.verify() == ["manifest.json is missing: the run was not completed."]
    run.seal()
    assert run.is_complete()
    assert run.status == "complete"
    assert run.record["ended"] is not None
    assert run.verify() == []
    (run.path / "report.html").write_text("may come later")
    assert run.verify() == []
    changes: list[Callable[[], None]] = [
        lambda: run.append(2, {"loss": 1.0}),
        lambda: run.set_status("failed"),
        lambda: run.truncate_events(0),
        run.seal,
    ]
    for change in changes:
        with pytest.raises(RunError, match="complete"):
            change()


def test_every_kind_of_damage_is_found(tmp_path: Path) -> None:
    run = create(tmp_path / "one")
    for name in ("gone", "grown", "changed"):
        run.artifact(name).write_text("abc")
    run.seal()
    run.artifact("gone").unlink()
    run.artifact("grown").write_text("abcd")
    run.artifact("changed").write_text("abd")
    run.artifact("new").write_text("x")
    found = "\n".join(run.verify())
    assert "artifacts/gone is missing" in found
    assert "artifacts/grown has 4 bytes instead of 3" in found
    assert "artifacts/changed was changed" in found
    assert "artifacts/new was added" in found
    assert len(run.verify()) == 4


def test_the_newest_unfinished_run_of_a_configuration_is_found(tmp_path: Path) -> None:
    config, other = tmp_path / "fairlead.yaml", tmp_path / "other.yaml"
    runs = tmp_path / "runs"
    assert find_unfinished(runs, stage="train", config_path=config) is None
    create(runs / "b-older", config_path=config).set_status("failed")
    newest = create(runs / "a-newer", config_path=config)
    create(runs / "other", config_path=other)
    create(runs / "none")
    create(runs / "eval", stage="eval", config_path=config)
    create(runs / "done", config_path=config).seal()
    (runs / "broken").mkdir()
    (runs / "broken" / "run.json").write_text("{")
    found = find_unfinished(runs, stage="train", config_path=config)
    assert found is not None
    assert found.path == newest.path
    newest.seal()
    found = find_unfinished(runs, stage="train", config_path=config)
    assert found is not None
    assert found.path.name == "b-older"


def test_one_process_at_a_time_holds_a_run(tmp_path: Path) -> None:
    run = create(tmp_path / "one")
    other = RunDirectory.open(run.path)
    with run.held(), pytest.raises(RunError, match="another process"), other.held():
        pass
    with other.held():
        pass


@pytest.mark.parametrize(("code", "words"), [(errno.ENOSPC, "Free some space"), (errno.EACCES, "permissions")])
def test_a_disk_that_refuses_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    run = create(tmp_path / "one")
    before = sorted(run.path.iterdir()), (run.path / "run.json").read_bytes()

    def refuse(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic.os, "fsync", refuse)
    with pytest.raises(MachineError, match=words):
        run.set_status("failed")
    with pytest.raises(MachineError, match=words):
        run.seal()
    monkeypatch.undo()
    assert (sorted(run.path.iterdir()), (run.path / "run.json").read_bytes()) == before
    assert not run.is_complete()


def test_a_run_that_cannot_be_started_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", refuse)
    with pytest.raises(MachineError):
        create(tmp_path / "runs" / "one")
    assert list((tmp_path / "runs").iterdir()) == []
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="in the way"):
        create(tmp_path / "file" / "one")


def test_runs_import_nothing_heavy() -> None:
    program = "import sys, fairlead.runs.lineage; print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_about_run_directories_names_every_field(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "run-directory.md").read_text(encoding="utf-8")
    section = text.partition("## run.json")[2].partition("## ")[0]
    documented = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
    assert documented == list(create(tmp_path / "one").record)
    section = text.partition("## inputs.json")[2].partition("## ")[0]
    assert [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")] == [
        field.name for field in fields(Input)
    ]
