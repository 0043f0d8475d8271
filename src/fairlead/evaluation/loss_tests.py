"""One-sided tests that a model is worse than another on the same items, and what so many items could have shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from statistics import NormalDist

import numpy as np

from fairlead.evaluation.comparison import difference_interval
from fairlead.evaluation.estimates import Floats
from fairlead.stats.intervals import Interval, mcnemar_one_sided, wilson
from fairlead.stats.power import POWER, detectable_loss

FEWEST = 20
"""Prompts below which an interval by bootstrap is too narrow to settle anything (with equal items it has no width)."""


@dataclass(frozen=True, kw_only=True)
class LossTest:
    """What a test says of a loss: its p-value where it has one, and whether chance may have made the loss.

    shows: the smallest loss that so many items could have shown (power 0.8), nan where none. settled: whether the loss
    surely is not above the margin. counts: what the test rests on, in words.
    """

    p: float | None
    is_chance: bool
    shows: float
    settled: bool
    counts: str


def by_mcnemar(old: Floats, new: Floats, *, margin: float, alpha: float) -> LossTest:
    """The exact one-sided test for items that are right or wrong, [n] each, each with a prompt of its own.

    A tie, worth a half, lies between right and wrong (McNemar 1947, one-sided and exact).
    """
    n, lost, gained = len(old), int(np.sum(old > new)), int(np.sum(new > old))
    p = mcnemar_one_sided(lost, gained).p_value
    # No more can be lost than the share of lost items is; and where there is a gain, nothing is.
    settled = _share_at_most(lost, n, margin, alpha) or mcnemar_one_sided(gained, lost).p_value < alpha
    return LossTest(
        p=p,
        is_chance=p >= alpha,
        shows=detectable_loss(n, gained / n, alpha=alpha),
        settled=settled,
        counts=f"{lost} lost, {gained} gained",
    )


def by_bootstrap(
    old: Floats, new: Floats, groups: Sequence[str], *, margin: float, alpha: float, median: bool, binary: bool
) -> LossTest:
    """The interval of the loss at level 1 − 2·alpha, by the bootstrap that comparisons of `fairlead eval` make.

    Prompts (`groups`, [n]) are drawn whole. median: the loss is one of medians, else of means. binary: items are right
    or wrong. Equal ones would give the interval no width, so that the prompts on which more was lost than gained must
    settle it too, each counted once.
    """
    level = 1 - 2 * alpha
    gain = difference_interval(old, new, groups, median=median, level=level)
    interval = Interval(0.0 - gain.high, 0.0 - gain.low)  # no −0
    prompts = sorted(set(groups))
    n = len(prompts)
    shows = shown_by(interval, level, alpha) if n >= FEWEST else nan
    settled = n >= FEWEST and interval.high <= margin
    if binary:
        places = {prompt: place for place, prompt in enumerate(prompts)}
        net = np.bincount([places[group] for group in groups], weights=new - old, minlength=n)
        lost, gained = int(np.sum(net < 0)), int(np.sum(net > 0))
        shows = float(np.maximum(shows, detectable_loss(n, gained / n, alpha=alpha)))  # nan, none, stays nan
        settled = settled and (interval.high < 0 or _share_at_most(lost, n, margin, alpha))
    over = "" if n == len(old) else f" over {n} prompts, since items share them"
    return LossTest(
        p=None,
        is_chance=not interval.low > 0,  # nan, of a single prompt, is no proof
        shows=shows,
        settled=bool(settled),
        counts=f"{level:.0%} interval {interval.low:.3g} to {interval.high:.3g}{over}",
    )


def _share_at_most(k: int, n: int, most: float, alpha: float) -> bool:
    """Whether a share of `k` in `n` surely is at most `most`, one-sided at `alpha`."""
    return wilson(k, n, 1 - 2 * alpha).high <= most


def shown_by(interval: Interval, level: float, alpha: float) -> float:
    """The smallest difference that a one-sided test at `alpha` finds with power 0.8, by the width of an interval.

    The normal approximation: half the interval is z standard errors, and (z_α + z_β) of them show.
    """
    normal = NormalDist()
    error = interval.width / (2 * normal.inv_cdf(0.5 + level / 2))
    return float((normal.inv_cdf(1 - alpha) + normal.inv_cdf(POWER)) * error)
