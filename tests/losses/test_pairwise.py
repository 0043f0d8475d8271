from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fairlead.losses.pairwise import CLOSEST_TO_CERTAIN, _log1mexp, _log_odds, dpo, dpop, hinge, ipo, orpo, simpo
from fairlead.losses.scores import Pairs, TokenScores
from fairlead.losses.table import LOSSES, parameters
from tests.losses.batches import random_batch, scores, value

SMOOTHED = [name for name in LOSSES if "label_smoothing" in parameters(name)]
WITH_MARGIN = [name for name, loss in LOSSES.items() if loss.margin]


def token_gradient(name: str, **settings: float) -> tuple[Pairs, Tensor]:
    """A random batch of pairs, and the gradient of the loss's sum with respect to each token's log-probability."""
    batch, policy_N = random_batch(Pairs)
    policy_N.requires_grad_()
    pairs = batch.examples(policy_N)
    assert isinstance(pairs, Pairs)
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


def test_ipo_as_printed_takes_sums() -> None:
    pairs = Pairs(scores([-0.5, -1.0]), scores([-1.0] * 4), scores([-1.0, -1.5]), scores([-0.75] * 4))
    assert ipo(pairs, normalize="sum").terms[0].value.item() == pytest.approx((2 - 5) ** 2)
    assert ipo(pairs).terms[0].value.item() == pytest.approx((0.75 - 5) ** 2)


def test_dpop_charges_for_a_chosen_completion_below_the_reference() -> None:
    pairs = Pairs(scores([-1.1]), scores([-3.0]), scores([-1.0]), scores([-1.0]))  # r_w = −0.1, Δ = 1.9
    got = dpop(pairs, beta=0.3, dpop_lambda=50.0).terms[0].value.item()
    assert got == pytest.approx(math.log1p(math.exp(-0.3 * (1.9 - 50 * 0.1))))


@pytest.mark.parametrize("name", SMOOTHED)
def test_label_smoothing_mixes_both_orders(name: str) -> None:
    batch, policy_N = random_batch(Pairs)
    pairs = batch.examples(policy_N)
    assert isinstance(pairs, Pairs)
    swapped = Pairs(pairs.rejected, pairs.chosen, pairs.reference_rejected, pairs.reference_chosen)
    free = {"gamma": 0.0} if name == "simpo" else {}  # γ keeps its side: see the next test
    straight, flipped = value(name, pairs, free), value(name, swapped, free)
    smoothed = value(name, pairs, {"label_smoothing": 0.3} | free)
    torch.testing.assert_close(smoothed, 0.7 * straight + 0.3 * flipped)


def test_label_smoothing_of_simpo_flips_the_whole_logit() -> None:
    pairs = Pairs(scores([-1.0]), scores([-2.0]))
    z = 2.0 * 1.0 - 0.5
    expected = 0.9 * math.log1p(math.exp(-z)) + 0.1 * math.log1p(math.exp(z))
    assert simpo(pairs, beta=2.0, gamma=0.5, label_smoothing=0.1).terms[0].value.item() == pytest.approx(expected)


@pytest.mark.parametrize("name", WITH_MARGIN)
def test_margin_moves_the_logit(name: str) -> None:
    batch, policy_N = random_batch(Pairs)
    plain = batch.examples(policy_N)
    assert isinstance(plain, Pairs)
    margin = torch.linspace(0, 2, 6, dtype=torch.float64)
    with_margin = Pairs(plain.chosen, plain.rejected, plain.reference_chosen, plain.reference_rejected, margin=margin)
    function = LOSSES[name].function
    logit = -torch.log(torch.expm1(function(plain).terms[0].value))  # the inverse of −log σ
    expected = torch.log1p(torch.exp(margin - logit))
    torch.testing.assert_close(function(with_margin).terms[0].value, expected)


def test_margin_under_label_smoothing() -> None:
    pairs = Pairs(scores([-1.0]), scores([-2.0]), scores([-1.5]), scores([-1.5]), margin=torch.tensor([0.4]).double())
    z = 0.5 * 1.0 - 0.4
    expected = 0.9 * math.log1p(math.exp(-z)) + 0.1 * math.log1p(math.exp(z))
    assert dpo(pairs, beta=0.5, label_smoothing=0.1).terms[0].value.item() == pytest.approx(expected)


def test_hinge_is_zero_beyond_a_margin_of_one() -> None:
    pairs = Pairs(scores([-1.0]), scores([-8.0]), scores([-4.0]), scores([-4.0]))
    assert hinge(pairs, beta=0.2).terms[0].value.item() == 0.0


@given(st.floats(min_value=-40.0, max_value=CLOSEST_TO_CERTAIN))
@settings(max_examples=60, deadline=None)
def test_log1mexp_agrees_with_more_digits(x: float) -> None:
    exact = math.log(-math.expm1(x)) if x > -1 else math.log1p(-math.exp(x))
    assert _log1mexp(torch.tensor(x, dtype=torch.float64)).item() == pytest.approx(exact, rel=1e-12)
    rounded = torch.tensor(x, dtype=torch.float32)
    again = math.log(-math.expm1(rounded.item())) if x > -1 else math.log1p(-math.exp(rounded.item()))
    assert _log1mexp(rounded).item() == pytest.approx(again, rel=2e-6)


def test_odds_stop_growing_next_to_certainty() -> None:
    odds = _log_odds(scores([0.0], [-1e-8], [CLOSEST_TO_CERTAIN], [-1e-3], dtype=torch.float32)).tolist()
    assert odds[0] == odds[1] == odds[2] > odds[3]
    assert odds[3] == pytest.approx(math.log(math.exp(-1e-3) / -math.expm1(-1e-3)), rel=1e-6)


def test_metrics_of_a_loss_with_reference() -> None:
    chosen, rejected = scores([-1.0], [-2.0, -2.0], [-3.0]), scores([-2.0, -2.0], [-1.0], [-3.0])
    reference = scores([-2.0], [-1.5, -1.5], [-3.0]), scores([-2.0, -2.0], [-1.0], [-3.0])
    metrics = dpo(Pairs(chosen, rejected, *reference), beta=0.5).metrics
    assert metrics["rewards/chosen"].tolist() == [0.5, -0.5, 0.0]
    assert metrics["rewards/rejected"].tolist() == [0.0, 0.0, 0.0]
    assert metrics["rewards/margins"].tolist() == [0.5, -0.5, 0.0]
    assert metrics["rewards/accuracies"].tolist() == [1.0, 0.0, 0.5]
    assert metrics["ranking_accuracy"].tolist() == [1.0, 0.0, 0.5]
    assert metrics["logps/chosen"].tolist() == [-1.0, -4.0, -3.0]
    assert metrics["logps/rejected"].tolist() == [-4.0, -1.0, -3.0]


def test_metrics_of_losses_without_reference() -> None:
    pairs = Pairs(scores([-1.0, -3.0]), scores([-3.0]))
    assert simpo(pairs, beta=2.0).metrics["rewards/margins"].tolist() == [2.0]
    assert orpo(pairs, beta=0.5).metrics["rewards/margins"].tolist() == [0.5]
    assert orpo(pairs).metrics["nll_loss"].tolist() == [2.0]


def test_an_accuracy_of_nan_is_nan() -> None:
    metrics = dpo(Pairs(scores([math.nan]), scores([-1.0]), scores([-1.0]), scores([-1.0]))).metrics
    assert metrics["rewards/accuracies"].isnan().all()
    assert metrics["ranking_accuracy"].isnan().all()


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
