from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fairlead.losses.pairwise import discopop, dpop, exo, hinge, ipo, ld_dpo, r_dpo
from fairlead.losses.scores import Pairs, TokenScores
from fairlead.losses.table import LOSSES
from tests.losses.batches import random_pairs, scores, value


def token_gradient(name: str, **settings: float) -> tuple[Pairs, Tensor]:
    """A random batch of pairs, and the gradient of the loss's sum with respect to each token's log-probability."""
    pairs, policy_N = random_pairs(grad=True)
    LOSSES[name].function(pairs, **settings).terms[0].value.sum().backward()
    assert policy_N.grad is not None
    return pairs, policy_N.grad


def per_token(pairs: Pairs, chosen: Tensor, rejected: Tensor) -> Tensor:
    """A value per completion laid out over its tokens."""
    counts = torch.cat([pairs.chosen.count, pairs.rejected.count])
    return torch.repeat_interleave(torch.cat([chosen, rejected]).detach(), counts)


def test_gradient_of_dpo_is_beta_times_the_probability_of_the_wrong_order() -> None:
    pairs, gradient = token_gradient("dpo", beta=0.7)
    slope = 0.7 * torch.sigmoid(-0.7 * pairs.delta)  # Rafailov 2023, section 4
    torch.testing.assert_close(gradient, per_token(pairs, -slope, slope))


def test_gradient_of_smoothed_dpo() -> None:
    pairs, gradient = token_gradient("dpo", beta=0.7, label_smoothing=0.2)
    slope = 0.7 * (0.8 - torch.sigmoid(0.7 * pairs.delta))
    torch.testing.assert_close(gradient, per_token(pairs, -slope, slope))


def test_gradient_of_ipo_is_twice_the_distance_per_token() -> None:
    pairs, gradient = token_gradient("ipo", beta=0.5)
    distance = 2 * (pairs.mean_delta - 1.0)
    torch.testing.assert_close(
        gradient, per_token(pairs, distance / pairs.chosen.count, -distance / pairs.rejected.count)
    )


def test_gradient_of_simpo_is_spread_over_the_tokens() -> None:
    pairs, gradient = token_gradient("simpo", beta=2.0, gamma=0.5)
    slope = 2 * torch.sigmoid(0.5 - 2 * (pairs.chosen.mean - pairs.rejected.mean))
    torch.testing.assert_close(gradient, per_token(pairs, -slope / pairs.chosen.count, slope / pairs.rejected.count))


def test_robust_dpo_is_dpo_on_average_over_flipped_labels() -> None:
    pairs, _ = random_pairs()
    flipped = Pairs(pairs.rejected, pairs.chosen, pairs.reference_rejected, pairs.reference_chosen)
    noise = {"label_smoothing": 0.2}
    average = 0.8 * value("dpo_robust", pairs, noise) + 0.2 * value("dpo_robust", flipped, noise)
    torch.testing.assert_close(average, value("dpo", pairs))


def test_robust_dpo_without_noise_is_dpo() -> None:
    pairs, _ = random_pairs()
    torch.testing.assert_close(value("dpo_robust", pairs, {"label_smoothing": 0.0}), value("dpo", pairs))


def test_ipo_as_printed_takes_sums() -> None:
    pairs = Pairs(scores([-0.5, -1.0]), scores([-1.0] * 4), scores([-1.0, -1.5]), scores([-0.75] * 4))
    assert ipo(pairs, normalize="sum").terms[0].value.item() == pytest.approx((2 - 5) ** 2)
    assert ipo(pairs).terms[0].value.item() == pytest.approx((0.75 - 5) ** 2)


def test_hinge_is_zero_beyond_a_margin_of_one() -> None:
    pairs = Pairs(scores([-1.0]), scores([-8.0]), scores([-4.0]), scores([-4.0]))
    assert hinge(pairs, beta=0.2).terms[0].value.item() == 0.0


def test_exo_is_least_where_the_policy_holds_the_smoothed_label() -> None:
    best = math.log(0.9 / 0.1) / 0.5  # σ(βΔ) = 1 − ε
    pairs = Pairs(scores([-1.0 + best], grad=True), scores([-1.0]), scores([-1.0]), scores([-1.0]))
    loss = exo(pairs, beta=0.5, label_smoothing=0.1).terms[0].value
    (gradient,) = torch.autograd.grad(loss.sum(), pairs.chosen.logp_N)
    assert loss.item() == pytest.approx(0.0, abs=1e-12)
    assert gradient.item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("difference", [-1000.0, -2000.0, 1000.0])
