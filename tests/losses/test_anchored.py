from __future__ import annotations

import pytest
import torch

from fairlead.losses.anchored import bco_pair, cal_dpo, mean_log_ratio_of_pairs, sppo
from fairlead.losses.scores import Pairs
from tests.losses.batches import random_pairs, scores, value


def pair(chosen: float, rejected: float, *, grad: bool = False) -> Pairs:
    """A pair of single tokens with these log-ratios."""
    return Pairs(scores([chosen], grad=grad), scores([rejected], grad=grad), scores([0.0]), scores([0.0]))


def chosen_gradient(name: str, chosen: float, rejected: float) -> float:
    pairs = pair(chosen, rejected, grad=True)
    (gradient,) = torch.autograd.grad(value(name, pairs), pairs.chosen.logp_N)
    return gradient.item()


@pytest.mark.parametrize(("name", "sign"), [("apo_zero", -1), ("apo_down", 1), ("bco_pair", -1), ("nca", -1)])
def test_which_way_the_chosen_completion_is_pushed_once_the_rejected_one_has_fallen(name: str, sign: int) -> None:
    assert chosen_gradient(name, 0.0, -1.0) * sign > 0


def test_nca_pulls_a_chosen_completion_back_that_went_too_far() -> None:
    assert chosen_gradient("nca", 1.0, 0.0) < 0
    assert chosen_gradient("nca", 20.0, 0.0) > 0


def test_sppo_and_cal_dpo_stop_at_their_targets() -> None:
    at_target = pair(5.0, -5.0)
    assert sppo(at_target, beta=0.1).terms[0].value.item() == 0.0
    assert cal_dpo(at_target, beta=0.1).terms[0].value.item() == pytest.approx(4.539890e-05)  # −log σ(10)


def test_bco_counts_from_the_running_mean_where_asked_to() -> None:
    statistic = torch.tensor(3.0, dtype=torch.float64)
    shifted = bco_pair(pair(4.0, 2.0), statistic=statistic, beta=0.2, reward_shift="running")
    plain = bco_pair(pair(1.0, -1.0), statistic=None, beta=0.2)
    torch.testing.assert_close(shifted.terms[0].value, plain.terms[0].value)
    assert shifted.metrics["rewards/chosen"].item() == pytest.approx(0.8)  # the metric stays β·r
    ignored = bco_pair(pair(1.0, -1.0), statistic=statistic, beta=0.2)
    assert torch.equal(ignored.terms[0].value, plain.terms[0].value)
    with pytest.raises(AssertionError, match="running mean"):
        bco_pair(pair(1.0, -1.0), statistic=None, reward_shift="running")


def test_the_running_mean_takes_no_gradient() -> None:
    pairs, _ = random_pairs(grad=True)
    statistic = mean_log_ratio_of_pairs(pairs)
    assert not statistic.requires_grad
    expected = (pairs.log_ratio_chosen.sum() + pairs.log_ratio_rejected.sum()) / 12
    torch.testing.assert_close(statistic, expected.detach())
