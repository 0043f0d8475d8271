"""What held-out rows can show: how many a wanted difference needs, and which difference they tell from chance."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.stats.power import (
    ALPHA,
    POWER,
    detectable_loss,
    paired_difference,
    paired_items,
    unpaired_difference,
    unpaired_items,
)

DISAGREEMENT = 0.2
"""Share of pairs that two models are taken to rank differently; where they differ on more, more pairs are needed."""
CHANCE = 0.5
"""Accuracy that differences are taken around: where a share is hardest to tell from another."""


@dataclass(frozen=True, kw_only=True)
class Sides:
    """A figure for the one-sided question (is it better?) and for the two-sided one (is there a difference?)."""

    one: float | int
    two: float | int


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What comparisons of accuracies need and can show, at power 0.8 and level 0.05.

    `detect` is the difference asked for. `paired`: both models rank the same pairs and disagree on `disagreement` of
    them; `unpaired`: each ranks pairs of its own, with accuracies around ½. `needed_…` are pairs (for each model, if
    unpaired), `shown_…` the smallest difference that `pairs` held-out pairs show, nan where there is none.
    `answers` factual questions, answered before and after, show a loss of `answers_lost` (one-sided).
    """

    detect: float
    power: float
    level: float
    disagreement: float
    pairs: int
    needed_paired: Sides
    needed_unpaired: Sides
    shown_paired: Sides
    shown_unpaired: Sides
    answers: int
    answers_lost: float


def weigh(pairs: int, *, detect: float, answers: int) -> Evidence:
    """The statistics of comparing two models on `pairs` held-out pairs and `answers` factual questions.

    `detect` is a difference between two accuracies, in (0, 1).
    """
    disagreement = max(DISAGREEMENT, detect)
    lost, gained = (disagreement + detect) / 2, (disagreement - detect) / 2
    below, above = CHANCE - detect / 2, CHANCE + detect / 2
    return Evidence(
        detect=detect,
        power=POWER,
        level=ALPHA,
        disagreement=disagreement,
        pairs=pairs,
        needed_paired=Sides(one=paired_items(lost, gained, sides=1), two=paired_items(lost, gained, sides=2)),
        needed_unpaired=Sides(one=unpaired_items(below, above, sides=1), two=unpaired_items(below, above, sides=2)),
        shown_paired=Sides(
            one=paired_difference(pairs, disagreement, sides=1), two=paired_difference(pairs, disagreement, sides=2)
        ),
        shown_unpaired=Sides(
            one=unpaired_difference(pairs, CHANCE, sides=1), two=unpaired_difference(pairs, CHANCE, sides=2)
        ),
        answers=answers,
        answers_lost=detectable_loss(answers),
    )
