from __future__ import annotations

import re
from math import nan

import pytest

from fairlead.reports.drawings import share_bar
from fairlead.reports.figures import Estimate
from fairlead.reports.page import (
    TEMPLATES,
    Cell,
    Column,
    Comparison,
    Exchange,
    Exchanges,
    Facts,
    Figure,
    Figures,
    Key,
    Measurement,
    Number,
    Numbers,
    Page,
    Piece,
    Prose,
    Reply,
    Section,
    Table,
    amount,
    render,
)
from fairlead.stats.intervals import Interval, wilson

from .markup import Parsed

HOSTILE = "</title></style>'\"><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}\x00\ud800"


def _page(text: str) -> Page:
    """A page of every kind of block, with `text` wherever text can stand."""
    cell = Cell(text=text, note=text, tone="good", color=1)
    pieces = [Piece(text=text), Piece(text=text, mark="ins"), Piece(text=text, mark="del")]
    row = Measurement(
        name=text,
        meaning=text,
        direction=text,
        unit=text,
        published=text,
        verdict=text,
        verdict_note=text,
        estimates=[Estimate(value=3.0, interval=Interval(2.0, 4.0), n=9), None],
    )
    blocks = [
        Prose(text=text),
        Numbers(numbers=[Number(label=text, value=text, note=text)]),
        Facts(facts=[(text, text)]),
        Figures(
            figures=[
                Figure(title=text, svg=share_bar([(1, 1)], description=text), caption=text, keys=[Key(label=text)])
            ],
            keys=[Key(label=text, color=3)],
            large=True,
        ),
        Table(columns=[Column(title=text)], rows=[[text], [cell]], title=text, caption=text),
        Table(columns=[Column(title=text, mono=True)], rows=[[text]], title=text, folded=True),
        Table(columns=[Column(title=text)], rows=[[cell]], cards=True),
        Comparison(columns=[text, text], rows=[row], caption=text, verdict_title=text),
        Exchanges(
            exchanges=[
                Exchange(prompt=text, replies=[Reply(label=text, text=text), Reply(label=text, text=text, color=8)]),
                Exchange(prompt=text, label=text, replies=[Reply(label=text, text=text * 3, pieces=pieces)]),
            ]
        ),
    ]
    sections = [Section(title=text, lead=text, blocks=blocks)] * 3
    return Page(title=text, subtitle=text, status=text, header=blocks, sections=sections, footer=text)


def test_every_text_is_text() -> None:
    document = render(_page(HOSTILE))
    parsed = Parsed(document)
    assert not parsed.faults
    assert not {"script", "img", "link", "iframe", "object"} & set(parsed.tags)
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert "{{ 7 * 7 }}" in parsed.text
    document.encode()  # no lone surrogate is left


def test_nothing_is_fetched_and_the_policy_says_so() -> None:
    document = render(_page("plain"))
    parsed = Parsed(document)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in document
    assert all(target.startswith("#") for target in parsed.values("href"))
    assert not parsed.values("src")
    assert "@import" not in document
    assert not re.search(r"url\((?!#)", document)
    assert set(re.findall(r"https?://[^\"' ]+", document)) <= {"http://www.w3.org/2000/svg"}


def test_equal_pages_are_equal_bytes() -> None:
    assert render(_page("plain")) == render(_page("plain"))


def test_a_long_page_has_a_table_of_contents_whose_links_lead_somewhere() -> None:
    parsed = Parsed(render(_page("plain")))
    assert {target.removeprefix("#") for target in parsed.values("href")} <= set(parsed.values("id"))
    assert "nav" in parsed.tags
    assert "nav" not in Parsed(render(Page(title="t", sections=[Section(title="one", blocks=[])]))).tags


def test_comparison_says_value_interval_and_n() -> None:
    rows = [
        Measurement(
            name="facts",
            unit="share",
            published="unchanged",
            estimates=[Estimate(value=0.9, interval=wilson(63, 70), n=70)],
        ),
        Measurement(name="length", unit="words", estimates=[Estimate(value=17)], verdict="as published", tone="good"),
        Measurement(name="unknown", estimates=[None]),
        Measurement(name="lost", unit="share", estimates=[Estimate(value=nan, interval=Interval(nan, nan), n=0)]),
    ]
    table = Comparison(columns=["SFT"], rows=rows).table()
    assert [column.title for column in table.columns] == ["figure", "published", "SFT", "as published?"]
    cells = [[cell if isinstance(cell, str) else (cell.text, cell.note) for cell in row] for row in table.rows]
    assert cells[0][1:3] == [("unchanged", ""), ("90 %", "81 to 95, n = 70")]
    assert cells[1][2:] == [("17 words", ""), ("as published", "")]
    assert cells[2][2] == ("–", "not measured")
    assert cells[3][2] == ("not a number", "n = 0")


def test_columns_of_nothing_are_left_out() -> None:
    table = Comparison(columns=["a"], rows=[Measurement(name="x", estimates=[Estimate(value=1.0)])]).table()
    assert [column.title for column in table.columns] == ["figure", "a"]


def test_amount() -> None:
    assert (amount(0.5, "share"), amount(3, "nats"), amount(3, "")) == ("50 %", "3 nats", "3")


def _luminance(color: str) -> float:
    channels = [int(color[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast_meets_wcag_aa(scheme: int) -> None:
    """WCAG 2.2, 1.4.3 and 1.4.11: 4.5 for text, 3 for lines of a graph."""
    style = (TEMPLATES / "page.css").read_text()
    light, dark = (
        style.split("prefers-color-scheme: dark")[0],
        style.split("prefers-color-scheme: dark")[1].split("@media")[0],
    )
    colors = dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6});", [light, dark][scheme]))
    paper = _luminance(colors["paper"])

    def contrast(name: str) -> float:
        other = _luminance(colors[name])
        return (max(paper, other) + 0.05) / (min(paper, other) + 0.05)

    for name in ("ink", "muted", "good", "warn", "bad"):
        assert contrast(name) >= 4.5, name
    for index in range(6):
        assert contrast(f"c{index}") >= 3, index


def test_pieces_keep_their_white_space_and_say_what_they_are() -> None:
    pieces = [Piece(text="a \n"), Piece(text="old", mark="del"), Piece(text=" b ", mark="ins"), Piece(text="\n")]
    exchange = Exchange(prompt="p", replies=[Reply(label="x", text="a \nold b \n", pieces=pieces)])
    document = render(Page(title="t", sections=[Section(title="s", blocks=[Exchanges(exchanges=[exchange])])]))
    assert '<p class="said">a \n<del>old</del><ins> b </ins>\n</p>' in document
