"""How far two shares are apart, with an interval that holds for few items: matched items, and two groups."""

from __future__ import annotations

from math import nan, sqrt
from statistics import NormalDist

from fairlead.stats.intervals import Interval


def matched_difference(b: int, c: int, n: int, level: float = 0.95) -> Interval:
    """Interval of the difference of two shares on the same `n` items, (b − c) / n.

    `b` items are a success for the first only, `c` for the second only. The interval is Wald's after ½ was added to
    each of the four cells, cut at ±1 (Agresti and Min 2005, "Wald + 2"): it has a width where no item differs. nan at
    both ends for n = 0. Raises ValueError unless 0 ≤ b, 0 ≤ c and b + c ≤ n.
    """
    if b < 0 or c < 0 or b + c > n:
        raise ValueError(f"counts of items that differ are at least 0 and at most {n} together, not {b} and {c}")
    if n == 0:
        return Interval(nan, nan)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    centre = (b - c) / (n + 2)
    half = z * sqrt((b + c + 1) - (b - c) ** 2 / (n + 2)) / (n + 2)
    return Interval(max(-1.0, centre - half), min(1.0, centre + half))


def group_difference(k1: int, n1: int, k2: int, n2: int, level: float = 0.95) -> Interval:
    """Interval of k1 / n1 − k2 / n2, the difference of the shares of two groups.

    Wald's after a success and a failure were added to either group, cut at ±1 (Agresti and Caffo 2000). nan at both
    ends where a group is empty. Raises ValueError unless 0 ≤ k ≤ n in both.
    """
    if not (0 <= k1 <= n1 and 0 <= k2 <= n2):
        raise ValueError(f"0 <= k <= n is needed in both groups, not {k1} of {n1} and {k2} of {n2}")
    if not (n1 and n2):
        return Interval(nan, nan)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    first, second = (k1 + 1) / (n1 + 2), (k2 + 1) / (n2 + 2)
    half = z * sqrt(first * (1 - first) / (n1 + 2) + second * (1 - second) / (n2 + 2))
    return Interval(max(-1.0, first - second - half), min(1.0, first - second + half))
