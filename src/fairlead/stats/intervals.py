"""How sure a measured figure is: Wilson and bootstrap intervals, McNemar's tests for two models on the same items."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import comb, erfc, nan, sqrt
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Statistic = Callable[..., Any]
Contrast = Callable[[Any, Any], Any]

BLOCK_VALUES = 1 << 22
"""Resampled values held at once (32 MiB of float64): memory does not grow with items × resamples."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval in the units of what it is about. Both ends are nan when nothing was observed."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def width(self) -> float:
        return self.high - self.low


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """A test's statistic and its p-value, a probability."""

    __test__ = False  # the name starts with "Test"; this is no pytest class

    statistic: float
    p_value: float


def wilson(k: int, n: int, level: float = 0.95) -> Interval:
    """Score interval of a proportion: `k` successes in `n` trials (Wilson 1927, no continuity correction).

    Always within [0, 1]; k = 0 gives low = 0 and k = n gives high = 1, exactly. n = 0 gives nan at both ends.
    Raises ValueError unless 0 ≤ k ≤ n and 0 < level < 1.
    """
    _check_level(level)
    if not 0 <= k <= n:
        raise ValueError(f"wilson needs 0 <= k <= n, not k={k}, n={n}")
    if n == 0:
        return Interval(nan, nan)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share, shrink = k / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / shrink
    half = z / shrink * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(0.0 if k == 0 else centre - half, 1.0 if k == n else centre + half)


def bootstrap(
    values: ArrayLike,
    statistic: Statistic = np.mean,
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of `statistic` over items, one number per item, [n] (Efron 1979).

    `statistic` maps [n] to a number; one that takes `axis`, as numpy's do, is called once for many resamples. The same
    seed gives the same interval. No items give nan at both ends. Raises ValueError on a level outside (0, 1).
    """
    items = _items(values)
    drawn = [_apply(statistic, items[index_RN]) for index_RN in _resample(items.size, resamples, seed)]
    return _percentile(drawn, level)


def bootstrap_paired(
    before: ArrayLike,
    after: ArrayLike,
    statistic: Statistic = np.mean,
    *,
    contrast: Contrast = np.subtract,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of `contrast(statistic(after), statistic(before))`, two values per item, [n] each.

    Items are drawn whole, so what makes an item hard for both models cancels. The default contrast is the difference;
    `relative_change` gives the share by which the statistic moved. Raises ValueError when the lengths differ.
    """
    first, second = _items(before), _items(after)
    if first.size != second.size:
        raise ValueError(f"paired values need one before and one after per item, not {first.size} and {second.size}")
    drawn = [
        np.asarray(contrast(_apply(statistic, second[index_RN]), _apply(statistic, first[index_RN])))
        for index_RN in _resample(first.size, resamples, seed)
    ]
    return _percentile(drawn, level)


def relative_change(after: Any, before: Any) -> Any:
    """after / before − 1: −0.38 is a fall by 38 %. nan where `before` is 0."""
    before = np.asarray(before, dtype=np.float64)
    return np.asarray(after) / np.where(before == 0, nan, before) - 1


def mcnemar(b: int, c: int, *, method: Literal["exact", "chi2", "continuity"] = "exact") -> TestResult:
    """McNemar's two-sided test that two models are right equally often on the same items (McNemar 1947).

    `b` items only the first model got right, `c` items only the second did. `chi2` is (b − c)² / (b + c) on one degree
    of freedom; `continuity` is (|b − c| − 1)² / (b + c) (Edwards 1948); `exact` doubles the smaller binomial tail and
    its statistic is min(b, c). No discordant item gives p = 1. Raises ValueError on a negative count.
    """
    n = _discordant(b, c)
    if method == "exact":
        smaller = min(b, c)
        return TestResult(statistic=float(smaller), p_value=min(1.0, 2 * _upper_tail(n - smaller, n)))
    if n == 0:
        return TestResult(statistic=0.0, p_value=1.0)
    excess = abs(b - c) if method == "chi2" else max(0, abs(b - c) - 1)
    statistic = excess * excess / n
    return TestResult(statistic=statistic, p_value=erfc(sqrt(statistic / 2)))


def mcnemar_one_sided(b: int, c: int) -> TestResult:
    """Exact one-sided McNemar test that the new model is worse on the same items.

    `b` items only the old model got right, `c` items only the new one did. The p-value is P(X ≥ b) for
    X ~ Binomial(b + c, ½): small means that the new model lost more than chance would take. The statistic is b.
    No discordant item gives p = 1. Raises ValueError on a negative count.
    """
    return TestResult(statistic=float(b), p_value=_upper_tail(b, _discordant(b, c)))


def _upper_tail(k: int, n: int) -> float:
    """P(X ≥ k) for X ~ Binomial(n, ½), summed in whole numbers and divided once."""
    way = total = comb(n, k)
    for successes in range(k, n):
        way = way * (n - successes) // (successes + 1)
        total += way
    return total / (1 << n)


def _discordant(b: int, c: int) -> int:
    if b < 0 or c < 0:
        raise ValueError(f"counts of discordant items cannot be negative: b={b}, c={c}")
    return b + c


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"a confidence level lies between 0 and 1, not {level}")


def _items(values: ArrayLike) -> Floats:
    items = np.asarray(values, dtype=np.float64)
    if items.ndim != 1:
        raise ValueError(f"one number per item is needed, not an array of shape {items.shape}")
    return items


def _resample(n: int, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Indices of `resamples` draws of n items with replacement, in blocks [R, n]; no block for n = 0."""
    if n == 0:
        return
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK_VALUES // n)
    for start in range(0, resamples, block):
        yield rng.integers(0, n, size=(min(block, resamples - start), n))


def _apply(statistic: Statistic, values_RN: Floats) -> Floats:
    if _takes_axis(statistic):
        return np.asarray(statistic(values_RN, axis=1), dtype=np.float64)
    return np.array([statistic(row) for row in values_RN], dtype=np.float64)


def _takes_axis(statistic: Statistic) -> bool:
    try:
        return "axis" in inspect.signature(statistic).parameters
    except (TypeError, ValueError):  # some built-in callables show no signature
        return False


def _percentile(drawn: list[Floats], level: float) -> Interval:
    _check_level(level)
    if not drawn:
        return Interval(nan, nan)
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return Interval(float(low), float(high))
