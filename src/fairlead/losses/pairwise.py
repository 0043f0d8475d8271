"""Losses over preference pairs that compare the log-ratio of the chosen with that of the rejected completion.

Notation, here and in the other modules of losses over pairs: w chosen, l rejected; r = total_policy −
total_reference; Δ = r_w − r_l; a bar or `mean` is per trained token; σ the logistic function; ε label smoothing; m the
row's margin. Each function takes P pairs and gives one term of [P] values; `fairlead.losses.table` says what each
needs and accepts.

Where a function takes `f_divergence`, r is replaced by the score of `fairlead.losses.divergences`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fairlead.losses.divergences import divergence_delta
from fairlead.losses.logits import hinged, less_margin, logistic, smoothed
from fairlead.losses.metrics import implicit_reward_metrics
from fairlead.losses.scores import LossOutput, Pairs, Term, TokenScores, token_places


def dpo(
    pairs: Pairs,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    f_divergence: str = "reverse_kl",
    divergence_alpha: float = 0.5,
) -> LossOutput:
    """Direct preference optimisation: the logistic loss on β·Δ.

    Rafailov et al. 2023 (arXiv:2305.18290), eq. 7; with label smoothing it is conservative DPO (Mitchell 2023).
    """
    logit = less_margin(beta * divergence_delta(pairs, f_divergence, divergence_alpha), pairs)
    value = smoothed(logistic, logit, label_smoothing)  # eq. 7: −(1−ε)·log σ(βΔ − m) − ε·log σ(m − βΔ)
    return LossOutput((Term(value),), implicit_reward_metrics(pairs, beta))


def dpo_robust(
    pairs: Pairs,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.1,
    f_divergence: str = "reverse_kl",
    divergence_alpha: float = 0.5,
) -> LossOutput:
    """Robust DPO: an unbiased estimate of DPO's loss when a share ε of the preferences is the wrong way round.

    It has no lower bound: pairs that disagree with the policy are pushed down. Chowdhury, Kini and Natarajan 2024
    (arXiv:2403.00409).
    """
    logit = less_margin(beta * divergence_delta(pairs, f_divergence, divergence_alpha), pairs)
    # [−(1−ε)·log σ(βΔ − m) + ε·log σ(m − βΔ)] / (1 − 2ε)
    value = (1 - label_smoothing) * logistic(logit) - label_smoothing * logistic(-logit)
    return LossOutput((Term(value / (1 - 2 * label_smoothing)),), implicit_reward_metrics(pairs, beta))


def ipo(pairs: Pairs, *, beta: float = 0.1, normalize: str = "mean") -> LossOutput:
    """Identity preference optimisation: the squared distance of the log-ratio difference to 1/(2β).

    `beta` is the paper's τ. `normalize="mean"` takes log-ratios per token, the form its authors confirmed;
    `normalize="sum"` takes their sums, as printed. Azar et al. 2023 (arXiv:2310.12036), eq. 17.
    """
    difference = pairs.mean_delta if normalize == "mean" else pairs.delta
    value = (difference - 1 / (2 * beta)) ** 2  # eq. 17: (Δ̄ − 1/(2τ))²
    return LossOutput((Term(value),), implicit_reward_metrics(pairs, beta))


def hinge(
    pairs: Pairs,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    f_divergence: str = "reverse_kl",
    divergence_alpha: float = 0.5,
) -> LossOutput:
    """The hinge loss on β·Δ: zero once the reward margin is 1.

    SLiC's loss (Zhao et al. 2023, arXiv:2305.10425) on the implicit reward, as in RSO (Liu et al. 2023,
    arXiv:2309.06657, where it is called hinge-norm).
    """
    logit = beta * divergence_delta(pairs, f_divergence, divergence_alpha)
    value = smoothed(hinged, logit, label_smoothing)  # max(0, 1 − βΔ)
    return LossOutput((Term(value),), implicit_reward_metrics(pairs, beta))


def exo(
    pairs: Pairs,
    *,
    beta: float = 0.1,
    label_smoothing: float = 1e-3,
    f_divergence: str = "reverse_kl",
    divergence_alpha: float = 0.5,
) -> LossOutput:
    """Efficient exact optimisation: the reverse KL from the policy's preference q = σ(βΔ) to the label's, (1−ε, ε).

    `label_smoothing` is that ε and must be above 0, for the divergence from a certain label is infinite. Ji et al.
    2024 (arXiv:2402.00856), eq. 16.
    """
    logit = beta * divergence_delta(pairs, f_divergence, divergence_alpha)
    # eq. 16: q·log(q/(1−ε)) + (1−q)·log((1−q)/ε)
    agree = torch.sigmoid(logit) * (F.logsigmoid(logit) - math.log1p(-label_smoothing))
    disagree = torch.sigmoid(-logit) * (F.logsigmoid(-logit) - math.log(label_smoothing))
    return LossOutput((Term(agree + disagree),), implicit_reward_metrics(pairs, beta))


def discopop(
    pairs: Pairs,
    *,
    beta: float = 0.05,
    discopop_tau: float = 0.05,
    f_divergence: str = "reverse_kl",
    divergence_alpha: float = 0.5,
) -> LossOutput:
    """DiscoPOP: a blend of the logistic and the exponential loss on β·Δ, weighed by s = σ(βΔ/t).

    `discopop_tau` is t, the temperature of the blend; above 1 the exponential would outgrow its weight. Lu et al. 2024
    (arXiv:2406.08414), eq. 5.
    """
    logit = beta * divergence_delta(pairs, f_divergence, divergence_alpha)
    # eq. 5: (1−s)·(−log σ(βΔ)) + s·e^(−βΔ), its products taken in logarithms: s·e^(−βΔ) is 0·∞ at βΔ = −1000
    value = (
        F.logsigmoid(-logit / discopop_tau).exp() * logistic(logit) + (F.logsigmoid(logit / discopop_tau) - logit).exp()
    )
    return LossOutput((Term(value),), implicit_reward_metrics(pairs, beta))


def dpo_norm(pairs: Pairs, *, beta: float = 2.0, label_smoothing: float = 0.0) -> LossOutput:
    """Length-normalised DPO: the logistic loss on β times the difference of log-ratios per token.

    Lambert et al. 2024 (Tülu 3, arXiv:2411.15124).
    """
    logit = less_margin(beta * pairs.mean_delta, pairs)
    value = smoothed(logistic, logit, label_smoothing)  # −log σ(β(r_w/count_w − r_l/count_l) − m)
    return LossOutput((Term(value),), implicit_reward_metrics(pairs, beta))


def r_dpo(
    pairs: Pairs,
    *,
    beta: float = 0.1,
    length_alpha: float = 0.005,
    f_divergence: str = "reverse_kl",
    divergence_alpha: float = 0.5,
) -> LossOutput:
    """Length-regularised DPO: a pair whose chosen completion is longer is held to be won already, and pulls less.

    `length_alpha` is the paper's α, per token of difference. Park et al. 2024 (arXiv:2403.19159).
    """
    delta = divergence_delta(pairs, f_divergence, divergence_alpha)
    longer = (pairs.chosen.count - pairs.rejected.count).to(delta.dtype)
    value = logistic(less_margin(beta * delta + length_alpha * longer, pairs))  # −log σ(βΔ + α(count_w − count_l) − m)
    return LossOutput((Term(value),), implicit_reward_metrics(pairs, beta))


def ld_dpo(pairs: Pairs, *, beta: float = 0.1, ld_alpha: float = 0.5) -> LossOutput:
    """Length-desensitised DPO: tokens beyond the shorter completion's length count α times.

    `ld_alpha` is the paper's α: 1 is DPO, 0 ignores the surplus of the longer completion. Liu et al. 2024
    (arXiv:2409.06411).
    """
    assert pairs.reference_chosen is not None
    assert pairs.reference_rejected is not None
    shared = torch.minimum(pairs.chosen.count, pairs.rejected.count)
    chosen = _discounted_log_ratio(pairs.chosen, pairs.reference_chosen, shared, ld_alpha)
    rejected = _discounted_log_ratio(pairs.rejected, pairs.reference_rejected, shared, ld_alpha)
    value = logistic(less_margin(beta * (chosen - rejected), pairs))
    return LossOutput((Term(value),), implicit_reward_metrics(pairs, beta))


def _discounted_log_ratio(policy: TokenScores, reference: TokenScores, shared_C: Tensor, alpha: float) -> Tensor:
    """The log-ratio of the first `shared_C` tokens of each completion, and α times that of the rest, [C]."""
    ratio_N = policy.token_log_ratio(reference)
    beyond_N = token_places(policy.count) >= torch.repeat_interleave(shared_C, policy.count)
    return TokenScores(torch.where(beyond_N, alpha * ratio_N, ratio_N), policy.count).total


def dpop(pairs: Pairs, *, beta: float = 0.3, dpop_lambda: float = 50.0) -> LossOutput:
    """DPO-positive: DPO that is also charged for a chosen completion less likely than under the reference.

    `dpop_lambda` is the paper's λ. Pal et al. 2024 (Smaug, arXiv:2402.13228).
    """
    penalty = dpop_lambda * F.relu(-pairs.log_ratio_chosen)
    value = logistic(less_margin(beta * (pairs.delta - penalty), pairs))  # −log σ(β(Δ − λ·max(0, −r_w)) − m)
    return LossOutput((Term(value),), implicit_reward_metrics(pairs, beta))
