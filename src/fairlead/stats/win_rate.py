"""How often one model's answers are preferred to another's: the share with its interval, and with length held equal.

An outcome is 1 for a win, 0 for a loss and ½ for a tie. N comparisons, R resamples.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, nan, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairlead.stats.intervals import BLOCK_VALUES, Interval, wilson

Floats = NDArray[np.float64]

RESAMPLES = 1000
PENALTY = 0.1
"""Weight of ½φ² beside the summed log-loss: a normal prior of variance 10 on the length coefficient."""
MOST_STEPS = 60
CLOSE = 1e-10


@dataclass(frozen=True, kw_only=True)
class WinRate:
    """The mean outcome of `n` comparisons with its interval, and what it is made of. nan where there are none."""

    value: float
    interval: Interval
    n: int
    wins: int
    losses: int
    ties: int


@dataclass(frozen=True, kw_only=True)
class LengthControlled:
    """The win rate that is left when both answers are equally long; `length_effect` is φ of `length_controlled`."""

    value: float
    interval: Interval
    n: int
    length_effect: float


def win_rate(
    outcomes: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> WinRate:
    """The mean of outcomes [N] and a confidence interval of it.

    The interval is Wilson's (1927), for a mean of values in [0, 1]: their variance is at most that of wins and losses
    of the same mean, so that ties make it wide rather than wrong. clusters: of each comparison, what it shares with
    others, such as its prompt; where two share one, clusters are drawn whole (percentile bootstrap). The order of the
    comparisons decides nothing. Raises ValueError for outcomes outside [0, 1], or clusters of another number.
    """
    outcomes_N = _checked(outcomes)
    n = outcomes_N.size
    names = list(range(n)) if clusters is None else list(clusters)
    if len(names) != n:
        raise ValueError(f"each of {n} comparisons needs a cluster, not {len(names)} of them")
    mean = float(outcomes_N.mean()) if n else nan
    if len(set(names)) == n:
        interval = mean_interval(mean, n, level)
    else:
        interval = _of_clusters(outcomes_N, names, seed, resamples, level)
    wins, losses = int((outcomes_N > 0.5).sum()), int((outcomes_N < 0.5).sum())
    return WinRate(value=mean, interval=interval, n=n, wins=wins, losses=losses, ties=n - wins - losses)


def mean_interval(mean: float, n: int, level: float = 0.95) -> Interval:
    """Wilson's interval of the mean of `n` values in [0, 1]; where all are 0 or 1, it is `wilson` exactly."""
    if n == 0 or mean in (0.0, 1.0):
        return wilson(round(mean * n) if n else 0, n, level)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    shrink = 1 + z * z / n
    centre = (mean + z * z / (2 * n)) / shrink
    half = z / shrink * sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    return Interval(centre - half, centre + half)


