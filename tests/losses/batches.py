"""Small batches of random log-probabilities for every kind of example a loss takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fairlead.losses.binding import BoundLoss, bind
from fairlead.losses.scores import Demonstrations, Examples, LossOutput, Pairs, RewardPairs, Thumbs, TokenScores

PAIRED = (Pairs, RewardPairs)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Token counts, reference log-probabilities and labels of some rows; the policy's are given to `examples`.

    The completions of pairs are laid out as all the chosen ones, then all the rejected ones. For reward models each
    completion has one value, which is its score.
    """

    kind: type[Examples]
    count_C: Tensor
    reference_N: Tensor
    label: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))

    @property
    def rows(self) -> int:
        return len(self.count_C) // 2 if self.kind in PAIRED else len(self.count_C)

    def examples(self, policy_N: Tensor, rows: Sequence[int] | None = None) -> Examples:
        """The rows named (all of them by default) under the policy's log-probabilities."""
        row = torch.arange(self.rows) if rows is None else torch.tensor(list(rows))
        policy, reference = TokenScores(policy_N, self.count_C), TokenScores(self.reference_N, self.count_C)
        if self.kind is RewardPairs:
            return RewardPairs(policy_N[row], policy_N[row + self.rows])
        if self.kind is Pairs:
            rejected = row + self.rows
            return Pairs(policy.select(row), policy.select(rejected), reference.select(row), reference.select(rejected))
        if self.kind is Thumbs:
            return Thumbs(policy.select(row), self.label[row], reference.select(row))
        return Demonstrations(policy.select(row))


def random_batch(
    kind: type[Examples], *, rows: int = 6, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Batch, Tensor]:
    """A batch, and log-probabilities of a policy that is near its reference but not equal to it."""
    generator = torch.Generator().manual_seed(seed)
    completions = 2 * rows if kind in PAIRED else rows
    count_C = torch.randint(1, 6, (completions,), generator=generator)
    if kind is RewardPairs:
        count_C = torch.ones_like(count_C)
    reference_N = -3 * torch.rand(int(count_C.sum()), generator=generator, dtype=torch.float64) - 0.5
    policy_N = reference_N + 0.4 * torch.rand(len(reference_N), generator=generator, dtype=torch.float64) - 0.2
    label = torch.arange(rows) % 3 != 0
    return Batch(kind=kind, count_C=count_C, reference_N=reference_N.to(dtype), label=label), policy_N.to(dtype)


def random_pairs(*, rows: int = 6, grad: bool = False) -> tuple[Pairs, Tensor]:
    """Random pairs, and the policy's log-probabilities that they are made of."""
    batch, policy_N = random_batch(Pairs, rows=rows)
    pairs = batch.examples(policy_N.requires_grad_(grad))
    assert isinstance(pairs, Pairs)
    return pairs, policy_N


def statistics_for(
    loss: BoundLoss, whole: Examples, *, shift: float = 0.3, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """The loss's batch statistics where these examples are the whole batch.

    Where other completions decide, the policy gives every other token of them `shift` nats more than the reference.
    """
    reference_N, count_C = -torch.arange(1, 7, dtype=dtype), torch.tensor([2, 1, 3])
    policy_N = reference_N + shift * torch.tensor([1, 0, 1, 0, 1, 0], dtype=dtype)
    mismatched = TokenScores(policy_N, count_C), TokenScores(reference_N, count_C)
    return {
        name: statistic.compute(*(mismatched if statistic.completions == "mismatched" else (whole,)))
        for name, statistic in loss.statistics.items()
    }


def of_rows(loss: BoundLoss, statistics: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    """What these rows of a batch get of its statistics."""
    per_example = {name for name, statistic in loss.statistics.items() if statistic.per_example}
    return {name: value[list(rows)] if name in per_example else value for name, value in statistics.items()}


def count_of_rows(examples: Examples) -> int:
    """How many rows the examples are of."""
    if isinstance(examples, RewardPairs):
        return len(examples.chosen)
    return len((examples.chosen if isinstance(examples, Pairs) else examples.completion).count)


def imitated_tokens(examples: Examples) -> int:
    """What the `tokens` of a term counts; a reward model imitates none."""
    if isinstance(examples, RewardPairs):
        return 0
    completion = examples.chosen if isinstance(examples, Pairs) else examples.completion
    return int(completion.count.sum())


def reduced(output: LossOutput, *, rows: int, tokens: int) -> Tensor:
    """The scalar a training loop would differentiate: each term's sum over its global denominator."""
    denominators = {"examples": rows, "tokens": tokens}
    return torch.stack([term.value.sum() / denominators[term.denominator] for term in output.terms]).sum()


def value(
    name: str,
    examples: Examples,
    parameters: Mapping[str, float | str] | None = None,
    *,
    statistics: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """The loss of these examples as one batch."""
    loss = bind([(name, parameters or {}, 1.0)])
    output = loss(examples, statistics_for(loss, examples) if statistics is None else statistics)
    return reduced(output, rows=count_of_rows(examples), tokens=imitated_tokens(examples))


def scores(*completions: Sequence[float], dtype: torch.dtype = torch.float64, grad: bool = False) -> TokenScores:
    """Scores of completions given as lists of token log-probabilities."""
    logp_N = torch.tensor([logp for completion in completions for logp in completion], dtype=dtype)
    return TokenScores(
        logp_N.requires_grad_(grad), torch.tensor([len(each) for each in completions], dtype=torch.int64)
    )
