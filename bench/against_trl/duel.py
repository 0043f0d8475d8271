"""One cell: both contenders side by side, their losses compared first, then a step of the one, a step of the other."""

from __future__ import annotations

import datetime
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from bench.against_trl.cells import FEWEST, STEPS, WARM_UP, Cell, Job
from bench.against_trl.wire import END, GO, READY, STEP, Worker, WorkerFailed

ROOT = Path(__file__).parents[2]
TRL, FAIRLEAD = "trl", "fairlead"
MODULES = {TRL: "bench.against_trl.theirs", FAIRLEAD: "bench.against_trl.ours"}
"""In this order they take their turns."""

LOSS_TOLERANCE = {"fp32": 1e-4, "bf16": 3e-2}
GRADIENT_TOLERANCE = {"fp32": 1e-3, "bf16": 2e-2}
"""Largest relative differences of the first batch's loss, and of the first step's gradient norm, that are still one
computation: in float32 between the two. In bfloat16 a log-probability carries an error of a hundredth of a nat and
more, and a loss over hundreds of tokens differs by what each rounds: there, Fairlead may lie so far from the float32
figure, or as far as TRL does."""


class Refused(Exception):
    """The contenders do not compute the same thing, or did not finish: there is nothing to time."""


@dataclass(frozen=True)
class Proof:
    """That both compute the same: loss of the first batch and gradient norm of the first step, TRL's and ours."""

    loss: tuple[float, float]
    grad_norm: tuple[float, float]

    def fault(self) -> str | None:
        """What differs too much in float32; None where it is the same computation."""
        for name, pair, bound in (
            ("loss of the first batch", self.loss, LOSS_TOLERANCE["fp32"]),
            ("gradient norm of the first step", self.grad_norm, GRADIENT_TOLERANCE["fp32"]),
        ):
            if not relative(pair) <= bound:
                return f"the {name} is {pair[0]:.6g} in TRL and {pair[1]:.6g} in Fairlead: more than {bound:g} apart"
        return None

    def fault_in_bf16(self, exact: Proof) -> str | None:
        """Where Fairlead lies further from the float32 figures than rounding explains; None where it does not."""
        for name, pair, right, bound in (
            ("loss of the first batch", self.loss, exact.loss[0], LOSS_TOLERANCE["bf16"]),
            ("gradient norm of the first step", self.grad_norm, exact.grad_norm[0], GRADIENT_TOLERANCE["bf16"]),
        ):
            theirs, ours = (relative((right, value)) for value in pair)
            if not ours <= max(bound, theirs):
                return (
                    f"the {name} is {pair[0]:.6g} in TRL and {pair[1]:.6g} in Fairlead, in float32 {right:.6g}: "
                    f"Fairlead is further from it than TRL, and than {bound:g}"
                )
        return None


def relative(pair: Sequence[float]) -> float:
    """How far the second is from the first, as a share of the first."""
    return abs(pair[1] - pair[0]) / max(abs(pair[0]), 1e-12)


T = TypeVar("T")
Workers = Mapping[str, Worker]
Ready = Mapping[str, Mapping[str, Any]]
"""What each contender says of itself once it is loaded: its rows, its loss of the first batch, how it computes."""
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
    """The record of a cell; raises Refused where there is nothing that could be timed honestly.

    A cell in bfloat16 is first proven to be the same computation in float32.
    """
    until = time.monotonic() + cell.limit
    if cell.precision == "fp32":
        return _side_by_side(job, start, until, lambda *both: _measure(job, *both, until))
    exact = replace(job, precision="fp32", scratch=str(Path(job.scratch) / "float32"))
    right = _side_by_side(exact, start, until, lambda *both: _prove(*both, until))
    return _side_by_side(job, start, until, lambda *both: _measure(job, *both, until, right))


