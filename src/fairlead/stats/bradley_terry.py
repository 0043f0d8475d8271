"""The strengths of several models from who beat whom (Bradley and Terry 1952). M models, P prompts, R resamples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairlead.stats.intervals import BLOCK_VALUES, Interval

Floats = NDArray[np.float64]

RESAMPLES = 1000
MOST_STEPS = 100
CLOSE = 1e-10


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """Log strengths [M] in nats, with mean zero: P(i beats j) = σ(values[i] − values[j]).

    intervals: of each. unfit: bootstrap samples that had no finite strengths, and that the intervals leave out.
    """

    values: tuple[float, ...]
    intervals: tuple[Interval, ...]
    unfit: int


def strengths(wins: ArrayLike) -> Floats:
    """The maximum-likelihood log strengths [M] of M models, in nats, with mean zero.

    wins [M, M]: how often the row's model beat the column's; a tie is half a win for both. The likelihood is concave
    and is climbed by Newton's steps. Strengths are finite where every model can be reached from every other by a chain
    of wins (Ford 1957). Raises ValueError where they are not, and for a table that is not square or has negative
    entries.
    """
    wins_MM = np.array(wins, dtype=np.float64)
    if wins_MM.ndim != 2 or wins_MM.shape[0] != wins_MM.shape[1] or not (wins_MM >= 0).all():
        raise ValueError(f"a square table of wins is needed, none negative, not one of shape {wins_MM.shape}")
    np.fill_diagonal(wins_MM, 0.0)
    if not _are_connected(wins_MM[None])[0]:
        raise ValueError("some models never beat, or never lost to, the others: their strengths have no finite value")
    values_M: Floats = _climb(wins_MM[None])[0]
    return values_M


def bradley_terry(wins: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95) -> Strengths:
    """The strengths of M models as `strengths` gives them, and percentile bootstrap intervals over prompts.

    wins [P, M, M]: a table for each prompt, as `strengths` takes it; their sum decides. Prompts are drawn whole, since
    what makes one hard is shared by all that is said of it. The order of the prompts decides nothing. Raises ValueError
    as `strengths` does, and for tables of another shape.
    """
    wins_PMM = np.array(wins, dtype=np.float64)
    if wins_PMM.ndim != 3:
        raise ValueError(f"a table of wins for each prompt is needed, [P, M, M], not an array of {wins_PMM.shape}")
    values_M = strengths(wins_PMM.sum(axis=0))
    drawn, unfit = [], 0
    for wins_RMM in _resampled(wins_PMM, resamples, seed):
        fit_R = _are_connected(wins_RMM)
        unfit += int((~fit_R).sum())
        if fit_R.any():
            drawn.append(_climb(wins_RMM[fit_R]))
    tails = [(1 - level) / 2, (1 + level) / 2]
    ends = np.quantile(np.concatenate(drawn), tails, axis=0) if drawn else np.full((2, len(values_M)), nan)
    intervals = tuple(Interval(float(low), float(high)) for low, high in ends.T)
    return Strengths(values=tuple(values_M.tolist()), intervals=intervals, unfit=unfit)


def _resampled(wins_PMM: Floats, resamples: int, seed: int) -> Iterator[Floats]:
    """Sums of the tables of as many prompts drawn with replacement, in blocks [R, M, M]."""
    prompts, models = len(wins_PMM), wins_PMM.shape[1]
    flat_PS = wins_PMM.reshape(prompts, models * models)
    flat_PS = flat_PS[np.lexsort(flat_PS.T)]  # so that a draw does not depend on the order of the prompts
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK_VALUES // max(prompts, models * models, 1))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        weights_RP = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=size).astype(np.float64)
        wins_RMM = (weights_RP @ flat_PS).reshape(size, models, models)
        wins_RMM[:, range(models), range(models)] = 0.0
        yield wins_RMM


def _climb(wins_RMM: Floats) -> Floats:
    """The strengths [R, M] at which each likelihood has its one maximum, mean zero."""
    games_RMM = wins_RMM + wins_RMM.transpose(0, 2, 1)
    values_RM = np.zeros(wins_RMM.shape[:2])
    eye_MM = np.eye(wins_RMM.shape[1])
    for _ in range(MOST_STEPS):
        p_RMM = 0.5 * (1 + np.tanh((values_RM[:, :, None] - values_RM[:, None, :]) / 2))
        slope_RM = wins_RMM.sum(axis=2) - (games_RMM * p_RMM).sum(axis=2)
        curve_RMM = games_RMM * p_RMM * (1 - p_RMM)
        # Strengths are known up to a constant: adding ones, as their mean of zero allows, makes it regular.
        hessian_RMM = curve_RMM.sum(axis=2)[:, :, None] * eye_MM - curve_RMM + 1.0
        step_RM = np.clip(np.linalg.solve(hessian_RMM, slope_RM[:, :, None])[:, :, 0], -1, 1)
        values_RM = values_RM + step_RM - step_RM.mean(axis=1, keepdims=True)
        if np.abs(step_RM).max(initial=0.0) < CLOSE:
            break
    return values_RM


def _are_connected(wins_RMM: Floats) -> NDArray[np.bool_]:
    """Of each table, whether chains of wins lead from every model to every other."""
    models = wins_RMM.shape[1]
    reach_RMM = (wins_RMM > 0) | np.eye(models, dtype=bool)
    for _ in range(max(1, models.bit_length())):
        reach_RMM = reach_RMM @ reach_RMM
    return np.asarray(reach_RMM.all(axis=(1, 2)))
