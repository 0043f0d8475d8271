"""How far people agree who judged the same items: raw agreement, Cohen's, Fleiss' and Krippendorff's coefficients.

Ratings are given as counts, [U, C]: how many ratings of each of C categories each of U items got. Who gave a rating
does not matter to these coefficients (but to Cohen's, which is for two people), so that missing ratings need no mark.
U items (units), C categories, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from math import nan
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairlead.stats.intervals import Interval

Floats = NDArray[np.float64]
Metric = Literal["nominal", "ordinal", "interval", "ratio"]
Coefficient = Callable[[Floats, Floats], Floats]
"""Counts [U, C] and how often each item is drawn, [R, U], to the coefficient of each of the R samples."""

RESAMPLES = 1000


def rating_counts(ratings: Sequence[Sequence[Hashable | None]]) -> tuple[Floats, list[Any]]:
    """Counts [U, C] of a table of ratings, a row per person and a column per item, and the categories in their order.

    None is a missing rating. Raises ValueError where the rows have different lengths.
    """
    lengths = {len(row) for row in ratings}
    if len(lengths) > 1:
        raise ValueError(f"each person needs one rating or None for every item, not {sorted(lengths)} of them")
    categories: list[Any] = sorted({rating for row in ratings for rating in row if rating is not None})
    place = {category: column for column, category in enumerate(categories)}
    counts = np.zeros((lengths.pop() if lengths else 0, len(categories)))
    for row in ratings:
        for item, rating in enumerate(row):
            if rating is not None:
                counts[item, place[rating]] += 1
    return counts, categories


def raw_agreement(counts: ArrayLike) -> float:
    """The share of pairs of ratings of one item that are equal; nan where no item has two ratings."""
    return _whole(raw, counts)


def fleiss_kappa(counts: ArrayLike) -> float:
    """Fleiss' κ (1971): (P̄ − P_e) / (1 − P_e), with P̄ the mean over items of the share of equal pairs of ratings.

    Items may have different numbers of ratings; those with fewer than two are left out. nan where all ratings are of
    one category, or no item has two.
    """
    return _whole(fleiss, counts)


def krippendorff_alpha(counts: ArrayLike, values: ArrayLike | None = None, metric: Metric = "nominal") -> float:
    """Krippendorff's α = 1 − D_o / D_e (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").

    values: the number each category stands for, [C], which interval and ratio need; ordinal takes the categories in
    the order of their columns. Items with fewer than two ratings are left out. nan where all ratings are of one
    category, or no item has two. Raises ValueError for interval or ratio without values.
    """
    return _whole(alpha(metric, values), counts)


def cohen_kappa(table: ArrayLike) -> float:
    """Cohen's κ (1960) of two people: (p_o − p_e) / (1 − p_e). `table` [C, C] counts items by both their labels.

    nan where there are no items, or both people gave every item one and the same label. Raises ValueError unless the
    table is square.
    """
    table_CC = np.asarray(table, dtype=np.float64)
    if table_CC.ndim != 2 or table_CC.shape[0] != table_CC.shape[1]:
        raise ValueError(f"a square table is needed, not one of shape {table_CC.shape}")
    return float(cohen(table_CC[None])[0])


def cohen(tables_RCC: Floats) -> Floats:
    """Cohen's κ of each of R tables, [R]; nan as in `cohen_kappa`."""
    n_R = tables_RCC.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        observed_R = np.trace(tables_RCC, axis1=1, axis2=2) / n_R
        expected_R = (tables_RCC.sum(axis=2) * tables_RCC.sum(axis=1)).sum(axis=1) / n_R**2
        return np.where(expected_R < 1, (observed_R - expected_R) / (1 - expected_R), nan)


def raw(counts_UC: Floats, weights_RU: Floats) -> Floats:
    """`raw_agreement` as a `Coefficient`."""
    given_U = counts_UC.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray((weights_RU @ _equal_pairs(counts_UC)) / (weights_RU @ (given_U * (given_U - 1))))


