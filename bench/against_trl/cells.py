"""What is measured: cells of a matrix, and in which order of importance."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

LENGTHS = {"512/100": (512, 100), "150/100": (150, 100), "64/256": (64, 256)}
"""Profiles: mean tokens of prompts and of completions."""

SMALL, LARGE = "30M", "135M"
METHODS = ("dpo", "kto", "orpo", "simpo", "sft", "reward")
WITH_REFERENCE = ("dpo", "kto")
PRECOMPUTED, EACH_STEP, NO_REFERENCE = "precomputed", "each step", "none"

WARM_UP, STEPS = 1, 10
"""Steps before the clock counts, and steps that count."""
BATCH = 4
"""Rows of a step."""
BATCHES = {"fp32": 5, "bf16": 12}
"""Different batches, on each of which the losses are compared. In float32 the steps that count go through all of them
twice; in bfloat16 rounding is judged by a root mean square, which takes more of them than the steps do."""
FEWEST = 3
"""Steps that a cell must have done for its medians to be kept when its time is up."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One comparison. `shape` names the model, `limit` is the most seconds it may take, loading included."""

    shape: str
    method: str
    adapter: str
    precision: str
    profile: str
    reference: str
    limit: float = 1200.0

    @property
    def name(self) -> str:
        """What the results file knows it by."""
        return "|".join((self.shape, self.method, self.adapter, self.precision, self.profile, self.reference))

    @property
    def lengths(self) -> tuple[int, int]:
        """Mean tokens of a prompt and of a completion."""
        return LENGTHS[self.profile]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What both contenders are told, word for word the same. Paths are absolute; `steps` counts the warm-up too."""

    model: str
    scratch: str
    method: str
    adapter: str
    precision: str
    reference: str
    prompt_tokens: int
    completion_tokens: int
    threads: int
    batch: int = BATCH
    batches: int = BATCHES["fp32"]
    steps: int = WARM_UP + STEPS
    learning_rate: float = 1e-5
    lora_rank: int = 16
    seed: int = 0

    @property
    def is_full(self) -> bool:
        """Whether all weights are trained."""
        return self.adapter == "full"

    def to_json(self) -> dict[str, Any]:
        """As written for the workers."""
        return dataclasses.asdict(self)


def every_cell() -> list[Cell]:
    """The whole matrix, what the default plan holds first."""
    shapes, adapters, precisions = (SMALL, LARGE), ("lora", "full"), ("fp32", "bf16")
    matrix = [
        Cell(shape=s, method=m, adapter=a, precision=p, profile=lengths, reference=r)
        for s, p, a, m, lengths in product(shapes, precisions, adapters, METHODS, LENGTHS)
        for r in ((PRECOMPUTED, EACH_STEP) if m in WITH_REFERENCE else (NO_REFERENCE,))
    ]
    first = default_plan()
    return [*first, *(cell for cell in matrix if cell not in first)]


def default_plan() -> list[Cell]:
    """The cells that say most, the most important first."""
    middle = "150/100"
    profiles = (middle, "512/100", "64/256")

    def small(adapter: str, reference: str) -> list[Cell]:
        return [_dpo(SMALL, adapter, "fp32", profile, reference) for profile in profiles]

    bf16 = [_dpo(LARGE, adapter, "bf16", middle, PRECOMPUTED) for adapter in ("lora", "full")]
    others = [
        Cell(
            shape=SMALL,
            method=method,
            adapter="lora",
            precision="fp32",
            profile=middle,
            reference=PRECOMPUTED if method in WITH_REFERENCE else NO_REFERENCE,
        )
        for method in METHODS
        if method != "dpo"
    ]
    first = [*small("lora", PRECOMPUTED), *small("full", PRECOMPUTED), *small("lora", EACH_STEP)]
    return [*first, *bf16, *others, *small("full", EACH_STEP)]


def _dpo(shape: str, adapter: str, precision: str, profile: str, reference: str) -> Cell:
    return Cell(shape=shape, method="dpo", adapter=adapter, precision=precision, profile=profile, reference=reference)


def selected(cells: Iterable[Cell], words: Iterable[str]) -> list[Cell]:
    """The cells whose names have every word between their bars: `dpo`, `lora`, `150/100`, …"""
    wanted = set(words)
    return [cell for cell in cells if wanted <= set(cell.name.split("|"))]
