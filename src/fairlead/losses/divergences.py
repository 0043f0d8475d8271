"""Other divergences from the reference than the reverse KL: what takes the place of the log-ratio.

A policy held near its reference by an f-divergence has the implicit reward β·f'(u) with u = π/π_ref = e^r, up to a
term that cancels in a pair (Wang et al. 2023, arXiv:2309.16240). The reverse KL is DPO's: f'(e^r) = r. Constants are
dropped, so that every score is 0 at r = 0.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fairlead.losses.scores import Pairs

DIVERGENCES = ("reverse_kl", "forward_kl", "js", "alpha")
LARGEST_EXPONENT = 80.0
"""Exponents are clamped here: e^80 = 5.5e34 leaves room for β and a difference in float32. Beyond it, no gradient."""


def divergence_delta(pairs: Pairs, f_divergence: str, divergence_alpha: float) -> Tensor:
    """f'(e^{r_w}) − f'(e^{r_l}), [P]: Δ where the divergence is the reverse KL."""
    if f_divergence == "reverse_kl":
        return pairs.delta
    chosen, rejected = pairs.log_ratio_chosen, pairs.log_ratio_rejected
    return divergence_score(chosen, f_divergence, divergence_alpha) - divergence_score(
        rejected, f_divergence, divergence_alpha
    )


def divergence_score(log_ratio: Tensor, f_divergence: str, divergence_alpha: float) -> Tensor:
    """f'(e^r) of the divergence named, without its constant, of the shape of `log_ratio`.

    `divergence_alpha` is used by `alpha` alone: towards 0 it becomes the reverse KL, at 1 it is the forward KL.
    """
    match f_divergence:
        case "reverse_kl":
            return log_ratio
        case "forward_kl":
            return power_score(log_ratio, 1.0)  # 1 − e^(−r)
        case "js":
            return math.log(2) + F.logsigmoid(log_ratio)  # log 2 + log σ(r)
        case _:
            return power_score(log_ratio, divergence_alpha)  # (1 − e^(−αr)) / α


def power_score(log_value: Tensor, alpha: float) -> Tensor:
    """(1 − e^(−αx)) / α: the logarithm x of a value, bent; α → 0 gives x itself."""
    return -torch.expm1((-alpha * log_value).clamp(max=LARGEST_EXPONENT)) / alpha
