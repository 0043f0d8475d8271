from __future__ import annotations

import math

import pytest
import torch

from fairlead.losses.divergences import DIVERGENCES, LARGEST_EXPONENT, divergence_score
from fairlead.losses.table import LOSSES
from tests.losses.batches import random_pairs, value

RATIOS = torch.tensor([-3.0, -0.5, 0.0, 0.2, 4.0], dtype=torch.float64)
WITH_DIVERGENCE = [name for name, loss in LOSSES.items() if "f_divergence" in loss.ranges]


def test_divergences_are_for_losses_of_a_difference_of_sums() -> None:
    assert set(WITH_DIVERGENCE) == {"dpo", "dpo_robust", "hinge", "exo", "r_dpo", "discopop"}


@pytest.mark.parametrize(
    ("divergence", "derivative"),
    [
        ("reverse_kl", lambda u: math.log(u) + 1),  # f(u) = u·log u
        ("forward_kl", lambda u: -1 / u),  # −log u
        ("js", lambda u: math.log(2 * u / (1 + u))),  # u·log u − (u+1)·log((u+1)/2)
        ("alpha", lambda u: (1 - u**-0.3) / 0.3),  # (u^(1−α) − (1−α)u − α) / (α(α−1)), α = 0.3
    ],
)
def test_scores_are_the_derivatives_of_f_less_their_constant(divergence: str, derivative: object) -> None:
    assert callable(derivative)
    expected = [derivative(math.exp(r)) - derivative(1.0) for r in RATIOS.tolist()]
    assert divergence_score(RATIOS, divergence, 0.3).tolist() == pytest.approx(expected, abs=1e-12)


def test_alpha_runs_from_the_reverse_to_the_forward_kl() -> None:
    towards_zero = divergence_score(RATIOS, "alpha", 1e-9)
    torch.testing.assert_close(towards_zero, RATIOS, rtol=1e-7, atol=1e-12)
    assert torch.equal(divergence_score(RATIOS, "alpha", 1.0), divergence_score(RATIOS, "forward_kl", 0.5))


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_agreement_with_the_reference_scores_nothing(divergence: str) -> None:
    assert divergence_score(torch.zeros(1), divergence, 0.5).item() == 0.0


def test_exponents_are_clamped_without_gradient_beyond() -> None:
    ratio = torch.tensor([-79.0, -81.0, -1e4], requires_grad=True)
    score = divergence_score(ratio, "forward_kl", 0.5)
    score.sum().backward()
    assert score[1:].tolist() == pytest.approx([-math.exp(LARGEST_EXPONENT)] * 2, rel=1e-6)
    assert ratio.grad is not None
    assert ratio.grad[0] > 1e34
    assert ratio.grad[1:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", WITH_DIVERGENCE)
def test_a_loss_takes_scores_in_the_place_of_log_ratios(name: str) -> None:
    pairs, _ = random_pairs()
    plain = value(name, pairs)
    assert torch.equal(value(name, pairs, {"f_divergence": "reverse_kl"}), plain)
    near = value(name, pairs, {"f_divergence": "alpha", "divergence_alpha": 1e-9})
    torch.testing.assert_close(near, plain)
    forward = value(name, pairs, {"f_divergence": "forward_kl"})
    torch.testing.assert_close(value(name, pairs, {"f_divergence": "alpha", "divergence_alpha": 1.0}), forward)
    assert not torch.allclose(forward, plain)


def test_value_by_hand() -> None:
    pairs, _ = random_pairs(rows=1)
    chosen, rejected = pairs.log_ratio_chosen.item(), pairs.log_ratio_rejected.item()
    logit = 0.7 * (math.exp(-rejected) - math.exp(-chosen))
    got = value("dpo", pairs, {"beta": 0.7, "f_divergence": "forward_kl"}).item()
    assert got == pytest.approx(math.log1p(math.exp(-logit)))