def length_controlled(
    outcomes: ArrayLike,
    length_differences: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    penalty: float = PENALTY,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> LengthControlled:
    """A length-controlled win rate in the manner of AlpacaEval 2 (Dubois et al. 2024), for one pair of models.

    Fits P(win) = σ(θ + φ tanh(d / s)) to outcomes [N], where d [N] is the length of the answer less that of its rival
    and s the standard deviation of d, and gives σ(θ): what is left where d = 0. clusters: as of `win_rate`; what
    shares one is resampled together.

    The paper's model has a third term, (ψ_m − ψ_b) γ_x, for how hard prompt x is; γ comes from a fit to the verdicts
    of all models of its leaderboard, and the rate is the mean over x of σ(θ + (ψ_m − ψ_b) γ_x). It is not in here: from
    one verdict, or a few, on each prompt γ_x cannot be told from chance. Without it the rate is that of prompts of
    average difficulty. And φ alone is held back, by a normal prior (`penalty`) that keeps it finite where length alone
    decides; the leaderboard's code holds back all coefficients by a lasso of cross-validated strength, and fits
    probabilities where outcomes here are wins, losses and ties.

    Where all outcomes are wins, or all losses, the rate is that and its interval Wilson's. Otherwise the interval is a
    percentile bootstrap, refitted to every sample. Raises ValueError for outcomes outside [0, 1], or another number of
    differences or clusters.
    """
    outcomes_N = _checked(outcomes)
    differences_N = np.asarray(length_differences, dtype=np.float64)
    if differences_N.shape != outcomes_N.shape:
        raise ValueError(f"{outcomes_N.size} outcomes need as many differences, not {differences_N.size}")
    n = outcomes_N.size
    names = list(range(n)) if clusters is None else list(clusters)
    if len(names) != n:
        raise ValueError(f"each of {n} comparisons needs a cluster, not {len(names)} of them")
    if n == 0 or outcomes_N.min() == outcomes_N.max() != 0.5:
        mean = float(outcomes_N.mean()) if n else nan
        return LengthControlled(
            value=mean, interval=mean_interval(mean, n, level), n=n, length_effect=0.0 if n else nan
        )
    outcomes_N, differences_N, cluster_N = _in_order(outcomes_N, differences_N, names)
    spread = float(differences_N.std(ddof=1)) if n > 1 else 0.0
    lengths_N = np.tanh(differences_N / spread) if spread > 0 else np.zeros(n)
    theta_1, phi_1 = _fit(outcomes_N, lengths_N, np.ones((1, n)), penalty)
    drawn = np.concatenate(
        [
            _fit(outcomes_N, lengths_N, weights_RK[:, cluster_N], penalty)[0]
            for weights_RK in _weights(int(cluster_N.max()) + 1, resamples, seed)
        ]
    )
    low, high = np.quantile(_sigmoid(drawn), [(1 - level) / 2, (1 + level) / 2])
    value = float(_sigmoid(theta_1)[0])
    return LengthControlled(value=value, interval=Interval(float(low), float(high)), n=n, length_effect=float(phi_1[0]))


def _in_order(
    outcomes_N: Floats, differences_N: Floats, names: Sequence[Hashable]
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Outcomes and differences by cluster, and the number of each one's; the order does not depend on the rows'."""
    members: dict[Hashable, list[tuple[float, float]]] = {}
    for name, outcome, difference in zip(names, outcomes_N.tolist(), differences_N.tolist(), strict=True):
        members.setdefault(name, []).append((difference, outcome))
    ordered = sorted(sorted(each) for each in members.values())
    flat = [(*pair, number) for number, each in enumerate(ordered) for pair in each]
    differences, outcomes, numbers = zip(*flat, strict=True)
    return np.array(outcomes), np.array(differences), np.array(numbers, dtype=np.int64)


def _fit(outcomes_N: Floats, lengths_N: Floats, weights_RN: Floats, penalty: float) -> tuple[Floats, Floats]:
    """θ [R] and φ [R] of the logistic regressions with these weights, by damped Newton steps.

    Where a sample holds only wins or only losses θ has no finite best value; it ends beyond ±10, where σ is 0 or 1.
    """
    theta_R, phi_R = np.zeros(len(weights_RN)), np.zeros(len(weights_RN))
    for _ in range(MOST_STEPS):
        p_RN = _sigmoid(theta_R[:, None] + phi_R[:, None] * lengths_N)
        slack_RN = weights_RN * (outcomes_N - p_RN)
        curve_RN = weights_RN * p_RN * (1 - p_RN)
        slope_R, slope_phi_R = slack_RN.sum(axis=1), slack_RN @ lengths_N - penalty * phi_R
        # The small constants keep the system solvable where every p has reached 0 or 1, or there are no lengths.
        a_R, b_R = curve_RN.sum(axis=1) + 1e-12, curve_RN @ lengths_N
        c_R = curve_RN @ lengths_N**2 + penalty + 1e-12
        determinant_R = a_R * c_R - b_R * b_R
        step_R = np.clip((c_R * slope_R - b_R * slope_phi_R) / determinant_R, -2, 2)
        step_phi_R = np.clip((a_R * slope_phi_R - b_R * slope_R) / determinant_R, -2, 2)
        theta_R, phi_R = np.clip(theta_R + step_R, -30, 30), phi_R + step_phi_R
        if max(np.abs(step_R[np.abs(theta_R) < 30]).max(initial=0.0), np.abs(step_phi_R).max()) < CLOSE:
            break
    return theta_R, phi_R


def _weights(n: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each of n items, or clusters, is drawn, in blocks [R, n]."""
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK_VALUES // (8 * n))
    for start in range(0, resamples, block):
        yield rng.multinomial(n, np.full(n, 1 / n), size=min(block, resamples - start)).astype(np.float64)


def _of_clusters(outcomes_N: Floats, names: Sequence[Hashable], seed: int, resamples: int, level: float) -> Interval:
    sums: dict[Hashable, list[float]] = {}
    for name, outcome in zip(names, outcomes_N.tolist(), strict=True):
        held = sums.setdefault(name, [0.0, 0.0])
        held[0] += outcome
        held[1] += 1
    sums_K2 = np.array(sorted(sums.values()))
    totals = np.concatenate([weights @ sums_K2 for weights in _weights(len(sums_K2), resamples, seed)])
    low, high = np.quantile(totals[:, 0] / totals[:, 1], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _checked(outcomes: ArrayLike) -> Floats:
    outcomes_N = np.asarray(outcomes, dtype=np.float64)
    if outcomes_N.ndim != 1 or not all(isfinite(each) and 0 <= each <= 1 for each in outcomes_N.tolist()):
        raise ValueError("one outcome in [0, 1] is needed for each comparison")
    return outcomes_N


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(values / 2)), dtype=np.float64)
