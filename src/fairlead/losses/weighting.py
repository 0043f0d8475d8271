"""Weights of rows that come from the policy itself."""

from __future__ import annotations

import torch
from torch import Tensor

from fairlead.losses.scores import Pairs, TokenScores


@torch.no_grad()
def policy_weight(pairs: Pairs) -> Tensor:
    """min(1, ω(y_w)·ω(y_l)), [P], without gradient: how much a pair is like what the policy writes itself.

    WPO's weight, with its sampled alignment; Zhou et al. 2024 (arXiv:2406.11827).
    """
    return (_log_alignment(pairs.chosen) + _log_alignment(pairs.rejected)).clamp(max=0).exp()


def _log_alignment(completion: TokenScores) -> Tensor:
    """log ω(y) = mean_t[log p(y_t) − log Σ_v p_v²], [C]: ω of a token has mean 1 where the policy samples it."""
    column_N = completion.log_sum_sq_probs_N
    assert column_N is not None, "the column log_sum_sq_probs was not scored"
    return completion.mean - TokenScores(column_N, completion.count).mean
