"""How replies are made, before and after: how long they are, and how often they carry phrases, refuse or apologise."""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.data.texts import text_of, words
from fairlead.reports.figures import Measured, histograms, interval_dots
from fairlead.reports.page import Figure, Figures, Key, Section
from fairlead.reports.release_data import Release, Side
from fairlead.reports.release_words import estimate_of

RATES = (
    "required_phrase/",
    "check/",
    "apology_rate",
    "refusal_rate",
    "over_refusal_rate",
    "bullet_share",
    "markdown_share",
)
"""How the names of the rates begin that are drawn."""


def distributions_section(release: Release) -> Section | None:
    """Lengths of the replies in words, and rates of phrases and forms, a colour for each model."""
    figures = [*_lengths(release.sides), *_rates(release.sides)]
    if not figures:
        return None
    lead = "Replies to the prompts of the suite."
    return Section(title="How it answers", lead=lead, blocks=[Figures(figures=figures, large=True)])


def _lengths(sides: list[Side]) -> Iterator[Figure]:
    samples = [
        (
            side.label,
            [
                float(len(words(text_of(reply.messages))))
                for row in side.answers["prompts"].values()
                for reply in row.candidates
            ],
        )
        for side in sides
    ]
    if any(lengths for _, lengths in samples):
        svg = histograms(samples, unit="words", description="Length of replies in words, by model")
        yield Figure(title="Length in words", svg=svg, caption="The line marks the median.")


def _rates(sides: list[Side]) -> Iterator[Figure]:
    whole = [side.whole() for side in sides]
    names = sorted({name for found in whole for name in found if name.startswith(RATES)})
    groups = []
    for name in names:
        known = [(place, estimate_of(found.get(name))) for place, found in enumerate(whole)]
        members = [Measured(label=name, estimate=each, color=place) for place, each in known if each is not None]
        if members:
            groups.append((name.removeprefix("required_phrase/"), members))
    if groups:
        svg = interval_dots(groups, description="Rates of phrases and forms, by model, with 95 % intervals")
        keys = [Key(label=side.label, color=place, mark="dots") for place, side in enumerate(sides)]
        caption = "Shares of replies; a required phrase is counted where the prompt demands it."
        yield Figure(title="Phrases and forms", svg=svg, keys=keys, caption=caption)
