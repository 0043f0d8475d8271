"""Findings in words: one way to say a value, for the terminal and for the page."""

from __future__ import annotations

from fairlead.data.audit.findings import Finding, Kind


def value_text(finding: Finding, kind: Kind) -> str:
    """The value in its unit; – where it could not be computed."""
    return "–" if finding.value is None else amount(finding.value, kind)


def interval_text(finding: Finding, kind: Kind) -> str:
    """The 95 % interval as "low to high"; empty where there is none."""
    if finding.interval is None:
        return ""
    low, high = (amount(end, kind).removesuffix(" %") for end in finding.interval)
    return f"{low} to {high}"


def threshold_text(finding: Finding, kind: Kind) -> str:
    """What the value was held against; empty where it was held against nothing."""
    return "" if finding.threshold is None else amount(finding.threshold, kind)


def amount(value: float, kind: Kind) -> str:
    """A number in the unit of its kind: shares in percent, coefficients with two digits after the point."""
    if kind.unit == "share":
        scaled = 100 * value
        digits = 2 if 0 < abs(scaled) < 0.95 else 1 if abs(scaled) < 9.95 and scaled != 0 else 0
        return f"{scaled:.{digits}f} %".replace("-", "−")
    if value == int(value) and abs(value) >= 2:
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}".replace("-", "−")
