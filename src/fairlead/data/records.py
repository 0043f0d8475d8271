"""The canonical rows: frozen, one kind per file, as JSON Lines on disk (docs/rows.md).

A row that exists has passed the contract of `fairlead.data.reading`: its texts are text, its turns are in legal order,
its numbers are finite. Code that takes rows does not check again.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn. `train: false` leaves an assistant turn out of the loss."""

    role: str
    content: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    name: str | None = None
    tool_call_id: str | None = None
    train: bool = True


Turns = tuple[Message, ...]


class Common(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every kind of row carries. `weight` multiplies the row's loss; `meta` keeps every key we do not know."""

    id: str
    tools: tuple[dict[str, Any], ...] = ()
    template_kwargs: dict[str, Any] = {}
    weight: float = 1.0
    meta: dict[str, Any] = {}


class Demonstration(Common, frozen=True, kw_only=True, omit_defaults=True):
    """A dialogue to imitate: every assistant turn is trained unless it says otherwise."""

    messages: Turns


class Preference(Common, frozen=True, kw_only=True, omit_defaults=True):
    """Two completions of one prompt, the first preferred; `margin` is by how much, in units of the reward."""

    prompt: Turns
    chosen: Turns
    rejected: Turns
    margin: float | None = None


class Feedback(Common, frozen=True, kw_only=True, omit_defaults=True):
    """One completion with a thumb: `label` true is up."""

    prompt: Turns
    completion: Turns
    label: bool


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of several completions of a prompt, with who made it and how."""

    id: str
    messages: Turns
    model: str | None = None
    sampling: dict[str, Any] = {}
    scores: dict[str, float] = {}


class Candidates(Common, frozen=True, kw_only=True, omit_defaults=True):
    """Several completions of one prompt, not yet judged. `candidates` may be empty: a prompt waiting to be sampled."""

    prompt: Turns
    candidates: tuple[Candidate, ...] = ()


class Annotation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One person's judgement of a pair: `label` is a, b, tie or both_bad; `shown` is the order on the screen."""

    annotator: str
    label: str
    strength: float | None = None
    at: str | None = None
    seconds: float | None = None
    shown: str | None = None
    rubric: str | None = None
    note: str | None = None


class Judgement(Common, frozen=True, kw_only=True, omit_defaults=True):
    """Two completions of one prompt with what each annotator said, and the settled `label` if there is one."""

    prompt: Turns
    response_a: Turns
    response_b: Turns
    annotations: tuple[Annotation, ...] = ()
    label: str | None = None


class RankingAnnotation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One person's placing of several candidates, by their ids: a ranking, or the best, the worst, or both of these.

    ranking: best first; candidates in one place are tied, absent ones are not compared. shown: the order on the screen.
    """

    annotator: str
    ranking: tuple[tuple[str, ...], ...] = ()
    best: str | None = None
    worst: str | None = None
    at: str | None = None
    seconds: float | None = None
    shown: tuple[str, ...] = ()
    rubric: str | None = None
    note: str | None = None


class Ranking(Common, frozen=True, kw_only=True, omit_defaults=True):
    """Several completions of one prompt with how each annotator placed them, and the settled places if there are any.

    `ranking`, `best` and `worst` are as in `RankingAnnotation`.
    """

    prompt: Turns
    candidates: tuple[Candidate, ...]
    annotations: tuple[RankingAnnotation, ...] = ()
    ranking: tuple[tuple[str, ...], ...] = ()
    best: str | None = None
    worst: str | None = None


class Edit(Common, frozen=True, kw_only=True, omit_defaults=True):
    """A draft and what a person made of it."""

    prompt: Turns
    draft: Turns
    edited: Turns
    editor: str | None = None
    at: str | None = None


Row = Demonstration | Preference | Feedback | Candidates | Judgement | Ranking | Edit

KINDS: dict[str, type[Row]] = {
    "demonstration": Demonstration,
    "preference": Preference,
    "feedback": Feedback,
    "candidates": Candidates,
    "judgement": Judgement,
    "ranking": Ranking,
    "edit": Edit,
}
