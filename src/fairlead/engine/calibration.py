"""How fast this machine is at a model: a layer or two of its own shapes, with weights without meaning, timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fairlead.engine.attention import causal_of
from fairlead.engine.groups import PromptGroup
from fairlead.engine.scoring import Scorer
from fairlead.models.outline import filled
from fairlead.models.reward_model import is_reward_model

ROUNDS = 3
"""Passes that are timed, after one that warms up; the fastest counts, being the least disturbed."""
OPTIMIZER_WEIGHTS = 1 << 22
WEIGHT = 0.02


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """What a pass over a batch takes, in seconds: forward and backward, and forward without gradient."""

    trained: float
    scored: float


def time_pass(
    model: Any,
    groups: Sequence[PromptGroup],
    *,
    compute: torch.dtype,
    packed: bool,
    which: Sequence[int] | None = None,
    columns: frozenset[str] = frozenset(),
    checkpointing: bool = False,
) -> Seconds:
    """Time passes over these groups; `model` is an outline with few layers, which gets weights and is used up."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    filled(model, lambda tensor: torch.full(tensor.shape, WEIGHT, dtype=tensor.dtype, device=device))
    if checkpointing:
        causal_of(model).activation_checkpointing_enable({"use_reentrant": False})
    scorer = Scorer(model=model, packed=packed, compute=compute)
    batch = scorer.batch(groups, which)

    def score() -> Tensor:
        if is_reward_model(model):
            return scorer.score_sequences(batch)
        return scorer.score(batch, columns).logp_N

    def train() -> None:
        score().sum().backward()  # type: ignore[no-untyped-call]

    with scorer.attention():
        model.train()
        trained = _fastest(train)
        model.eval()
        with torch.no_grad():
            scored = _fastest(score)
    return Seconds(trained=trained, scored=scored)


def optimizer_seconds_per_weight() -> float:
    """What one trained weight costs in a step of AdamW with clipping, in seconds."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    weight = torch.nn.Parameter(torch.ones(OPTIMIZER_WEIGHTS, device=device))
    weight.grad = torch.ones_like(weight)
    optimizer = torch.optim.AdamW([weight], fused=True)

    def step() -> None:
        torch.nn.utils.clip_grad_norm_([weight], 1.0)
        optimizer.step()

    return _fastest(step) / OPTIMIZER_WEIGHTS


def _fastest(run: Callable[[], Any]) -> float:
    times = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times[1:])
