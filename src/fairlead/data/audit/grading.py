"""From a figure to a finding: one rule for what is an error, a warning or a note."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from fairlead.data.audit.findings import Finding, Severity
from fairlead.data.audit.material import distinct
from fairlead.stats.intervals import Interval, wilson

Graded = Severity | tuple[Severity, float]
"""A severity, with the threshold it was held against where there was one."""


def above(value: float, warning: float, error: float | None = None) -> tuple[Severity, float]:
    """The severity of a value that should be low, and the threshold that it crossed, or else the first in its way."""
    if error is not None and value >= error:
        return "error", error
    return ("warning" if value >= warning else "note"), warning


def below(value: float, warning: float, error: float | None = None) -> tuple[Severity, float]:
    """As `above`, for a value that should be high: at most a threshold crosses it."""
    if error is not None and value < error:
        return "error", error
    return ("warning" if value < warning else "note"), warning


def finding(
    code: str,
    graded: Graded,
    value: float | None,
    *,
    n: int,
    interval: Interval | None = None,
    rows: Sequence[str] = (),
    detail: str = "",
    data: Mapping[str, Any] | None = None,
) -> Finding:
    """A finding about `rows`, the worst first, each counted once. What is not finite is absent."""
    severity, threshold = (graded, None) if isinstance(graded, str) else graded
    known = interval is not None and isfinite(interval.low) and isfinite(interval.high)
    ids = distinct(rows)
    return Finding(
        code=code,
        severity=severity,
        value=value if value is not None and isfinite(value) else None,
        n=n,
        interval=(interval.low, interval.high) if interval is not None and known else None,
        threshold=threshold,
        rows=ids,
        count=len(ids),
        detail=detail,
        data=data or {},
    )


def share_finding(
    code: str,
    count: int,
    n: int,
    *,
    warning: float,
    error: float | None = None,
    rows: Sequence[str] = (),
    detail: str = "",
    data: Mapping[str, Any] | None = None,
) -> Finding:
    """A share that should be low: `count` of `n`, with its Wilson interval. A threshold of 0 means any at all."""
    share = count / n
    graded: Graded = above(share, warning, error) if count else ("note", warning)
    return finding(code, graded, share, n=n, interval=wilson(count, n), rows=rows, detail=detail, data=data)


def percent(share: float) -> str:
    """A share in words: 0.613 is 61 %, 0.0042 is 0.42 %."""
    scaled = 100 * share
    return f"{scaled:.0f} %" if scaled >= 10 or scaled == 0 else f"{scaled:.2g} %"
