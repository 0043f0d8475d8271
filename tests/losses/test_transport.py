from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fairlead.losses.binding import bind
from fairlead.losses.scores import Pairs
from fairlead.losses.transport import partners_of_equal_rank, reference_of_equal_rank
from tests.losses.batches import random_pairs, scores, statistics_for, value


def sorted_loss(name: str, pairs: Pairs, beta: float) -> Tensor:
    """The paper's form: both sides sorted over the whole batch, in one graph."""
    if name == "aot":
        assert pairs.reference_chosen is not None
        assert pairs.reference_rejected is not None
        one = pairs.chosen.total - pairs.rejected.total
        other = pairs.reference_chosen.total - pairs.reference_rejected.total
    else:
        one, other = pairs.log_ratio_chosen, pairs.log_ratio_rejected
    return -F.logsigmoid(beta * (one.sort().values - other.sort().values)).mean()


@pytest.mark.parametrize("name", ["aot", "aot_unpaired"])
def test_value_and_gradient_are_those_of_sorting(name: str) -> None:
    pairs, policy_N = random_pairs(rows=9, grad=True)
    ours, theirs = value(name, pairs, {"beta": 0.7}), sorted_loss(name, pairs, 0.7)
    torch.testing.assert_close(ours, theirs)
    (expected,) = torch.autograd.grad(theirs, policy_N, retain_graph=True)
    (gradient,) = torch.autograd.grad(ours, policy_N)
    torch.testing.assert_close(gradient, expected)
    assert not torch.allclose(value("dpo", pairs, {"beta": 0.7}), ours), "a batch in which sorting changes nothing"


def test_partners_by_hand() -> None:
    # Differences under the policy: 3, 1, 2 (ranks 2, 0, 1); under the reference: 0, −5, 4 (sorted −5, 0, 4).
    chosen, rejected = scores([3.0], [1.0], [2.0]), scores([0.0], [0.0], [0.0])
    pairs = Pairs(chosen, rejected, scores([0.0], [-5.0], [4.0]), rejected)
    assert reference_of_equal_rank(pairs).tolist() == [4.0, -5.0, 0.0]
    # r_w = 3, 6, −2 and r_l = 0.5, −1, 0.2: each gets the other's of its own rank.
    unpaired = Pairs(chosen, scores([0.5], [-1.0], [0.2]), pairs.reference_chosen, rejected)
    partners = torch.tensor([[0.2, 6.0], [0.5, -2.0], [-1.0, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(partners_of_equal_rank(unpaired), partners)


def test_ties_are_paired_off_one_by_one() -> None:
    same = scores([1.0], [1.0], [1.0])
    pairs = Pairs(same, scores([0.0], [0.5], [0.25]), scores([0.0], [0.0], [0.0]), scores([0.0], [0.0], [0.0]))
    assert sorted(partners_of_equal_rank(pairs)[:, 0].tolist()) == [0.0, 0.25, 0.5]


@pytest.mark.parametrize("name", ["aot", "aot_unpaired"])
def test_partners_are_constants(name: str) -> None:
    pairs, _ = random_pairs(grad=True)
    (statistic,) = statistics_for(bind([(name, {}, 1.0)]), pairs).values()
    assert not statistic.requires_grad
    assert len(statistic) == 6
