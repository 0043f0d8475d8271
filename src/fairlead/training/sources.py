"""Which rows a step is made of: a pure function of the seed, the epoch and the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from fairlead.engine.groups import PromptGroup

# Rows that share their opening turns stay together in runs of at most so many, so that a step still mixes openings.
SHARED_RUN = 6


@dataclass(frozen=True)
class OfflineRows:
    """Batches of `batch_size` groups, newly shuffled in every epoch; the last batch of an epoch may be smaller.

    Groups with one opening (the same leading turns) stay next to each other in short runs: the engine then computes
    the opening once for the whole run.
    """

    groups: Sequence[PromptGroup]
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the rows."""
        return math.ceil(len(self.groups) / self.batch_size)

    def at(self, step: int) -> list[PromptGroup]:
        """The groups of a step, counted from 0 over all epochs."""
        epoch, within = divmod(step, self.steps_per_epoch)
        order = _order(self._openings, self.seed, epoch)
        return [self.groups[index] for index in order[within * self.batch_size : (within + 1) * self.batch_size]]

    @cached_property
    def _openings(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the groups of each opening."""
        members: dict[str, list[int]] = {}
        for index, group in enumerate(self.groups):
            members.setdefault(group.opening, []).append(index)
        return tuple(map(tuple, members.values()))


@lru_cache(maxsize=2)
def _order(openings: tuple[tuple[int, ...], ...], seed: int, epoch: int) -> list[int]:
    """The order of one epoch: every opening's rows mixed and cut into runs, then the runs mixed."""
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    runs: list[list[int]] = []
    for members in openings:
        mixed = [members[i] for i in random.permutation(len(members))]
        runs += [mixed[at : at + SHARED_RUN] for at in range(0, len(mixed), SHARED_RUN)]
    return [index for run in random.permutation(len(runs)) for index in runs[run]]