def test_discopop_where_the_plain_form_is_not_a_number(difference: float) -> None:
    pairs = Pairs(scores([difference], grad=True), scores([0.0]), scores([0.0]), scores([0.0]))
    loss = discopop(pairs, beta=1.0).terms[0].value
    loss.sum().backward()
    assert loss.item() == pytest.approx(max(0.0, -difference))
    assert pairs.chosen.logp_N.grad is not None
    assert pairs.chosen.logp_N.grad.item() == pytest.approx(-1.0 if difference < 0 else 0.0)


def test_a_longer_chosen_completion_pulls_less_in_r_dpo() -> None:
    same = scores([-1.0]), scores([-1.0])
    longer = scores([-1.0] * 5), scores([-1.0] * 5)
    pairs = Pairs(longer[0], same[0], longer[1], same[1])
    logit = 0.02 * (5 - 1)
    assert r_dpo(pairs, length_alpha=0.02).terms[0].value.item() == pytest.approx(math.log1p(math.exp(-logit)))


def test_ld_dpo_discounts_what_lies_beyond_the_shorter_completion() -> None:
    pairs = Pairs(scores([-1.0, -1.0, -1.0]), scores([-2.0]), scores([-2.0, -3.0, -4.0]), scores([-1.0]))
    # r_w: 1 for the first token, then 2 and 3; r_l = −1
    for alpha, delta in ((0.0, 2.0), (0.5, 4.5), (1.0, 7.0)):
        expected = math.log1p(math.exp(-0.3 * delta))
        assert ld_dpo(pairs, beta=0.3, ld_alpha=alpha).terms[0].value.item() == pytest.approx(expected)


def test_ld_dpo_without_discount_is_dpo() -> None:
    pairs, _ = random_pairs()
    torch.testing.assert_close(value("ld_dpo", pairs, {"ld_alpha": 1.0}), value("dpo", pairs))


def test_dpop_charges_for_a_chosen_completion_below_the_reference() -> None:
    pairs = Pairs(scores([-1.1]), scores([-3.0]), scores([-1.0]), scores([-1.0]))  # r_w = −0.1, Δ = 1.9
    got = dpop(pairs, beta=0.3, dpop_lambda=50.0).terms[0].value.item()
    assert got == pytest.approx(math.log1p(math.exp(-0.3 * (1.9 - 50 * 0.1))))


def minimised_policy(preferences: list[tuple[int, int]], actions: int, tau: float) -> list[float]:
    """The bandit policy that minimises IPO over (better, worse) actions against a uniform reference."""
    logits = torch.zeros(actions, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=100, tolerance_grad=1e-12, line_search_fn="strong_wolfe")
    better, worse = (torch.tensor(column) for column in zip(*preferences, strict=True))
    one_token = torch.ones(len(preferences), dtype=torch.int64)
    uniform = TokenScores(torch.full((len(preferences),), -math.log(actions), dtype=torch.float64), one_token)

    def closure() -> Tensor:
        optimizer.zero_grad()
        logp = logits.log_softmax(0)
        pairs = Pairs(TokenScores(logp[better], one_token), TokenScores(logp[worse], one_token), uniform, uniform)
        loss = ipo(pairs, beta=tau).terms[0].value.mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return logits.softmax(0).tolist()


# Azar 2023: with a deterministic preference π* = σ(1/(2τ)), where DPO's optimum is 1.
@pytest.mark.parametrize(("tau", "best"), [(1.0, 0.6225), (0.5, 0.7311), (0.1, 0.9933)])
def test_ipo_bandit_with_two_actions(tau: float, best: float) -> None:
    assert minimised_policy([(0, 1)], 2, tau) == pytest.approx([best, 1 - best], abs=5e-5)


def test_ipo_bandit_with_three_ordered_actions() -> None:
    policy = minimised_policy([(0, 1), (0, 2), (1, 2)], 3, 1.0)
    assert policy == pytest.approx([0.4484, 0.3213, 0.2302], abs=5e-5)


def test_a_row_without_a_reference_is_a_broken_invariant() -> None:
    pairs, _ = random_pairs()
    with pytest.raises(AssertionError):
        ld_dpo(replace(pairs, reference_chosen=None))
