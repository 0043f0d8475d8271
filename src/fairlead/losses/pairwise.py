"""Losses over preference pairs: pure functions of log-probabilities.

Notation: w chosen, l rejected; r = total_policy − total_reference; Δ = r_w − r_l; a bar or `mean` is per trained
token; σ the logistic function; ε label smoothing; m the row's margin. Each function takes P pairs and gives one term
of [P] values; `fairlead.losses.table` says what each needs and accepts.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fairlead.losses.scores import LossOutput, Pairs, Term, TokenScores
from fairlead.losses.supervised import negative_log_likelihood

CLOSEST_TO_CERTAIN = -1e-6
"""Largest token-mean log-probability whose odds are taken: above it odds and their gradient overflow float32."""


def dpo(pairs: Pairs, *, beta: float = 0.1, label_smoothing: float = 0.0) -> LossOutput:
    """Direct preference optimisation: the logistic loss on β·Δ.

    Rafailov et al. 2023 (arXiv:2305.18290), eq. 7; with label smoothing it is conservative DPO (Mitchell 2023).
    """
    logit = _less_margin(beta * pairs.delta, pairs)
    value = _smoothed(_logistic, logit, label_smoothing)  # eq. 7: −(1−ε)·log σ(βΔ − m) − ε·log σ(m − βΔ)
    return LossOutput((Term(value),), _implicit_reward_metrics(pairs, beta))


def ipo(pairs: Pairs, *, beta: float = 0.1, normalize: str = "mean") -> LossOutput:
    """Identity preference optimisation: the squared distance of the log-ratio difference to 1/(2β).

    `beta` is the paper's τ. `normalize="mean"` takes log-ratios per token, the form its authors confirmed;
    `normalize="sum"` takes their sums, as printed. Azar et al. 2023 (arXiv:2310.12036), eq. 17.
    """
    difference = pairs.mean_delta if normalize == "mean" else pairs.delta
    value = (difference - 1 / (2 * beta)) ** 2  # eq. 17: (Δ̄ − 1/(2τ))²
    return LossOutput((Term(value),), _implicit_reward_metrics(pairs, beta))


def hinge(pairs: Pairs, *, beta: float = 0.1, label_smoothing: float = 0.0) -> LossOutput:
    """The hinge loss on β·Δ: zero once the reward margin is 1.

    SLiC's loss (Zhao et al. 2023, arXiv:2305.10425) on the implicit reward, as in RSO (Liu et al. 2023,
    arXiv:2309.06657, where it is called hinge-norm).
    """
    value = _smoothed(_hinge, beta * pairs.delta, label_smoothing)  # max(0, 1 − βΔ)
    return LossOutput((Term(value),), _implicit_reward_metrics(pairs, beta))


def dpo_norm(pairs: Pairs, *, beta: float = 2.0, label_smoothing: float = 0.0) -> LossOutput:
    """Length-normalised DPO: the logistic loss on β times the difference of log-ratios per token.

    Lambert et al. 2024 (Tülu 3, arXiv:2411.15124).
    """
    logit = _less_margin(beta * pairs.mean_delta, pairs)
    value = _smoothed(_logistic, logit, label_smoothing)  # −log σ(β(r_w/count_w − r_l/count_l) − m)
    return LossOutput((Term(value),), _implicit_reward_metrics(pairs, beta))


def dpop(pairs: Pairs, *, beta: float = 0.3, dpop_lambda: float = 50.0) -> LossOutput:
    """DPO-positive: DPO that is also charged for a chosen completion less likely than under the reference.

    `dpop_lambda` is the paper's λ. Pal et al. 2024 (Smaug, arXiv:2402.13228).
    """
    penalty = dpop_lambda * F.relu(-pairs.log_ratio_chosen)
    logit = _less_margin(beta * (pairs.delta - penalty), pairs)
    value = _logistic(logit)  # −log σ(β(Δ − λ·max(0, −r_w)) − m)
    return LossOutput((Term(value),), _implicit_reward_metrics(pairs, beta))


def simpo(pairs: Pairs, *, beta: float = 2.0, gamma: float = 1.0, label_smoothing: float = 0.0) -> LossOutput:
    """Simple preference optimisation: the logistic loss on token-mean log-probabilities beyond a target margin.

    `gamma` is the paper's γ, in units of the reward (not the ratio γ/β); no reference. Label smoothing flips the sign
    of the whole logit, γ included. Meng, Xia and Chen 2024 (arXiv:2405.14734), eq. 6.
    """
    chosen, rejected = beta * pairs.chosen.mean, beta * pairs.rejected.mean
    logit = _less_margin(chosen - rejected - gamma, pairs)
    value = _smoothed(_logistic, logit, label_smoothing)  # eq. 6: −log σ(β(mean_w − mean_l) − γ − m)
    return LossOutput((Term(value),), _pair_metrics(pairs, chosen, rejected))


def orpo(pairs: Pairs, *, beta: float = 0.1) -> LossOutput:
    """Odds-ratio preference optimisation: imitate the chosen completion, and raise its odds over the rejected one's.

    `beta` is the paper's λ; no reference. Odds are those of the token-mean probability; above
    `CLOSEST_TO_CERTAIN` they stop growing. Hong, Lee and Thorne 2024 (arXiv:2403.07691), eqs. 6 and 7.
    """
    log_odds_ratio = _log_odds(pairs.chosen) - _log_odds(pairs.rejected)
    nll = negative_log_likelihood(pairs.chosen)
    value = nll + beta * _logistic(log_odds_ratio)  # eq. 6: −mean_w − λ·log σ(log_odds_w − log_odds_l)
    metrics = _pair_metrics(pairs, beta * pairs.chosen.mean, beta * pairs.rejected.mean)
    return LossOutput((Term(value),), metrics | {"nll_loss": nll.detach()})


def _logistic(logit: Tensor) -> Tensor:
    return -F.logsigmoid(logit)


def _hinge(logit: Tensor) -> Tensor:
    return F.relu(1 - logit)


def _smoothed(loss: Callable[[Tensor], Tensor], logit: Tensor, label_smoothing: float) -> Tensor:
    """(1−ε)·L(z) + ε·L(−z): the expected loss when a share ε of the preferences is the wrong way round."""
    if label_smoothing == 0:
        return loss(logit)
    return (1 - label_smoothing) * loss(logit) + label_smoothing * loss(-logit)


def _less_margin(logit: Tensor, pairs: Pairs) -> Tensor:
    """z − m: how much better a row says its chosen completion is (ODPO; Amini et al. 2024, arXiv:2402.10571)."""
    return logit if pairs.margin is None else logit - pairs.margin


def _log_odds(completion: TokenScores) -> Tensor:
    """log(p / (1 − p)) with p = exp(mean), [C]."""
    mean = completion.mean.clamp(max=CLOSEST_TO_CERTAIN)
    return mean - _log1mexp(mean)


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 − eˣ) for x < 0, without cancellation on either side of −log 2 (Mächler 2012, eq. 7)."""
    return torch.where(x > -math.log(2), torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x)))


def _implicit_reward_metrics(pairs: Pairs, beta: float) -> dict[str, Tensor]:
    """The usual curves of a loss with a reference: rewards are β·r, whatever the loss normalises by."""
    return _pair_metrics(pairs, beta * pairs.log_ratio_chosen, beta * pairs.log_ratio_rejected)


@torch.no_grad()
def _pair_metrics(pairs: Pairs, chosen_reward: Tensor, rejected_reward: Tensor) -> dict[str, Tensor]:
    margin = chosen_reward - rejected_reward
    return {
        "rewards/chosen": chosen_reward.detach(),
        "rewards/rejected": rejected_reward.detach(),
        "rewards/margins": margin,
        "rewards/accuracies": _share_positive(margin),
        "ranking_accuracy": _share_positive(pairs.chosen.mean - pairs.rejected.mean),
        "logps/chosen": pairs.chosen.total,
        "logps/rejected": pairs.rejected.total,
    }


def _share_positive(difference: Tensor) -> Tensor:
    """1 where positive, 0 where negative, ½ at a tie; NaN stays NaN, which a comparison would show as 0."""
    share = torch.heaviside(difference, difference.new_tensor(0.5))
    return torch.where(difference.isnan(), difference, share)
