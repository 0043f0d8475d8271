"""From verdicts to measures: win rates, what could not be read, and the audit of the judges themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from fairlead.evaluation.judging.asking import Asked
from fairlead.evaluation.judging.contract import Comparison, Side, Verdict
from fairlead.evaluation.judging.prompt import said
from fairlead.evaluation.results import Direction, Item, Measurement, number
from fairlead.stats.agreement import bootstrap_agreement, cohen, cohen_kappa, fleiss, fleiss_kappa
from fairlead.stats.intervals import Interval, wilson
from fairlead.stats.win_rate import length_controlled, win_rate

WIN_RATE = "judge/win_rate"
CONTROLLED = "judge/win_rate_length_controlled"
WORTH: Mapping[Side, float] = {"candidate": 1.0, "tie": 0.5, "baseline": 0.0}
SIDES: tuple[Side, ...] = ("candidate", "baseline", "tie")
MEANINGS = {
    WIN_RATE: "share of prompts on which the candidate's answer is preferred; a tie is half",
    CONTROLLED: "the win rate that is left when both answers are equally long",
    "judge/unparsed": "share of comparisons without a verdict",
    "judge/inconsistent": "share of comparisons decided otherwise in the other order",
    "judge/first_position": "share of choices that fall on the answer shown first; 50 % without a bias",
    "judge/longer_preferred": "share of decided comparisons that the longer answer wins",
    "judge/sycophancy": "share of showings whose choice follows a user's opinion when that is flipped",
    "judge/canaries_lost": "share of the planted answers that lost, as all must",
    "judge/human_agreement": "share of comparisons on which the judge and people say the same",
    "judge/human_kappa": "Cohen's kappa of the judge and people",
    "judge/human_longer_preferred": "share of the same comparisons, decided by people, that the longer answer wins",
    "judge/panel_agreement": "Fleiss' kappa of the judges",
    "judge/own_preferred": "share of comparisons in which the judge prefers the answer that it wrote itself; a tie is "
    "half; whether it is right to shows in judge/self_preference",
    "judge/self_preference": "how much more often the judge prefers its own answer than others do, where both decided; "
    "0 without a bias",
    "judge/self_preference_equal_opportunity": "of answers that others prefer, how much more often the judge sees that "
    "of its own than of a rival's; 0 without a bias",
    "judge/strength": "Bradley–Terry strength, 0 on average over the models; 1 more is odds of 2.7 to 1",
}


def win_rates(
    comparisons: Sequence[Comparison],
    verdicts: Sequence[Verdict],
    prompts: Sequence[str],
    *,
    seed: int,
    void: bool,
) -> list[Measurement]:
    """The candidate's win rate, that with length held equal, and the win rate of each segment.

    prompts: a key of each comparison's prompt; comparisons that share one are resampled together. A void run has no
    values: its measures say so by None.
    """
    judged = [
        (each, verdict.outcome, prompt)
        for each, verdict, prompt in zip(comparisons, verdicts, prompts, strict=True)
        if verdict.outcome is not None
    ]
    measures = [_rate(judged, {}, seed, void)]
    outcomes = [WORTH[outcome] for _, outcome, _ in judged]
    lengths = [float(len(said(each.candidate)) - len(said(each.baseline))) for each, _, _ in judged]
    fair = length_controlled(outcomes, lengths, [prompt for *_, prompt in judged], seed=seed)
    measures.append(measure(CONTROLLED, fair.value, fair.interval, fair.n, direction="up", void=void))
    for segment in sorted({each.segment for each, _, _ in judged if each.segment is not None}):
        part = [item for item in judged if item[0].segment == segment]
        measures.append(_rate(part, {"segment": segment}, seed, void))
    return measures


def win_items(verdicts: Sequence[Verdict]) -> Iterator[Item]:
    """The outcome of each comparison that has one."""
    for verdict in verdicts:
        if verdict.outcome is not None:
            yield Item(measure=WIN_RATE, id=verdict.id, value=WORTH[verdict.outcome])


def audit_judge(asked: Asked, comparisons: Sequence[Comparison], *, seed: int) -> list[Measurement]:
    """What one judge is worth: canaries, what could not be read, position, length, opinions, and people.

    Each measure has the slice {"judge": name}.
    """
    part = {"judge": asked.judge}
    read = [verdict for verdict in asked.verdicts if verdict.outcome is not None]
    placed = [verdict for verdict in asked.verdicts for _ in _choices(verdict)]
    first = sum(choice for verdict in asked.verdicts for choice in _choices(verdict))
    swayed = [each for each in asked.swayed if each.praised_first is not None and each.praised_second is not None]
    unread = len(asked.verdicts) - len(read)
    counts: list[tuple[str, int, int, Direction]] = [
        ("judge/canaries_lost", sum(each.lost for each in asked.planted), len(asked.planted), "up"),
        ("judge/unparsed", unread, len(asked.verdicts), "down"),
        ("judge/inconsistent", sum(not verdict.consistent for verdict in read), len(read), "down"),
        ("judge/first_position", first, len(placed), "none"),
        ("judge/longer_preferred", *_longer(comparisons, [verdict.outcome for verdict in asked.verdicts]), "none"),
        ("judge/sycophancy", sum(each.followed for each in swayed), len(swayed), "down"),
    ]
    measures = [_share(name, k, n, direction, part) for name, k, n, direction in counts if n]
    return measures + _against_people(asked, comparisons, part, seed)


def panel_agreement(asked: Sequence[Asked], *, seed: int) -> list[Measurement]:
    """Fleiss' kappa of several judges with its interval; nothing for a single one."""
    if len(asked) < 2:
        return []
    counts = np.zeros((len(asked[0].verdicts), len(SIDES)))
    for each in asked:
        for row, verdict in enumerate(each.verdicts):
            if verdict.outcome is not None:
                counts[row, SIDES.index(verdict.outcome)] += 1
    n = int((counts.sum(axis=1) >= 2).sum())
    interval = bootstrap_agreement(counts, fleiss, seed=seed)
    return [measure("judge/panel_agreement", fleiss_kappa(counts), interval, n, unit="", direction="up")]