def fleiss(counts_UC: Floats, weights_RU: Floats) -> Floats:
    """`fleiss_kappa` as a `Coefficient`."""
    given_U = counts_UC.sum(axis=1)
    usable_U = given_U >= 2
    share_U = np.where(usable_U, _equal_pairs(counts_UC) / np.maximum(given_U * (given_U - 1), 1), 0.0)
    totals_RC = weights_RU @ np.where(usable_U[:, None], counts_UC, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed_R = (weights_RU @ share_U) / (weights_RU @ usable_U)
        expected_R = ((totals_RC / totals_RC.sum(axis=1, keepdims=True)) ** 2).sum(axis=1)
        return np.where(expected_R < 1, (observed_R - expected_R) / (1 - expected_R), nan)


def alpha(metric: Metric, values: ArrayLike | None = None) -> Coefficient:
    """`krippendorff_alpha` with this metric, as a `Coefficient`. Raises ValueError as it does."""
    if metric in ("interval", "ratio") and values is None:
        raise ValueError(f"the {metric} metric needs the number that each category stands for")
    given = None if values is None else np.asarray(values, dtype=np.float64)
    return partial(_alpha, metric=metric, values_C=given)


def bootstrap_agreement(
    counts: ArrayLike,
    coefficient: Coefficient,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of a coefficient, items drawn with replacement; nan at both ends where undefined.

    Exact and cheap for many items: items with equal counts are drawn as one by a multinomial. The interval does not
    depend on the order of the items. Raises ValueError on a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"a confidence level lies between 0 and 1, not {level}")
    drawn_R = resample_agreement(counts, coefficient, seed=seed, resamples=resamples)
    known_R = drawn_R[np.isfinite(drawn_R)]
    if not known_R.size:
        return Interval(nan, nan)
    low, high = np.quantile(known_R, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def resample_agreement(
    counts: ArrayLike, coefficient: Coefficient, *, items: int | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> Floats:
    """The coefficient of `resamples` bootstrap samples of the items, [R]; empty without items that have two ratings.

    items: how many are drawn for each sample; by default as many as there are.
    """
    counts_UC = np.asarray(counts, dtype=np.float64)
    counts_UC = counts_UC[counts_UC.sum(axis=1) >= 2]
    if not len(counts_UC):
        return np.empty(0)
    patterns_PC, times_P = np.unique(counts_UC, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    weights_RP = rng.multinomial(items or times_P.sum(), times_P / times_P.sum(), size=resamples).astype(np.float64)
    return coefficient(patterns_PC, weights_RP)


def _whole(coefficient: Coefficient, counts: ArrayLike) -> float:
    counts_UC = np.asarray(counts, dtype=np.float64)
    if counts_UC.ndim != 2:
        raise ValueError(f"counts of items by categories are needed, not an array of shape {counts_UC.shape}")
    return float(coefficient(counts_UC, np.ones((1, len(counts_UC))))[0])


def _equal_pairs(counts_UC: Floats) -> Floats:
    """Ordered pairs of equal ratings of each item, [U]."""
    return np.asarray((counts_UC * (counts_UC - 1)).sum(axis=1), dtype=np.float64)


def _alpha(counts_UC: Floats, weights_RU: Floats, *, metric: Metric, values_C: Floats | None) -> Floats:
    given_U = counts_UC.sum(axis=1)
    usable_UC = np.where(given_U[:, None] >= 2, counts_UC, 0.0)
    # Coincidences of an item: ordered pairs of its ratings, each worth 1 / (m_u − 1).
    pairs_UCC = usable_UC[:, :, None] * usable_UC[:, None, :]
    diagonal = np.arange(counts_UC.shape[1])
    pairs_UCC[:, diagonal, diagonal] -= usable_UC
    pairs_UCC /= np.maximum(given_U - 1, 1)[:, None, None]
    totals_RC = weights_RU @ usable_UC
    n_R = totals_RC.sum(axis=1)
    delta_RCC = _squared_differences(totals_RC, metric, values_C)
    coincidences_RCC = np.tensordot(weights_RU, pairs_UCC, axes=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed_R = (coincidences_RCC * delta_RCC).sum(axis=(1, 2)) / n_R
        expected_R = np.einsum("rc,rk,rck->r", totals_RC, totals_RC, delta_RCC) / (n_R * (n_R - 1))
        return np.where(expected_R > 0, 1 - observed_R / expected_R, nan)


def _squared_differences(totals_RC: Floats, metric: Metric, values_C: Floats | None) -> Floats:
    """δ² between categories, [R, C, C]; the ordinal one depends on how often each category between them was given."""
    categories = totals_RC.shape[1]
    if metric == "nominal":
        return np.broadcast_to(1.0 - np.eye(categories), (len(totals_RC), categories, categories))
    if metric == "ordinal":
        middle_RC = np.cumsum(totals_RC, axis=1) - totals_RC / 2
        difference = middle_RC[:, :, None] - middle_RC[:, None, :]
        return np.asarray(difference**2)
    assert values_C is not None
    difference = values_C[:, None] - values_C[None, :]
    if metric == "ratio":
        total = values_C[:, None] + values_C[None, :]
        difference = np.divide(difference, total, out=np.zeros_like(difference), where=total != 0)
    return np.broadcast_to(difference**2, (len(totals_RC), categories, categories))
