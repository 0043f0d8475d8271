"""Losses over single completions, each judged desirable or not."""

from __future__ import annotations

import torch
from torch import Tensor

from fairlead.losses.scores import LossOutput, Term, Thumbs, TokenScores


def kto(
    thumbs: Thumbs,
    *,
    statistic: Tensor,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> LossOutput:
    """Kahneman-Tversky optimisation: how far each completion's reward is on the wrong side of the reference point z.

    `statistic` is z from `mismatched_kl`, a scalar that carries no gradient; `desirable_weight` and
    `undesirable_weight` are the paper's λ_D and λ_U. Gives [E] values. Ethayarajh et al. 2024 (arXiv:2402.01306),
    eqs. 7 and 8.
    """
    assert thumbs.label.dtype == torch.bool, "labels are booleans"
    ratio, kl = thumbs.log_ratio, statistic.detach()
    weight = torch.where(thumbs.label, desirable_weight, undesirable_weight).to(ratio.dtype)
    side = torch.where(thumbs.label, 1.0, -1.0).to(ratio.dtype)
    # eqs. 7 and 8: λ_D(1 − σ(β(r − z))) and λ_U(1 − σ(β(z − r))), written with 1 − σ(x) = σ(−x)
    value = weight * torch.sigmoid(side * beta * (kl - ratio))
    reward, total = beta * ratio.detach(), thumbs.completion.total.detach()
    metrics = {
        "rewards/chosen": reward[thumbs.label],
        "rewards/rejected": reward[~thumbs.label],
        "logps/chosen": total[thumbs.label],
        "logps/rejected": total[~thumbs.label],
        "kl": kl.expand_as(reward),
    }
    return LossOutput((Term(value),), metrics)


@torch.no_grad()
def mismatched_kl(policy: TokenScores, reference: TokenScores) -> Tensor:
    """z = max(0, mean r) over completions that belong to other prompts: a scalar, without gradient.

    It estimates the divergence of the policy from the reference, the point from which `kto` counts gains and losses.
    It is 0 where there is no such completion. Ethayarajh et al. 2024 (arXiv:2402.01306).
    """
    ratio = policy.log_ratio(reference)
    return ratio.sum().div(max(len(ratio), 1)).clamp(min=0)
