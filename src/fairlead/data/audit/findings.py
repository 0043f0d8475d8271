"""What an audit says: findings, each with a code from one table, its figure, its rows, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
"""error: do not train on this; warning: look before you do; note: a figure without a verdict."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a code means, and what its owner can do about it. `unit` is that of the value: share, ratio, rows, …"""

    title: str
    meaning: str
    remedy: str
    unit: str = "share"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was measured.

    value: the figure, in the unit of its kind; None where it cannot be computed from these rows, and `detail` says why.
    interval: its 95 % interval. n: what it was measured on. threshold: what it was held against, where it was.
    rows: ids of examples, the worst first; count: how many rows are concerned in all. detail: what is particular here,
    in a sentence. data: what a plot of it needs, as JSON.
    """

    code: str
    severity: Severity
    value: float | None
    n: int
    interval: tuple[float, float] | None = None
    threshold: float | None = None
    rows: tuple[str, ...] = ()
    count: int = 0
    detail: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


MOST_EXAMPLES = 20
"""Rows that a finding names; the run directory lists all of them where there are more."""


def worst(findings: Sequence[Finding]) -> Severity | None:
    """The gravest severity among findings; None where there are none."""
    present = {finding.severity for finding in findings}
    return next((severity for severity in SEVERITIES if severity in present), None)


def ordered(findings: Sequence[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notes; of one severity in the order in which they were found."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
