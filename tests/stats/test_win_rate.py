from __future__ import annotations

from math import exp, isnan, log

import numpy as np
import pytest
import torch

from fairlead.stats.intervals import wilson
from fairlead.stats.win_rate import length_controlled, mean_interval, win_rate


def sigmoid(value: float) -> float:
    return 1 / (1 + exp(-value))


def logit(share: float) -> float:
    return log(share / (1 - share))


def test_without_ties_it_is_wilson() -> None:
    found = win_rate([1.0] * 81 + [0.0] * 182)
    published = wilson(81, 263)
    assert found.value == pytest.approx(81 / 263)
    assert (found.interval.low, found.interval.high) == pytest.approx((published.low, published.high))
    assert (found.n, found.wins, found.losses, found.ties) == (263, 81, 182, 0)


def test_ties_are_half_and_no_certainty() -> None:
    found = win_rate([1, 0.5, 0, 0.5])
    assert (found.value, found.ties) == (0.5, 2)
    all_ties = win_rate([0.5] * 4)
    assert all_ties.interval == found.interval
    assert all_ties.interval.width > 0.5


def test_edges() -> None:
    assert mean_interval(1.0, 7) == wilson(7, 7)
    nothing = win_rate([])
    assert isnan(nothing.value)
    assert isnan(nothing.interval.low)
    with pytest.raises(ValueError, match="outcome in"):
        win_rate([2.0])
    with pytest.raises(ValueError, match="cluster"):
        win_rate([1.0], ["a", "b"])


def test_answers_to_one_prompt_count_as_less_than_answers_to_many() -> None:
    outcomes = [1.0] * 50 + [0.0] * 50
    alone = win_rate(outcomes)
    together = win_rate(outcomes, [n // 10 for n in range(100)])
    assert together.value == alone.value
    assert together.interval.width > 2 * alone.interval.width
    shuffled = np.random.default_rng(1).permutation(100)
    again = win_rate([outcomes[n] for n in shuffled], [int(n) // 10 for n in shuffled])
    assert again.interval == together.interval


def test_two_lengths_in_closed_form() -> None:
    """With differences of ±d the model is saturated: θ is the mean of the two logits, φ half their distance / tanh."""
    longer, shorter = [1.0] * 80 + [0.0] * 20, [1.0] * 40 + [0.0] * 60
    differences = [100.0] * 100 + [-100.0] * 100
    found = length_controlled(longer + shorter, differences, penalty=0.0)
    assert found.value == pytest.approx(sigmoid((logit(0.8) + logit(0.4)) / 2), abs=1e-9)
    x = np.tanh(100 / np.std(differences, ddof=1))
    assert found.length_effect == pytest.approx((logit(0.8) - logit(0.4)) / (2 * x), abs=1e-8)
    assert found.value in found.interval


def test_without_length_differences_it_is_the_win_rate() -> None:
    found = length_controlled([1, 1, 0, 0.5], [0, 0, 0, 0])
    assert found.value == pytest.approx(0.625)
    assert found.length_effect == 0


def drawn(theta: float, phi: float, n: int = 4000) -> tuple[list[float], list[float]]:
    """Outcomes of the model itself, with answers that are longer more often than not."""
    rng = np.random.default_rng(3)
    differences = rng.normal(60, 100, n)
    p = 1 / (1 + np.exp(-(theta + phi * np.tanh(differences / differences.std(ddof=1)))))
    return (rng.random(n) < p).astype(float).tolist(), differences.tolist()


def test_a_lead_that_length_made_is_taken_away() -> None:
    outcomes, differences = drawn(0.0, 2.0)
    found = length_controlled(outcomes, differences)
    assert win_rate(outcomes).value > 0.62
    assert found.value == pytest.approx(0.5, abs=0.04)
    assert found.length_effect == pytest.approx(2.0, abs=0.25)
    assert 0.5 in found.interval


def test_it_finds_the_optimum_that_torch_finds() -> None:
    outcomes, differences = drawn(0.4, -1.0, n=300)
    outcomes[::7] = [0.5] * len(outcomes[::7])
    y, d = torch.tensor(outcomes, dtype=torch.float64), torch.tensor(differences, dtype=torch.float64)
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    x = torch.tanh(d / d.std())
    optimizer = torch.optim.LBFGS([weights], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = weights[0] + weights[1] * x
        value = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="sum")
        value = value + 0.5 * 0.1 * weights[1] ** 2
        value.backward()
        return value

    optimizer.step(loss)
    found = length_controlled(outcomes, differences)
    assert found.value == pytest.approx(sigmoid(float(weights[0].detach())), abs=1e-6)
    assert found.length_effect == pytest.approx(float(weights[1].detach()), abs=1e-5)


def test_it_is_the_logistic_regression_of_other_libraries() -> None:
    """Coefficients printed by statsmodels 0.15.0 (GLM, binomial) and scikit-learn 1.9.1 (LogisticRegression, C = 1 / λ,
    a tie as half a win and half a loss by sample weights), of these 60 comparisons."""
    differences = [(37 * i) % 101 - 40 for i in range(60)]
    outcomes = [0.5 if i % 7 == 3 else float((i * 13) % 10 < (6 if differences[i] > 0 else 3)) for i in range(60)]
    plain = length_controlled(outcomes, differences, penalty=0.0, resamples=10)
    assert (logit(plain.value), plain.length_effect) == pytest.approx((-0.28956982, 0.64487193), abs=1e-7)
    held_back = length_controlled(outcomes, differences, penalty=0.1, resamples=10)
    assert (logit(held_back.value), held_back.length_effect) == pytest.approx((-0.28736491, 0.6341887), abs=1e-6)


def test_where_length_alone_decides_nothing_is_left() -> None:
    found = length_controlled([1.0] * 20 + [0.0] * 20, [50.0] * 20 + [-50.0] * 20)
    assert found.value == pytest.approx(0.5)
    assert found.interval.low < 0.5 < found.interval.high
    assert 3 < found.length_effect < 10


def test_only_wins() -> None:
    found = length_controlled([1.0] * 9, list(range(9)))
    assert (found.value, found.interval) == (1.0, wilson(9, 9))
    assert isnan(length_controlled([], []).value)


def test_the_order_of_rows_decides_nothing() -> None:
    outcomes, differences = drawn(0.2, 1.0, n=80)
    order = np.random.default_rng(0).permutation(80)
    again = length_controlled([outcomes[n] for n in order], [differences[n] for n in order])
    assert again == length_controlled(outcomes, differences)
    with pytest.raises(ValueError, match="as many differences"):
        length_controlled(outcomes, differences[1:])


def test_length_control_draws_answers_to_one_prompt_together() -> None:
    outcomes, differences = drawn(0.3, 1.0, n=60)
    alone = length_controlled(outcomes, differences)
    assert length_controlled(outcomes, differences, list(range(60))) == alone
    fivefold = length_controlled(outcomes * 5, differences * 5, list(range(60)) * 5, penalty=5 * 0.1)
    apart = length_controlled(outcomes * 5, differences * 5, penalty=5 * 0.1)
    assert fivefold.value == pytest.approx(apart.value)
    assert fivefold.interval.width > 1.7 * apart.interval.width
    order = np.random.default_rng(0).permutation(300)
    again = length_controlled(
        [(outcomes * 5)[n] for n in order],
        [(differences * 5)[n] for n in order],
        [f"prompt {n % 60}" for n in order],
        penalty=5 * 0.1,
    )
    assert again == fivefold
    with pytest.raises(ValueError, match="needs a cluster"):
        length_controlled(outcomes, differences, [1])
