"""Small cells: a tiny Llama on disk, a few short rows, and a record as the bench writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.against_trl.cells import EACH_STEP, NO_REFERENCE, PRECOMPUTED, WITH_REFERENCE, Cell, Job
from bench.against_trl.models import write_model

TINY = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def tiny_job(
    folder: Path,
    method: str,
    adapter: str = "lora",
    reference: str = PRECOMPUTED,
    steps: int = 2,
    precision: str = "fp32",
) -> Job:
    """A job of two rows a step, its model written."""
    return Job(
        model=str(write_model(folder / "model", TINY, reward=method == "reward")),
        scratch=str(folder / "cell"),
        method=method,
        adapter=adapter,
        precision=precision,
        reference=reference if method in WITH_REFERENCE else NO_REFERENCE,
        prompt_tokens=14,
        completion_tokens=9,
        threads=1,
        batch=2,
        batches=2,
        steps=steps,
    )


def cell(method: str = "dpo", profile: str = "150/100", reference: str = PRECOMPUTED, **other: Any) -> Cell:
    """A cell of the small shape."""
    fields = {"shape": "30M", "adapter": "lora", "precision": "fp32", "limit": 20.0} | other
    return Cell(method=method, profile=profile, reference=reference, **fields)


def record(ratio: float = 4.0, *, steps: int = 10) -> dict[str, Any]:
    """A measured cell."""

    def side(seconds: float, memory: float) -> dict[str, Any]:
        return {
            "seconds": [seconds] * steps,
            "median_seconds": seconds,
            "rows_per_second": 4 / seconds,
            "peak_bytes": int(memory * 1e9),
            "resident_before_bytes": 1,
            "options": {},
        }

    return {
        "date": "2026-11-23",
        "batch": 4,
        "steps": steps,
        "wanted_steps": 10,
        "proof": {"loss": [0.7, 0.7], "loss_differs_by": 2e-7, "grad_norm_differs_by": 1e-6},
        "ratio": {"median": ratio, "min": ratio - 0.5, "max": ratio + 0.5},
        "packages": {"python": "3.11", "torch": "2.13", "trl": "1.16.0", "numpy": "2.4"},
        "operations": 5e10,
        "floor_seconds": 0.4,
        "trl": side(2.0 * ratio, 6.0),
        "fairlead": side(2.0, 1.5),
    }


MACHINE = {
    "processor": "Some CPU",
    "cores": 2,
    "threads": 2,
    "memory_bytes": 24 << 30,
    "peak_operations_per_second": {"fp32": 1.4e11, "bf16": 3.8e11},
}

__all__ = ["EACH_STEP", "MACHINE", "PRECOMPUTED", "TINY", "cell", "record", "tiny_job"]
