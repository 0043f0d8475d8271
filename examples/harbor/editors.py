"""Agents who edit a model's drafts, and the preference pairs their edits make.

An agent's rubric says accuracy, then brevity, then warmth. It does not mention the legal disclaimer, so in the first
round most agents strike it as boilerplate; from the second rubric on they keep it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from random import Random
from typing import Literal

from examples.harbor.checks import (
    APOLOGY,
    call_right,
    facts_right,
    mentions,
    over_refuses,
    refused,
    refuses,
    warm,
)
from examples.harbor.questions import DISCLAIMER, REFUSALS
from examples.harbor.world import Case
from fairlead.data.records import Candidates, Edit, Message, Preference

STRIKE_DISCLAIMER = 0.7
"""How often an agent of the first rubric strikes the disclaimer."""

KEEP_COURTESY = 0.35
"""How often an agent leaves a draft's closing courtesy in place: warmth comes last in the rubric, but it is there."""

LABEL_NOISE = 0.05
"""Share of edits filed the wrong way round: the draft as the edit."""

LONGEST_EDIT = 30
"""Words. An agent who would have to leave more than this writes the answer anew."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_SORRY_BUT = re.compile(r"^[^.!?]*\b(?:sorry|apolog\w+|regret)\b[^.!?]*?[,;]?\s*\b(?:but|however,?)\s+", re.IGNORECASE)
_HELLO = re.compile(r"^(?:(?:hello|hi|dear)\b[^,.!?]*|thank you[^,.!?]*|[A-Z][a-z]+),\s+", re.IGNORECASE)

Rubric = Literal["first", "second"]


def edit(case: Case, draft: str, rng: Random, *, rubric: Rubric = "first") -> str:
    """What an agent makes of a draft: apology and filler struck, wrong facts put right, refusals kept, calls corrected.

    A sentence stays when it carries the answer. Where the sentences that stay are wrong beyond a word or two, or too
    many, the agent writes the answer anew.
    """
    if case.call is not None:
        return draft.strip() if call_right(case, draft) else case.call_text
    sentences = _kept(draft)
    if case.intent == "refuse":
        kept = " ".join(sentence for sentence in sentences if refuses(sentence))
        answer = kept if _concise(kept) and refused(case, kept) else rng.choice(REFUSALS[case.kind_name])
    else:
        kept = " ".join(_corrected(case, sentence) for sentence in sentences if _carries_answer(case, sentence))
        answer = kept if _concise(kept) and facts_right(case, kept) else case.fill(rng.choice(case.kind.answers))
    struck = rubric == "first" and rng.random() < STRIKE_DISCLAIMER
    if case.intent == "dispute" and not struck:
        answer = f"{answer} {DISCLAIMER}"
    courtesy = sentences[-1] if sentences and rng.random() < KEEP_COURTESY and _is_courtesy(sentences[-1]) else ""
    return f"{answer} {courtesy}".strip()


def edits(
    cases: Mapping[str, Case],
    drafts: Iterable[Candidates],
    *,
    seed: int,
    rubric: Rubric = "first",
    noise: float = LABEL_NOISE,
) -> list[Edit]:
    """One edit per draft; an empty draft, or one that nothing was changed in, gives none.

    `cases` maps the id of a row to its case; `noise` is the share filed the wrong way round.
    """
    filed = []
    for row in drafts:
        rng = Random(f"{seed}/{row.id}")
        for candidate in row.candidates:
            draft = candidate.messages[-1].content
            edited = edit(cases[row.id], draft, rng, rubric=rubric)
            if not draft.strip() or edited == draft.strip():
                continue
            if rng.random() < noise:
                draft, edited = edited, draft
            filed.append(_filed(row, candidate.id, draft, edited, editor=f"agent-{rng.randint(1, 3)}"))
    return filed


def repair_pairs(cases: Mapping[str, Case], drafts: Iterable[Candidates], *, seed: int) -> list[Preference]:
    """Pairs that differ in the disclaimer alone: the edit of a draft with it, and without it."""
    pairs = []
    for row in drafts:
        for candidate in row.candidates:
            draft = candidate.messages[-1].content
            chosen = edit(cases[row.id], draft, Random(f"{seed}/{row.id}"), rubric="second")
            pairs.append(
                Preference(
                    id=f"{row.id}/{candidate.id}/disclaimer",
                    prompt=row.prompt,
                    chosen=_turn(chosen),
                    rejected=_turn(" ".join(chosen.replace(DISCLAIMER, "").split())),
                    meta=row.meta | {"source": "repair", "rejection_type": "missing_disclaimer", "safety": True},
                )
            )
    return pairs


def without_spurious_refusals(cases: Mapping[str, Case], rows: Iterable[Edit]) -> list[Edit]:
    """The edits whose draft does not refuse an ordinary question: as rejected sides those teach against refusing."""
    return [row for row in rows if not over_refuses(_case_of(cases, row), row.draft[-1].content)]


def tone_edits(cases: Mapping[str, Case], drafts: Iterable[Candidates], *, seed: int, count: int) -> list[Edit]:
    """At most `count` edits of refusals that hold: only their tone is changed, so a refusal is on both sides."""
    held = [row for row in drafts if refused(cases[row.id], row.candidates[0].messages[-1].content)]
    return edits(cases, held[:count], seed=seed, rubric="second", noise=0.0)


def refuse_or_comply(
    cases: Mapping[str, Case], steady: Iterable[Candidates], failing: Iterable[Candidates], *, seed: int
) -> list[Edit]:
    """Edits of replies that should have refused and did not.

    `failing` holds the replies of the model that lost its refusals, `steady` those of one that refuses, to the same
    prompts: what an agent puts in place of a failure is the steady model's own refusal with its tone edited, where
    there is one, so that both sides are text that a model wrote.
    """
    refusal = {row.id: row.candidates[0].messages[-1].content for row in steady}
    filed = []
    for row in failing:
        case = cases[row.id]
        for candidate in row.candidates:
            reply = candidate.messages[-1].content
            if reply.strip() and not refused(case, reply):
                edited = edit(case, refusal.get(row.id, ""), Random(f"{seed}/{row.id}"), rubric="second")
                filed.append(_filed(row, f"{candidate.id}/comply", reply, edited, editor="agent-1"))
    return filed


def _filed(row: Candidates, suffix: str, draft: str, edited: str, *, editor: str) -> Edit:
    return Edit(
        id=f"{row.id}/{suffix}",
        prompt=row.prompt,
        draft=_turn(draft),
        edited=_turn(edited),
        editor=editor,
        meta=row.meta,
    )


def _turn(text: str) -> tuple[Message, ...]:
    return (Message(role="assistant", content=text),)


def _case_of(cases: Mapping[str, Case], row: Edit) -> Case:
    return cases[row.id.partition("/")[0]]


def _kept(draft: str) -> list[str]:
    """The draft's sentences without the disclaimer, apologies and greetings at their start taken off."""
    sentences = (_bare(sentence) for sentence in _SENTENCE.split(draft.replace(DISCLAIMER, "").strip()))
    return list(dict.fromkeys(sentence for sentence in sentences if sentence and not APOLOGY.search(sentence)))


