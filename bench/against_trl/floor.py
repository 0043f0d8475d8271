"""How many operations a step cannot do without, and how many of them a second the machine does at best.

Counted are products of matrices, an addition and a multiplication as two operations: every prompt once, no padding, the
output head at trained positions only, nothing computed twice. Shapes: T tokens, N trained tokens.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench.against_trl.cells import EACH_STEP, Job
from fairlead.engine.groups import PromptGroup

PEAK = "peak_operations_per_second"
PEAK_SIZE, PEAK_ROUNDS = 2048, 8


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """Of a Llama-like model: what its matrix products depend on."""

    hidden: int
    layers: int
    query: int
    key: int
    feed_forward: int
    vocabulary: int

    @classmethod
    def of(cls, config: dict[str, Any]) -> Dimensions:
        """From a `config.json`."""
        heads = config["num_attention_heads"]
        size = config.get("head_dim") or config["hidden_size"] // heads
        return cls(
            hidden=config["hidden_size"],
            layers=config["num_hidden_layers"],
            query=heads * size,
            key=config.get("num_key_value_heads", heads) * size,
            feed_forward=config["intermediate_size"],
            vocabulary=config["vocab_size"],
        )

    @property
    def linear(self) -> int:
        """Weights of the linear maps of a layer."""
        return self.hidden * (2 * self.query + 2 * self.key + 3 * self.feed_forward)

    @property
    def widths(self) -> int:
        """Inputs and outputs of these maps together: what a low-rank adapter of rank 1 has weights for."""
        projections = 2 * (self.hidden + self.query) + 2 * (self.hidden + self.key)
        return projections + 3 * (self.hidden + self.feed_forward)


@dataclass(frozen=True)
class Counts:
    """Tokens through the trunk, pairs of a query with a key it sees, trained tokens."""

    tokens: int
    pairs: int
    trained: int


def count(groups: Sequence[PromptGroup], which: Sequence[int] | None = None) -> Counts:
    """Of these completions of the groups, all by default, each behind a prompt that is read once."""
    tokens = pairs = trained = 0
    for group in groups:
        prompt = len(group.prompt)
        tokens += prompt
        pairs += prompt * (prompt + 1) // 2
        for index, completion in enumerate(group.completions):
            if which is None or index in which:
                length = len(completion.ids)
                tokens += length
                pairs += length * prompt + length * (length + 1) // 2
                trained += sum(completion.trained)
    return Counts(tokens, pairs, trained)


def operations(job: Job, groups: Sequence[PromptGroup], size: Dimensions) -> float:
    """Of one optimizer step on these groups."""
    own = (0,) if job.method == "kto" else None
    learnt, everything = count(groups, own), count(groups)
    linear = 2.0 * size.layers * size.linear
    attention = 4.0 * size.layers * size.query
    head = 0.0 if job.method == "reward" else 2.0 * size.hidden * size.vocabulary
    adapter = 0.0 if job.is_full else 2.0 * size.layers * size.widths * job.lora_rank
    # The backward pass: as much again for the gradients of what flows, and once more for those of trained weights.
    twice = 2 if job.is_full else 1
    backward = (
        learnt.tokens * (linear * twice + 2 * adapter) + learnt.pairs * 2 * attention + learnt.trained * head * twice
    )
    forward = everything.tokens * (linear + adapter) + everything.pairs * attention + everything.trained * head
    reference = forward - everything.tokens * adapter if job.reference == EACH_STEP else 0.0
    return forward + backward + reference


def peaks(threads: int) -> dict[str, float]:
    """Operations a second, by precision, in a plain product of square matrices: the best of a few."""
    torch.set_num_threads(threads)
    return {"fp32": _peak(torch.float32), "bf16": _peak(torch.bfloat16)}


def _peak(dtype: torch.dtype) -> float:
    a, b = (torch.ones(PEAK_SIZE, PEAK_SIZE, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(PEAK_ROUNDS):
        start = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - start)
    return 2.0 * PEAK_SIZE**3 / best
