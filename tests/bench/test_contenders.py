"""The proof on tiny models: TRL's trainers and Fairlead's loop give the same losses and gradient norms at each step."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bench.against_trl.cells import EACH_STEP, PRECOMPUTED, WARM_UP, Job
from bench.against_trl.duel import run_cell
from bench.against_trl.models import shift
from bench.against_trl.ours import Contender
from bench.against_trl.ours import Gate as OurGate
from bench.against_trl.rows import make_groups
from bench.against_trl.wire import END, GO, STEP, Ended, Turnstile
from fairlead.training.checkpoint import LoopState
from tests.bench.small import cell, tiny_job

pytest.importorskip("trl", reason="TRL is not installed (extra `dev`): there is nobody to compare with")

from bench.against_trl.theirs import Gate as TheirGate
from bench.against_trl.theirs import first_losses, make_trainer

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

STEPS = 2
CASES = [
    ("dpo", "lora", PRECOMPUTED),
    ("dpo", "lora", EACH_STEP),
    ("dpo", "full", PRECOMPUTED),
    ("dpo", "full", EACH_STEP),
    ("kto", "lora", PRECOMPUTED),
    ("kto", "full", EACH_STEP),
    ("orpo", "full", ""),
    ("simpo", "lora", ""),
    ("sft", "lora", ""),
    ("reward", "lora", ""),
]


def steps_of(run: Callable[[Turnstile], Any]) -> list[dict[str, Any]]:
    """What a contender says of its steps when it is given leave for so many."""
    answers = io.StringIO()
    with suppress(Ended):
        run(Turnstile(io.StringIO(f"{GO}\n" * STEPS + f"{END}\n"), answers))
    said = [json.loads(line) for line in answers.getvalue().splitlines()]
    return [answer for answer in said if answer["event"] == STEP]


def ours(job: Job) -> tuple[list[float], list[dict[str, Any]]]:
    contender = Contender.prepare(job, make_groups(job))
    first = [values["loss"] for values in contender.first()]

    def run(turnstile: Turnstile) -> None:
        gate = OurGate(turnstile)
        gate.open()
        contender.fit(gate).run(LoopState())

    return first, steps_of(run)


def theirs(job: Job) -> tuple[list[float], list[dict[str, Any]]]:
    trainer = make_trainer(job, make_groups(job))
    shift(trainer.model)
    first = first_losses(trainer, job.batches)

    def run(turnstile: Turnstile) -> None:
        trainer.add_callback(TheirGate(turnstile, trainer, job.batches, {}))
        trainer.train()

    return first, steps_of(run)


@pytest.mark.parametrize(("method", "adapter", "reference"), CASES)
def test_both_compute_the_same(method: str, adapter: str, reference: str, tmp_path: Path) -> None:
    job = tiny_job(tmp_path, method, adapter, reference)
    (our_first, our_steps), (their_first, their_steps) = ours(job), theirs(job)
    assert our_first == pytest.approx(their_first, rel=1e-5)
    assert len(our_first) == job.batches
    assert len(our_steps) == len(their_steps) == STEPS
    for our_step, their_step in zip(our_steps, their_steps, strict=True):
        assert our_step["loss"] == pytest.approx(their_step["loss"], rel=1e-5)
        assert our_step["grad_norm"] == pytest.approx(their_step["grad_norm"], rel=1e-4)
    # Policy and reference are two models by then: at one and the same, any mistake would give the same loss.
    assert all(abs(loss - value) > 1e-3 for loss in our_first for value in (math.log(2), 0.5))


@pytest.mark.soak
def test_a_cell_in_two_processes(tmp_path: Path) -> None:
    found = run_cell(cell(limit=120.0), tiny_job(tmp_path, "dpo", steps=5))
    assert found["steps"] == 5 - WARM_UP
    assert found["proof"]["loss_differs_by"] < 1e-5
