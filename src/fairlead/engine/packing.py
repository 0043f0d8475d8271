"""Prompt groups → one packed batch: prompts laid down once, completions behind them, no padding.

Shapes: T tokens in the stream, N trained tokens, C completions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fairlead.engine.attention import GroupSpan, PackedLayout
from fairlead.engine.groups import Completion, PromptGroup


@dataclass(frozen=True, kw_only=True)
class PackedBatch:
    """What the trunk reads and which of its hidden states are trained on.

    `input_ids` and `position_ids` are [1, T] packed (with a `layout`) or [rows, T] padded (without).
    `source_N` is the flat index of the hidden state that predicts trained token n, `target_N` that token's id; both run
    completion after completion, `count_C` tokens each, whatever the order of the stream. `last_C` is the flat index of
    the hidden state that a reward is read from. `real`, bool in the shape of `input_ids`, tells tokens from padding;
    None where nothing is padded.
    """

    input_ids: Tensor
    position_ids: Tensor
    source_N: Tensor
    target_N: Tensor
    count_C: Tensor
    last_C: Tensor
    layout: PackedLayout | None = None
    real: Tensor | None = None

    @property
    def tokens(self) -> int:
        """Tokens through the trunk, padding included."""
        return self.input_ids.numel()

    def to(self, device: torch.device) -> PackedBatch:
        """The same batch on another device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return PackedBatch(**moved, layout=self.layout)


@dataclass(frozen=True)
class _Sequence:
    """One completion behind its prompt."""

    prompt: tuple[int, ...]
    completion: Completion

    def last(self, skipped: int | None) -> int:
        """Where its last token lies that is not `skipped`, counted from the prompt's first; 0 if all of them are."""
        ids = self.prompt + self.completion.ids
        return next((index for index in reversed(range(len(ids))) if ids[index] != skipped), 0)


def _sequences(groups: Iterable[PromptGroup], which: Sequence[int] | None) -> list[_Sequence]:
    return [
        _Sequence(group.prompt, completion)
        for group in groups
        for index, completion in enumerate(group.completions)
        if which is None or index in which
    ]


def _share_prompts(flat: Sequence[_Sequence]) -> list[tuple[int, list[int]]]:
    """Which sequences hang off one stored prompt: (its length, indices into `flat`).

    Completions of one prompt share the whole of it. In sorted order, prompts that merely begin alike join as long as
    that saves tokens: the opening of several dialogues is then stored once, and their own turns go with the completion.
    """
    shared: list[tuple[int, list[int]]] = []
    first: tuple[int, ...] = ()
    for index in sorted(range(len(flat)), key=lambda i: flat[i].prompt):
        prompt = flat[index].prompt
        if shared:
            length, members = shared[-1]
            common = _common_prefix(first, prompt, length)
            # Shortening the stored prompt moves its tail into every member: worth it only if the newcomer saves more.
            if common > (length - common) * len(members):
                shared[-1] = (common, [*members, index])
                continue
        shared.append((len(prompt), [index]))
        first = prompt
    return shared


def _common_prefix(a: Sequence[int], b: Sequence[int], limit: int) -> int:
    length = 0
    for x, y in zip(a[:limit], b, strict=False):
        if x != y:
            break
        length += 1
    return length


def pack(
    groups: Sequence[PromptGroup], which: Sequence[int] | None = None, *, skipped: int | None = None
) -> PackedBatch:
    """Lay groups end to end; `which` picks completions of every group by index (all of them by default).

    A reward is read from a completion's last token that is not `skipped`.
    """
    flat = _sequences(groups, which)
    ids: list[int] = []
    positions: list[int] = []
    spans: list[GroupSpan] = []
    source: list[list[int]] = [[] for _ in flat]
    last = [0] * len(flat)
    for length, members in _share_prompts(flat):
        start = len(ids)
        ids.extend(flat[members[0]].prompt[:length])
        positions.extend(range(length))
        completions = []
        for member in members:
            sequence = flat[member]
            tail, at = sequence.prompt[length:], len(ids)
            ids.extend(tail)
            ids.extend(sequence.completion.ids)
            positions.extend(range(length, length + len(ids) - at))
            completions.append((at, len(ids)))
            begin = at + len(tail)
            read = sequence.last(skipped)
            last[member] = start + read if read < length else at + read - length
            source[member] = [
                begin + j - 1 if begin + j > at else start + length - 1
                for j, trained in enumerate(sequence.completion.trained)
                if trained
            ]
        spans.append(GroupSpan(prompt=(start, start + length), completions=tuple(completions)))
    return PackedBatch(
        input_ids=torch.tensor([ids]),
        position_ids=torch.tensor([positions]),
        last_C=torch.tensor(last),
        layout=PackedLayout(tuple(spans)),
        **_targets(flat, source),
    )


def pad(
    groups: Sequence[PromptGroup], which: Sequence[int] | None = None, *, skipped: int | None = None
) -> PackedBatch:
    """The fallback for models that cannot take the shared-prompt layout: one row per completion.

    Padding stands on the right, where causal attention keeps it out of sight of every real token: no mask is needed.
    """
    flat = _sequences(groups, which)
    width = max(len(sequence.prompt) + len(sequence.completion.ids) for sequence in flat)
    ids = np.zeros((len(flat), width), dtype=np.int64)
    lengths = np.array([[len(sequence.prompt) + len(sequence.completion.ids)] for sequence in flat])
    source: list[list[int]] = []
    for row, sequence in enumerate(flat):
        prompt, completion = len(sequence.prompt), sequence.completion
        ids[row, : prompt + len(completion.ids)] = sequence.prompt + completion.ids
        source.append([row * width + prompt + j - 1 for j, trained in enumerate(completion.trained) if trained])
    return PackedBatch(
        input_ids=torch.from_numpy(ids),
        position_ids=torch.arange(width).expand(len(flat), width),
        last_C=torch.tensor([row * width + sequence.last(skipped) for row, sequence in enumerate(flat)]),
        real=torch.from_numpy(np.arange(width) < lengths),
        **_targets(flat, source),
    )


def _targets(flat: list[_Sequence], source: list[list[int]]) -> dict[str, Any]:
    target = [
        token
        for sequence in flat
        for token, trained in zip(sequence.completion.ids, sequence.completion.trained, strict=True)
        if trained
    ]
    return {
        "source_N": torch.tensor([index for indices in source for index in indices], dtype=torch.int64),
        "target_N": torch.tensor(target, dtype=torch.int64),
        "count_C": torch.tensor([len(indices) for indices in source], dtype=torch.int64),
    }


def micro_batches(groups: Sequence[PromptGroup], budget: int) -> list[list[int]]:
    """Indices of `groups` cut into runs of at most `budget` tokens each (a longer group stands alone), in order."""
    batches: list[list[int]] = []
    used = 0
    for index, group in enumerate(groups):
        if not batches or used + group.tokens > budget:
            batches.append([])
            used = 0
        batches[-1].append(index)
        used += group.tokens
    return batches
