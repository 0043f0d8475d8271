from __future__ import annotations

import re
from math import nan

from fairlead.reports.drawings import STRIP_WIDTH, interval_strip, share_bar
from fairlead.reports.figures import Estimate
from fairlead.stats.intervals import Interval


def test_strip_puts_the_dot_and_the_ends_where_they_belong() -> None:
    estimate = Estimate(value=0.5, interval=Interval(0.25, 1.0))
    svg = interval_strip(estimate, scale=(0, 1), color=7, description="x")
    reach = STRIP_WIDTH - 10
    assert f'cx="{5 + reach / 2}"' in svg
    assert f'x1="{5 + reach / 4}"' in svg
    assert svg.count(f'x2="{STRIP_WIDTH - 5}') == 2  # the axis and the interval end at the right
    assert "var(--c1)" in svg  # colours repeat after six


def test_strip_of_what_is_not_known() -> None:
    svg = interval_strip(Estimate(value=nan, interval=Interval(nan, nan)), scale=(0, 0), color=0, description="x")
    assert "<circle" not in svg
    assert "nan" not in svg


def test_share_bar_fills_the_width_and_hides_no_part() -> None:
    svg = share_bar([(999_999, 2), (0, 4), (1, 1)], description="x")
    widths = [float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)%"', svg)]
    assert len(widths) == 2
    assert min(widths) > 0.3
    assert abs(sum(widths) - 100) < 0.01
    assert "<rect" not in share_bar([(0, 1)], description="x")
