"""The generated world: who asks what, off which record, in which pool. Everything follows from one seed.

A record belongs to one pool, so questions that hang off one record never straddle a split; one customer segment is seen
in evaluation only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import Any

from examples.harbor.questions import CITIES, KINDS, Kind, kinds_of
from examples.harbor.records import TOOLS, Record, draw_record
from fairlead.data.records import Candidates, Message
from fairlead.data.split import split

SEED = 1123
HELD_OUT_SEGMENT = "marine"
SPARE = 2.5
"""Records drawn for each one needed: a split by hash is near the size asked for, not exact."""

SMALLEST_SHELF = 24
"""Records for even the smallest pool, so that chance leaves none of them short."""

Mix = Mapping[str, int]
"""Intent → number of questions."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One question off one record. Its id holds the pool, so it is unique in the world."""

    id: str
    kind_name: str
    record: Record
    system: str
    question: str
    city: str | None = None

    @property
    def kind(self) -> Kind:
        return KINDS[self.kind_name]

    @property
    def intent(self) -> str:
        return self.kind.intent

    @property
    def prompt(self) -> tuple[Message, ...]:
        return (Message(role="system", content=self.system), Message(role="user", content=self.question))

    @property
    def required(self) -> dict[str, str]:
        """Fact → wording that a right answer holds."""
        return {name: self.record.facts[name] for name in self.kind.required}

    @property
    def mentionable(self) -> dict[str, str]:
        """Facts that a right answer may hold: the required ones and those that go with them."""
        return {name: self.record.facts[name] for name in (*self.kind.required, *self.kind.allowed)}

    @cached_property
    def call(self) -> dict[str, Any] | None:
        """The right tool call, or None where a call is not what was asked for."""
        if self.kind.tool is None:
            return None
        values: dict[str, Any] = {"order": self.record.order, "amount": self.record.amount, "city": self.city}
        return {"name": self.kind.tool, "arguments": {name: values[name] for name in TOOLS[self.kind.tool]}}

    @property
    def call_text(self) -> str:
        assert self.call is not None
        return json.dumps(self.call)

    def fill(self, template: str) -> str:
        """A question or answer with the record's own words in it."""
        return template.format(
            item=self.record.item,
            order=self.record.order,
            first=self.record.customer.first,
            friend=self.record.neighbour.name,
            city=self.city,
            **self.record.facts,
        )

    def row(self) -> Candidates:
        """The prompt as a row that waits to be sampled."""
        meta = {"segment": self.record.segment, "intent": self.intent, "kind": self.kind_name}
        return Candidates(
            id=self.id, prompt=self.prompt, meta=meta | ({"safety": True} if self.intent == "refuse" else {})
        )


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many questions of each intent every pool holds.

    Refunds, tool calls and refusals get more demonstrations than their share of the traffic: with fewer, a model of
    this size does not learn them.
    """

    sft: Mix
    preference: Mix
    repair: Mix
    red_team: Mix
    held_out: Mix
    recipe: Mix
    evaluation: Mix

    def scaled(self, share: float) -> Sizes:
        """Every count times `share`, rounded, at least 1."""
        pools = {
            pool: {intent: max(1, round(n * share)) for intent, n in mix.items()} for pool, mix in self.mixes().items()
        }
        return replace(self, **pools)

    def mixes(self) -> dict[str, Mix]:
        return {pool: getattr(self, pool) for pool in self.__dataclass_fields__}


FULL = Sizes(
    sft={"status": 70, "policy": 80, "delivery": 60, "refund": 90, "dispute": 70, "tool": 110, "refuse": 80},
    preference={"status": 40, "policy": 28, "delivery": 20, "refund": 28, "dispute": 22, "tool": 20, "refuse": 12},
    repair={"dispute": 28},
    red_team={"refuse": 72},
    held_out={"status": 120, "policy": 100, "delivery": 55, "refund": 77, "dispute": 55, "refuse": 33},
    recipe={"status": 16, "policy": 12, "delivery": 12, "refund": 12, "dispute": 24, "tool": 20, "refuse": 24},
    evaluation={"status": 24, "policy": 18, "delivery": 14, "refund": 14, "dispute": 60, "tool": 32, "refuse": 48},
)
"""The whole story: 560 demonstrations, 270 prompts to learn preferences on, 210 to measure on, and 440 to compare
two samples of, of which annotators settle about 400."""

QUESTIONS_PER_RECORD = {"sft": 4}
"""Several questions off one record share its system message. Other pools ask one question per record."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Pool → its cases; prompts of two pools never share a record."""

    seed: int
    pools: Mapping[str, tuple[Case, ...]]
    by_id: Mapping[str, Case] = field(repr=False)

    def __getitem__(self, pool: str) -> tuple[Case, ...]:
        return self.pools[pool]

    def rows(self, pool: str) -> list[Candidates]:
        return [case.row() for case in self.pools[pool]]


