from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fairlead.losses.binding import bind
from fairlead.losses.scores import Pairs, TokenScores
from fairlead.losses.table import LOSSES, WPO, parameters
from fairlead.losses.weighting import policy_weight
from tests.losses.batches import random_pairs, scores

WITH_WPO = [name for name in LOSSES if WPO in parameters(name)]


def with_column(completions: TokenScores, column: list[float]) -> TokenScores:
    return replace(completions, log_sum_sq_probs_N=torch.tensor(column, dtype=torch.float64))


def weighable_pairs() -> tuple[Pairs, Tensor]:
    """Random pairs with a column, of which some weights are clamped at 1 and some are not."""
    pairs, policy_N = random_pairs(grad=True)
    generator = torch.Generator().manual_seed(3)

    def add(completion: TokenScores) -> TokenScores:
        noise_N = 1.5 * torch.rand(len(completion.logp_N), generator=generator, dtype=torch.float64) - 0.6
        return replace(completion, log_sum_sq_probs_N=completion.logp_N.detach() + noise_N)

    return replace(pairs, chosen=add(pairs.chosen), rejected=add(pairs.rejected)), policy_N


def test_weight_by_hand() -> None:
    chosen = with_column(scores([-1.0, -2.0], [-0.5], grad=True), [-0.5, -1.0, -1.5])
    rejected = with_column(scores([-3.0], [-1.0, -1.0]), [-2.5, -1.0, -1.0])
    # log ω(y_w): mean of −0.5 and −1 = −0.75, and 1; log ω(y_l): −0.5 and 0
    weight = policy_weight(Pairs(chosen, rejected))
    assert weight.tolist() == pytest.approx([torch.tensor(-1.25).exp().item(), 1.0])
    assert not weight.requires_grad


def test_tokens_the_policy_samples_align_with_it_on_average() -> None:
    probs_V = torch.softmax(torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64), 0)
    column = probs_V.square().sum().log()
    assert (probs_V * (probs_V.log() - column).exp()).sum().item() == pytest.approx(1.0)


def test_every_loss_over_pairs_but_those_that_sort_can_be_weighted() -> None:
    assert set(WITH_WPO) == {name for name, loss in LOSSES.items() if loss.examples is Pairs} - {"aot", "aot_unpaired"}


@pytest.mark.parametrize("name", WITH_WPO)
def test_weights_multiply_the_value_and_the_gradient_of_each_row(name: str) -> None:
    pairs, policy_N = weighable_pairs()
    weight = policy_weight(pairs)
    assert 0 < (weight < 1).sum() < 6
    plain, weighted = bind([(name, {}, 1.0)]), bind([(name, {"wpo": True}, 1.0)])
    (term,), (expected,) = weighted(pairs).terms, plain(pairs).terms
    torch.testing.assert_close(term.value, weight * expected.value)
    (gradient,) = torch.autograd.grad(term.value.sum(), policy_N, retain_graph=True)
    torch.testing.assert_close(gradient, torch.autograd.grad((weight * expected.value).sum(), policy_N)[0])


def test_the_anchor_of_a_row_is_weighted_with_it_and_other_losses_of_the_sum_are_not() -> None:
    pairs, _ = weighable_pairs()
    loss = bind([("dpo", {"wpo": True, "nll_weight": 0.5}, 2.0), ("sft", {}, 0.3)])
    _, nll, imitation = loss(pairs).terms
    torch.testing.assert_close(nll.value, -2.0 * 0.5 * policy_weight(pairs) * pairs.chosen.mean)
    torch.testing.assert_close(imitation.value, -0.3 * pairs.chosen.total)


def test_what_it_needs() -> None:
    assert bind([("dpo", {"wpo": True}, 1.0), ("sft", {}, 1.0)]).columns == {"log_sum_sq_probs"}
    assert bind([("dpo", {"wpo": False}, 1.0)]).columns == frozenset()
    pairs, _ = random_pairs()
    with pytest.raises(AssertionError, match="log_sum_sq_probs"):
        bind([("dpo", {"wpo": True}, 1.0)])(pairs)
