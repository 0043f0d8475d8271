"""How much memory a training run takes, part by part and phase by phase, found out before any weights are loaded.

The activations of a pass are not put into a formula: the engine itself runs over an outline of the model with few
layers (`fairlead.models.outline`) on tensors without values, and what is alive is counted
(`fairlead.engine.metering`). Layers are alike, so two such passes give any number of layers, and two micro-batches give
any size of micro-batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from fairlead.engine.attention import PackedLayout, UnsupportedAttention, causal_of, trunk_of
from fairlead.engine.groups import PromptGroup
from fairlead.engine.heads import chunk_rows, output_head
from fairlead.engine.metering import Meter
from fairlead.engine.packing import PackedBatch
from fairlead.engine.scoring import Scorer
from fairlead.models.outline import filled
from fairlead.models.quiet import quiet
from fairlead.models.reward_model import is_reward_model

FLOAT = 4
MOVING = ("gradients", "optimizer", "activations", "head chunk or layer", "keys and values")
"""Parts that come and go, or come after others have gone: between them gaps are left."""
UNTRACEABLE = (DataDependentOutputException, DynamicOutputShapeException, NotImplementedError)
"""What fake tensors raise where a computation needs values, as the routing of some mixtures of experts does."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What one micro-batch takes beyond weights and gradients, in bytes; `flops` are operations of matrix products.

    `kept` is alive between trunk and head: what the backward pass needs of the trunk. The others are the most that is
    alive at once, `kept` included: within the trunk, in the head, in the backward pass of head and of trunk. `scored`
    is the most of a pass without gradient (`scored_flops`).
    """

    kept: int
    trunk: int
    head: int
    head_backward: int
    trunk_backward: int
    scored: int
    flops: int
    scored_flops: int

    @property
    def peak(self) -> int:
        """The most that is alive at once in forward and backward pass."""
        return max(self.trunk, self.head, self.head_backward, self.trunk_backward)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A pass over an outline, and how its batch was laid out. `is_rough`: by the shapes of layers alone."""

    taken: Pass
    packed: bool
    tokens: int
    is_rough: bool = False


def measure_pass(
    model: Any,
    groups: Sequence[PromptGroup],
    *,
    compute: torch.dtype,
    engine: str = "auto",
    which: Sequence[int] | None = None,
    columns: frozenset[str] = frozenset(),
    checkpointing: bool = False,
) -> Measured:
    """What a micro-batch of these groups takes; `model` is an outline, with an adapter if it trains one. It is used up.

    `compute`, `engine` and `columns` as for the scorer, `which` as for its batches. Where a family's attention cannot
    be packed, the padded layout is measured, as training would choose it.
    """
    if checkpointing:
        causal_of(model).activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    if engine == "auto":
        try:
            return _measure(model, groups, compute, True, which, columns)
        except (UnsupportedAttention, TypeError):
            engine = "padded"
    return _measure(model, groups, compute, engine == "packed", which, columns)


