"""The memory of a training run by its configuration: outlines of the model, measured, and put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from fairlead.config import AdapterConfig, Config
from fairlead.engine.groups import PromptGroup
from fairlead.engine.memory import Holdings, Measured, Pass, Phase, extended, holdings, measure_pass, phases
from fairlead.engine.rehearsal import rehearse
from fairlead.losses.binding import BoundLoss
from fairlead.losses.scores import Pairs, RewardPairs
from fairlead.models.loading import resolve_dtype
from fairlead.models.outline import Architecture, outline, put_new_adapter, put_stored_adapters, quantize
from fairlead.models.sources import Source

FEW, MORE = 2, 4
"""Decoder layers of the two outlines that are measured; what a model with more takes lies on the line through them."""
REHEARSED_LAYERS = 32
"""Layers at most of a model whose steps are rehearsed on the real heap: these cannot be drawn out from a few."""
ROUNDING = 256
"""What a proposed `micro_batch_tokens` is a multiple of."""
KEYS_WIDTH = 64
"""Positions that the keys of answers are kept in are a multiple of this."""
HERE = "here"
RANK = 16
"""Rank of the adapter that is proposed in place of full fine-tuning."""


@dataclass(frozen=True, kw_only=True)
class Batches:
    """What a footprint needs of the rows: the largest micro-batch, and a part of it.

    `ordinary` is one like most. `accumulates`: some step has several micro-batches; the largest has `step_tokens`.
    `sampled` is the longest prompt that is answered before and after training, `samples` how many are.
    """

    largest: Sequence[PromptGroup]
    part: Sequence[PromptGroup]
    ordinary: Sequence[PromptGroup]
    accumulates: bool
    step_tokens: int
    sampled: int
    samples: int


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to train: a configuration, on a model and rows, for one kind of device.

    `gaps` is the share that the heap takes beyond its tensors, as it was rehearsed.
    """

    config: Config
    loss: BoundLoss
    source: Source
    architecture: Architecture
    batches: Batches
    device: str
    gaps: float = 0.0

    @property
    def is_full(self) -> bool:
        """Whether all weights are trained."""
        return self.config.adapter is None and not self.source.adapters

    @property
    def compute(self) -> torch.dtype:
        """The type of matrix products: `auto` is bfloat16 on a GPU by its data sheet."""
        precision = self.config.train.precision
        return resolve_dtype("bf16" if precision == "auto" and self.device != HERE else precision)

    @property
    def in_four_bits(self) -> bool:
        """Whether the frozen weights are in NF4."""
        stored = getattr(self.architecture.config, "quantization_config", None) is not None
        return not self.is_full and bool(self.config.model.quantize or self.source.quantize or stored)

    @property
    def which(self) -> tuple[int, ...] | None:
        """Which completions of a group are scored with gradient."""
        return None if self.loss.examples in (Pairs, RewardPairs) else (0,)

    def model(self, layers: int | None = None) -> Any:
        """The outline of what is trained, with its adapters; of its first `layers` layers, or of all."""
        rewards = self.loss.examples is RewardPairs
        model = outline(
            self.architecture, dtype=torch.float32 if self.is_full else self.compute, layers=layers, rewards=rewards
        )
        if self.is_full:
            return model.requires_grad_(True)
        if self.in_four_bits:
            model = quantize(model)
        own = self.config.adapter
        if self.source.adapters:
            folders = [Path(adapter.path) for adapter in self.source.adapters]
            model = put_stored_adapters(model, folders, trained=own is None)
        return model if own is None else put_new_adapter(model, own)

    @cached_property
    def parameters(self) -> int:
        """Number of weights of the model without adapters."""
        return sum(each.numel() for each in outline(self.architecture, dtype=self.compute).parameters())

    @cached_property
    def whole(self) -> Any:
        """The outline with all layers, for its sizes."""
        return self.model()

    def measured(self, groups: Sequence[PromptGroup], layers: int) -> Measured:
        """A pass over these groups through the first `layers` layers."""
        return measure_pass(
            self.model(layers),
            groups,
            compute=self.compute,
            engine=self.config.model.engine,
            which=self.which,
            columns=self.loss.columns,
            checkpointing=self.config.train.gradient_checkpointing,
        )

    def through_all_layers(self, groups: Sequence[PromptGroup]) -> Measured:
        """A pass over these groups through all layers."""
        layers = self.architecture.layers
        if layers <= MORE:
            return self.measured(groups, layers)
        few, more = self.measured(groups, FEW), self.measured(groups, MORE)
        return replace(more, taken=extended(few.taken, more.taken, at=(FEW, MORE), to=layers))

    @cached_property
    def largest(self) -> Measured:
        """The largest micro-batch through all layers."""
        return self.through_all_layers(self.batches.largest)

    def rehearsed(self) -> Way:
        """The same with its gaps in the heap, rehearsed in this process; to be called before anything is measured."""
        batches = [self.batches.largest, *([self.batches.ordinary] if self.batches.accumulates else [])]
        layers = min(self.architecture.layers, REHEARSED_LAYERS)
        found = rehearse(
            self.model(layers),
            batches,
            compute=self.compute,
            engine=self.config.model.engine,
            which=self.which,
            columns=self.loss.columns,
            checkpointing=self.config.train.gradient_checkpointing,
        )
        return self if found is None else replace(self, gaps=found.gaps)

    @cached_property
    def held(self) -> Holdings:
        """What lies in memory between passes. A reference that moves, or is an adapter as it began, is a copy."""
        moves = self.config.train.reference_sync_steps is not None
        continued = bool(self.source.adapters) and self.config.adapter is None
        has_copy = continued or (moves and self.loss.needs_reference)
        return holdings(self.whole, is_full=self.is_full, copies=int(has_copy))

    def phases(self, taken: Pass | None = None) -> list[Phase]:
        """The phases of the run; with `taken` in place of the largest micro-batch's."""
        return phases(
            self.held,
            self.largest.taken if taken is None else taken,
            accumulates=self.batches.accumulates,
            loading=self._converted(),
            sampling=self._keys_and_values(),
            scores_reference=self.loss.needs_reference,
            gaps=self.gaps,
        )

    def peak(self) -> Phase:
        """The phase that takes the most."""
        return max(self.phases(), key=lambda phase: phase.total)

    def largest_micro_batch(self, capacity: int) -> int | None:
        """The most `train.micro_batch_tokens` that fit in `capacity` bytes; None where not even the longest row does.

        At most a whole step. On the line through two micro-batches: the largest that the rows give, and a part of it or
        none at all.
        """
        whole, part = _tokens(self.batches.largest), _tokens(self.batches.part)
        none = Pass(**dict.fromkeys(vars(self.largest.taken), 0))
        few = (self.through_all_layers(self.batches.part).taken, part) if 0 < part < whole else (none, 0)

        def fits(tokens: int) -> bool:
            taken = extended(few[0], self.largest.taken, at=(few[1], whole), to=tokens)
            return max(phase.total for phase in self.phases(taken)) <= capacity

        least, most = max(group.tokens for group in self.batches.largest), self.batches.step_tokens
        if not fits(least):
            return None
        if fits(most):
            return most
        while most - least > 1:
            middle = (most + least) // 2
            least, most = (middle, most) if fits(middle) else (least, middle)
        return least if least < ROUNDING else least // ROUNDING * ROUNDING

    def _converted(self) -> int:
        """Bytes of files that stay mapped while their weights are brought to another type."""
        wanted = {torch.float32: "F32", torch.bfloat16: "BF16"}[torch.float32 if self.is_full else self.compute]
        if self.device != HERE or self.in_four_bits:
            return 0
        return sum(size for kind, size in self.architecture.stored.items() if kind != wanted)

    def _keys_and_values(self) -> int:
        """What the answers to sample prompts keep: keys in float32 and values, for each layer, row and position."""
        if not self.batches.samples:
            return 0
        config = self.architecture.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        width = -(-(self.batches.sampled + self.config.train.sample_tokens) // KEYS_WIDTH) * KEYS_WIDTH
        kept = 4 + (4 if self.is_full else self.compute.itemsize)
        return int(self.architecture.layers * heads * size * kept * width * self.batches.samples)


def _tokens(groups: Sequence[PromptGroup]) -> int:
    """As `train.micro_batch_tokens` counts them."""
    return sum(group.tokens for group in groups)


def other_ways(way: Way) -> list[tuple[str, Way]]:
    """What could be set to take less memory, in the order to try it.

    Each with the settings in words that `--set` takes.
    """
    config, train = way.config, way.config.train
    longest = max(group.tokens for group in way.batches.largest)
    single = replace(way.batches, largest=way.batches.largest[:1], part=(), accumulates=True)
    found: list[tuple[str, Way]] = []
    lean = way
    if len(way.batches.largest) > 1:
        setting = f"train.micro_batch_tokens={longest}"
        lean = replace(way, batches=single)
        found.append((setting, lean))
    if not train.gradient_checkpointing:
        saving = train.model_copy(update={"gradient_checkpointing": True})
        checkpointed = config.model_copy(update={"train": saving})
        found.append(("train.gradient_checkpointing=true", replace(way, config=checkpointed)))
        if lean is not way:
            both = f"{found[0][0]} train.gradient_checkpointing=true"
            found.append((both, replace(lean, config=checkpointed)))
    if way.is_full:
        found.append(
            (f"adapter.r={RANK}", replace(way, config=config.model_copy(update={"adapter": AdapterConfig(r=RANK)})))
        )
    if not way.in_four_bits:
        model = config.model.model_copy(update={"quantize": "nf4"})
        adapter = config.adapter if way.source.adapters or config.adapter else AdapterConfig(r=RANK)
        settings = "model.quantize=nf4" + (f" adapter.r={RANK}" if way.is_full else "")
        found.append((settings, replace(way, config=config.model_copy(update={"model": model, "adapter": adapter}))))
    return found
