"""Losses over preference pairs that need no reference: the policy's own log-probabilities are the reward.

Notation as in `fairlead.losses.pairwise`. Without a reference nothing but the learning rate and a term of imitation
holds the policy near its start.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fairlead.losses.divergences import power_score
from fairlead.losses.logits import less_margin, logistic, smoothed
from fairlead.losses.metrics import pair_metrics
from fairlead.losses.scores import LossOutput, Pairs, Term, TokenScores
from fairlead.losses.supervised import negative_log_likelihood

CLOSEST_TO_CERTAIN = -1e-6
"""Largest token-mean log-probability whose odds are taken: above it odds and their gradient overflow float32."""


def simpo(pairs: Pairs, *, beta: float = 2.0, gamma: float = 1.0, label_smoothing: float = 0.0) -> LossOutput:
    """Simple preference optimisation: the logistic loss on token-mean log-probabilities beyond a target margin.

    `gamma` is the paper's γ, in units of the reward (not the ratio γ/β). Label smoothing flips the sign of the whole
    logit, γ included. Meng, Xia and Chen 2024 (arXiv:2405.14734), eq. 6.
    """
    chosen, rejected = beta * pairs.chosen.mean, beta * pairs.rejected.mean
    logit = less_margin(chosen - rejected - gamma, pairs)
    value = smoothed(logistic, logit, label_smoothing)  # eq. 6: −log σ(β(mean_w − mean_l) − γ − m)
    return LossOutput((Term(value),), pair_metrics(pairs, chosen, rejected))


def alpha_po(pairs: Pairs, *, beta: float = 2.0, gamma: float = 1.0, alpha: float = 0.25) -> LossOutput:
    """AlphaPO: `simpo` whose reward is a power of the probability instead of its logarithm.

    `alpha` bends the reward: towards 0 it becomes SimPO's; above, unlikely completions weigh more. The exponent is
    clamped at `fairlead.losses.divergences.LARGEST_EXPONENT`. Gupta et al. 2025 (arXiv:2501.03884).
    """
    chosen, rejected = (beta * power_score(each.mean, alpha) for each in (pairs.chosen, pairs.rejected))
    value = logistic(less_margin(chosen - rejected - gamma, pairs))  # SimPO with (1 − e^(−α·mean)) / α for mean
    return LossOutput((Term(value),), pair_metrics(pairs, chosen, rejected))


def cpo(pairs: Pairs, *, beta: float = 0.1, cpo_alpha: float = 1.0, label_smoothing: float = 0.0) -> LossOutput:
    """Contrastive preference optimisation: DPO without reference, and imitation of the chosen completion.

    `cpo_alpha` is the weight of the imitation, the NLL per token. Xu et al. 2024 (arXiv:2401.08417), eq. 3 with its
    NLL term.
    """
    chosen, rejected = beta * pairs.chosen.total, beta * pairs.rejected.total
    preference = smoothed(logistic, less_margin(chosen - rejected, pairs), label_smoothing)
    nll = negative_log_likelihood(pairs.chosen)
    value = preference + cpo_alpha * nll  # −log σ(β(total_w − total_l) − m) − λ·mean_w
    return LossOutput((Term(value),), pair_metrics(pairs, chosen, rejected) | {"nll_loss": nll.detach()})


def orpo(pairs: Pairs, *, beta: float = 0.1) -> LossOutput:
    """Odds-ratio preference optimisation: imitate the chosen completion, and raise its odds over the rejected one's.

    `beta` is the paper's λ. Odds are those of the token-mean probability; above `CLOSEST_TO_CERTAIN` they stop
    growing. Hong, Lee and Thorne 2024 (arXiv:2403.07691), eqs. 6 and 7.
    """
    log_odds_ratio = _log_odds(pairs.chosen) - _log_odds(pairs.rejected)
    nll = negative_log_likelihood(pairs.chosen)
    value = nll + beta * logistic(log_odds_ratio)  # eq. 6: −mean_w − λ·log σ(log_odds_w − log_odds_l)
    metrics = pair_metrics(pairs, beta * pairs.chosen.mean, beta * pairs.rejected.mean)
    return LossOutput((Term(value),), metrics | {"nll_loss": nll.detach()})


def _log_odds(completion: TokenScores) -> Tensor:
    """log(p / (1 − p)) with p = exp(mean), [C]."""
    mean = completion.mean.clamp(max=CLOSEST_TO_CERTAIN)
    return mean - _log1mexp(mean)


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 − eˣ) for x < 0, without cancellation on either side of −log 2 (Mächler 2012, eq. 7)."""
    return torch.where(x > -math.log(2), torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x)))
