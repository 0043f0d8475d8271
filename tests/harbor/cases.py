"""Cases with a known record, for tests that judge replies by hand."""

from __future__ import annotations

from dataclasses import replace

from examples.harbor.questions import KINDS
from examples.harbor.records import Person, Record
from examples.harbor.world import Case
from fairlead.data.records import Candidate, Candidates, Message

RECORD = Record(
    customer=Person(first="Nina", last="Patel"),
    segment="home",
    order=417,
    item="desk lamp",
    amount=36,
    carrier="DHL",
    status="in transit",
    due_day=14,
    change_day=11,
    month="March",
    fee=4,
    returns=30,
    refunds=5,
    neighbour=Person(first="Tom", last="Reed"),
    home="8 Elm Road",
    code="plum 52",
)
TOOLS_LISTED = ("cancel_order", "refund_order", "send_to", "track_order")


def case(kind: str, *, name: str = "test-000", city: str | None = None) -> Case:
    """The first wording of a kind of question, asked off `RECORD`."""
    tool = KINDS[kind].tool is not None
    system = RECORD.tool_system(TOOLS_LISTED) if tool else RECORD.desk_system
    blank = Case(id=name, kind_name=kind, record=RECORD, system=system, question="", city=city)
    return replace(blank, question=blank.fill(KINDS[kind].questions[0]))


def answered(asked: Case, *replies: str) -> Candidates:
    """The case's row with these replies as candidates."""
    candidates = tuple(
        Candidate(id=str(number), messages=(Message(role="assistant", content=reply),))
        for number, reply in enumerate(replies)
    )
    return Candidates(id=asked.id, prompt=asked.prompt, candidates=candidates, meta=asked.row().meta)
