"""Losses over preference pairs that place each completion against an anchor of its own, not only against the other.

Notation as in `fairlead.losses.pairwise`. A difference alone may grow while both completions become less likely; these
losses say where each of the two rewards should go.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fairlead.losses.logits import logistic
from fairlead.losses.metrics import implicit_reward_metrics
from fairlead.losses.scores import LossOutput, Pairs, Term


def nca(pairs: Pairs, *, beta: float = 0.1) -> LossOutput:
    """Noise contrastive alignment: the chosen reward up and both rewards held near 0.

    Chen et al. 2024 (arXiv:2402.05369), for two completions of which one is preferred.
    """
    chosen, rejected = beta * pairs.log_ratio_chosen, beta * pairs.log_ratio_rejected
    # −log σ(βr_w) − ½·log σ(−βr_w) − ½·log σ(−βr_l)
    value = logistic(chosen) + 0.5 * logistic(-chosen) + 0.5 * logistic(-rejected)
    return LossOutput((Term(value),), implicit_reward_metrics(pairs, beta))


def bco_pair(pairs: Pairs, *, statistic: Tensor | None, beta: float = 0.1, reward_shift: str = "zero") -> LossOutput:
    """Binary classifier optimisation on pairs: each reward on its side of a threshold δ.

    With `reward_shift="running"`, δ is β times `statistic`, the running mean of `mean_log_ratio_of_pairs`, without
    gradient; with `"zero"` it is 0 and `statistic` is not read. Jung et al. 2024 (arXiv:2404.04656).
    """
    chosen, rejected = beta * pairs.log_ratio_chosen, beta * pairs.log_ratio_rejected
    if reward_shift == "running":
        assert statistic is not None, "the running mean of the rewards is missing"
        shift = beta * statistic.detach()
        chosen, rejected = chosen - shift, rejected - shift
    value = logistic(chosen) + logistic(-rejected)  # −log σ(βr_w − δ) − log σ(−(βr_l − δ))
    return LossOutput((Term(value),), implicit_reward_metrics(pairs, beta))


@torch.no_grad()
def mean_log_ratio_of_pairs(pairs: Pairs) -> Tensor:
    """½(E r_w + E r_l), in nats: a scalar, without gradient; BCO's δ is β times its running mean."""
    return (pairs.log_ratio_chosen.mean() + pairs.log_ratio_rejected.mean()) / 2


def sppo(pairs: Pairs, *, beta: float = 1e-3) -> LossOutput:
    """Self-play preference optimisation with hard labels: r_w towards 1/(2β), r_l towards −1/(2β).

    `beta` is 1/η of the paper, whose probabilities of a win are 1 and 0 here. Wu et al. 2024 (arXiv:2405.00675),
    eq. 4.7.
    """
    return LossOutput((Term(_distance_to_targets(pairs, beta)),), implicit_reward_metrics(pairs, beta))


def cal_dpo(pairs: Pairs, *, beta: float = 1e-3) -> LossOutput:
    """Calibrated DPO: the logistic loss on Δ, and rewards pulled towards ½ and −½.

    Xiao et al. 2024 (arXiv:2412.14516).
    """
    value = logistic(pairs.delta) + _distance_to_targets(pairs, beta)
    return LossOutput((Term(value),), implicit_reward_metrics(pairs, beta))


def _distance_to_targets(pairs: Pairs, beta: float) -> Tensor:
    """(r_w − 1/(2β))² + (r_l + 1/(2β))², [P]."""
    target = 1 / (2 * beta)
    return (pairs.log_ratio_chosen - target) ** 2 + (pairs.log_ratio_rejected + target) ** 2


def apo_zero(pairs: Pairs, *, beta: float = 0.1) -> LossOutput:
    """Anchored preference optimisation, zero: the chosen completion more likely, the rejected one less.

    D'Oosterlinck et al. 2024 (arXiv:2408.06266), eq. 7.
    """
    # eq. 7: (1 − σ(βr_w)) + σ(βr_l), with 1 − σ(x) = σ(−x)
    value = torch.sigmoid(-beta * pairs.log_ratio_chosen) + torch.sigmoid(beta * pairs.log_ratio_rejected)
    return LossOutput((Term(value),), implicit_reward_metrics(pairs, beta))


def apo_down(pairs: Pairs, *, beta: float = 0.1) -> LossOutput:
    """Anchored preference optimisation, down: both completions less likely, the rejected one more so.

    D'Oosterlinck et al. 2024 (arXiv:2408.06266), eq. 8.
    """
    value = torch.sigmoid(beta * pairs.log_ratio_chosen) + torch.sigmoid(-beta * pairs.delta)  # σ(βr_w) + 1 − σ(βΔ)
    return LossOutput((Term(value),), implicit_reward_metrics(pairs, beta))
