"""A row for people, without a tokenizer: who says what, and what was said of it."""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.data.records import (
    Candidates,
    Demonstration,
    Edit,
    Feedback,
    Judgement,
    Preference,
    Ranking,
    Row,
    Turns,
)
from fairlead.identity import canonical_json

LONGEST = 400
"""Characters of a text that are shown."""


def view(row: Row, *, longest: int = LONGEST) -> str:
    """Lines of roles and texts, a heading before each part of the row; long texts cut, control characters escaped."""
    lines = []
    for heading, turns in _parts(row):
        lines.append(f"{heading}:")
        for turn in turns:
            mark = "" if turn.train else " (not trained)"
            lines.append(f"  {turn.role}{mark}: {_shown(turn.content, longest)}")
            lines += [f"    calls {_shown(canonical_json(call).decode(), longest)}" for call in turn.tool_calls]
    lines += [f"{name}: {value}" for name, value in _verdicts(row)]
    return "\n".join(lines)


def _parts(row: Row) -> Iterator[tuple[str, Turns]]:
    if isinstance(row, Demonstration):
        yield "messages", row.messages
        return
    yield "prompt", row.prompt
    if isinstance(row, Preference):
        yield from (("chosen", row.chosen), ("rejected", row.rejected))
    elif isinstance(row, Feedback):
        yield "completion", row.completion
    elif isinstance(row, Judgement):
        yield from (("response_a", row.response_a), ("response_b", row.response_b))
    elif isinstance(row, Edit):
        yield from (("draft", row.draft), ("edited", row.edited))
    else:
        yield from ((f"candidate {candidate.id}", candidate.messages) for candidate in row.candidates)


def _verdicts(row: Row) -> Iterator[tuple[str, str]]:
    """What was said of the completions, one line each."""
    if isinstance(row, Feedback):
        yield "label", "good" if row.label else "bad"
    elif isinstance(row, Candidates):
        scored = {each.id: each.scores for each in row.candidates if each.scores}
        if scored:
            yield "scores", canonical_json(scored).decode()
    elif isinstance(row, Judgement):
        yield "label", row.label or "none settled"
        votes = ", ".join(f"{vote.annotator} {vote.label}" for vote in row.annotations)
        if votes:
            yield "annotations", votes
    elif isinstance(row, Ranking):
        if row.ranking:
            yield "ranking", _places(row.ranking)
        for vote in row.annotations:
            yield f"ranking by {vote.annotator}", _places(vote.ranking) or f"best {vote.best}, worst {vote.worst}"


def _places(ranking: tuple[tuple[str, ...], ...]) -> str:
    return " > ".join(" = ".join(place) for place in ranking)


def _shown(text: str, longest: int) -> str:
    """A text in one line; what a terminal would obey (escape codes, line ends) is written out."""
    cut = text[:longest]
    plain = "".join(char if char.isprintable() else repr(char)[1:-1] for char in cut)
    return plain + (f" … ({len(text) - longest} more characters)" if len(text) > longest else "")
