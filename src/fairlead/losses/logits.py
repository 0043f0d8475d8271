"""From a logit to a loss: the two shapes that losses over pairs share, and what is done to the logit before."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from fairlead.losses.scores import Pairs, RewardPairs


def logistic(logit: Tensor) -> Tensor:
    """−log σ(z)."""
    return -F.logsigmoid(logit)


def hinged(logit: Tensor) -> Tensor:
    """max(0, 1 − z)."""
    return F.relu(1 - logit)


def smoothed(loss: Callable[[Tensor], Tensor], logit: Tensor, label_smoothing: float) -> Tensor:
    """(1−ε)·L(z) + ε·L(−z): the expected loss when a share ε of the preferences is the wrong way round."""
    if label_smoothing == 0:
        return loss(logit)
    return (1 - label_smoothing) * loss(logit) + label_smoothing * loss(-logit)


def less_margin(logit: Tensor, pairs: Pairs | RewardPairs) -> Tensor:
    """z − m: how much better a row says its chosen completion is (ODPO; Amini et al. 2024, arXiv:2402.10571)."""
    return logit if pairs.margin is None else logit - pairs.margin
