"""The leader of a cell, with contenders that only pretend: who is asked when, and when it refuses to time."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.against_trl.cells import STEPS, WARM_UP
from bench.against_trl.duel import FAIRLEAD, TRL, Refused, run_cell
from bench.against_trl.wire import Worker
from tests.bench.small import cell, tiny_job

ROOT = Path(__file__).parents[2]
PRETENDER = """
import json, sys, time
from pathlib import Path
from bench.against_trl.wire import END, READY, STEP, Ended, Turnstile

told = json.loads(sys.argv[1])
turnstile = Turnstile.of_process()
print("a library prints")
if told.get("dies"):
    raise RuntimeError("no such model")
turnstile.say(READY, losses=told.get("losses", [told["loss"]]), rows=told["rows"], options={}, resident=1)
try:
    while True:
        turnstile.wait()
        time.sleep(told.get("sleeps", 0))
        with Path(told["diary"]).open("a") as diary:
            diary.write(told["name"] + "\\n")
        turnstile.say(STEP, seconds=told["seconds"], loss=told["loss"], grad_norm=told["grad_norm"])
except Ended:
    turnstile.say(END, peak=told["peak"])
"""
EVEN: dict[str, Any] = {"loss": 0.7, "rows": "a", "seconds": 1.0, "grad_norm": 2.0, "peak": 8}


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Callable[[str, Path], Worker]]:
    script = tmp_path / "pretender.py"
    script.write_text(PRETENDER, encoding="utf-8")

    def of(ours: dict[str, Any], *, everyone: bool = False) -> Callable[[str, Path], Worker]:
        def begin(name: str, job: Path) -> Worker:
            theirs = (ours if everyone else {}) | {"seconds": 3.0}
            told = {**EVEN, **(ours if name == FAIRLEAD else theirs), "name": name}
            told["diary"] = str(tmp_path / "diary")
            command = [sys.executable, str(script), json.dumps(told)]
            return Worker(command, job.parent / f"{name}.log", extra={"PYTHONPATH": str(ROOT)}, folder=tmp_path)

        return begin

    return of


def test_the_contenders_step_in_turn_and_the_ratio_is_that_of_their_times(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    job = tiny_job(tmp_path, "dpo", steps=WARM_UP + STEPS)
    found = run_cell(cell(), job, start=start({"seconds": 0.75, "peak": 2}))
    assert (tmp_path / "diary").read_text().splitlines() == [TRL, FAIRLEAD] * (WARM_UP + STEPS)
    assert found["ratio"] == {"median": 4.0, "min": 4.0, "max": 4.0}
    assert len(found[TRL]["seconds"]) == found["steps"] == STEPS
    assert (found[TRL]["peak_bytes"], found[FAIRLEAD]["peak_bytes"]) == (8, 2)
    assert found["proof"]["loss_differs_by"] == 0


@pytest.mark.parametrize(
    ("ours", "words", "steps"),
    [
        ({"loss": 0.7 * 1.001}, "the loss of batch 1 is 0.7 in TRL and 0.7007 in Fairlead", 0),
        ({"loss": float("nan")}, "the loss of batch 1", 0),
        ({"losses": [0.7, 0.7]}, "different batches", 0),
        ({"grad_norm": 2.1}, "the gradient norm of the first step is 2 in TRL and 2.1 in Fairlead", 2),
        ({"rows": "b"}, "different rows", 0),
        ({"dies": True}, "fairlead ended with exit code 1", 0),
    ],
)
def test_what_is_not_the_same_computation_is_not_timed(
    ours: dict[str, Any], words: str, steps: int, start: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=words):
        run_cell(cell(), tiny_job(tmp_path, "dpo", steps=WARM_UP + STEPS), start=start(ours))
    diary = tmp_path / "diary"
    assert len(diary.read_text().splitlines() if diary.exists() else ()) == steps


def test_a_contender_that_does_not_answer_in_time_is_named(start: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(Refused, match="fairlead did not answer in time"):
        run_cell(cell(limit=1.5), tiny_job(tmp_path, "dpo", steps=12), start=start({"sleeps": 60}))


def test_a_cell_whose_time_is_up_keeps_the_steps_it_has(start: Callable[..., Any], tmp_path: Path) -> None:
    # Its steps say that they take 4 seconds together, so the fourth that counts would end too late.
    found = run_cell(cell(limit=4.5), tiny_job(tmp_path, "dpo", steps=12), start=start({"sleeps": 0.2}))
    assert 3 <= found["steps"] < STEPS


def rounding(theirs: float, ours: float, start: Callable[..., Any]) -> Callable[[str, Path], Worker]:
    """Both say 0.7 in float32, and in bfloat16 what is given."""

    def begin(name: str, job: Path) -> Worker:
        loss = 0.7 if json.loads(job.read_text())["precision"] == "fp32" else theirs if name == TRL else ours
        return start({"loss": loss}, everyone=True)(name, job)

    return begin


@pytest.mark.parametrize(("theirs", "ours"), [(0.7, 0.71), (0.8, 0.52)])
def test_in_bfloat16_both_are_held_against_float32(
    theirs: float, ours: float, start: Callable[..., Any], tmp_path: Path
) -> None:
    job = tiny_job(tmp_path, "dpo", steps=WARM_UP + STEPS, precision="bf16")
    found = run_cell(cell(precision="bf16"), job, start=rounding(theirs, ours, start))
    assert found["proof"]["losses"] == [[0.7], [0.7]]
    assert found["proof"]["bf16"]["losses"] == [[theirs], [ours]]
    assert len((tmp_path / "diary").read_text().splitlines()) == 2 * (1 + WARM_UP + STEPS)


def test_further_from_float32_than_rounding_explains_is_not_timed(start: Callable[..., Any], tmp_path: Path) -> None:
    job = tiny_job(tmp_path, "dpo", steps=WARM_UP + STEPS, precision="bf16")
    words = "the losses are 0.0286 from float32 in TRL and 0.0714 in Fairlead, relative: more than 0.03, and"
    with pytest.raises(Refused, match=words):
        run_cell(cell(precision="bf16"), job, start=rounding(0.72, 0.75, start))


def test_a_cell_in_bfloat16_must_be_the_same_in_float32_first(start: Callable[..., Any], tmp_path: Path) -> None:
    job = tiny_job(tmp_path, "dpo", steps=WARM_UP + STEPS, precision="bf16")
    with pytest.raises(Refused, match=r"0.701 in Fairlead: more than 0.0001 apart"):
        run_cell(cell(precision="bf16"), job, start=start({"loss": 0.701}))
