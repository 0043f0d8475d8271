"""One cell: both contenders side by side, their losses compared first, then a step of the one, a step of the other."""

from __future__ import annotations

import datetime
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.against_trl.cells import FEWEST, STEPS, WARM_UP, Cell, Job
from bench.against_trl.wire import END, GO, READY, STEP, Worker, WorkerFailed

ROOT = Path(__file__).parents[2]
TRL, FAIRLEAD = "trl", "fairlead"
MODULES = {TRL: "bench.against_trl.theirs", FAIRLEAD: "bench.against_trl.ours"}
"""In this order they take their turns."""

LOSS_TOLERANCE = {"fp32": 1e-4, "bf16": 3e-2}
GRADIENT_TOLERANCE = {"fp32": 1e-3, "bf16": 2e-2}
"""Largest relative differences of the first batch's loss, and of the first step's gradient norm, that are still one
computation. In bfloat16 a log-probability carries an error of about a hundredth of a nat."""


class Refused(Exception):
    """The contenders do not compute the same thing, or did not finish: there is nothing to time."""


@dataclass(frozen=True)
class Proof:
    """That both compute the same: loss of the first batch and gradient norm of the first step, TRL's and ours."""

    loss: tuple[float, float]
    grad_norm: tuple[float, float]

    def fault(self, precision: str) -> str | None:
        """What differs too much; None where it is the same computation."""
        for name, pair, bound in (
            ("loss of the first batch", self.loss, LOSS_TOLERANCE[precision]),
            ("gradient norm of the first step", self.grad_norm, GRADIENT_TOLERANCE[precision]),
        ):
            if not relative(pair) <= bound:
                return f"the {name} is {pair[0]:.6g} in TRL and {pair[1]:.6g} in Fairlead: more than {bound:g} apart"
        return None


def relative(pair: Sequence[float]) -> float:
    """How far the second is from the first, as a share of the first."""
    return abs(pair[1] - pair[0]) / max(abs(pair[0]), 1e-12)


Start = Callable[[str, Path], Worker]
"""Starts the process of a contender by name on a file with its job."""


def start_worker(name: str, job: Path) -> Worker:
    """A fresh Python of this environment."""
    scratch = job.parent
    quiet = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(scratch / "datasets"),
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": str(json.loads(job.read_text(encoding="utf-8"))["threads"]),
    }
    return Worker([sys.executable, "-m", MODULES[name], str(job)], scratch / f"{name}.log", extra=quiet, folder=ROOT)


def run_cell(cell: Cell, job: Job, *, start: Start = start_worker) -> dict[str, Any]:
    """The record of a cell; raises Refused where there is nothing that could be timed honestly."""
    scratch = Path(job.scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    path = scratch / "job.json"
    path.write_text(json.dumps(job.to_json(), indent=1), encoding="utf-8")
    until = time.monotonic() + cell.limit
    workers: dict[str, Worker] = {}
    ready: dict[str, dict[str, Any]] = {}
    try:
        for name in MODULES:  # one after the other: loading must not disturb loading
            workers[name] = start(name, path)
            ready[name] = workers[name].hear(READY, until=until)
        return _measure(cell, job, workers, ready, until)
    except WorkerFailed as failure:
        raise Refused(str(failure)) from failure
    finally:
        for worker in workers.values():
            worker.close()


def _measure(
    cell: Cell, job: Job, workers: Mapping[str, Worker], ready: Mapping[str, Mapping[str, Any]], until: float
) -> dict[str, Any]:
    if ready[TRL]["rows"] != ready[FAIRLEAD]["rows"]:
        raise Refused("the contenders were given different rows")
    _refuse(Proof((ready[TRL]["loss"], ready[FAIRLEAD]["loss"]), (1.0, 1.0)), cell)
    steps: dict[str, list[dict[str, float]]] = {name: [] for name in MODULES}
    for number in range(job.steps):
        if number >= WARM_UP + FEWEST and time.monotonic() > until - _longest(steps):
            break
        for name, worker in workers.items():
            worker.ask(GO)
            steps[name].append(worker.hear(STEP, until=until))
        if number == 0:
            proof = Proof(
                (ready[TRL]["loss"], ready[FAIRLEAD]["loss"]),
                (steps[TRL][0]["grad_norm"], steps[FAIRLEAD][0]["grad_norm"]),
            )
            _refuse(proof, cell)
    peaks = {}
    for name, worker in workers.items():
        worker.ask(END)
        peaks[name] = worker.hear(END, until=until)["peak"]
    return {
        "date": datetime.date.today().isoformat(),
        "batch": job.batch,
        "steps": len(steps[TRL]) - WARM_UP,
        "wanted_steps": STEPS,
        "proof": _proof_record(cell, proof, steps, ready[FAIRLEAD]),
        "ratio": _ratios(steps),
        **{name: _contender_record(job, steps[name], peaks[name], ready[name]) for name in MODULES},
    }


def _refuse(proof: Proof, cell: Cell) -> None:
    fault = proof.fault(cell.precision)
    if fault is not None:
        raise Refused(fault)


def _longest(steps: Mapping[str, Sequence[Mapping[str, float]]]) -> float:
    """Seconds that another round may take."""
    return sum(max(step["seconds"] for step in done) for done in steps.values())


def _timed(steps: Sequence[Mapping[str, float]]) -> list[float]:
    return [step["seconds"] for step in steps[WARM_UP:]]


def _ratios(steps: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, float]:
    """How many times as long TRL takes, step by step on the same rows: median, least and most."""
    pairs = zip(_timed(steps[TRL]), _timed(steps[FAIRLEAD]), strict=True)
    ratios = [theirs / ours for theirs, ours in pairs]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def _contender_record(
    job: Job, steps: Sequence[Mapping[str, float]], peak: int, ready: Mapping[str, Any]
) -> dict[str, Any]:
    seconds = _timed(steps)
    median = statistics.median(seconds)
    return {
        "seconds": [round(value, 4) for value in seconds],
        "median_seconds": median,
        "rows_per_second": job.batch / median,
        "peak_bytes": peak,
        "resident_before_bytes": ready["resident"],
        "options": ready["options"],
    }


def _proof_record(
    cell: Cell, proof: Proof, steps: Mapping[str, Sequence[Mapping[str, float]]], ours: Mapping[str, Any]
) -> dict[str, Any]:
    pairs = [(a["loss"], b["loss"]) for a, b in zip(steps[TRL], steps[FAIRLEAD], strict=True)]
    return {
        "loss": list(proof.loss),
        "loss_differs_by": relative(proof.loss),
        "grad_norm_differs_by": relative(proof.grad_norm),
        "loss_of_later_steps_differs_by": max(map(relative, pairs)),
        "allowed": {"loss": LOSS_TOLERANCE[cell.precision], "grad_norm": GRADIENT_TOLERANCE[cell.precision]},
        **({"kl": ours["kl"]} if "kl" in ours else {}),
    }
