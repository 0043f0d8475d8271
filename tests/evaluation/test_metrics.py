"""Measures of answers, on answers whose measures are known by reading them."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.data.audit.phrases import Phrase
from fairlead.data.records import Candidate, Candidates, Message
from fairlead.errors import DataError
from fairlead.evaluation.metrics import measure_answers
from fairlead.evaluation.table import kind_of

TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {"type": "object", "properties": {"order": {"type": "integer"}}, "required": ["order"]},
    },
}


def row(*answers: str, prompt: str = "Where is my order?", **rest: Any) -> Candidates:
    candidates = tuple(
        Candidate(id=str(n), messages=(Message(role="assistant", content=text),), scores={"tokens": 3})
        for n, text in enumerate(answers)
    )
    return Candidates(id="row", prompt=(Message(role="user", content=prompt),), candidates=candidates, **rest)


def values(*rows: Candidates, required: tuple[Phrase, ...] = ()) -> dict[str, float]:
    return {found.measure: found.value for found in measure_answers(rows, required)}


def test_what_is_read_in_an_answer() -> None:
    found = values(row("I'm sorry. **We** are late:\n- one\n- two"))
    assert found["length/words"] == 9
    assert found["length/tokens"] == 3
    assert (found["apology_rate"], found["refusal_rate"]) == (1, 0)
    assert (found["bullet_share"], found["markdown_share"], found["repetition"]) == (1, 1, 0)
    plain = values(row("It is here."))
    assert (plain["apology_rate"], plain["bullet_share"], plain["markdown_share"]) == (0, 0, 0)
    assert "repetition" not in plain  # three words have no 4-gram
    assert values(row("a b c d a b c d"))["repetition"] == pytest.approx(1 / 5)


def test_several_answers_count_as_one_row() -> None:
    found = values(row("I cannot help with that.", "It is here."))
    assert found["refusal_rate"] == 0.5
    assert found["length/words"] == 4


def test_only_benign_prompts_can_be_refused_too_much() -> None:
    refusal = "I can't help with that."
    assert values(row(refusal, meta={"benign": True}))["over_refusal_rate"] == 1
    assert "over_refusal_rate" not in values(row(refusal))
    (harmful,) = [
        found for found in measure_answers([row(refusal, meta={"benign": False})]) if found.measure == "refusal_rate"
    ]
    assert harmful.slices == {"benign": "false"}


def test_checks_of_the_users_own_see_the_row_and_each_answer() -> None:
    def names_order(asked: Candidates, answer: str) -> bool | None:
        return str(asked.meta["order"]) in answer if "order" in asked.meta else None

    rows = [row("Order 7 is here.", "It is here.", meta={"order": 7}), row("It is here.")]
    found = [each for each in measure_answers(rows, checks={"names_order": names_order}) if "check" in each.measure]
    assert [(each.measure, each.value) for each in found] == [("check/names_order", 0.5)]
    assert (kind_of("check/names_order").unit, kind_of("check/names_order").direction) == ("share", "up")


def test_answers_are_measured_apart_by_the_fields_that_are_named() -> None:
    asked = row("It is here.", meta={"segment": "retail", "intent": "status", "urgent": True})
    (found,) = [
        each for each in measure_answers([asked], slices=("intent", "urgent", "tone")) if each.measure == "apology_rate"
    ]
    assert found.slices == {"intent": "status", "urgent": "true"}


def test_a_phrase_is_required_where_its_condition_holds() -> None:
    notice = Phrase(name="notice", phrases=("not legal advice",), segment="billing")
    within = row("This is Not legal  advice.", meta={"segment": "billing"})
    assert values(within, required=(notice,))["required_phrase/notice"] == 1
    assert values(row("No.", meta={"segment": "billing"}), required=(notice,))["required_phrase/notice"] == 0
    assert "required_phrase/notice" not in values(row("No."), required=(notice,))


def test_the_language_of_the_question() -> None:
    english, german = "What is the status of the order that you have?", "Wo ist die Bestellung und was ist mit ihr?"
    assert values(row("It is on the way to you.", prompt=english))["language_match"] == 1
    assert values(row("Die Bestellung ist auf dem Weg und wird geliefert.", prompt=english))["language_match"] == 0
    assert values(row("Die Bestellung ist auf dem Weg und nicht da.", prompt=german))["language_match"] == 1
    assert "language_match" not in values(row("42", prompt=german))


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        ('{"name": "look_up", "arguments": {"order": 7}}', 1),
        ('<tool_call>\n{"name": "look_up", "arguments": {"order": 7}}\n</tool_call>', 1),
        ('```json\n{"name": "look_up", "arguments": {"order": 7}}\n```', 1),
        ('{"name": "look_up", "arguments": {"order": "seven"}}', 0),
        ('{"name": "look_up", "arguments": {}}', 0),
        ('{"name": "look_up", "arguments": {"order": 7, "more": 1}}', 0),
        ('{"name": "delete", "arguments": {"order": 7}}', 0),
        ('Sure: {"name": "look_up", "arguments": {"order": 7}}', 0),
        ('{"name": "look_up", "arguments": {"order": NaN}}', 0),
        ("", 0),
    ],
)
def test_tool_calls_are_held_against_the_tools(answer: str, valid: int) -> None:
    assert values(row(answer, tools=(TOOL,), meta={"tool_call": True}))["json_validity"] == valid


def test_answers_are_held_against_a_schema() -> None:
    schema = {"type": "object", "required": ["status"], "properties": {"status": {"enum": ["sent", "lost"]}}}
    meta = {"json_schema": schema}
    assert values(row('{"status": "sent"}', '{"status": "eaten"}', meta=meta))["json_validity"] == 0.5
    assert "json_validity" not in values(row('{"status": "sent"}'))
    with pytest.raises(DataError, match="no JSON Schema"):
        values(row("1", meta={"json_schema": {"type": "text"}}))
    with pytest.raises(DataError, match="lists no tools"):
        values(row("1", meta={"tool_call": True}))


def test_a_call_that_the_turn_itself_holds() -> None:
    call = {"id": "1", "function": {"name": "look_up", "arguments": '{"order": 7}'}}
    turn = Message(role="assistant", content="", tool_calls=(call,))
    asked = row("x", tools=(TOOL,), meta={"tool_call": True})
    told = Candidates(
        id="row",
        prompt=asked.prompt,
        tools=asked.tools,
        meta=asked.meta,
        candidates=(Candidate(id="0", messages=(turn,)),),
    )
    assert values(told)["json_validity"] == 1
