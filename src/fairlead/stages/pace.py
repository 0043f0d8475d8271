"""How long a training run takes: from a short calibration on this machine, or from a GPU's data sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from fairlead.engine.calibration import Seconds, optimizer_seconds_per_weight, time_pass
from fairlead.engine.groups import PromptGroup
from fairlead.stages.footprint import Way
from fairlead.stages.machines import EFFICIENCY, Machine

FEW, MORE = 1, 3
"""Decoder layers of the two models that are timed."""
TOKENS = 512
"""Tokens that are timed at once: enough to keep the products busy, few enough to take a second."""
SHARE = 0.25
"""Share of the memory that a calibration may take; of larger models no layer is timed."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds per token through the whole model, with and without gradient, and per optimizer step.

    `is_measured`: on this machine; else by a data sheet at `EFFICIENCY` of its peak.
    """

    trained: float
    scored: float
    step: float
    is_measured: bool


@dataclass(frozen=True, kw_only=True)
class Duration:
    """What the parts of a run take, in seconds. Loading, sampling and writing files come on top."""

    train: float
    reference: float
    evaluation: float
    is_measured: bool

    @property
    def total(self) -> float:
        """All parts together."""
        return self.train + self.reference + self.evaluation


def find_pace(way: Way, groups: Sequence[PromptGroup], machine: Machine) -> Pace | None:
    """The pace of training over groups like these; None where the model is too large to be timed here."""
    if machine.gpu is not None:
        measured = way.through_all_layers(groups)
        peak = machine.gpu.bf16 if way.compute.itemsize == 2 else machine.gpu.fp32
        speed = EFFICIENCY * peak * 1e12 * measured.tokens
        return Pace(
            trained=measured.taken.flops / speed, scored=measured.taken.scored_flops / speed, step=0, is_measured=False
        )
    layers = min(MORE, way.architecture.layers)
    model = way.model(layers)
    copies = 2 if way.is_full else 1
    if copies * sum(each.numel() * each.element_size() for each in model.parameters()) > SHARE * machine.capacity:
        return None
    part = _up_to(groups, TOKENS)
    low, high = _timed(way, part, min(FEW, layers)), _timed(way, part, layers)
    seconds = _extended(low, high, layers=layers, to=way.architecture.layers)
    tokens = sum(group.tokens for group in part)
    weights = sum(each.numel() for each in way.whole.parameters() if each.requires_grad)
    return Pace(
        trained=seconds.trained / tokens,
        scored=seconds.scored / tokens,
        step=weights * optimizer_seconds_per_weight(),
        is_measured=True,
    )


def _timed(way: Way, groups: Sequence[PromptGroup], layers: int) -> Seconds:
    return time_pass(
        way.model(layers),
        groups,
        compute=way.compute,
        packed=way.largest.packed,
        which=way.which,
        columns=way.loss.columns,
        checkpointing=way.config.train.gradient_checkpointing,
    )


def _extended(low: Seconds, high: Seconds, *, layers: int, to: int) -> Seconds:
    """On the line through `FEW` and `layers` layers; never faster than what was timed."""
    if layers <= FEW:
        return high
    values = {each.name: (getattr(low, each.name), getattr(high, each.name)) for each in fields(Seconds)}
    each_layer = {name: max(0.0, b - a) / (layers - FEW) for name, (a, b) in values.items()}
    return Seconds(**{name: values[name][1] + (to - layers) * each_layer[name] for name in values})


def _up_to(groups: Sequence[PromptGroup], tokens: int) -> Sequence[PromptGroup]:
    """The first groups, at least one, of at most so many tokens."""
    part: list[PromptGroup] = []
    for group in groups:
        if part and sum(each.tokens for each in part) + group.tokens > tokens:
            break
        part.append(group)
    return part
