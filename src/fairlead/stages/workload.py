"""What a training run has to do: steps, tokens, micro-batches. Counted on the rows as they were read and rendered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fairlead.config import Config
from fairlead.engine.groups import PromptGroup
from fairlead.engine.packing import micro_batches, pack, pad
from fairlead.stages.rows import TrainingRows
from fairlead.training.sources import OfflineRows

COUNTED = 256
"""Steps whose micro-batches are laid out to count their tokens; of a longer epoch so many are taken, evenly spread."""
CANDIDATES = 16
"""Micro-batches of most tokens that are laid out to find the largest; shared prompts make it smaller than it seems."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The work of a run.

    `groups` and `held_out` rows; `steps` in all, `steps_per_epoch`, `evaluations`; `micro_batches` of an epoch.
    `tokens` go through the model in an epoch as it is laid out, `tokens_unshared` would if every completion had its
    prompt to itself; `trained_tokens` are trained on. `held_out_tokens` go through it in one evaluation. `is_counted`:
    over the whole epoch; else over an even part of it.
    """

    groups: int
    held_out: int
    steps: int
    steps_per_epoch: int
    evaluations: int
    micro_batches: int
    tokens: int
    tokens_unshared: int
    trained_tokens: int
    held_out_tokens: int
    longest_row: int
    largest_micro_batch: int
    is_counted: bool

    @property
    def saved(self) -> float:
        """The share of tokens that shared prompts save."""
        return 1 - self.tokens / self.tokens_unshared


@dataclass(frozen=True, kw_only=True)
class Batching:
    """The micro-batches of a run: the largest, an ordinary one, whether some step has several, tokens of a step."""

    largest: list[PromptGroup]
    ordinary: list[PromptGroup]
    accumulates: bool
    step_tokens: int


def batching(config: Config, rows: TrainingRows) -> Batching:
    """The micro-batches of every step, by the lengths of their rows."""
    source, budget = _source(config, rows), config.train.micro_batch_tokens
    found: list[tuple[int, list[PromptGroup]]] = []
    accumulates, step_tokens = False, 0
    for step in range(min(count_steps(config, source), source.steps_per_epoch)):
        batches = list(_batches(source.at(step), budget))
        accumulates |= len(batches) > 1
        sizes = [sum(group.tokens for group in batch) for batch in batches]
        step_tokens = max(step_tokens, sum(sizes))
        found += zip(sizes, batches, strict=True)
    found.sort(key=lambda each: -each[0])
    largest = max((batch for _, batch in found[:CANDIDATES]), key=lambda batch: pack(batch).tokens)
    return Batching(
        largest=largest, ordinary=found[len(found) // 2][1], accumulates=accumulates, step_tokens=step_tokens
    )


def count_work(config: Config, rows: TrainingRows, *, packed: bool, which: Sequence[int] | None) -> Workload:
    """Count the work; `packed` and `which` say how a batch is laid out and what of each group is trained on."""
    source, budget = _source(config, rows), config.train.micro_batch_tokens
    lay = pack if packed else pad
    steps = count_steps(config, source)
    epoch = source.steps_per_epoch
    counted = range(epoch) if epoch <= COUNTED else [round(i * (epoch - 1) / (COUNTED - 1)) for i in range(COUNTED)]
    tokens = alone = batches = largest = 0
    for step in counted:
        for batch in _batches(source.at(step), budget):
            size = lay(batch, which).tokens
            tokens, batches, largest = tokens + size, batches + 1, max(largest, size)
            alone += sum(_alone(group, which) for group in batch)
    share = len(rows.train) / sum(len(source.at(step)) for step in counted)
    eval_steps = config.train.eval_steps or epoch
    return Workload(
        groups=len(rows.train),
        held_out=len(rows.held_out),
        steps=steps,
        steps_per_epoch=epoch,
        evaluations=math.ceil(steps / eval_steps) if rows.held_out else 0,
        micro_batches=round(batches * share),
        tokens=round(tokens * share),
        tokens_unshared=round(alone * share),
        trained_tokens=sum(_trained(group, which) for group in rows.train),
        held_out_tokens=sum(group.tokens for group in rows.held_out),
        longest_row=max(group.tokens for group in rows.train),
        largest_micro_batch=largest,
        is_counted=epoch <= COUNTED,
    )


def count_steps(config: Config, source: OfflineRows) -> int:
    """Optimizer steps of the run."""
    steps = math.ceil(round(config.train.epochs * source.steps_per_epoch, 9))
    return steps if config.train.max_steps is None else min(steps, config.train.max_steps)


def _source(config: Config, rows: TrainingRows) -> OfflineRows:
    return OfflineRows(rows.train, config.train.batch_size, config.train.seed)


def _batches(groups: Sequence[PromptGroup], budget: int) -> Iterator[list[PromptGroup]]:
    for batch in micro_batches(groups, budget):
        yield [groups[index] for index in batch]


def _chosen(group: PromptGroup, which: Sequence[int] | None) -> range | Sequence[int]:
    return range(len(group.completions)) if which is None else which


def _alone(group: PromptGroup, which: Sequence[int] | None) -> int:
    return sum(len(group.prompt) + len(group.completions[index].ids) for index in _chosen(group, which))


def _trained(group: PromptGroup, which: Sequence[int] | None) -> int:
    return sum(sum(group.completions[index].trained) for index in _chosen(group, which))