def _side_by_side(job: Job, start: Start, until: float, work: Callable[[Workers, Ready], T]) -> T:
    """What `work` gives with both contenders, each loaded and waiting; afterwards they are gone."""
    scratch = Path(job.scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    path = scratch / "job.json"
    path.write_text(json.dumps(job.to_json(), indent=1), encoding="utf-8")
    workers: dict[str, Worker] = {}
    ready: dict[str, dict[str, Any]] = {}
    try:
        for name in MODULES:  # one after the other: loading must not disturb loading
            workers[name] = start(name, path)
            ready[name] = workers[name].hear(READY, until=until)
        if ready[TRL]["rows"] != ready[FAIRLEAD]["rows"]:
            raise Refused("the contenders were given different rows")
        return work(workers, ready)
    except WorkerFailed as failure:
        raise Refused(str(failure)) from failure
    finally:
        for worker in workers.values():
            worker.close()


def _prove(workers: Workers, ready: Ready, until: float) -> Proof:
    """One step of each, in float32: the figures by which they are the same computation. Raises Refused."""
    _refuse(Proof(_losses(ready), (1.0, 1.0)).fault())
    proof = Proof(_losses(ready), _gradient_norms({name: [_step(worker, until)] for name, worker in workers.items()}))
    _refuse(proof.fault())
    return proof


def _measure(job: Job, workers: Workers, ready: Ready, until: float, exact: Proof | None = None) -> dict[str, Any]:
    """Steps in turn; `exact` is the proof in float32 of a cell in bfloat16."""

    def fault(proof: Proof) -> str | None:
        return proof.fault() if exact is None else proof.fault_in_bf16(exact)

    unknown = (1.0, 1.0) if exact is None else exact.grad_norm
    _refuse(fault(Proof(_losses(ready), unknown)))
    steps: dict[str, list[dict[str, float]]] = {name: [] for name in MODULES}
    for number in range(job.steps):
        if number >= WARM_UP + FEWEST and time.monotonic() > until - _longest(steps):
            break
        for name, worker in workers.items():
            steps[name].append(_step(worker, until))
        if number == 0:
            proof = Proof(_losses(ready), _gradient_norms(steps))
            _refuse(fault(proof))
    peaks = {}
    for name, worker in workers.items():
        worker.ask(END)
        peaks[name] = worker.hear(END, until=until)["peak"]
    return {
        "date": datetime.date.today().isoformat(),
        "batch": job.batch,
        "steps": len(steps[TRL]) - WARM_UP,
        "wanted_steps": STEPS,
        "proof": _proof_record(proof, exact, steps, ready[FAIRLEAD]),
        "ratio": _ratios(steps),
        **{name: _contender_record(job, steps[name], peaks[name], ready[name]) for name in MODULES},
    }


def _refuse(fault: str | None) -> None:
    if fault is not None:
        raise Refused(fault)


def _losses(ready: Ready) -> tuple[float, float]:
    return ready[TRL]["loss"], ready[FAIRLEAD]["loss"]


def _gradient_norms(steps: Mapping[str, Sequence[Mapping[str, float]]]) -> tuple[float, float]:
    return steps[TRL][0]["grad_norm"], steps[FAIRLEAD][0]["grad_norm"]


def _step(worker: Worker, until: float) -> dict[str, float]:
    worker.ask(GO)
    return worker.hear(STEP, until=until)


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
    proof: Proof,
    exact: Proof | None,
    steps: Mapping[str, Sequence[Mapping[str, float]]],
    ours: Mapping[str, Any],
) -> dict[str, Any]:
    """How near the two are: in float32, and of a cell in bfloat16 how far each is from that."""
    pairs = [(a["loss"], b["loss"]) for a, b in zip(steps[TRL], steps[FAIRLEAD], strict=True)]
    proven = proof if exact is None else exact
    rounded = (
        {}
        if exact is None
        else {
            "bf16": {
                "loss": list(proof.loss),
                "loss_from_float32": [relative((exact.loss[0], value)) for value in proof.loss],
                "grad_norm_from_float32": [relative((exact.grad_norm[0], value)) for value in proof.grad_norm],
            }
        }
    )
    return {
        "loss": list(proven.loss),
        "loss_differs_by": relative(proven.loss),
        "grad_norm_differs_by": relative(proven.grad_norm),
        "loss_of_later_steps_differs_by": max(map(relative, pairs)),
        "allowed": {"loss": LOSS_TOLERANCE["fp32"], "grad_norm": GRADIENT_TOLERANCE["fp32"]},
        **rounded,
        **({"kl": ours["kl"]} if "kl" in ours else {}),
    }
