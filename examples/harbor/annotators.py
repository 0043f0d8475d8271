"""Simulated annotators who compare two replies by one rubric: accuracy, then brevity, then warmth.

Each has their own noise; one drifts, from short replies to warm ones, while the batch is being judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from examples.harbor.checks import facts_right, over_refuses, refused, warm, words
from examples.harbor.world import Case
from fairlead.data.records import Annotation, Candidates, Judgement, Message, Preference

RUBRIC = "1"
ACCURACY, BREVITY_PER_WORD, WARMTH = 3.0, 0.06, 0.2
LONGEST = 80
"""Words beyond which a reply is no worse for being longer."""

TIE_MARGIN = 0.06
PER_PAIR = 3
START = datetime(2026, 1, 5, 9, tzinfo=UTC)
MINUTES_PER_PAIR = 7


@dataclass(frozen=True, kw_only=True)
class Annotator:
    """`noise` is the scale of the logistic error of a perceived difference; `drift` how far the rubric moves."""

    name: str
    noise: float
    drift: float = 0.0

    def value(self, case: Case, reply: str, progress: float) -> float:
        """How good the reply looks, without error. `progress` in [0, 1] is how far the batch has got."""
        moved = self.drift * progress
        brevity = -BREVITY_PER_WORD * min(words(reply), LONGEST) * (1 - 1.5 * moved)
        warmth = WARMTH * (1 + 2 * moved) * warm(reply)
        return ACCURACY * accurate(case, reply) + brevity + warmth

    def label(self, case: Case, reply_a: str, reply_b: str, progress: float, rng: Random) -> str:
        """`a`, `b` or `tie`."""
        seen = self.value(case, reply_a, progress) - self.value(case, reply_b, progress) + self.noise * _logistic(rng)
        return "tie" if abs(seen) < TIE_MARGIN else "a" if seen > 0 else "b"


ANNOTATORS = (
    Annotator(name="ana", noise=0.05),
    Annotator(name="bo", noise=0.1),
    Annotator(name="cy", noise=0.2),
    Annotator(name="di", noise=0.1, drift=1.0),
)


def accurate(case: Case, reply: str) -> bool:
    """What the rubric means by accuracy: right facts, a refusal where one is due, none where none is."""
    if case.intent == "refuse":
        return refused(case, reply)
    return facts_right(case, reply) and not over_refuses(case, reply)


def judgements(cases: Mapping[str, Case], rows: Sequence[Candidates], *, seed: int) -> list[Judgement]:
    """Each row's first two candidates compared by three of the four annotators; equal and empty texts are not shown."""
    judged = []
    for number, row in enumerate(rows):
        reply_a, reply_b = (candidate.messages for candidate in row.candidates[:2])
        texts = {reply_a[-1].content.strip(), reply_b[-1].content.strip()}
        if len(texts) == 1 or "" in texts:
            continue
        rng = Random(f"{seed}/{row.id}")
        case, progress = cases[row.id], number / max(1, len(rows) - 1)
        at = START + timedelta(minutes=MINUTES_PER_PAIR * number)
        annotations = [
            Annotation(
                annotator=annotator.name,
                label=annotator.label(case, reply_a[-1].content, reply_b[-1].content, progress, rng),
                at=at.isoformat(),
                shown=rng.choice(("ab", "ba")),
                rubric=RUBRIC,
            )
            for annotator in rng.sample(ANNOTATORS, k=PER_PAIR)
        ]
        judged.append(
            Judgement(
                id=row.id,
                prompt=row.prompt,
                response_a=reply_a,
                response_b=reply_b,
                annotations=tuple(annotations),
                meta=row.meta,
            )
        )
    return judged


def ceiling(cases: Mapping[str, Case], pairs: Sequence[Preference], *, seed: int) -> list[float]:
    """For each labelled pair, whether one more annotator, drawn at random, agrees with the label: 1, 0, or ½ for a tie.

    Their mean is about the best that a model's `ranking_accuracy` on these labels could be.
    """
    agreed = []
    for number, pair in enumerate(pairs):
        rng = Random(f"{seed}/{pair.id}/ceiling")
        progress = number / max(1, len(pairs) - 1)
        chosen, rejected = _text(pair.chosen), _text(pair.rejected)
        label = rng.choice(ANNOTATORS).label(cases[pair.id.partition("/")[0]], chosen, rejected, progress, rng)
        agreed.append({"a": 1.0, "tie": 0.5, "b": 0.0}[label])
    return agreed


def _text(turns: tuple[Message, ...]) -> str:
    return turns[-1].content


def _logistic(rng: Random) -> float:
    """A draw from the standard logistic distribution."""
    share = min(max(rng.random(), 1e-9), 1 - 1e-9)
    return math.log(share / (1 - share))