def _measure(
    model: Any,
    groups: Sequence[PromptGroup],
    compute: torch.dtype,
    packed: bool,
    which: Sequence[int] | None,
    columns: frozenset[str],
) -> Measured:
    with FakeTensorMode(), quiet():
        filled(model, lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu"))
        scorer = Scorer(model=model, packed=packed, compute=compute)
        batch = outlined_batch(scorer.batch(groups, which))
        try:
            taken = _with_gradient(scorer, batch, columns)
            with torch.no_grad():
                _, most, flops = _scored(scorer, batch, columns)
        except UNTRACEABLE:
            return Measured(taken=_rough(model, batch, compute), packed=packed, tokens=batch.tokens, is_rough=True)
    return Measured(taken=replace(taken, scored=most, scored_flops=flops), packed=packed, tokens=batch.tokens)


def _with_gradient(scorer: Scorer, batch: PackedBatch, columns: frozenset[str]) -> Pass:
    """Forward and backward pass, with gradients there already: what is counted is what comes and goes."""
    for parameter in scorer.model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    meter = _meter(scorer.model)
    marks: dict[str, int] = {}

    def trunk_is_through(_: nn.Module, __: Any, output: Any) -> None:
        marks["kept"], marks["trunk"] = meter.live, meter.restart_peak()
        output.last_hidden_state.register_hook(trunk_is_next)

    def trunk_is_next(_: Tensor) -> None:
        marks["head_backward"] = meter.restart_peak()

    hook = trunk_of(scorer.model).register_forward_hook(trunk_is_through)
    try:
        with meter, scorer.attention():
            scores = scores_of(scorer, batch, columns)
            marks["head"] = meter.restart_peak()
            scores.sum().backward()  # type: ignore[no-untyped-call]
            marks["trunk_backward"] = meter.restart_peak()
    finally:
        hook.remove()
    return Pass(**marks, scored=0, flops=meter.flops, scored_flops=0)


def _scored(scorer: Scorer, batch: PackedBatch, columns: frozenset[str]) -> tuple[Tensor, int, int]:
    meter = _meter(scorer.model)
    scorer.model.eval()
    with meter, scorer.attention():
        scores = scores_of(scorer, batch, columns)
    return scores, meter.peak, meter.flops


def scores_of(scorer: Scorer, batch: PackedBatch, columns: frozenset[str]) -> Tensor:
    """What a loss is a function of: log-probabilities of trained tokens, or rewards."""
    if is_reward_model(scorer.model):
        return scorer.score_sequences(batch)
    return scorer.score(batch, columns).logp_N


def _meter(model: nn.Module) -> Meter:
    parameters = list(model.parameters())
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return Meter([*parameters, *model.buffers(), *gradients])


class _OutlineLayout(PackedLayout):
    """A packed layout whose masks have shapes only: whom a token may see does not matter here, and takes values."""

    def _mask(self, lengths: tuple[int, ...], queries: int, window: int | None, like: Tensor) -> Tensor:
        name = (*lengths, queries, window or 0)
        if name not in self._masks or self._masks[name].dtype != like.dtype:
            self._masks[name] = like.new_empty((queries, sum(lengths)))
        return self._masks[name]


def outlined_batch(batch: PackedBatch) -> PackedBatch:
    """The batch with a layout that can be run without values."""
    return batch if batch.layout is None else replace(batch, layout=_OutlineLayout(batch.layout.groups))


def _rough(model: Any, batch: PackedBatch, compute: torch.dtype) -> Pass:
    """By the shapes of the weights: every matrix keeps its input and gives its output, for each token that meets it.

    Of the experts of a mixture, a token meets as many as the configuration says.
    """
    config, head = causal_of(model).config.get_text_config(), output_head(model)
    experts = getattr(config, "num_experts_per_tok", None) or 1
    matrices = [weight for weight in trunk_of(model).parameters() if weight.dim() >= 2]
    embedding = model.get_input_embeddings().weight
    met = sum(
        (experts if weight.dim() > 2 else 1) * sum(weight.shape[-2:]) for weight in matrices if weight is not embedding
    )
    products = sum(
        weight.numel() * (experts / weight.shape[0] if weight.dim() > 2 else 1)
        for weight in matrices
        if weight is not embedding
    )
    rows = batch.tokens + 2 * batch.target_N.numel()
    kept = int(batch.tokens * met * compute.itemsize)
    rows_at_once = min(chunk_rows(config.vocab_size), batch.target_N.numel())
    chunk = 0 if head is None else rows_at_once * config.vocab_size * (2 * FLOAT + compute.itemsize)
    most, flops = kept + chunk, int(2 * products * rows)
    return Pass(
        kept=kept,
        trunk=kept,
        head=most,
        head_backward=most,
        trunk_backward=most,
        scored=kept // max(1, config.num_hidden_layers) + chunk,
        flops=3 * flops,
        scored_flops=flops,
    )


def extended(few: Pass, more: Pass, *, at: tuple[float, float], to: float) -> Pass:
    """What a pass takes at `to`, on the line through two passes measured `at` two places: layers, or tokens."""
    low, high = at
    if low == high:
        return more
    share = (to - low) / (high - low)
    values = {each.name: (getattr(few, each.name), getattr(more, each.name)) for each in fields(Pass)}
    return Pass(**{name: max(0, round(a + (b - a) * share)) for name, (a, b) in values.items()})


@dataclass(frozen=True, kw_only=True)
class Holdings:
    """What lies in memory between passes, in bytes.

    `weights` of the base, `adapter` on it (trained, frozen and copied ones), `reference` (a second copy of the weights,
    where one is kept), `gradients` and `optimizer` of what is trained. `head_gradient` is the part of the gradients
    that comes first in a backward pass, `largest_gradient` the largest of one tensor.
    """

    weights: int
    adapter: int
    reference: int
    gradients: int
    optimizer: int
    head_gradient: int
    largest_gradient: int


def holdings(model: Any, *, is_full: bool, packed_weights: int | None = None, copies: int = 0) -> Holdings:
    """What a whole outline with its adapter holds; `packed_weights` replaces the size of weights that are quantised.

    `copies` are frozen copies of what is trained: of the adapter, or of all weights.
    """
    named = {id(each): each for each in model.parameters()}.values()
    trained = [each for each in named if each.requires_grad]
    frozen = _size(each for each in named if not each.requires_grad)
    gradients = _size(trained)
    head = output_head(model) if not is_reward_model(model) else None
    own_head = getattr(head, "weight", None)
    return Holdings(
        weights=gradients if is_full else (frozen if packed_weights is None else packed_weights),
        adapter=0 if is_full else gradients * (1 + copies),
        reference=gradients * copies if is_full else 0,
        gradients=gradients,
        optimizer=sum(2 * FLOAT * each.numel() + FLOAT for each in trained),
        head_gradient=_size([own_head]) if own_head is not None and own_head.requires_grad else 0,
        largest_gradient=max((_size([each]) for each in trained), default=0),
    )


def _size(tensors: Any) -> int:
    return sum(each.numel() * each.element_size() for each in tensors)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One phase of a run, and what is in memory at its worst moment, part by part, in bytes."""

    name: str
    parts: dict[str, int]

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(self.parts.values())


def phases(
    held: Holdings,
    taken: Pass,
    *,
    accumulates: bool,
    loading: int = 0,
    sampling: int = 0,
    scores_reference: bool = True,
    gaps: float = 0.0,
) -> list[Phase]:
    """The phases of a run, each with its worst moment.

    `accumulates`: some step has several micro-batches, so that gradients lie beside activations. `loading` is what is
    read of files while weights are converted, `sampling` the keys and values of prompts that are answered. `gaps` is
    what the heap takes beyond the tensors that come and go in it, as a share of these.
    """
    lasting = {"weights": held.weights, "adapter": held.adapter}
    trained = {**lasting, "reference": held.reference, "optimizer": held.optimizer}
    found = {"loading": {"weights": held.weights, "files being read": loading}}
    if sampling:
        found["sampling"] = {**trained, "gradients": held.gradients, "keys and values": sampling}
    if scores_reference:
        found["reference pass"] = {**lasting, "activations": taken.scored}
    found["training step"] = {**trained, **_step(held, taken, accumulates=accumulates)}
    found["evaluation"] = {**trained, "gradients": held.gradients, "activations": taken.scored}
    return [_phase(name, parts, gaps) for name, parts in found.items()]


def _phase(name: str, parts: dict[str, int], gaps: float) -> Phase:
    moving = sum(size for part, size in parts.items() if part in MOVING)
    whole = {**parts, "gaps in the heap": round(gaps * moving)}
    return Phase(name=name, parts={part: size for part, size in whole.items() if size})


def _step(held: Holdings, taken: Pass, *, accumulates: bool) -> dict[str, int]:
    """Gradients and activations at the worst moment of a step.

    With several micro-batches all gradients are there while activations are. With one they take the place of the
    activations as these go, so that the worst moment is the beginning of the backward pass or its end.
    """
    if accumulates:
        return _moment(held.gradients, taken.kept, taken.head, taken.head_backward, taken.trunk_backward, taken.trunk)
    early = _moment(0, taken.kept, taken.head, taken.head_backward, taken.trunk)
    begun = _moment(held.head_gradient, taken.kept, taken.trunk_backward)
    ended = {"gradients": held.gradients, "head chunk or layer": held.largest_gradient}
    return max((early, begun, ended), key=lambda parts: sum(parts.values()))


def _moment(gradients: int, kept: int, *most: int) -> dict[str, int]:
    return {"gradients": gradients, "activations": kept, "head chunk or layer": max(0, max(most) - kept)}
