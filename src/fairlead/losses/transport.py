"""Losses over the whole batch of pairs at once: distributions of rewards are compared, not the two of a pair.

Alignment via optimal transport asks that the distribution of one quantity dominates that of another: both are sorted
over the batch, and the k-th of one is set against the k-th of the other (Melnyk et al. 2024, arXiv:2406.05882).
Sorting crosses micro-batches, so a batch statistic finds the partners, and the loss of a row is that of the row with
its partner. Rows have no weights of their own: a partner is not the row's.

Notation as in `fairlead.losses.pairwise`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fairlead.losses.logits import logistic
from fairlead.losses.metrics import implicit_reward_metrics
from fairlead.losses.scores import LossOutput, Pairs, Term


def aot(pairs: Pairs, *, statistic: Tensor, beta: float = 0.1) -> LossOutput:
    """Alignment via optimal transport, paired: DPO with Δ_policy and Δ_reference each sorted over the batch.

    `statistic` is from `reference_of_equal_rank`, [P]. Melnyk et al. 2024 (arXiv:2406.05882).
    """
    policy_difference = pairs.chosen.total - pairs.rejected.total
    value = logistic(beta * (policy_difference - statistic.detach()))  # −log σ(β(Δ_policy(k) − Δ_reference(k)))
    return LossOutput((Term(value),), implicit_reward_metrics(pairs, beta))


@torch.no_grad()
def reference_of_equal_rank(pairs: Pairs) -> Tensor:
    """The reference's total_w − total_l of the rank that the policy's has in its own order, for each pair, [P]."""
    assert pairs.reference_chosen is not None
    assert pairs.reference_rejected is not None
    policy = pairs.chosen.total - pairs.rejected.total
    return _of_equal_rank(policy, pairs.reference_chosen.total - pairs.reference_rejected.total)


def aot_unpaired(pairs: Pairs, *, statistic: Tensor, beta: float = 0.1) -> LossOutput:
    """Alignment via optimal transport, unpaired: r_w and r_l each sorted over the batch, the k-th against the k-th.

    `statistic` is from `partners_of_equal_rank`, [P, 2]. A pair of equal ranks may lie in two micro-batches: the value
    is taken where the chosen completion is, the gradient of each side where that side is. Melnyk et al. 2024
    (arXiv:2406.05882).
    """
    rejected_partner, chosen_partner = statistic.detach().unbind(-1)
    value = logistic(beta * (pairs.log_ratio_chosen - rejected_partner))
    gradient_only = logistic(beta * (chosen_partner - pairs.log_ratio_rejected))
    return LossOutput((Term(value + gradient_only - gradient_only.detach()),), implicit_reward_metrics(pairs, beta))


@torch.no_grad()
def partners_of_equal_rank(pairs: Pairs) -> Tensor:
    """For each pair, the r_l of the rank that its r_w has, and the r_w of the rank that its r_l has, [P, 2]."""
    chosen, rejected = pairs.log_ratio_chosen, pairs.log_ratio_rejected
    return torch.stack([_of_equal_rank(chosen, rejected), _of_equal_rank(rejected, chosen)], dim=-1)


def _of_equal_rank(values: Tensor, others: Tensor) -> Tensor:
    """For each of `values` the one of `others` that has its rank, [P]; equal values take ranks in their order."""
    partner = torch.empty_like(others)
    partner[values.argsort(stable=True)] = others.sort().values
    return partner
