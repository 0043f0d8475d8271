"""How the page of a release says figures: values, intervals, differences and p-values, one way in all its tables."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan
from typing import Any

from fairlead.reports.figures import Estimate, percent, short_number
from fairlead.reports.page import Tone
from fairlead.stats.intervals import Interval

TONES: Mapping[str, Tone] = {"better": "good", "worse": "bad"}
DIRECTIONS = {"up": "more is better", "down": "less is better", "none": ""}
TESTS = {"mcnemar_one_sided": "one-sided"}
"""What is worth saying of a test beside its p-value."""


def estimate_of(found: Mapping[str, Any] | None) -> Estimate | None:
    """A figure of measures.json with its interval; None where it has no value."""
    if found is None or found["value"] is None:
        return None
    low, high = (nan if found[end] is None else found[end] for end in ("low", "high"))
    return Estimate(value=found["value"], interval=Interval(low, high), n=found["n"])


def value_text(value: float | None, unit: str) -> str:
    """A value in its unit; – where there is none."""
    if value is None:
        return "–"
    return percent(value) if unit == "share" else f"{short_number(value)} {unit}".strip()


def range_text(low: float | None, high: float | None, unit: str) -> str:
    """An interval as "low to high", of shares in percent; empty where an end is not known."""
    if low is None or high is None or not (isfinite(low) and isfinite(high)):
        return ""
    ends = [f"{100 * end:.1f}" if unit == "share" else short_number(end) for end in (low, high)]
    return " to ".join(ends).replace("-", "−")


def difference_text(row: Mapping[str, Any]) -> str:
    """A paired difference with its sign: of shares in percentage points."""
    value = row["difference"]
    if value is None:
        return "–"
    if row["unit"] == "share":
        return f"{100 * value:+.1f} points".replace("-", "−")
    return f"{'+' if value > 0 else ''}{value_text(value, row['unit'])}"


def difference_note(row: Mapping[str, Any]) -> str:
    """Interval, n and p of a paired difference, as far as they are known."""
    p = row["p_value"]
    said = "" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    test = TESTS.get(row["test"], "")
    parts = (
        range_text(row["low"], row["high"], row["unit"]),
        f"n = {row['n']:,}",
        f"{said} ({test})" if said and test else said,
        f"{row['alone']:,} of one alone left out" if row["alone"] else "",
    )
    return ", ".join(filter(None, parts))


def count_text(count: int, word: str) -> str:
    """1 rule, 2 rules."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
