"""Two models on the same items: the difference, its interval, a paired test, and what so many items can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Literal

import numpy as np

from fairlead.evaluation.estimates import Floats, bootstrap_clustered
from fairlead.evaluation.results import Direction, Item, number
from fairlead.evaluation.table import kind_of
from fairlead.stats.intervals import Interval, bootstrap, mcnemar, mcnemar_one_sided
from fairlead.stats.power import ALPHA, detectable_loss, paired_difference

ONE_SIDED = ("factual_accuracy",)
"""Measures of which only a loss is asked for."""
DISAGREEMENT = 0.2
"""Share of items on which models are taken to differ where they differ on none."""

Test = Literal["mcnemar", "mcnemar_one_sided", "bootstrap"]
Verdict = Literal["better", "worse", "more", "less", "not told apart"]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One measure of two models on the items that both have.

    before, after: the figure of each on these items; difference: after less before, with its 95 % interval, by
    bootstrap over prompts. n: the items; alone: items that only one of the two has, left out. lost, gained: items on
    which the first or the second has the higher value. test and p_value: McNemar's exact test where items are right or
    wrong and each has a prompt of its own, one-sided (is the second worse?) for factual accuracy; else the interval
    alone says. detectable: the smallest difference that the test finds on so many items with power 0.8, models
    disagreeing as these do; None where no difference shows, or no test is made.
    """

    name: str
    unit: str
    direction: Direction
    before: float | None
    after: float | None
    difference: float | None
    low: float | None
    high: float | None
    n: int
    alone: int
    lost: int
    gained: int
    test: Test
    p_value: float | None
    detectable: float | None
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class AgainstBaseline:
    """One model held against the baseline on the same items."""

    model: str
    baseline: str
    compared: tuple[Compared, ...]


def compare(before: Sequence[Item], after: Sequence[Item], *, seed: int = 0) -> list[Compared]:
    """Each measure that both have, on the items of the same id, in the order of the first.

    Items of one prompt are drawn together. The order of the items does not matter.
    """
    names = dict.fromkeys(item.measure for item in before)
    others = {item.measure for item in after}
    return [
        _compared(
            name,
            {item.id: item for item in before if item.measure == name},
            {item.id: item for item in after if item.measure == name},
            seed,
        )
        for name in names
        if name in others
    ]


def _compared(name: str, before: dict[str, Item], after: dict[str, Item], seed: int) -> Compared:
    kind = kind_of(name)
    shared = sorted(before.keys() & after.keys())
    first = np.array([before[each].value for each in shared], dtype=np.float64)
    second = np.array([after[each].value for each in shared], dtype=np.float64)
    groups = [before[each].group or each for each in shared]
    lost, gained = int((first > second).sum()), int((second > first).sum())
    apart = len(set(groups)) == len(groups)
    interval = difference_interval(first, second, groups, median=kind.statistic == "median", seed=seed)
    test: Test = "bootstrap"
    p_value = detectable = None
    if (
        kind.unit == "share"
        and kind.counted
        and apart
        and bool(np.isin([*first, *second], (0.0, 0.5, 1.0)).all())
        and shared
    ):
        one_sided = name in ONE_SIDED
        test = "mcnemar_one_sided" if one_sided else "mcnemar"
        p_value = (mcnemar_one_sided(lost, gained) if one_sided else mcnemar(lost, gained)).p_value
        detectable = _detectable(len(shared), lost, gained, one_sided=one_sided)
    centre = np.median if kind.statistic == "median" else np.mean
    values = [number(float(centre(each))) if shared else None for each in (first, second)]
    difference = None if values[0] is None or values[1] is None else values[1] - values[0]
    return Compared(
        name=name,
        unit=kind.unit,
        direction=kind.direction,
        before=values[0],
        after=values[1],
        difference=difference,
        low=number(interval.low),
        high=number(interval.high),
        n=len(shared),
        alone=len(before.keys() ^ after.keys()),
        lost=lost,
        gained=gained,
        test=test,
        p_value=p_value,
        detectable=detectable,
        verdict=_verdict(kind.direction, difference, interval, test, p_value),
    )


def difference_interval(
    first: Floats, second: Floats, groups: Sequence[str], *, median: bool = False, seed: int = 0, level: float = 0.95
) -> Interval:
    """Percentile bootstrap interval of the difference of means, or of medians, of two models' values of items, [n].

    Second less first. Prompts (`groups`) are drawn whole, and both models' values of an item together. nan for a single
    prompt.
    """
    if not median:
        return bootstrap_clustered(second - first, groups, seed=seed, level=level)
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    parts = [np.array(members[group]) for group in sorted(members)]
    if len(parts) < 2:
        return Interval(nan, nan)
    if all(part.size == 1 for part in parts):
        order = np.array([int(part[0]) for part in parts], dtype=np.int64)

        def of_items(index: Floats, axis: int) -> Floats:
            drawn = order[index.astype(np.int64)]
            return np.asarray(np.median(second[drawn], axis=axis) - np.median(first[drawn], axis=axis))

        return bootstrap(np.arange(len(parts)), of_items, seed=seed, level=level)

    def of_groups(index: Floats) -> float:
        drawn = np.concatenate([parts[int(place)] for place in index])
        return float(np.median(second[drawn]) - np.median(first[drawn]))

    return bootstrap(np.arange(len(parts)), of_groups, seed=seed, level=level)


def _detectable(n: int, lost: int, gained: int, *, one_sided: bool) -> float | None:
    if one_sided:
        found = detectable_loss(n, gained / n) if 2 * gained < n else float("nan")
    else:
        found = paired_difference(n, (lost + gained) / n or DISAGREEMENT)
    return None if isnan(found) else found


def _verdict(
    direction: Direction, difference: float | None, interval: Interval, test: Test, p_value: float | None
) -> Verdict:
    """What the test says, or the interval where there is none; ties of the difference say nothing."""
    if difference is None or difference == 0:
        return "not told apart"
    told = 0 not in interval if p_value is None else p_value < ALPHA
    if test == "mcnemar_one_sided":
        return "worse" if told else "not told apart"
    if not told or isnan(interval.low):
        return "not told apart"
    if direction == "none":
        return "more" if difference > 0 else "less"
    return "better" if (difference > 0) == (direction == "up") else "worse"