def build(seed: int = SEED, sizes: Sizes = FULL) -> World:
    """The world of `seed`. Half of the evaluation prompts come from a segment that no other pool has seen."""
    mixes = sizes.mixes()
    needed = {pool: max(SMALLEST_SHELF, _records_asked_about(pool, mix)) for pool, mix in mixes.items()}
    shelves = _shelve(draw_records(seed, round(SPARE * sum(needed.values()))), needed, seed)
    pools = {pool: _ask(pool, mix, shelves[pool], seed) for pool, mix in mixes.items()}
    by_id = {case.id: case for cases in pools.values() for case in cases}
    assert len(by_id) == sum(len(cases) for cases in pools.values())
    return World(seed=seed, pools=pools, by_id=by_id)


def draw_records(seed: int, count: int) -> list[Record]:
    """`count` different records."""
    rng = Random(f"{seed}/records")
    unique: dict[str, Record] = {}
    while len(unique) < count:
        record = draw_record(rng)
        unique.setdefault(record.desk_system, record)
    return list(unique.values())


def _records_asked_about(pool: str, mix: Mix) -> int:
    return -(-sum(mix.values()) // QUESTIONS_PER_RECORD.get(pool, 1))


def _shelve(records: Sequence[Record], needed: Mapping[str, int], seed: int) -> dict[str, list[Record]]:
    """Records dealt to pools: the held-out segment first, then by the hash of the system message."""
    by_id = {str(number): record for number, record in enumerate(records)}
    rows = [
        Candidates(
            id=name,
            prompt=(Message(role="system", content=record.desk_system),),
            meta={"segment": record.segment},
        )
        for name, record in by_id.items()
    ]
    outer = split(rows, fraction=0.0, seed=seed, by="segment", held_out_segments=(HELD_OUT_SEGMENT,))
    unseen, remaining = list(outer.held_out), list(outer.train)
    left = 1.1 * sum(needed.values())
    shelves: dict[str, list[Record]] = {}
    for number, (pool, count) in enumerate(needed.items(), start=1):
        # A seed of its own for each split: under one seed a later split would fall inside an earlier one.
        part = split(remaining, fraction=count / left, seed=seed + number, by="prompt")
        taken, remaining, left = list(part.held_out), list(part.train), left - count
        if pool == "evaluation":
            taken = _interleave(unseen[: count // 2], taken[: count - count // 2])
        assert len(taken) >= count, f"{pool}: {len(taken)} records for {count}"
        shelves[pool] = [by_id[row.id] for row in taken]
    return shelves


def _interleave(first: Sequence[Candidates], second: Sequence[Candidates]) -> list[Candidates]:
    """The rows of both in turn, so that every intent meets both."""
    return [row for pair in zip(first, second, strict=False) for row in pair] + list(second[len(first) :])


def _ask(pool: str, mix: Mix, records: Sequence[Record], seed: int) -> tuple[Case, ...]:
    """The questions of a pool. Kinds and wordings are dealt in turn, so a small pool still has many of them."""
    rng = Random(f"{seed}/{pool}")
    intents = [intent for intent, count in mix.items() if intent != "tool" for _ in range(count)]
    rng.shuffle(intents)
    intents += ["tool"] * mix.get("tool", 0)  # last, so that tool questions share records, and with them their schemas
    turns = {intent: rng.randrange(1000) for intent in mix}
    tools = {shelf: tuple(rng.sample(sorted(TOOLS), k=4)) for shelf in range(len(records))}
    cases: list[Case] = []
    seen: set[tuple[int, str]] = set()
    for number, intent in enumerate(intents):
        shelf = number // QUESTIONS_PER_RECORD.get(pool, 1)
        case = None
        while case is None or (shelf, case.question) in seen:
            turns[intent] += 1
            case = _case(f"{pool}-{number:03d}", intent, turns[intent], records[shelf], tools[shelf], rng)
        seen.add((shelf, case.question))
        cases.append(case)
    return tuple(cases)


def _case(name: str, intent: str, turn: int, record: Record, tools: tuple[str, ...], rng: Random) -> Case | None:
    """The question of a turn, or None where its tool is not among those that the record's system message lists."""
    kinds = kinds_of(intent)
    kind_name = kinds[turn % len(kinds)]
    kind = KINDS[kind_name]
    if kind.tool is not None and kind.tool not in tools:
        return None
    case = Case(
        id=name,
        kind_name=kind_name,
        record=record,
        system=record.desk_system if kind.tool is None else record.tool_system(tools),
        question="",
        city=rng.choice(CITIES) if kind_name == "reroute" else None,
    )
    return replace(case, question=case.fill(kind.questions[(turn // len(kinds)) % len(kind.questions)]))