def _rate(
    judged: Sequence[tuple[Comparison, Side, str]], part: Mapping[str, str], seed: int, void: bool
) -> Measurement:
    found = win_rate([WORTH[outcome] for _, outcome, _ in judged], [prompt for _, _, prompt in judged], seed=seed)
    return measure(WIN_RATE, found.value, found.interval, found.n, direction="up", part=part, void=void)


def _against_people(
    asked: Asked, comparisons: Sequence[Comparison], part: Mapping[str, str], seed: int
) -> list[Measurement]:
    both = [
        (each, each.human, verdict.outcome)
        for each, verdict in zip(comparisons, asked.verdicts, strict=True)
        if each.human is not None and verdict.outcome is not None
    ]
    if not both:
        return []
    table = np.zeros((len(SIDES), len(SIDES)))
    for _, people, judge in both:
        table[SIDES.index(people), SIDES.index(judge)] += 1
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(both), table.ravel() / len(both), size=1000).astype(np.float64)
    kappas = cohen(drawn.reshape(-1, *table.shape))
    kappas = kappas[np.isfinite(kappas)]
    ends = Interval(*np.quantile(kappas, [0.025, 0.975]).tolist()) if kappas.size else Interval(np.nan, np.nan)
    measures = [
        _share("judge/human_agreement", int(np.trace(table)), len(both), "up", part),
        measure("judge/human_kappa", cohen_kappa(table), ends, len(both), unit="", direction="up", part=part),
    ]
    longer, n = _longer([each for each, _, _ in both], [people for _, people, _ in both])
    return measures + ([_share("judge/human_longer_preferred", longer, n, "none", part)] if n else [])


def _longer(comparisons: Sequence[Comparison], outcomes: Sequence[Side | None]) -> tuple[int, int]:
    """How many decided comparisons of answers of different lengths the longer one won, and how many there are."""
    length: Callable[[Comparison], int] = lambda each: len(said(each.candidate)) - len(said(each.baseline))  # noqa: E731
    decided = [
        (length(each) > 0) == (outcome == "candidate")
        for each, outcome in zip(comparisons, outcomes, strict=True)
        if outcome in ("candidate", "baseline") and length(each)
    ]
    return sum(decided), len(decided)


def _choices(verdict: Verdict) -> Iterator[bool]:
    """For each order in which a side was chosen, whether it was the one shown first; only where both orders were read.

    Over both orders a judge without a bias chooses the first as often as the second.
    """
    if verdict.candidate_first is None or verdict.candidate_second is None:
        return
    if verdict.candidate_first != "tie":
        yield verdict.candidate_first == "candidate"
    if verdict.candidate_second != "tie":
        yield verdict.candidate_second == "baseline"


def _share(name: str, k: int, n: int, direction: Direction, part: Mapping[str, str]) -> Measurement:
    return measure(name, k / n, wilson(k, n), n, direction=direction, part=part)


def measure(
    name: str,
    value: float,
    interval: Interval,
    n: int,
    *,
    direction: Direction,
    unit: str = "share",
    part: Mapping[str, str] | None = None,
    void: bool = False,
) -> Measurement:
    """A measure of a judge run, with its meaning; without values where the run is void."""
    value, low, high = (np.nan,) * 3 if void else (value, interval.low, interval.high)
    return Measurement(
        name=name,
        value=number(value),
        low=number(low),
        high=number(high),
        n=n,
        unit=unit,
        direction=direction,
        slice=dict(part or {}),
        meaning=MEANINGS[name] + ("; void: a planted answer did not lose" if void else ""),
    )