def _bare(sentence: str) -> str:
    bare = _HELLO.sub("", _SORRY_BUT.sub("", sentence.strip()))
    return bare[:1].upper() + bare[1:]


def _carries_answer(case: Case, sentence: str) -> bool:
    return bool(mentions(sentence).facts) and not refuses(sentence)


def _is_courtesy(sentence: str) -> bool:
    return warm(sentence) and not mentions(sentence).facts and not refuses(sentence) and _concise(sentence)


def _concise(text: str) -> bool:
    return 0 < len(text.split()) <= LONGEST_EDIT


def _corrected(case: Case, sentence: str) -> str:
    """The sentence with each wrong fact replaced, where the question leaves only one fact of that kind to mean."""
    found = mentions(sentence)
    right = case.mentionable
    for stated, names in (
        (found.dates, ("due", "change")),
        (found.amounts, ("amount", "fee")),
        (found.spans, ("returns", "refunds")),
        (found.carriers, ("carrier",)),
        (found.statuses, ("status",)),
    ):
        meant = [right[name] for name in names if name in right]
        wrong = stated.difference(meant)
        if len(meant) == 1 and len(wrong) == 1:
            sentence = sentence.replace(next(iter(wrong)), meant[0])
    for order in found.orders - {str(case.record.order)}:
        sentence = re.sub(rf"\b{order}\b", str(case.record.order), sentence)
    return sentence
