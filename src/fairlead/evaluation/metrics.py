"""What is measured of answers without a model: length, apologies, refusals, required phrases, form, language."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from fairlead.data.audit.phrases import Phrase
from fairlead.data.languages import language
from fairlead.data.records import Candidate, Candidates, Message
from fairlead.data.replies import apologises, has_list, has_markdown, refuses, repetition
from fairlead.data.split import prompt_key, segment_of
from fairlead.data.texts import text_of, words
from fairlead.evaluation.estimates import Observed
from fairlead.evaluation.table import CHECK, REQUIRED
from fairlead.evaluation.validity import form_of, is_valid

TextMeasure = Callable[[str], float | None]
Check = Callable[[Candidates, str], bool | None]
"""A check of the user's own: given a row and the text of one of its answers, whether that passes; None where the check
does not apply to the row."""
SEGMENT = "segment"


def repeated(text: str) -> float | None:
    """Share of the word 4-grams that stood earlier in the text; None for fewer than four words."""
    numbers: dict[str, int] = {}
    return repetition([numbers.setdefault(word, len(numbers)) for word in words(text)])


TEXT_MEASURES: Mapping[str, TextMeasure] = {
    "length/words": lambda text: len(words(text)),
    "apology_rate": apologises,
    "refusal_rate": refuses,
    "bullet_share": has_list,
    "markdown_share": has_markdown,
    "repetition": repeated,
}


def measure_answers(
    rows: Sequence[Candidates],
    required: Sequence[Phrase] = (),
    *,
    checks: Mapping[str, Check] | None = None,
    slices: Sequence[str] = (SEGMENT,),
) -> list[Observed]:
    """What each row's answers give to the measures of generation, in the mean over its answers.

    A row gives nothing to a measure that does not apply to it: a required phrase whose condition it does not meet,
    over-refusal unless it is marked benign, validity unless it asks for a form, language where that is not known.
    checks: give the measures check/NAME, shares of answers that pass. slices: fields of `meta` by whose values the
    answers are also measured apart; refusals are by `meta.benign` too. Raises DataError as `form_of` does.
    """
    return [found for row in rows for found in _row(row, required, checks or {}, slices)]


def _row(
    row: Candidates, required: Sequence[Phrase], checks: Mapping[str, Check], slices: Sequence[str]
) -> Iterator[Observed]:
    benign = row.meta.get("benign")
    named = {name: segment_of(row) if name == SEGMENT else row.meta.get(name) for name in slices}
    parts = {name: _part(value) for name, value in named.items() if value is not None}
    marked = parts | ({"benign": str(benign).lower()} if isinstance(benign, bool) else {})
    group = prompt_key(row)
    for name, values in _values(row, required, checks).items():
        known = [float(value) for value in values if value is not None]
        if known:
            of = marked if name == "refusal_rate" else parts
            yield Observed(measure=name, id=row.id, value=fmean(known), group=group, slices=of)


def _part(value: Any) -> str:
    """A value of `meta` as the name of a slice: text as it is, anything else as JSON writes it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _values(row: Candidates, required: Sequence[Phrase], checks: Mapping[str, Check]) -> dict[str, list[float | None]]:
    """The values of each answer by measure."""
    texts = [text_of(candidate.messages) for candidate in row.candidates]
    found = {name: [measure(text) for text in texts] for name, measure in TEXT_MEASURES.items()}
    found["length/tokens"] = [candidate.scores.get("tokens") for candidate in row.candidates]
    if row.meta.get("benign") is True:
        found["over_refusal_rate"] = [refuses(text) for text in texts]
    for phrase in required:
        if phrase.applies_to(row):
            found[f"{REQUIRED}{phrase.name}"] = [phrase.stands_in(text) for text in texts]
    if (asked := _language(row)) != "":
        found["language_match"] = [_same(asked, language(text)) for text in texts]
    if (schema := form_of(row)) is not None:
        found["json_validity"] = [is_valid(_last(candidate), schema) for candidate in row.candidates]
    for name, check in checks.items():
        found[f"{CHECK}{name}"] = [check(row, text) for text in texts]
    return found


def _language(row: Candidates) -> str:
    """The language of the last user turn."""
    return next((language(turn.content) for turn in reversed(row.prompt) if turn.role == "user"), "")


def _same(asked: str, given: str) -> float | None:
    return None if given == "" else float(asked == given)


def _last(candidate: Candidate) -> Message:
    return candidate.messages[-1]
