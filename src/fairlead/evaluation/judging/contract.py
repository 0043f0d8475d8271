"""What a judge is: a function from showings of two answers to what it made of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fairlead.data.records import Turns

Choice = Literal["first", "second", "tie"]
Side = Literal["candidate", "baseline", "tie"]

FAULTS: Mapping[str, str] = {
    "empty": "the judge said nothing",
    "not_json": "the answer is no JSON object, neither as a whole nor in a fence",
    "no_verdict": "the JSON object has no verdict",
    "unknown_verdict": "the verdict is not A, B or tie",
    "conflicting": "the answer holds verdicts that differ",
    "truncated": "the answer was cut at the greatest length",
    "malformed": "the server's reply was no chat completion, however often it was asked",
}
"""Why a showing has no verdict."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One prompt with an answer of the candidate and one of the baseline.

    segment: `meta.segment` of the row. human: the side that people preferred, where they judged.
    """

    id: str
    prompt: Turns
    candidate: Turns
    baseline: Turns
    segment: str | None = None
    human: Side | None = None


@dataclass(frozen=True, kw_only=True)
class Showing:
    """What a judge sees: a prompt and two answers, without who wrote them. opinion: which one a user says is better."""

    prompt: Turns
    first: Turns
    second: Turns
    opinion: Literal["first", "second"] | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was read from a judge: a choice, or a code of `FAULTS`; the text it was read from; whether it was cached."""

    choice: Choice | None
    fault: str = ""
    text: str = ""
    cached: bool = False


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a judge itself answered to a prompt: the text, or a code of `FAULTS`; whether it was cached."""

    text: str
    fault: str = ""
    cached: bool = False


AskAll = Callable[[Sequence[Showing]], list[Reading]]
WriteAll = Callable[[Sequence[Turns]], list[Written]]


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A name and a function that reads a choice for each showing, in their order.

    write: its own answers to prompts, in their order; None for a judge that writes nothing.
    """

    name: str
    ask: AskAll
    write: WriteAll | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one judge, or the panel, holds of one comparison.

    candidate_first, candidate_second: the side chosen in either order, None where nothing could be read. outcome: the
    side chosen in both; a tie where they differ; None where either order has no choice. faults: codes of `FAULTS`.
    """

    id: str
    judge: str
    outcome: Side | None
    candidate_first: Side | None = None
    candidate_second: Side | None = None
    faults: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    votes: Mapping[str, int] = field(default_factory=dict)

    @property
    def consistent(self) -> bool:
        """Whether both orders were read and gave one side."""
        return self.candidate_first is not None and self.candidate_first == self.candidate_second
