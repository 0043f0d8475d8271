from __future__ import annotations

import math

import pytest
import torch

from fairlead.losses.reward_model import reward
from fairlead.losses.scores import RewardPairs


def pairs(chosen: list[float], rejected: list[float], margin: list[float] | None = None) -> RewardPairs:
    made = [torch.tensor(each, dtype=torch.float64, requires_grad=True) for each in (chosen, rejected)]
    return RewardPairs(*made, margin=None if margin is None else torch.tensor(margin, dtype=torch.float64))


def test_gradient_is_the_probability_of_the_wrong_order() -> None:
    given = pairs([1.0, -2.0], [0.5, 3.0])
    reward(given).terms[0].value.sum().backward()
    expected = torch.sigmoid(given.rejected - given.chosen).detach()
    torch.testing.assert_close(given.chosen.grad, -expected)
    torch.testing.assert_close(given.rejected.grad, expected)


def test_a_margin_asks_for_more() -> None:
    value = reward(pairs([1.0], [0.5], margin=[0.7])).terms[0].value.item()
    assert value == pytest.approx(math.log1p(math.exp(0.2)))


def test_centring_charges_for_the_sum_of_scores() -> None:
    plain, centred = (reward(pairs([1.0], [2.0]), center_coefficient=c).terms[0].value.item() for c in (0.0, 0.01))
    assert centred - plain == pytest.approx(0.01 * 9)


def test_metrics() -> None:
    metrics = reward(pairs([1.0, 0.0, 2.0], [0.5, 1.0, 2.0])).metrics
    assert set(metrics) == {"rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"}
    assert metrics["rewards/margins"].tolist() == [0.5, -1.0, 0.0]
    assert metrics["rewards/accuracies"].tolist() == [1.0, 0.0, 0.5]
    assert not any(metric.requires_grad for metric in metrics.values())
