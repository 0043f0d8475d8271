"""A run that is killed anywhere and resumed equals one that never stopped, byte for byte; signals are obeyed."""

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
import torch
import yaml

from fairlead.runs.directory import RunDirectory
from tests.cli.calling import call
from tests.tiny import save_tiny
from tests.training.killing import CASES, STEPS, left_by, plan
from tests.training.small import make_config

ROOT = Path(__file__).parents[2]


def kill_and_compare(folder: Path, *, thorough: bool) -> dict[str, Any]:
    """What `killing` found for every case; it runs with one thread, in a process of its own."""
    arguments = [str(folder), ",".join(CASES), "thorough" if thorough else "quick"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.killing", *arguments], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return kill_and_compare(tmp_path_factory.mktemp("killed"), thorough=False)


def test_every_step_has_a_kill_point() -> None:
    quick, thorough = plan(thorough=False), plan(thorough=True)
    assert {step for step, _ in quick} == {step for step, _ in thorough} == {0, *range(1, STEPS + 1)}
    assert (len(CASES) * len(quick), len(CASES) * len(thorough)) == (160, 430)


@pytest.mark.parametrize("case", CASES)
def test_a_killed_run_ends_as_if_it_had_never_stopped(outcome: dict[str, Any], case: str) -> None:
    assert outcome[case]["killed"] == [outcome[case]["whole"]]
    assert outcome[case]["kills"] == len(plan(thorough=False))


def test_the_cases_are_different_runs(outcome: dict[str, Any]) -> None:
    assert len({outcome[case]["whole"]["weights"] for case in CASES}) == len(CASES)


@pytest.mark.soak
def test_every_kill_point_by_itself(tmp_path: Path) -> None:
    for case, found in kill_and_compare(tmp_path, thorough=True).items():
        assert len(found["killed"]) == found["kills"] == len(plan(thorough=True)), case
        assert all(left == found["whole"] for left in found["killed"]), case


def start(config: Path, *options: str) -> subprocess.Popen[str]:
    """`fairlead train` as a user runs it."""
    program = "import sys; from fairlead.cli import main; sys.argv[0] = 'fairlead'; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", program, "train", str(config), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for_step(run: Path, process: subprocess.Popen[str], *, after: int) -> None:
    """Wait until a checkpoint beyond the step `after` is there."""
    deadline = time.monotonic() + 60
    while not any(int(path.name[5:]) > after for path in run.glob("checkpoints/step-*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def newest_step(run: Path) -> int:
    return max(int(path.name[5:]) for path in run.glob("checkpoints/step-*"))


@pytest.fixture
def threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_signals_save_the_run_and_resume_finishes_it(tmp_path: Path, threads: None) -> None:
    model = save_tiny(tmp_path / "model")
    settings = {"adapter": {"r": 4}, "epochs": 30, "save_steps": 1, "threads": 1, "eval_steps": 50}
    config = tmp_path / "fairlead.yaml"
    for name in ("whole", "stopped"):
        config.write_text(yaml.safe_dump(make_config(tmp_path, model, run=name, **settings).model_dump(mode="json")))
        if name == "whole":
            assert call("train", config) == 0
    run = tmp_path / "runs" / "stopped"
    saved = 0
    for number, code, options in ((signal.SIGTERM, 143, ()), (signal.SIGINT, 130, ("--resume",))):
        process = start(config, *options)
        wait_for_step(run, process, after=saved)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        before, saved = saved, newest_step(run)
        assert before < saved < 150
        assert f"saved after step {saved}. Go on with the same command and --resume." in err
        assert "Traceback" not in err
        assert out == ""
        assert RunDirectory.open(run).status == "stopped"
        assert not RunDirectory.open(run).is_complete()
    assert call("train", config, "--resume") == 0
    finished, whole = RunDirectory.open(run), RunDirectory.open(tmp_path / "runs" / "whole")
    assert left_by(finished, steps=150) == left_by(whole, steps=150)
