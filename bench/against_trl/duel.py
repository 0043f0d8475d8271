"""One cell: both contenders side by side, their losses compared first, then a step of the one, a step of the other."""

from __future__ import annotations

import datetime
import json
import math
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
"""Largest relative differences of a batch's loss, and of the first step's gradient norm, that are still one
computation: in float32 between the two. In bfloat16 a log-probability carries an error of a hundredth of a nat and
more, and a loss over hundreds of tokens differs by what each rounds: there, Fairlead may lie so far from the float32
figures, or `CHANCE` times as far as TRL does."""
CHANCE = 2.0
"""How much further from the truth than the other one of two equally exact computations may be: of two root mean
squares of twelve errors each, chance makes one more than twice the other in one case of ninety (of five, in one of
thirteen)."""


class Refused(Exception):
    """The contenders do not compute the same thing, or did not finish: there is nothing to time."""


@dataclass(frozen=True)
class Proof:
    """That both compute the same: losses of all batches before any step, gradient norm of the first; TRL's and ours."""

    losses: tuple[Sequence[float], Sequence[float]]
    grad_norm: tuple[float, float]

    def fault(self) -> str | None:
        """What differs too much in float32; None where it is the same computation."""
        if len(self.losses[0]) != len(self.losses[1]):
            return "the contenders were given different batches"
        pairs = enumerate(zip(*self.losses, strict=True), start=1)
        for name, pair, bound in (
            *((f"loss of batch {number}", pair, LOSS_TOLERANCE["fp32"]) for number, pair in pairs),
            ("gradient norm of the first step", self.grad_norm, GRADIENT_TOLERANCE["fp32"]),
        ):
            if not relative(pair) <= bound:
                return f"the {name} is {pair[0]:.6g} in TRL and {pair[1]:.6g} in Fairlead: more than {bound:g} apart"
        return None

    def fault_in_bf16(self, exact: Proof) -> str | None:
        """Where Fairlead lies further from the float32 figures than rounding explains; None where it does not."""
        theirs, ours = self.losses_from(exact)
        if not ours <= max(LOSS_TOLERANCE["bf16"], CHANCE * theirs):
            return f"the losses are {_further(theirs, ours, LOSS_TOLERANCE['bf16'])}"
        theirs, ours = self.grad_norm_from(exact)
        if not ours <= max(GRADIENT_TOLERANCE["bf16"], CHANCE * theirs):
            return f"the gradient norm is {_further(theirs, ours, GRADIENT_TOLERANCE['bf16'])}"
        return None

    def losses_from(self, exact: Proof) -> tuple[float, float]:
        """How far the losses of either are from TRL's in `exact`: root mean squares, relative to that of the latter."""
        right = exact.losses[0]
        size = math.sqrt(math.fsum(value * value for value in right))
        theirs, ours = (math.dist(right, values) / size for values in self.losses)
        return theirs, ours

    def grad_norm_from(self, exact: Proof) -> tuple[float, float]:
        """How far the gradient norm of either is from TRL's in `exact`, relative to that."""
        theirs, ours = (relative((exact.grad_norm[0], value)) for value in self.grad_norm)
        return theirs, ours


def _further(theirs: float, ours: float, bound: float) -> str:
    return (
        f"{theirs:.3g} from float32 in TRL and {ours:.3g} in Fairlead, relative: more than {bound:g}, and than "
        f"{CHANCE:g} times as far as TRL"
    )


def relative(pair: Sequence[float]) -> float:
    """How far the second is from the first, as a share of the first."""
    return abs(pair[1] - pair[0]) / max(abs(pair[0]), 1e-12)


T = TypeVar("T")
Workers = Mapping[str, Worker]
Ready = Mapping[str, Mapping[str, Any]]
"""What each contender says of itself once it is loaded: its rows, its loss of every batch, how it computes."""
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
    norms = _gradient_norms({name: [_step(worker, until)] for name, worker in workers.items()})
    proof = Proof(_losses(ready), norms)
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


def _losses(ready: Ready) -> tuple[Sequence[float], Sequence[float]]:
    return ready[TRL]["losses"], ready[FAIRLEAD]["losses"]


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
                "losses": list(map(list, proof.losses)),
                "losses_from_float32": list(proof.losses_from(exact)),
                "grad_norm_from_float32": list(proof.grad_norm_from(exact)),
            }
        }
    )
    return {
        "losses": list(map(list, proven.losses)),
        "loss_differs_by": max(map(relative, zip(*proven.losses, strict=True))),
        "grad_norm_differs_by": relative(proven.grad_norm),
        "loss_of_later_steps_differs_by": max(map(relative, pairs)),
        "allowed": {"loss": LOSS_TOLERANCE["fp32"], "grad_norm": GRADIENT_TOLERANCE["fp32"]},
        **rounded,
        **({} if ours.get("kl") is None else {"kl": ours["kl"]}),
    }
