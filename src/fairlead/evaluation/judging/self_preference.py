"""Whether a judge prefers what it would have written itself: its own answers against others', and who else agrees.

That a judge prefers its own answer (the pairwise figure of Panickssery et al. 2024) shows nothing by itself: the answer
may be the better one. It is held against what others say of the same comparisons, the rest of the panel or people
(Zheng et al. 2023, section 3.3), over those that both decided, so that a judge is not called biased for being the surer
of the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan

from fairlead.data.records import Message, Turns
from fairlead.evaluation.judging.asking import both_orders, hash_of, verdict_of
from fairlead.evaluation.judging.contract import Comparison, Judge, Side, Verdict
from fairlead.evaluation.judging.measuring import WORTH, measure
from fairlead.evaluation.judging.people import most, with_people
from fairlead.evaluation.judging.prompt import said
from fairlead.evaluation.results import Measurement
from fairlead.stats.differences import group_difference, matched_difference
from fairlead.stats.intervals import Interval
from fairlead.stats.win_rate import mean_interval

OWN = "judge/own_preferred"
SELF = "judge/self_preference"
EQUAL = "judge/self_preference_equal_opportunity"
DECIDED: tuple[Side, ...] = ("candidate", "baseline")


@dataclass(frozen=True, kw_only=True)
class OwnAnswers:
    """What a judge answered itself, each answer (the candidate side) against another's (the baseline side).

    left_out: own answers that cannot be compared, by reason. written, cached: answers asked for, and those of them
    that were kept from earlier.
    """

    judge: str
    comparisons: tuple[Comparison, ...]
    left_out: Mapping[str, int]
    written: int
    cached: int


def write_own(judge: Judge, comparisons: Sequence[Comparison], *, number: int, seed: int) -> OwnAnswers:
    """Have a judge answer `number` prompts itself, and set each answer against one of the two that are there.

    Prompts and rivals are drawn by hashes of ids and `seed`, one comparison for each prompt; prompts and rivals with
    tool calls are passed over. A judge that writes nothing has no answers. Left out are own answers that are blank, cut
    at the greatest length or malformed, and those that are word for word the rival's.
    """
    drawn = _drawn(comparisons, seed)[:number] if judge.write is not None else []
    written = judge.write([each.prompt for each, _ in drawn]) if judge.write is not None and drawn else []
    found, left_out = [], Counter[str]()
    for (each, rival), own in zip(drawn, written, strict=True):
        reason = own.fault or ("blank" if not own.text.strip() else "equal" if own.text == said(rival) else "")
        if reason:
            left_out[reason] += 1
            continue
        answer: Turns = (Message(role="assistant", content=own.text),)
        name = f"own/{judge.name}/{each.id}"
        found.append(replace(each, id=name, candidate=answer, baseline=rival, human=None))
    return OwnAnswers(
        judge=judge.name,
        comparisons=tuple(found),
        left_out=dict(sorted(left_out.items())),
        written=len(written),
        cached=sum(own.cached for own in written),
    )


@dataclass(frozen=True, kw_only=True)
class OwnJudged:
    """What one judge holds of comparisons with own answers, its own or another judge's, in their order.

    showings, cached: how often it was shown something, and how many of these answers were kept from earlier.
    """

    judge: str
    verdicts: tuple[Verdict, ...]
    showings: int
    cached: int


def judge_own(judge: Judge, comparisons: Sequence[Comparison]) -> OwnJudged:
    """Put comparisons with own answers to a judge, in both orders."""
    readings = judge.ask([showing for each in comparisons for showing in both_orders(each)]) if comparisons else []
    pairs = zip(readings[::2], readings[1::2], strict=True)
    return OwnJudged(
        judge=judge.name,
        verdicts=tuple(verdict_of(each.id, judge.name, *pair) for each, pair in zip(comparisons, pairs, strict=True)),
        showings=len(readings),
        cached=sum(reading.cached for reading in readings),
    )


def self_preference(
    own: Sequence[OwnAnswers], judged: Sequence[OwnJudged], people: Sequence[Comparison]
) -> list[Measurement]:
    """How each judge treats its own answers: how often it prefers them, and how much more often than others do.

    judged: every judge's verdicts on the comparisons of all `own`, laid end to end. `judge/own_preferred` has the slice
    {"judge": name}; what is held against the rest of the panel has {"judge": name, "against": "panel"}, and what is
    held against people, where they judged the same comparisons, {"judge": name, "against": "people"}.
    """
    measures: list[Measurement] = []
    start = 0
    for each in own:
        end = start + len(each.comparisons)
        verdicts = {one.judge: [verdict.outcome for verdict in one.verdicts[start:end]] for one in judged}
        start = end
        mine = verdicts.pop(each.judge)
        panel = [most(side for side in sides if side is not None) for sides in zip(*verdicts.values(), strict=True)]
        settled = [comparison.human for comparison in with_people(each.comparisons, people)[0]]
        measures += _preferred(each.judge, mine)
        measures += _against("panel", each.judge, mine, panel or [None] * len(mine))
        measures += _against("people", each.judge, mine, settled)
    return measures


def _preferred(judge: str, outcomes: Sequence[Side | None]) -> list[Measurement]:
    worth = [WORTH[outcome] for outcome in outcomes if outcome is not None]
    if not worth:
        return []
    mean = sum(worth) / len(worth)
    return [measure(OWN, mean, mean_interval(mean, len(worth)), len(worth), direction="none", part={"judge": judge})]


def _against(who: str, judge: str, mine: Sequence[Side | None], others: Sequence[Side | None]) -> list[Measurement]:
    """The difference of two shares on the same comparisons, and the equal-opportunity bias of Wataoka et al. (2024).

    The second is P(own preferred | others prefer it) − P(rival preferred | others prefer it): how much likelier a good
    answer is to be seen as one where the judge wrote it. Where the others are right, it does not depend on how often
    the own answer is the better one.
    """
    table = Counter((one, other) for one, other in zip(mine, others, strict=True) if {one, other} <= set(DECIDED))
    n = table.total()
    if not n:
        return []
    part = {"judge": judge, "against": who}
    alone, never = table["candidate", "baseline"], table["baseline", "candidate"]
    own, rival = table["candidate", "candidate"], table["baseline", "baseline"]
    difference = matched_difference(alone, never, n)
    spread = group_difference(own, own + never, rival, rival + alone)
    both = own + never and rival + alone
    value = own / (own + never) - rival / (rival + alone) if both else nan
    return [
        measure(SELF, (alone - never) / n, difference, n, direction="none", part=part),
        measure(EQUAL, value, spread if both else Interval(nan, nan), n, direction="none", part=part),
    ]


def _drawn(comparisons: Sequence[Comparison], seed: int) -> list[tuple[Comparison, Turns]]:
    """Comparisons whose prompt can be put to any model, each with its rival; one for each prompt, in a drawn order."""
    found: dict[str, tuple[Comparison, Turns]] = {}
    for each in sorted(comparisons, key=lambda one: hash_of(one.id, "own", seed)):
        sides = [side for side in (each.candidate, each.baseline) if _is_plain(side) and said(side).strip()]
        if sides and _is_plain(each.prompt) and each.prompt[-1].role == "user":
            found.setdefault(said(each.prompt), (each, sides[hash_of(each.id, "rival", seed) % len(sides)]))
    return list(found.values())


def _is_plain(turns: Turns) -> bool:
    return not any(turn.tool_calls or turn.role == "tool" for turn in turns)
