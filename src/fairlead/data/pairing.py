"""Judgements and edits to preference pairs; every row that yields none is counted under the reason why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

from fairlead.data.records import Common, Edit, Judgement, Preference, Row, Turns
from fairlead.errors import ConfigError, DataError, Fault
from fairlead.identity import canonical_json

LEFT_OUT = {
    "unchanged": "the edit changed nothing",
    "edit_too_small": "the edit changed less than `min_edit`",
    "identical_pair": "the two responses are the same",
    "unjudged": "there is neither a settled label nor an annotation",
    "tie": "the responses were judged equal",
    "both_bad": "both responses were judged bad",
    "disagreement": "no label has more than half of the votes",
}


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Pairs in the order of the rows they come from, and how many rows gave none, by a code of `LEFT_OUT`."""

    pairs: tuple[Preference, ...]
    left_out: dict[str, int]


def make_pairs(rows: Sequence[Row], *, min_edit: float = 0.0, ties: Literal["drop", "ignore"] = "drop") -> Pairing:
    """Pairs from rows of one kind: `pairs_from_edits` of edits, `pairs_from_judgements` of judgements.

    Raises `DataError` for rows of a kind that holds no comparison.
    """
    edits = [row for row in rows if isinstance(row, Edit)]
    judgements = [row for row in rows if isinstance(row, Judgement)]
    if rows and len(edits) == len(rows):
        return pairs_from_edits(edits, min_edit=min_edit)
    if rows and len(judgements) == len(rows):
        return pairs_from_judgements(judgements, ties=ties)
    kinds = ", ".join(sorted({type(row).__name__ for row in rows})) or "no rows"
    raise DataError(f"pairs are made of Judgement rows or of Edit rows; given: {kinds}.", code="wrong_kind")


def pairs_from_edits(edits: Iterable[Edit], *, min_edit: float = 0.0) -> Pairing:
    """The edited text as chosen, the draft as rejected.

    min_edit: least share of words, 0 to 1, that an edit must change to become a pair; see `edit_share`. An unchanged
    draft never becomes one. The pair keeps id, tools, template_kwargs, weight and meta; editor and at go to meta.
    """
    if not 0 <= min_edit <= 1:
        raise ConfigError([Fault(field="min_edit", problem=f"{min_edit} is not in [0, 1].")], source="pairs_from_edits")
    pairs: list[Preference] = []
    left_out: Counter[str] = Counter()
    for edit in edits:
        if edit.edited == edit.draft:
            left_out["unchanged"] += 1
        elif min_edit and edit_share(edit.draft, edit.edited) < min_edit:
            left_out["edit_too_small"] += 1
        else:
            facts = {"editor": edit.editor, "at": edit.at}
            pairs.append(_pair(edit, edit.prompt, edit.edited, edit.draft, facts))
    return Pairing(pairs=tuple(pairs), left_out=dict(sorted(left_out.items())))


def edit_share(draft: Turns, edited: Turns) -> float:
    """1 − 2M/T: M words in matching runs, T words in both texts together; 0 nothing changed, 1 everything."""
    return 1.0 - SequenceMatcher(None, _words(draft), _words(edited), autojunk=False).ratio()


def _words(turns: Turns) -> list[str]:
    words = []
    for turn in turns:
        words += turn.content.split()
        words += [canonical_json(call).decode() for call in turn.tool_calls]
    return words


def pairs_from_judgements(judgements: Iterable[Judgement], *, ties: Literal["drop", "ignore"] = "drop") -> Pairing:
    """The response that was judged better as chosen, the other as rejected.

    The verdict is the settled label where there is one, else the label with more than half of the annotations.
    ties="drop": a tie is a vote like any other, and a row whose verdict is a tie is left out. ties="ignore": votes for
    a tie are not counted, so that a against tie is a; a row with ties only is left out as a tie. A verdict of both_bad
    is always left out. The pair keeps id, tools, template_kwargs, weight and meta; the votes go to `meta.votes`.
    """
    if ties not in ("drop", "ignore"):
        fault = Fault(field="ties", problem=f"{ties!r} is not known.", remedy="drop or ignore")
        raise ConfigError([fault], source="pairs_from_judgements")
    pairs: list[Preference] = []
    left_out: Counter[str] = Counter()
    for row in judgements:
        votes = Counter(annotation.label for annotation in row.annotations)
        verdict = row.label or _majority(votes, ties)
        if verdict in ("a", "b") and row.response_a == row.response_b:
            verdict = "identical_pair"
        if verdict not in ("a", "b"):
            left_out[verdict] += 1
            continue
        a_wins = verdict == "a"
        chosen, rejected = (row.response_a, row.response_b) if a_wins else (row.response_b, row.response_a)
        pairs.append(_pair(row, row.prompt, chosen, rejected, {"votes": dict(sorted(votes.items())) or None}))
    return Pairing(pairs=tuple(pairs), left_out=dict(sorted(left_out.items())))


def _majority(votes: Counter[str], ties: Literal["drop", "ignore"]) -> str:
    """The label with more than half of the votes, or the code under which the row is left out."""
    if not votes:
        return "unjudged"
    if ties == "ignore" and len(votes) > 1:
        votes = Counter({label: count for label, count in votes.items() if label != "tie"})
    label, count = votes.most_common(1)[0]
    return label if 2 * count > votes.total() else "disagreement"


def _pair(source: Common, prompt: Turns, chosen: Turns, rejected: Turns, facts: dict[str, Any]) -> Preference:
    """A pair that carries over what its source has; `facts` join meta where they say something it does not have yet."""
    added = {key: value for key, value in facts.items() if value is not None and key not in source.meta}
    return Preference(
        id=source.id,
        tools=source.tools,
        template_kwargs=source.template_kwargs,
        weight=source.weight,
        meta=source.meta | added,
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
    )
