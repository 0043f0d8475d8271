"""Linear classifiers that need no library, and how well a score tells two classes apart.

N examples, D features, P positives, Q negatives.
"""

from __future__ import annotations

from math import nan, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairlead.stats.intervals import Interval

Floats = NDArray[np.float64]

MOST_STEPS = 30
CONVERGED = 1e-8


def auc(positives: ArrayLike, negatives: ArrayLike) -> float:
    """The chance that a random positive scores above a random negative, ties counting half (Mann–Whitney).

    nan where one of the two is empty.
    """
    above_P, _ = _placements(positives, negatives)
    return float(above_P.mean()) if above_P.size else nan


def auc_interval(positives: ArrayLike, negatives: ArrayLike, *, paired: bool = False, level: float = 0.95) -> Interval:
    """Confidence interval of `auc` from placement values (DeLong, DeLong and Clarke-Pearson 1988), clipped to [0, 1].

    paired: positive i and negative i belong together (the two sides of one comparison), so that pairs are what was
    drawn (Obuchowski 1997, for clusters). nan at both ends with fewer than two of either.
    """
    above_P, below_Q = _placements(positives, negatives)
    if min(above_P.size, below_Q.size) < 2:
        return Interval(nan, nan)
    if paired:
        variance = np.var(above_P + below_Q, ddof=1) / above_P.size
    else:
        variance = np.var(above_P, ddof=1) / above_P.size + np.var(below_Q, ddof=1) / below_Q.size
    half = NormalDist().inv_cdf(0.5 + level / 2) * sqrt(variance)
    middle = float(above_P.mean())
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def _placements(positives: ArrayLike, negatives: ArrayLike) -> tuple[Floats, Floats]:
    """The share of negatives below each positive, [P], and of positives above each negative, [Q]; both of mean AUC."""
    up_P, down_Q = np.asarray(positives, dtype=np.float64), np.asarray(negatives, dtype=np.float64)
    if not up_P.size or not down_Q.size:
        return np.empty(0), np.empty(0)
    return _share_below(up_P, np.sort(down_Q)), 1 - _share_below(down_Q, np.sort(up_P))


def _share_below(values: Floats, ordered: Floats) -> Floats:
    """The share of `ordered` below each value, equal ones counting half."""
    below, upto = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return np.asarray((below + upto) / (2 * ordered.size))


def fit_logistic(features_ND: Floats, signs_N: Floats, weights_N: Floats, *, ridge: float = 1.0) -> Floats:
    """Coefficients [D] of a logistic regression without intercept, by Newton's method.

    Minimises Σ w·log(1 + exp(−y·x·θ)) + ridge/2·|θ|², with y the `signs` (±1). For pairs x is the difference of the
    two sides and y is 1 throughout (Bradley–Terry with features); for single examples a column of ones is an intercept.
    """
    theta_D = np.zeros(features_ND.shape[1])
    signed_ND = features_ND * signs_N[:, None]
    for _ in range(MOST_STEPS):
        miss_N = 1 / (1 + np.exp(np.clip(signed_ND @ theta_D, -30, 30)))
        gradient_D = ridge * theta_D - signed_ND.T @ (weights_N * miss_N)
        curvature_N = weights_N * miss_N * (1 - miss_N)
        hessian_DD = (signed_ND * curvature_N[:, None]).T @ signed_ND + ridge * np.eye(theta_D.size)
        step_D = np.linalg.solve(hessian_DD, gradient_D)
        largest = float(np.abs(step_D).max(initial=0.0))
        theta_D -= step_D / max(1.0, largest / 5)  # far from the optimum Newton's steps may overshoot
        if largest < CONVERGED:
            break
    return theta_D


def cross_fit(
    features_ND: Floats, signs_N: Floats, folds_N: NDArray[np.int64], *, weights_N: Floats | None = None
) -> dict[int, Floats]:
    """For each fold the coefficients [D] of the logistic regression fitted to the other folds.

    Features are divided by their root mean square over the folds fitted to, so that the ridge weighs them alike; the
    coefficients are for the features as given. They are 0 where nothing is left to fit to.
    """
    given_N = np.ones(len(signs_N)) if weights_N is None else weights_N
    fitted = {}
    for fold in np.unique(folds_N):
        rest_N = folds_N != fold
        if not rest_N.any():
            fitted[int(fold)] = np.zeros(features_ND.shape[1])
            continue
        scale_D = np.sqrt((features_ND[rest_N] ** 2).mean(axis=0))
        scale_D = np.where(scale_D > 0, scale_D, 1.0)
        fitted[int(fold)] = fit_logistic(features_ND[rest_N] / scale_D, signs_N[rest_N], given_N[rest_N]) / scale_D
    return fitted


def held_out_scores(features_ND: Floats, folds_N: NDArray[np.int64], fitted: dict[int, Floats]) -> Floats:
    """The score x·θ of each example, [N], under the coefficients that `cross_fit` found without its fold."""
    scores_N = np.zeros(len(features_ND))
    for fold, theta_D in fitted.items():
        held_N = folds_N == fold
        scores_N[held_N] = features_ND[held_N] @ theta_D
    return scores_N
