from __future__ import annotations

import re
from math import inf, nan

import matplotlib
import numpy as np
import pytest

from fairlead.reports.figures import (
    MOST_POINTS,
    Curve,
    Estimate,
    Measured,
    curves,
    histograms,
    interval_dots,
    percent,
    rate_bars,
    short_number,
)
from fairlead.stats.intervals import Interval, wilson

from .markup import Parsed

HOSTILE = '</text><script>alert("$x$")</script>'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.5, "0.5"),
        (-0.1234, "−0.123"),
        (5e-5, "5e−5"),
        (1.25e-7, "1.25e−7"),
        (12345.6, "12,346"),
        (3.0, "3"),
        (nan, "not a number"),
        (-inf, "−∞"),
    ],
)
def test_short_number(value: float, text: str) -> None:
    assert short_number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.613, "61 %"), (0.0042, "0.4 %"), (-0.38, "−38 %"), (0, "0 %"), (0.0097, "1 %"), (1, "100 %")]
)
def test_percent(value: float, text: str) -> None:
    assert percent(value) == text


def _longest_path(svg: str) -> str:
    return max(re.findall(r' d="([^"]*)"', svg), key=len)


def test_a_value_that_is_not_finite_leaves_a_gap() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 4.0, 1.0]
    whole = curves([Curve(steps=range(7), values=values)], description="x")
    for hole in (nan, inf):
        broken = curves([Curve(steps=range(7), values=[*values[:3], hole, *values[4:]])], description="x")
        assert _longest_path(whole).count("M ") == 1
        assert _longest_path(broken).count("M ") == 2


def test_long_curves_are_drawn_as_bins_and_their_spikes_stay() -> None:
    steps = range(20 * MOST_POINTS)
    values = np.zeros(len(steps))
    spike = values.copy()
    spike[777] = 1.0
    flat = curves([Curve(steps=steps, values=values)], description="x", limits=(0, 2))
    spiked = curves([Curve(steps=steps, values=spike)], description="x", limits=(0, 2))
    assert len(spiked) < 80_000
    assert flat != spiked


def test_one_point_is_seen() -> None:
    assert "<use" in curves([Curve(steps=[3], values=[1.0])], description="x").split("<path", 1)[1]
    assert curves([Curve(steps=[3], values=[1.0])], description="x") != curves([], description="x")


def test_the_users_own_matplotlib_settings_neither_matter_nor_change() -> None:
    line = [Curve(steps=[0, 1], values=[0, 1])]
    plain = curves(line, description="x")
    with matplotlib.rc_context({"lines.linewidth": 9, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert curves(line, description="x") == plain
        assert matplotlib.rcParams["lines.linewidth"] == 9


def test_labels_are_text_whatever_they_say() -> None:
    share = Measured(label=HOSTILE, estimate=Estimate(value=0.4, interval=wilson(4, 10), n=10))
    for svg in (
        histograms([(HOSTILE, [3, 4, 5])], unit=HOSTILE, description=HOSTILE),
        rate_bars([share], description=HOSTILE),
        interval_dots([(HOSTILE, [share])], description=HOSTILE, published=[0.5]),
    ):
        parsed = Parsed(svg)
        assert "script" not in parsed.tags
        assert not parsed.faults
        assert HOSTILE in parsed.text


def test_histogram_says_median_and_count_and_keeps_outliers() -> None:
    text = Parsed(histograms([("SFT", [*range(10, 60), 5000])], unit="words", description="x")).text
    assert "median 35 words" in text
    assert "n = 51" in text


def test_rate_bar_says_share_and_count() -> None:
    text = Parsed(rate_bars([Measured(label="SFT", estimate=Estimate(value=0.5, n=42))], description="x")).text
    assert "50 %  of 42" in text or "50 % of 42" in text


def test_nothing_measured_is_said_not_drawn() -> None:
    nan_interval = Measured(label="a", estimate=Estimate(value=0.5, interval=Interval(nan, nan)))
    assert not Parsed(rate_bars([nan_interval], description="x")).faults
    for svg in (
        histograms([("a", [])], unit="words", description="x"),
        rate_bars([], description="x"),
        interval_dots([("a", [])], description="x"),
    ):
        assert "nothing was measured" in svg
