"""From what single items gave to figures with intervals: Wilson's for shares, ± 1.96 standard errors for KL, else
bootstrap by prompt.

Rows of one prompt are not independent: they are drawn together (a cluster), or the interval would be too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead.evaluation.results import Item, Measurement, number
from fairlead.evaluation.table import Statistic, kind_of
from fairlead.stats.intervals import Interval, bootstrap, wilson

Floats = NDArray[np.float64]

Z = NormalDist().inv_cdf(0.975)
"""Standard errors on either side of a mean that make a 95 % interval."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What one item gave to a measure.

    group: what items of one prompt share. slices: the parts of the items that it belongs to, by what they are parts of.
    """

    measure: str
    id: str
    value: float
    group: str
    slices: Mapping[str, str] = field(default_factory=dict)


def as_items(observed: Sequence[Observed]) -> list[Item]:
    """The items as a run keeps them."""
    return [Item(measure=each.measure, id=each.id, value=each.value, group=each.group) for each in observed]


def estimate(observed: Sequence[Observed], *, seed: int = 0) -> list[Measurement]:
    """A figure for each measure over all of its items, and for each slice of them, with 95 % intervals.

    Measures come in the order in which they first stand there, their slices by name.
    """
    found: list[Measurement] = []
    for name in dict.fromkeys(each.measure for each in observed):
        own = sorted((each for each in observed if each.measure == name), key=lambda each: each.id)
        found.append(_figure(name, own, {}, seed))
        parts = sorted({part for each in own for part in each.slices.items()})
        for kind, value in parts:
            found.append(_figure(name, [each for each in own if each.slices.get(kind) == value], {kind: value}, seed))
    return found


def _figure(name: str, observed: Sequence[Observed], part: Mapping[str, str], seed: int) -> Measurement:
    kind = kind_of(name)
    values = np.array([each.value for each in observed])
    groups = [each.group for each in observed]
    if (
        kind.unit == "share"
        and kind.counted
        and is_binary(values)
        and (len(set(groups)) == len(groups) or len(set(values)) == 1)
    ):
        # Where all items agree, the bootstrap would give no width: each prompt counts once then.
        n = len(set(groups))
        interval = wilson(round(float(values.mean()) * n), n)
    elif kind.unit == "nats":
        half = Z * standard_error(values, groups)
        interval = Interval(float(values.mean()) - half, float(values.mean()) + half)
    else:
        interval = bootstrap_clustered(values, groups, kind.statistic, seed=seed)
    return Measurement(
        name=name,
        value=number(float(np.median(values) if kind.statistic == "median" else np.mean(values))),
        low=number(interval.low),
        high=number(interval.high),
        n=len(values),
        unit=kind.unit,
        direction=kind.direction,
        slice=part,
        meaning=kind.meaning,
    )


def is_binary(values: Floats) -> bool:
    """Whether every value is 0 or 1."""
    return bool(np.isin(values, (0.0, 1.0)).all())


def standard_error(values: Floats, groups: Sequence[str]) -> float:
    """Standard error of the mean of values, [n], of which those of one group are not independent; nan for one group.

    √(G/(G − 1) · Σ_g (Σ_{i∈g} (x_i − x̄))²) / n; for groups of one this is s/√n (Liang and Zeger 1986).
    """
    parts = _by_group(values - values.mean(), groups)
    if len(parts) < 2:
        return nan
    squares = sum(float(part.sum()) ** 2 for part in parts)
    return sqrt(len(parts) / (len(parts) - 1) * squares) / values.size


def bootstrap_clustered(
    values: Floats, groups: Sequence[str], statistic: Statistic = "mean", *, seed: int = 0, level: float = 0.95
) -> Interval:
    """Percentile bootstrap interval of the mean or the median of values, [n]; groups are drawn whole. nan for a single
    group.

    The cluster bootstrap (Davison and Hinkley 1997, section 3.8). Neither the order of the items nor the names of the
    groups change it, beyond which draw falls on which group.
    """
    parts = _by_group(values, groups)
    if len(parts) < 2:  # a prompt alone says nothing of how prompts differ
        return Interval(nan, nan)
    if statistic == "mean":
        sums, counts = np.array([part.sum() for part in parts]), np.array([part.size for part in parts])
        return bootstrap(
            np.arange(len(parts)), lambda index, axis: _ratio(index, sums, counts, axis), seed=seed, level=level
        )
    if all(part.size == 1 for part in parts):
        return bootstrap(np.concatenate(parts), np.median, seed=seed, level=level)
    return bootstrap(
        np.arange(len(parts)),
        lambda index: np.median(np.concatenate([parts[int(i)] for i in index])),
        seed=seed,
        level=level,
    )


def _by_group(values: Floats, groups: Sequence[str]) -> list[Floats]:
    """The values of each group, the groups by name."""
    members: dict[str, list[float]] = {}
    for group, value in zip(groups, values.tolist(), strict=True):
        members.setdefault(group, []).append(value)
    return [np.array(sorted(members[group])) for group in sorted(members)]


def _ratio(index: Any, sums: Floats, counts: Any, axis: int) -> Any:
    """The mean over the items of drawn groups: groups may differ in size, so that it is a ratio of two sums."""
    drawn = index.astype(np.int64)
    return sums[drawn].sum(axis=axis) / counts[drawn].sum(axis=axis)
