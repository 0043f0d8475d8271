"""What a judge run hands on: preferences marked as a machine's, a blinded slice for people, verdicts and examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fairlead.config.judge import JudgeConfig
from fairlead.config.rubric import Rubric
from fairlead.data.records import Judgement, Preference
from fairlead.evaluation.judging.asking import hash_of
from fairlead.evaluation.judging.contract import Comparison, Verdict
from fairlead.evaluation.judging.prompt import said

SOURCE = "ai_judge"
"""`meta.source` of a preference that no person stated."""
EXAMPLES = 3
"""Comparisons of each outcome that the page shows."""
MOST_SHOWN = 1500  # characters of a text on the page


def exports(
    rows: Sequence[Judgement], verdicts: Sequence[Verdict], config: JudgeConfig, rubric: Rubric | None, *, void: bool
) -> tuple[list[Preference], list[Judgement]]:
    """Preferences by the panel, marked as such; and the rows drawn for people, without a verdict, in a drawn order."""
    aside = [row for row in rows if hash_of(row.id, "people", config.seed) < config.for_people * 2**64]
    drawn = {row.id for row in aside}
    marks: dict[str, Any] = {"source": SOURCE, "judges": [each.name for each in config.judges]}
    marks |= {} if rubric is None else {"rubric": rubric.version}
    pairs = []
    for row, verdict in zip(rows, verdicts, strict=True):
        if void or row.id in drawn or verdict.outcome not in ("candidate", "baseline"):
            continue
        sides = (row.response_a, row.response_b)
        chosen, rejected = sides if verdict.outcome == "candidate" else sides[::-1]
        if chosen == rejected:
            continue
        pairs.append(
            Preference(
                id=row.id,
                prompt=row.prompt,
                chosen=chosen,
                rejected=rejected,
                tools=row.tools,
                template_kwargs=row.template_kwargs,
                weight=row.weight,
                meta=row.meta | marks,
            )
        )
    return pairs, [_blinded(row, config.seed) for row in aside]


def own_for_people(comparisons: Iterable[Comparison], seed: int) -> list[Judgement]:
    """Judges' own answers against others', as rows for people: without who wrote what, in orders drawn by hashes.

    A row's id is a hash, since the comparison's names the judge.
    """
    rows = []
    for each in comparisons:
        row = Judgement(
            id=f"own-{hash_of(each.id, 'own-id', seed):016x}",
            prompt=each.prompt,
            response_a=each.candidate,
            response_b=each.baseline,
            meta={} if each.segment is None else {"segment": each.segment},
        )
        rows.append(_blinded(row, seed))
    return sorted(rows, key=lambda row: row.id)


def _blinded(row: Judgement, seed: int) -> Judgement:
    """The row without what is known of it, its answers in an order drawn by a hash."""
    sides = (row.response_a, row.response_b)
    first, second = sides if hash_of(row.id, "people-order", seed) % 2 else sides[::-1]
    meta = {key: value for key, value in row.meta.items() if key == "segment"}
    return Judgement(id=row.id, prompt=row.prompt, response_a=first, response_b=second, tools=row.tools, meta=meta)


def verdict_line(verdict: Verdict) -> dict[str, Any]:
    """A verdict as a line of verdicts.jsonl."""
    return {
        "id": verdict.id,
        "judge": verdict.judge,
        "outcome": verdict.outcome,
        "candidate_first": verdict.candidate_first,
        "candidate_second": verdict.candidate_second,
        "faults": list(verdict.faults),
        "votes": dict(verdict.votes),
        "texts": list(verdict.texts),
    }


def examples(
    comparisons: Sequence[Comparison], sides: Sequence[tuple[str, str]], verdicts: Sequence[Verdict], seed: int
) -> list[dict[str, str]]:
    """Some comparisons of each outcome, as texts with the names of both models, drawn by hashes of their ids."""
    found = []
    shown = list(zip(comparisons, sides, verdicts, strict=True))
    for outcome in ("candidate", "baseline", "tie"):
        held = [(each, names) for each, names, verdict in shown if verdict.outcome == outcome]
        for each, names in sorted(held, key=lambda item: hash_of(item[0].id, "example", seed))[:EXAMPLES]:
            texts = {"prompt": said(each.prompt), "candidate": said(each.candidate), "baseline": said(each.baseline)}
            cut = {key: text[:MOST_SHOWN] for key, text in texts.items()}
            found.append({"id": each.id, "outcome": outcome, "first": names[0], "second": names[1]} | cut)
    return found
