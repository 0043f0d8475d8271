"""Losses over single completions, each judged desirable or not."""

from __future__ import annotations

import torch
from torch import Tensor

from fairlead.losses.logits import logistic
from fairlead.losses.metrics import label_metrics
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
    ratio, kl = thumbs.log_ratio, statistic.detach()
    # eqs. 7 and 8: λ_D(1 − σ(β(r − z))) and λ_U(1 − σ(β(z − r))), written with 1 − σ(x) = σ(−x)
    value = torch.sigmoid(-_side(thumbs, ratio) * beta * (ratio - kl))
    value = value * _label_weight(thumbs, desirable_weight, undesirable_weight, ratio)
    return LossOutput((Term(value),), label_metrics(thumbs, beta) | {"kl": kl.expand_as(ratio)})


@torch.no_grad()
def mismatched_kl(policy: TokenScores, reference: TokenScores) -> Tensor:
    """z = max(0, mean r) over completions that belong to other prompts: a scalar, without gradient.

    It estimates the divergence of the policy from the reference, the point from which `kto` counts gains and losses.
    It is 0 where there is no such completion. Ethayarajh et al. 2024 (arXiv:2402.01306).
    """
    ratio = policy.log_ratio(reference)
    return ratio.sum().div(max(len(ratio), 1)).clamp(min=0)


def bco(
    thumbs: Thumbs,
    *,
    statistic: Tensor | None,
    beta: float = 0.1,
    reward_shift: str = "running",
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> LossOutput:
    """Binary classifier optimisation: the logistic loss of the reward as a classifier of desirable and undesirable.

    With `reward_shift="running"` the classifier's threshold δ is β times `statistic`, the running mean of
    `mean_log_ratio_of_labels`, without gradient; with `"zero"` it is 0 and `statistic` is not read. Gives [E] values.
    Jung et al. 2024 (arXiv:2404.04656).
    """
    ratio = thumbs.log_ratio
    if reward_shift == "running":
        assert statistic is not None, "the running mean of the rewards is missing"
        ratio = ratio - statistic.detach()
    value = logistic(_side(thumbs, ratio) * beta * ratio)  # −log σ(βr − δ) or −log σ(−(βr − δ))
    value = value * _label_weight(thumbs, desirable_weight, undesirable_weight, ratio)
    return LossOutput((Term(value),), label_metrics(thumbs, beta))


@torch.no_grad()
def mean_log_ratio_of_labels(thumbs: Thumbs) -> Tensor:
    """½(E r of desirable + E r of undesirable completions), in nats: a scalar, without gradient.

    Where a batch has completions of one label only, it is the mean of those.
    """
    means = [thumbs.log_ratio[label].mean() for label in (thumbs.label, ~thumbs.label) if label.any()]
    return torch.stack(means).mean()


def apo_zero_unpaired(
    thumbs: Thumbs, *, beta: float = 0.1, desirable_weight: float = 1.0, undesirable_weight: float = 1.0
) -> LossOutput:
    """Anchored preference optimisation, zero, on single completions: desirable ones up, undesirable ones down.

    `kto` with its reference point at 0. Gives [E] values. D'Oosterlinck et al. 2024 (arXiv:2408.06266), eq. 7, taken
    apart.
    """
    ratio = thumbs.log_ratio
    value = torch.sigmoid(-_side(thumbs, ratio) * beta * ratio)  # 1 − σ(βr) or σ(βr)
    value = value * _label_weight(thumbs, desirable_weight, undesirable_weight, ratio)
    return LossOutput((Term(value),), label_metrics(thumbs, beta))


def _side(thumbs: Thumbs, like: Tensor) -> Tensor:
    """1 for desirable and −1 for undesirable completions, [E]."""
    assert thumbs.label.dtype == torch.bool, "labels are booleans"
    return torch.where(thumbs.label, 1.0, -1.0).to(like.dtype)


def _label_weight(thumbs: Thumbs, desirable: float, undesirable: float, like: Tensor) -> Tensor:
    return torch.where(thumbs.label, desirable, undesirable).to(like.dtype)
