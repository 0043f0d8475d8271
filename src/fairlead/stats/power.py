"""How much data a comparison needs, and what the data at hand can show: sample sizes and power for accuracies.

Two models are compared by the share of items that each gets right: on the same items (paired, McNemar's test) or each
on items of its own (unpaired, the test of two proportions). `power` is the chance to find a difference that is there,
`alpha` the chance to find one that is not; `sides` is 1 where only one direction counts, else 2.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, nan, sqrt
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Method = Literal["continuity", "normal"]
Sides = Literal[1, 2]

POWER, ALPHA = 0.8, 0.05
EXACT_ITEMS = 2000
"""Items up to which power is summed exactly; beyond, the normal approximation is as good."""
FINEST = 1e-4
"""Differences are found to a hundredth of a percentage point."""
NEGLIGIBLE = 8
"""Standard deviations beyond which a binomial distribution holds less than rounding does."""


def unpaired_items(
    first: float,
    second: float,
    *,
    power: float = POWER,
    alpha: float = ALPHA,
    sides: Sides = 2,
    method: Method = "continuity",
) -> int:
    """Items that each of two models needs, so that a test of two proportions tells accuracy `first` from `second`.

    The normal approximation (Fleiss, Levin and Paik 2003, eq. 4.14), by default for the test with continuity correction
    (Fleiss, Tytun and Ury 1980), which is what exact tests come to. Raises ValueError for shares outside [0, 1], for
    equal ones, and for power or alpha outside (0, 1).
    """
    _check(power, alpha)
    if not (0 <= first <= 1 and 0 <= second <= 1) or first == second:
        raise ValueError(f"two different shares between 0 and 1 are needed, not {first} and {second}")
    middle, difference = (first + second) / 2, abs(first - second)
    under_null, under_difference = 2 * middle * (1 - middle), first * (1 - first) + second * (1 - second)
    root = _z(alpha / sides) * sqrt(under_null) + _z(1 - power) * sqrt(under_difference)
    return _items((root / difference) ** 2, difference, method)


def paired_items(
    lost: float,
    gained: float,
    *,
    power: float = POWER,
    alpha: float = ALPHA,
    sides: Sides = 2,
    method: Method = "continuity",
) -> int:
    """Items that two models must both answer, so that McNemar's test finds their difference `lost` − `gained`.

    `lost` is the share of items that only the first model gets right, `gained` that only the second does. The normal
    approximation (Connor 1987, Biometrics 43, 207–211), by default for the test with continuity correction: solving
    n·δ − 1 = √n·(z_α·√ψ + z_β·√(ψ − δ²)) for n, with ψ = lost + gained and δ = |lost − gained|. Raises ValueError for
    shares below 0, equal or of a sum above 1, and for power or alpha outside (0, 1).
    """
    _check(power, alpha)
    _check_discordant(lost, gained)
    discordant, difference = lost + gained, abs(lost - gained)
    if difference == 0:
        raise ValueError("lost and gained are equal: there is no difference to find")
    root = _z(alpha / sides) * sqrt(discordant) + _z(1 - power) * sqrt(max(0.0, discordant - difference**2))
    return _items((root / difference) ** 2, difference, method)


def paired_power(items: int, lost: float, gained: float, *, alpha: float = ALPHA, sides: Sides = 2) -> float:
    """The chance that the exact McNemar test finds the first model better on `items` items; exact, by enumeration.

    Shares as for `paired_items`, with `lost` the larger; a finding in the wrong direction does not count. Duffy 1984
    (Biometrics 40, 1005–1015): over all numbers m of discordant items, P(m)·P(the test rejects given m). Time grows
    with √items · items. Raises ValueError for shares below 0 or of a sum above 1, or alpha outside (0, 1).
    """
    _check(POWER, alpha)
    _check_discordant(lost, gained)
    discordant = lost + gained
    if items == 0 or discordant == 0:
        return 0.0
    centre, spread = items * discordant, NEGLIGIBLE * sqrt(items * discordant * (1 - discordant)) + 1
    low, high = max(0, int(centre - spread)), min(items, int(centre + spread) + 1)
    chances = _binomial(items, discordant)
    rejected = [_rejection(m, lost / discordant, alpha / sides) for m in range(low, high + 1)]
    return float(chances[low : high + 1] @ np.array(rejected))


def unpaired_difference(
    items: int, first: float = 0.5, *, power: float = POWER, alpha: float = ALPHA, sides: Sides = 2
) -> float:
    """The smallest rise above accuracy `first` that `items` items for each model can show; nan where none can be."""
    return _smallest(
        1 - first,
        lambda rise: items > 0 and unpaired_items(first, first + rise, power=power, alpha=alpha, sides=sides) <= items,
    )


def paired_difference(
    items: int, discordant: float, *, power: float = POWER, alpha: float = ALPHA, sides: Sides = 2
) -> float:
    """The smallest difference that shows on `items` items where the models disagree on a share `discordant` of them.

    nan where even one-sided disagreement does not show. By exact power up to `EXACT_ITEMS` items.
    """
    return _smallest(
        discordant,
        lambda difference: _shows(
            items, (discordant + difference) / 2, (discordant - difference) / 2, power=power, alpha=alpha, sides=sides
        ),
    )


def detectable_loss(
    items: int, gained: float = 0.0, *, power: float = POWER, alpha: float = ALPHA, sides: Sides = 1
) -> float:
    """The smallest share of right answers lost, gains taken off, that shows on `items` items; nan where none does.

    `gained` is the share of items that only the new model gets right. By default the one-sided exact test: did the new
    model get worse? By exact power up to `EXACT_ITEMS` items.
    """
    return _smallest(
        1 - 2 * gained,
        lambda loss: _shows(items, gained + loss, gained, power=power, alpha=alpha, sides=sides),
    )


def _shows(items: int, lost: float, gained: float, *, power: float, alpha: float, sides: Sides) -> bool:
    if items <= EXACT_ITEMS:
        return paired_power(items, lost, gained, alpha=alpha, sides=sides) >= power
    return paired_items(lost, gained, power=power, alpha=alpha, sides=sides) <= items


def _items(plain: float, difference: float, method: Method) -> int:
    """Whole items, with room for the correction: n/4·(1 + √(1 + 4/(n·δ)))² (Fleiss, Tytun and Ury 1980, eq. 2)."""
    if method == "continuity":
        plain = plain / 4 * (1 + sqrt(1 + 4 / (plain * difference))) ** 2
    return ceil(plain - 1e-9)


def _smallest(most: float, shows: Callable[[float], bool]) -> float:
    """The smallest difference up to `most` that shows, by bisection, to `FINEST`; nan where `most` does not."""
    low, high = 0.0, most
    if high < FINEST or not shows(high):
        return nan
    while high - low > FINEST:
        middle = (low + high) / 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def _rejection(m: int, share: float, tail: float) -> float:
    """P(the test rejects | m discordant items), of which each is a loss with probability `share`."""
    at_least = _upper_tails(m, 0.5)
    (rejecting,) = np.nonzero(at_least <= tail)
    return float(_upper_tails(m, share)[rejecting[0]]) if rejecting.size else 0.0


def _upper_tails(n: int, share: float) -> Floats:
    """P(X ≥ k) for X ~ Binomial(n, share) and k = 0 … n."""
    tails: Floats = np.cumsum(_binomial(n, share)[::-1])[::-1]
    return tails


def _binomial(n: int, share: float) -> Floats:
    """P(X = k) for X ~ Binomial(n, share) and k = 0 … n; sums to 1 within rounding."""
    if share in (0, 1):
        certain: Floats = np.eye(1, n + 1, n if share else 0)[0]
        return certain
    k = np.arange(n + 1)
    logs = _log_factorials(n)
    chances: Any = np.exp(logs[n] - logs - logs[::-1] + k * np.log(share) + (n - k) * np.log1p(-share))
    return np.asarray(chances, dtype=np.float64)


def _log_factorials(n: int) -> Floats:
    """log k! for k = 0 … n."""
    return np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))


def _z(tail: float) -> float:
    """The value that a standard normal variable exceeds with probability `tail`."""
    return NormalDist().inv_cdf(1 - tail)


def _check(power: float, alpha: float) -> None:
    if not 0 < power < 1 or not 0 < alpha < 1:
        raise ValueError(f"power and alpha lie between 0 and 1, not {power} and {alpha}")


def _check_discordant(lost: float, gained: float) -> None:
    if lost < 0 or gained < 0 or lost + gained > 1 + 1e-12:
        raise ValueError(f"shares of discordant items lie between 0 and 1 together, not {lost} and {gained}")
