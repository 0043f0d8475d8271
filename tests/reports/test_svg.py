from __future__ import annotations

import re

from fairlead.reports.figures import Curve, curves
from fairlead.reports.svg import printable

from .markup import Parsed

LINE = Curve(steps=[0, 1, 2], values=[0.9, 0.5, 0.4], held_out=True)


def test_a_figure_takes_colours_and_font_from_the_page() -> None:
    svg = curves([LINE], description="loss", baseline=0.5)
    assert "var(--c0)" in svg
    assert "var(--rule)" in svg
    assert not re.search(r"#0[0-9a-f]{5}", svg)
    assert "font-family" not in svg
    assert "<style" not in svg
    assert not Parsed(svg).faults


def test_equal_data_give_equal_bytes() -> None:
    assert curves([LINE], description="loss") == curves([LINE], description="loss")
    assert not re.search(r"20\d\d-\d\d-\d\d|matplotlib", curves([LINE], description="loss"))


def test_ids_of_two_figures_never_meet_and_every_reference_is_met() -> None:
    both = curves([LINE], description="a") + curves([Curve(steps=[0, 5], values=[2, 3])], description="b")
    ids = Parsed(both).values("id")
    assert len(ids) == len(set(ids)) > 0
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', both)) == set(ids)


def test_the_description_is_the_text_alternative() -> None:
    svg = curves([LINE], description='"loss" <over> steps')
    assert Parsed(svg).values("aria-label") == ['"loss" <over> steps']
    assert "<over>" not in svg


def test_what_a_page_cannot_carry_is_replaced() -> None:
    assert printable("a\x00b\ud800c\td\x7f") == "a\ufffdb\ufffdc\td\ufffd"
