"""Several models in order: Bradley–Terry strengths of what judges held of every two of them. M models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np

from fairlead.evaluation.judging.contract import Verdict
from fairlead.evaluation.judging.measuring import WIN_RATE, WORTH, measure
from fairlead.evaluation.results import Measurement
from fairlead.stats.bradley_terry import Strengths, bradley_terry
from fairlead.stats.intervals import Interval
from fairlead.stats.win_rate import WinRate, win_rate

STRENGTH = "judge/strength"


@dataclass(frozen=True, kw_only=True)
class Met:
    """What judges held of two models: how often either was preferred, and how often neither."""

    first: str
    second: str
    first_wins: int
    second_wins: int
    ties: int


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Models from the strongest to the weakest, each with its measures.

    win_rates: of each against all others. why: why there are no strengths, a sentence; empty where there are. The order
    is then that of the win rates. unfit: bootstrap samples without finite strengths, which the intervals leave out.
    """

    models: tuple[str, ...]
    strengths: Mapping[str, Measurement]
    win_rates: Mapping[str, Measurement]
    met: tuple[Met, ...]
    unfit: int
    why: str = ""

    @property
    def measures(self) -> list[Measurement]:
        """Strength and win rate of each model, the strongest first, with the slice {"model": name}."""
        return [found[name] for found in (self.strengths, self.win_rates) for name in self.models]


def rank(
    models: Sequence[str],
    sides: Sequence[tuple[str, str]],
    verdicts: Sequence[Verdict],
    prompts: Sequence[str],
    *,
    seed: int,
    void: bool,
) -> Ranking:
    """Rank models by what judges held of them.

    sides: of each comparison, the models of its candidate's and its baseline's answer. prompts: a key of each
    comparison's prompt; what was said of one prompt is resampled together. A void run has no values.
    """
    names = sorted(models)
    judged = [
        (*pair, WORTH[verdict.outcome], prompt)
        for pair, verdict, prompt in zip(sides, verdicts, prompts, strict=True)
        if verdict.outcome is not None
    ]
    rates = {name: _rate_of(name, judged, seed) for name in names}
    fitted, why = _fit(names, judged, seed)
    values = fitted.values if fitted else (nan,) * len(names)
    intervals = fitted.intervals if fitted else (Interval(nan, nan),) * len(names)
    found = {
        name: measure(
            STRENGTH, value, interval, rates[name].n, unit="nats", direction="up", part={"model": name}, void=void
        )
        for name, value, interval in zip(names, values, intervals, strict=True)
    }
    order = dict(zip(names, values, strict=True)) if fitted else {name: rates[name].value for name in names}
    worst = {name: float("-inf") if isnan(value) else value for name, value in order.items()}
    return Ranking(
        models=tuple(names) if void else tuple(sorted(names, key=lambda name: (-worst[name], name))),
        strengths=found,
        win_rates={
            name: measure(WIN_RATE, rate.value, rate.interval, rate.n, direction="up", part={"model": name}, void=void)
            for name, rate in rates.items()
        },
        met=() if void else _met(names, judged),
        unfit=fitted.unfit if fitted else 0,
        why="" if void else why,
    )


Judged = tuple[str, str, float, str]
"""The models of a comparison's two sides, what it was worth to the first, and a key of its prompt."""


def _rate_of(name: str, judged: Sequence[Judged], seed: int) -> WinRate:
    own = [(worth, prompt) for first, _, worth, prompt in judged if first == name]
    own += [(1 - worth, prompt) for _, second, worth, prompt in judged if second == name]
    return win_rate([worth for worth, _ in own], [prompt for _, prompt in own], seed=seed)


def _fit(names: Sequence[str], judged: Sequence[Judged], seed: int) -> tuple[Strengths | None, str]:
    place = {name: number for number, name in enumerate(names)}
    row = {prompt: number for number, prompt in enumerate(sorted({prompt for *_, prompt in judged}))}
    wins_PMM = np.zeros((len(row), len(names), len(names)))
    for first, second, worth, prompt in judged:
        wins_PMM[row[prompt], place[first], place[second]] += worth
        wins_PMM[row[prompt], place[second], place[first]] += 1 - worth
    try:
        return bradley_terry(wins_PMM, seed=seed), ""
    except ValueError as error:
        return None, f"There are no strengths: {error}."


def _met(names: Sequence[str], judged: Sequence[Judged]) -> tuple[Met, ...]:
    """Every two models that met, by name, with their counts."""
    found = []
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            worths = [worth for one, other, worth, _ in judged if (one, other) == (first, second)]
            worths += [1 - worth for one, other, worth, _ in judged if (one, other) == (second, first)]
            if worths:
                won, lost = sum(worth > 0.5 for worth in worths), sum(worth < 0.5 for worth in worths)
                ties = len(worths) - won - lost
                found.append(Met(first=first, second=second, first_wins=won, second_wins=lost, ties=ties))
    return tuple(found)
