"""Quantiles of a sample and how sure they are."""

from __future__ import annotations

from math import ceil, floor, nan, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from fairlead.stats.intervals import Interval


def median_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Distribution-free interval of the median from order statistics (Conover 1999, section 3.2), normal approximation.

    Nan at both ends with no values; the smallest and the largest value where there are too few for the level.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = ordered.size
    if not n:
        return Interval(nan, nan)
    half = NormalDist().inv_cdf(0.5 + level / 2) * sqrt(n) / 2
    low, high = max(0, floor(n / 2 - half) - 1), min(n - 1, ceil(n / 2 + half))
    return Interval(float(ordered[low]), float(ordered[high]))
