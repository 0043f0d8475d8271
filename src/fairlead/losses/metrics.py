"""The curves that losses leave behind: rewards, margins, accuracies, log-probabilities, one detached value per row."""

from __future__ import annotations

import torch
from torch import Tensor

from fairlead.losses.scores import Pairs, Thumbs


@torch.no_grad()
def implicit_reward_metrics(pairs: Pairs, beta: float) -> dict[str, Tensor]:
    """The usual curves of a loss with a reference: rewards are β·r, whatever the loss normalises by."""
    return pair_metrics(pairs, beta * pairs.log_ratio_chosen, beta * pairs.log_ratio_rejected)


@torch.no_grad()
def pair_metrics(pairs: Pairs, chosen_reward: Tensor, rejected_reward: Tensor) -> dict[str, Tensor]:
    """The curves of P pairs under the rewards given, [P] each."""
    return reward_metrics(chosen_reward, rejected_reward) | {
        "ranking_accuracy": share_positive(pairs.chosen.mean - pairs.rejected.mean),
        "logps/chosen": pairs.chosen.total,
        "logps/rejected": pairs.rejected.total,
    }


@torch.no_grad()
def reward_metrics(chosen_reward: Tensor, rejected_reward: Tensor) -> dict[str, Tensor]:
    """Rewards of P pairs, their differences, and which of these are positive, [P] each."""
    margin = chosen_reward - rejected_reward
    return {
        "rewards/chosen": chosen_reward.detach(),
        "rewards/rejected": rejected_reward.detach(),
        "rewards/margins": margin,
        "rewards/accuracies": share_positive(margin),
    }


@torch.no_grad()
def label_metrics(thumbs: Thumbs, beta: float) -> dict[str, Tensor]:
    """Rewards β·r and log-probabilities of the completions of each label: as many values as there are of it."""
    reward, total = beta * thumbs.log_ratio, thumbs.completion.total
    return {
        "rewards/chosen": reward[thumbs.label],
        "rewards/rejected": reward[~thumbs.label],
        "logps/chosen": total[thumbs.label],
        "logps/rejected": total[~thumbs.label],
    }


def share_positive(difference: Tensor) -> Tensor:
    """1 where positive, 0 where negative, ½ at a tie; NaN stays NaN, which a comparison would show as 0."""
    share = torch.heaviside(difference, difference.new_tensor(0.5))
    return torch.where(difference.isnan(), difference, share)
