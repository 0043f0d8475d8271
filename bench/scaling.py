"""Does the cost of a step grow as it should? Seconds and memory against batch, prompt, vocabulary and model size.

    python -m bench.scaling

Fairlead alone, DPO with LoRA in float32, the reference precomputed. One thing grows at a time from the same middle;
each point is a process of its own, and beside its time stands what the machine would need for its operations at best.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.against_trl import report
from bench.against_trl.cells import PRECOMPUTED, Job
from bench.against_trl.duel import FAIRLEAD, ROOT, start_worker
from bench.against_trl.floor import Dimensions, operations, peaks
from bench.against_trl.models import SHAPES, read_config, write_model
from bench.against_trl.rows import make_groups
from bench.against_trl.wire import END, GO, READY, STEP
from fairlead.runs.atomic import write_json
from fairlead.runs.surroundings import hardware, package_versions

SCRATCH = ROOT / "out" / "bench" / "scaling"
BATCH, PROMPT, COMPLETION = 4, 150, 100
BATCHES, WARM_UP, STEPS = 5, 1, 5
LONGEST_WAIT = 300.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement: what differs from the middle, and the model's shape and the job's fields that say so."""

    what: str
    value: int
    shape: dict[str, int]
    batch: int = BATCH
    prompt_tokens: int = PROMPT


def points() -> Iterator[Point]:
    """One thing at a time."""
    middle = SHAPES["30M"]
    for batch in (1, 2, 4, 8, 16):
        yield Point(what="rows a step", value=batch, shape=middle, batch=batch)
    for prompt in (64, 150, 300, 600, 1200):
        yield Point(what="tokens of a prompt", value=prompt, shape=middle, prompt_tokens=prompt)
    for vocabulary in (8_000, 16_000, 32_000, 64_000, 128_000):
        yield Point(what="vocabulary", value=vocabulary, shape={**middle, "vocab_size": vocabulary})
    for hidden, feed_forward, layers in ((256, 704, 6), (384, 1024, 11), (512, 1408, 16), (768, 2048, 20)):
        size = {
            "hidden_size": hidden,
            "intermediate_size": feed_forward,
            "num_hidden_layers": layers,
            "num_attention_heads": hidden // 64,
            "num_key_value_heads": hidden // 128,
        }
        shape = {**middle, **size}
        yield Point(what="weights in the layers", value=layers * Dimensions.of(shape).linear, shape=shape)


def job_of(point: Point, threads: int) -> Job:
    """The job of a point; its model is written if it is not there."""
    name = "-".join(str(value) for value in point.shape.values())
    folder = write_model(SCRATCH / "models" / name, point.shape, reward=False)
    return Job(
        model=str(folder),
        scratch=str(SCRATCH / "cell"),
        method="dpo",
        adapter="lora",
        precision="fp32",
        reference=PRECOMPUTED,
        prompt_tokens=point.prompt_tokens,
        completion_tokens=COMPLETION,
        threads=threads,
        batch=point.batch,
        batches=BATCHES,
        steps=WARM_UP + STEPS,
    )


def measure(point: Point, job: Job, peak: float) -> dict[str, Any]:
    """The record of a point."""
    scratch = Path(job.scratch)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    (scratch / "job.json").write_text(json.dumps(job.to_json()), encoding="utf-8")
    until = time.monotonic() + LONGEST_WAIT
    worker = start_worker(FAIRLEAD, scratch / "job.json")
    try:
        worker.hear(READY, until=until)
        seconds = []
        for _ in range(job.steps):
            worker.ask(GO)
            seconds.append(worker.hear(STEP, until=until)["seconds"])
        worker.ask(END)
        memory = worker.hear(END, until=until)["peak"]
    finally:
        worker.close()
    wanted = operations(job, make_groups(job), Dimensions.of(read_config(job.model))) / job.batches
    return {
        "what": point.what,
        "value": point.value,
        "median_seconds": statistics.median(seconds[WARM_UP:]),
        "operations": wanted,
        "floor_seconds": wanted / peak,
        "peak_bytes": memory,
    }


def main() -> None:
    """Measure every point, write the figures and the page."""
    threads = len(os.sched_getaffinity(0))
    peak = peaks(threads)["fp32"]
    rows = []
    for point in points():
        rows.append(measure(point, job_of(point, threads), peak))
        print(f"{point.what} {point.value}: {rows[-1]['median_seconds']:.3f} s a step", flush=True)
    versions = package_versions()
    about = (
        f"Fairlead alone: DPO with LoRA, float32, reference precomputed, from a middle of {BATCH} rows, {PROMPT} "
        f"tokens of prompt and {COMPLETION} of each completion, the 30M shape. Medians of {STEPS} steps on "
        f"{hardware()['processor']}, {threads} threads, torch {versions['torch']}, "
        f"{datetime.date.today().isoformat()}. Where the share of the floor stays, time grows as the operations do."
    )
    write_json(report.SCALING, {"about": about, "rows": rows})
    report.write()


if __name__ == "__main__":
    main()
