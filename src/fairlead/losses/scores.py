"""What a loss is a function of: per-token log-probabilities of completions, and their reductions.

Shapes: N trained tokens laid end to end, C completions, P pairs, E examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """The values in float32, or in float64 where they are."""
    return values if values.dtype == torch.float64 else values.float()


def token_places(count_C: Tensor) -> Tensor:
    """The place of each token within its completion, from 0, for completions of these lengths laid end to end, [N]."""
    place = torch.arange(int(count_C.sum()), device=count_C.device)
    return place - torch.repeat_interleave(count_C.cumsum(0) - count_C, count_C)


@dataclass(frozen=True)
class TokenScores:
    """Log-probabilities, in nats, of the trained tokens of C completions.

    `logp_N` holds log π(y_t | x, y_<t) for every trained token, completion after completion; `count_C` says how many
    trained tokens each completion has (from the mask, never from values; at least 1). `log_sum_sq_probs_N` is
    log Σ_v p_v² over the vocabulary at each of them, without gradient, where a loss asks for that column.

    Reductions are computed at each use, not kept: one first read under `no_grad` would lose its gradient for all.
    """

    logp_N: Tensor
    count_C: Tensor
    log_sum_sq_probs_N: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """Sum of the token log-probabilities of each completion, [C], in float32 or better."""
        return torch.segment_reduce(at_least_float32(self.logp_N), "sum", lengths=self.count_C, unsafe=True)

    @property
    def mean(self) -> Tensor:
        """`total / count`, [C]."""
        return self.total / self.count_C

    def log_ratio(self, reference: TokenScores) -> Tensor:
        """r = total_policy − total_reference, [C], where `reference` scored the same tokens.

        Summed over per-token differences: they are small, so that a long completion loses no digits to cancellation,
        and r is exactly 0 where policy and reference agree.
        """
        return TokenScores(self.token_log_ratio(reference), self.count_C).total

    def token_log_ratio(self, reference: TokenScores) -> Tensor:
        """log π_policy − log π_reference of every token, [N], in float32 or better."""
        assert self.logp_N.shape == reference.logp_N.shape, "policy and reference scored different tokens"
        return at_least_float32(self.logp_N) - at_least_float32(reference.logp_N)

    @property
    def count(self) -> Tensor:
        """Number of trained tokens of each completion, [C]."""
        return self.count_C

    def select(self, completions: Tensor) -> TokenScores:
        """The scores of the named completions (int64 indices, [K]), in that order."""
        starts = self.count_C.cumsum(0) - self.count_C
        count_K = self.count_C[completions]
        chosen = torch.repeat_interleave(starts[completions], count_K) + token_places(count_K)
        column = self.log_sum_sq_probs_N
        return TokenScores(self.logp_N[chosen], count_K, None if column is None else column[chosen])


@dataclass(frozen=True)
class Pairs:
    """P preference pairs. Reference scores are None for losses that need no reference; `margin` is [P] or None."""

    chosen: TokenScores
    rejected: TokenScores
    reference_chosen: TokenScores | None = None
    reference_rejected: TokenScores | None = None
    margin: Tensor | None = None

    @property
    def log_ratio_chosen(self) -> Tensor:
        """r_w = total_policy − total_reference of the chosen completion, [P]."""
        assert self.reference_chosen is not None
        return self.chosen.log_ratio(self.reference_chosen)

    @property
    def log_ratio_rejected(self) -> Tensor:
        """r_l, [P]."""
        assert self.reference_rejected is not None
        return self.rejected.log_ratio(self.reference_rejected)

    @property
    def delta(self) -> Tensor:
        """Δ = r_w − r_l, [P]."""
        return self.log_ratio_chosen - self.log_ratio_rejected

    @property
    def mean_delta(self) -> Tensor:
        """Δ̄ = r_w / count_w − r_l / count_l, the difference of the log-ratios per token, [P]."""
        return self.log_ratio_chosen / self.chosen.count - self.log_ratio_rejected / self.rejected.count


@dataclass(frozen=True)
class Thumbs:
    """E completions with a boolean label each, [E]: true is desirable."""

    completion: TokenScores
    label: Tensor
    reference: TokenScores | None = None

    @property
    def log_ratio(self) -> Tensor:
        """r = total_policy − total_reference, [E]."""
        assert self.reference is not None
        return self.completion.log_ratio(self.reference)


@dataclass(frozen=True)
class Demonstrations:
    """E completions to imitate."""

    completion: TokenScores


@dataclass(frozen=True)
class RewardPairs:
    """P preference pairs as a reward model scores them: a scalar for each completion, [P]; `margin` is [P] or None."""

    chosen: Tensor
    rejected: Tensor
    margin: Tensor | None = None


Examples = Pairs | Thumbs | Demonstrations | RewardPairs
Denominator = Literal["examples", "tokens"]


@dataclass(frozen=True)
class Term:
    """One summand of a loss: a value per example, [E], and what its sum over the whole batch is divided by.

    `examples` is the number of examples, `tokens` the number of trained tokens of the completions that are imitated
    (every completion of demonstrations, the chosen ones of pairs): both counted over all micro-batches and ranks.
    """

    value: Tensor
    denominator: Denominator = "examples"


@dataclass(frozen=True)
class LossOutput:
    """Terms to be summed, and metrics under their usual names: one detached value per example.

    A metric of examples with one label (`rewards/chosen` of `Thumbs`) has a value for each of those alone, and none
    where there are none.
    """

    terms: tuple[Term, ...]
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
