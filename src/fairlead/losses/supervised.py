"""Imitation of demonstrations, and the negative log-likelihood that other losses add."""

from __future__ import annotations

from torch import Tensor

from fairlead.losses.scores import Demonstrations, LossOutput, Term, TokenScores


def negative_log_likelihood(completion: TokenScores) -> Tensor:
    """−mean, the negative log-likelihood per token of each completion, in nats, [C]."""
    return -completion.mean


def sft(demonstrations: Demonstrations) -> LossOutput:
    """Supervised fine-tuning: the cross-entropy of the trained tokens, −Σ log π(y_t) over the batch's token count.

    Every token weighs the same, so a long completion weighs more than a short one.
    """
    completion = demonstrations.completion
    return LossOutput(
        (Term(-completion.total, "tokens"),),
        {"nll_loss": negative_log_likelihood(completion).detach()},
    )
