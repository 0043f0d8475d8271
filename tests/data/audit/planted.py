"""Data sets with nothing wrong in them, and the faults that tests plant: each says which rows must be found."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from fairlead.data.audit.findings import Finding
from fairlead.data.audit.material import Material
from fairlead.data.audit.settings import AuditSettings
from fairlead.data.audit.table import CHECKS
from fairlead.data.records import Annotation, Feedback, Judgement, Message, Preference, Turns

COMMON = ["the", "of", "and", "to", "is", "that", "it", "for", "you", "on", "with", "this", "your", "can", "be", "are"]
ENDS = ["cel", "ger", "ket", "tract", "ume", "der", "den", "ver", "ton", "ric", "mine", "sor"]
NOUNS = [first + last for first in ("par", "led", "mar", "con", "vol", "ten", "gar", "sil") for last in ENDS]


def user(text: str) -> Turns:
    return (Message(role="user", content=text),)


def assistant(text: str) -> Turns:
    return (Message(role="assistant", content=text),)


class Writer:
    """Texts of made-up words among real ones, a seed for each."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def words(self, count: int) -> list[str]:
        return [self.random.choice(COMMON if self.random.random() < 0.5 else NOUNS) for _ in range(count)]

    def text(self, count: int) -> str:
        drawn = self.words(max(2, count))
        return " ".join(drawn).capitalize() + "."

    def length(self) -> int:
        return round(self.random.lognormvariate(3.6, 0.35))


def clean_pairs(count: int = 400, seed: int = 0) -> list[Preference]:
    """Pairs whose labels nothing on the surface tells, rejected for several reasons, a twentieth about safety."""
    writer = Writer(seed)
    rows = []
    for place in range(count):
        chosen, rejected = writer.text(writer.length()), writer.text(writer.length())
        match place % 20:
            case 0:
                chosen = f"I can't help with that. {chosen}"
            case 1 | 2:
                rejected = f"I cannot say. {rejected}"
            case 3 | 4:
                rejected = f"- {rejected}\n- {writer.text(8)}"
            case 5 | 6:
                chosen = f"- {chosen}\n- {writer.text(8)}"
            case 7:
                rejected = f"Sorry! {rejected}"
            case 8:
                chosen = f"Sorry! {chosen}"
            case _:
                pass
        prompt = f"Question {place}: {writer.text(12)}"
        rows.append(
            Preference(id=f"p{place:04}", prompt=user(prompt), chosen=assistant(chosen), rejected=assistant(rejected))
        )
    return rows


@dataclass(frozen=True)
class Person:
    """An annotator: how often they say what is true, and what they go by otherwise."""

    name: str
    right: float = 0.9
    follows: str = "truth"  # or longer, shorter, a


def judged(
    people: Sequence[Person],
    count: int = 300,
    *,
    seed: int = 0,
    ties: float = 0.05,
    rubrics: Sequence[str | None] = (None,),
    rubric_follows: dict[str, str] | None = None,
) -> list[Judgement]:
    """Judgements of everybody on everything; rubric version and day change in the course of the rows."""
    writer, rows = Writer(seed), []
    for place in range(count):
        sides = [writer.text(writer.length()), writer.text(writer.length())]
        truth = writer.random.choice("ab")
        if place % 20 == 0:
            truth, sides = "a", [f"I can't help with that. {sides[0]}", sides[1]]
        tied = writer.random.random() < ties
        rubric = rubrics[place * len(rubrics) // count]
        day = f"2026-{1 + place // 60:02}-{1 + place % 28:02}T12:00:00Z"
        said = []
        for person in people:
            follows = (rubric_follows or {}).get(rubric or "", person.follows)
            label = "tie" if tied else _label(writer, person, follows, sides, truth)
            said.append(Annotation(annotator=person.name, label=label, at=day, rubric=rubric))
        prompt = user(f"Question {place}: {writer.text(10)}")
        rows.append(
            Judgement(
                id=f"j{place:04}",
                prompt=prompt,
                response_a=assistant(sides[0]),
                response_b=assistant(sides[1]),
                annotations=tuple(said),
            )
        )
    return rows


def _label(writer: Writer, person: Person, follows: str, sides: list[str], truth: str) -> str:
    longer = "a" if len(sides[0].split()) >= len(sides[1].split()) else "b"
    meant = {"truth": truth, "longer": longer, "shorter": "b" if longer == "a" else "a", "a": "a"}[follows]
    return meant if writer.random.random() < person.right else writer.random.choice(["a", "b"])


GOOD = [Person("ann"), Person("bea"), Person("cid"), Person("dan")]


def thumbs(rows: Iterable[Preference]) -> list[Feedback]:
    """Each side of the pairs with its thumb."""
    return [
        Feedback(id=f"{row.id}-{name}", prompt=row.prompt, completion=side, label=up)
        for row in rows
        for name, side, up in (("up", row.chosen, True), ("down", row.rejected, False))
    ]


def changed(row: Preference, **fields: object) -> Preference:
    """The row with other fields; texts stand for assistant turns."""
    values = {
        name: assistant(value) if isinstance(value, str) and name != "id" else value for name, value in fields.items()
    }
    return msgspec.structs.replace(row, **values)


def findings(rows: Sequence[object], settings: AuditSettings | None = None, **material: object) -> list[Finding]:
    """What every check finds."""
    whole = Material(rows=rows, **material)  # type: ignore[arg-type]
    return [found for check in CHECKS for found in check.find(whole, settings or AuditSettings())]


def found(rows: Sequence[object], code: str, settings: AuditSettings | None = None, **material: object) -> Finding:
    """The one finding of this code."""
    (finding,) = all_found(rows, code, settings, **material)
    return finding


def all_found(
    rows: Sequence[object], code: str, settings: AuditSettings | None = None, **material: object
) -> list[Finding]:
    """The findings of this code, from the check that can return it."""
    whole = Material(rows=rows, **material)  # type: ignore[arg-type]
    (check,) = [check for check in CHECKS if code in check.module.KINDS]
    return [each for each in check.find(whole, settings or AuditSettings()) if each.code == code]


def grave(found: Iterable[Finding]) -> set[str]:
    """The codes that are warnings or errors."""
    return {finding.code for finding in found if finding.severity != "note"}
