from __future__ import annotations

from math import isnan

import numpy as np

from fairlead.stats.intervals import Interval
from fairlead.stats.quantiles import median_interval


def test_order_statistics_of_a_textbook_case() -> None:
    # n = 100: 50 ± 9.8, so the 40th and the 61st value (the binomial interval of exact tables).
    assert median_interval(np.arange(1, 101)) == Interval(40, 61)


def test_the_interval_covers() -> None:
    rng = np.random.default_rng(0)
    covered = sum(0.0 in median_interval(rng.standard_cauchy(80)) for _ in range(400))
    assert covered / 400 >= 0.93


def test_few_values() -> None:
    assert median_interval([3.0]) == Interval(3.0, 3.0)
    assert median_interval([2.0, 1.0]) == Interval(1.0, 2.0)
    assert isnan(median_interval([]).low)
