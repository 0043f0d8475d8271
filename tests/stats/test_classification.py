from __future__ import annotations

from math import isnan

import numpy as np
import pytest

from fairlead.stats.classification import auc, auc_interval, cross_fit, fit_logistic, held_out_scores


def test_auc_by_hand() -> None:
    # Of the 6 comparisons 3 > 1, 3 > 2, 2 > 1 are won and 2 = 2 is half: with 0 lost to both.
    assert auc([3, 2, 0], [1, 2]) == pytest.approx(3.5 / 6)
    assert auc([1], [0]) == 1.0
    assert auc([0], [1]) == 0.0
    assert isnan(auc([], [1]))


def test_auc_mirrors() -> None:
    rng = np.random.default_rng(0)
    up, down = rng.integers(0, 9, 40), rng.integers(0, 7, 30)
    assert auc(up, down) == pytest.approx(1 - auc(down, up))
    one, other = auc_interval(up, down), auc_interval(down, up)
    assert (one.low, one.high) == (pytest.approx(1 - other.high), pytest.approx(1 - other.low))


@pytest.mark.parametrize("paired", [False, True])
def test_the_interval_covers_as_often_as_it_says(paired: bool) -> None:
    """Normals a standard deviation apart: AUC = Φ(1/√2) = 0.7602. Pairs share half of their variance."""
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        shared = rng.normal(size=60) if paired else np.zeros(60)
        up, down = shared + rng.normal(1, 1, 60), shared + rng.normal(0, 1, 60)
        truth = 0.7602 if not paired else 0.6915  # pooled over pairs: Φ(1/√(2·2)) = Φ(0.5)
        covered += truth in auc_interval(up, down, paired=paired)
    assert 0.91 <= covered / 400 <= 0.98


def test_too_few_for_an_interval() -> None:
    assert isnan(auc_interval([1], [0, 2]).low)
    assert auc_interval([2, 3], [0, 1]).high == 1.0


def test_logistic_regression_is_at_its_optimum() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(300, 4))
    signs = np.where(rng.random(300) < 1 / (1 + np.exp(-features @ [1.0, -2.0, 0.0, 0.5])), 1.0, -1.0)
    weights = rng.random(300) + 0.5
    theta = fit_logistic(features, signs, weights, ridge=0.7)

    def objective(at: np.ndarray) -> float:
        return float((weights * np.log1p(np.exp(-signs * (features @ at)))).sum() + 0.35 * (at**2).sum())

    for index in range(4):
        step = np.eye(4)[index] * 1e-5
        slope = (objective(theta + step) - objective(theta - step)) / 2e-5
        assert slope == pytest.approx(0, abs=1e-4)
    assert theta[:2] == pytest.approx([1.0, -2.0], abs=0.5)


def test_separable_data_stay_finite() -> None:
    features = np.array([[1.0], [2.0], [1e3]])
    theta = fit_logistic(features, np.ones(3), np.ones(3))
    assert np.isfinite(theta).all()
    assert theta[0] > 0


def held_out(features: np.ndarray, signs: np.ndarray, folds: np.ndarray) -> np.ndarray:
    return held_out_scores(features, folds, cross_fit(features, signs, folds))


def test_held_out_scores_do_not_see_their_own_fold() -> None:
    """Labels at random, one feature per example: what is learnt from a row says nothing about another."""
    rng = np.random.default_rng(2)
    signs, folds = rng.choice([-1.0, 1.0], 60), np.arange(60) % 5
    assert (held_out(np.eye(60), signs, folds) == 0).all()
    learnable = signs[:, None] + rng.normal(scale=0.1, size=(60, 1))
    assert (np.sign(held_out(learnable, signs, folds)) == signs).all()
    assert (held_out(learnable, signs, np.zeros(60, dtype=np.int64)) == 0).all()
    scaled = cross_fit(learnable * 1000, signs, folds)[0]
    assert scaled * 1000 == pytest.approx(cross_fit(learnable, signs, folds)[0])
