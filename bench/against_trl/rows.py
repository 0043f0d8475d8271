"""Rows to train on: token ids drawn from a seed, the same for both contenders, as prompt groups."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.against_trl.cells import Job
from fairlead.engine.groups import Completion, PromptGroup
from fairlead.engine.rows import add_mismatched
from fairlead.identity import digest

SHAPE = 4.0
"""Lengths are gamma distributed with this shape: a standard deviation of half the mean."""
SHORTEST = 4
FIRST_ID = 10
"""Ids below are kept for control tokens: padding must not occur in a row."""


@dataclass(frozen=True)
class InOrder:
    """Batches of `batch_size` groups in the order they have, again and again."""

    groups: Sequence[PromptGroup]
    batch_size: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the rows."""
        return len(self.groups) // self.batch_size

    def at(self, step: int) -> list[PromptGroup]:
        """The groups of a step, counted from 0."""
        start = step % self.steps_per_epoch * self.batch_size
        return list(self.groups[start : start + self.batch_size])


def make_groups(job: Job) -> list[PromptGroup]:
    """The rows of a job: `job.batches` batches of them."""
    config = json.loads((Path(job.model) / "config.json").read_text(encoding="utf-8"))
    return draw_groups(
        job.method,
        count=job.batch * job.batches,
        prompt_tokens=job.prompt_tokens,
        completion_tokens=job.completion_tokens,
        vocabulary=config["vocab_size"],
        seed=job.seed,
    )


def draw_groups(
    method: str, *, count: int, prompt_tokens: int, completion_tokens: int, vocabulary: int, seed: int
) -> list[PromptGroup]:
    """`count` groups of the kind that `method` takes, their lengths gamma distributed about the means."""
    dice = np.random.Generator(np.random.PCG64(seed))

    def ids(mean: int) -> tuple[int, ...]:
        length = max(SHORTEST, round(dice.gamma(SHAPE, mean / SHAPE)))
        return tuple(dice.integers(FIRST_ID, vocabulary, length).tolist())

    drawn = [(ids(prompt_tokens), ids(completion_tokens), ids(completion_tokens)) for _ in range(count)]
    groups = []
    for index, (prompt, chosen, rejected) in enumerate(drawn):
        kept = {"sft": (chosen,), "kto": ((chosen, rejected)[index % 2],)}.get(method, (chosen, rejected))
        completions = tuple(Completion(ids=each, trained=(True,) * len(each)) for each in kept)
        label = index % 2 == 0 if method == "kto" else None
        groups.append(PromptGroup(row_id=f"row-{index}", prompt=prompt, completions=completions, label=label))
    return add_mismatched(groups) if method == "kto" else groups


def sequence_tokens(groups: Sequence[PromptGroup]) -> int:
    """Tokens of prompts and completions, a prompt counted for each of its completions: what is read, less padding."""
    return sum(len(group.prompt) + len(completion.ids) for group in groups for completion in group.completions)


def digest_of(groups: Sequence[PromptGroup]) -> str:
    """Says whether two contenders train on the same ids, masks and labels in the same order."""
    return digest([[g.prompt, [[c.ids, c.trained] for c in g.completions], g.label] for g in groups])
