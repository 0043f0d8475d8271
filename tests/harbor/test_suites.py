"""The suites that the story measures by: rows with what their measures need, and files that the library reads."""

from __future__ import annotations

from pathlib import Path

import pytest

import fairlead
from examples.harbor import suites
from examples.harbor.checks import CHECKS
from examples.harbor.questions import DISCLAIMER
from examples.harbor.world import SEED, World, build
from fairlead.config.gate_policy import read_policy
from fairlead.config.judge import read_judge
from fairlead.data.audit.phrases import read_phrases
from fairlead.data.records import Message
from fairlead.evaluation.baseline import read_passages
from fairlead.evaluation.suite import read_suite
from fairlead.evaluation.validity import form_of, is_valid
from tests.harbor.cases import case


@pytest.fixture(scope="module")
def world() -> World:
    return build(SEED)


@pytest.mark.parametrize(
    ("kind", "reply", "valid"),
    [
        ("track", '{"name": "track_order", "arguments": {"order": 417}}', True),
        ("track", ' {"name":"track_order","arguments":{"order":"417"}}\n', True),
        ("track", '{"name": "cancel_order", "arguments": {"order": 417}}', True),
        ("repay", '{"name": "refund_order", "arguments": {"order": 417, "amount": "$36"}}', True),
        ("track", '{"name": "call_agent", "arguments": {"order": 417}}', False),  # which the prompt does not list
        ("track", '{"name": "track", "arguments": {"order": 417}}', False),
        ("repay", '{"name": "refund_order", "arguments": {"order": 417}}', False),
        ("track", '{"name": "track_order", "arguments": {"order": 417, "city": "Paris"}}', False),
        ("track", '{"name": "track_order", "arguments": {"order": 417}, "id": 1}', False),
        ("track", '{"name": "track_order", "arguments": 417}', False),
        ("track", '{"name": "track_order"}', False),
        ("track", '{"name": "track_order", "arguments": {"order": 417}', False),
        ("track", 'Sure! {"name": "track_order", "arguments": {"order": 417}}', False),
        ("track", "I track it.", False),
    ],
)
def test_a_call_is_valid_by_the_tools_that_its_prompt_lists(kind: str, reply: str, valid: bool) -> None:
    schema = form_of(suites.asked(case(kind)))
    assert schema is not None
    assert is_valid(Message(role="assistant", content=reply), schema) is valid


def test_rows_say_whether_they_are_answered_in_prose() -> None:
    prose = {kind: suites.asked(case(kind)).meta["prose"] for kind in ("where", "charge", "track", "staff_code")}
    assert prose == {"where": True, "charge": True, "track": False, "staff_code": False}
    assert form_of(suites.asked(case("where"))) is None
    assert suites.prose_ids([case("where", name="a"), case("track", name="b")]) == {"a"}


def test_suites_are_read_with_what_they_name(world: World, tmp_path: Path) -> None:
    reference = tmp_path / "sft"
    reference.mkdir()
    held_out = tmp_path / "pairs.jsonl"
    held_out.write_text("")
    for name in ("evaluation", "validation", "ranking"):
        content = suites.read_suite(name, max_new_tokens=40)
        file = suites.write_suite(
            tmp_path / name,
            content,
            prompts=world["evaluation"],
            kl_prompts=world["held_out"][:8],
            reference=reference,
            held_out=held_out,
        )
        suite = read_suite(file)
        for section in (suite.generation, suite.kl, suite.probes):
            assert section is None or section.max_new_tokens == 40
        if suite.generation is not None and suite.kl is not None:
            assert len(fairlead.read(suite.generation.prompts).rows) == len(world["evaluation"])
            assert len(fairlead.read(suite.kl.prompts).rows) == 8
            assert Path(suite.kl.reference).resolve() == reference
            (phrase,) = read_phrases(suite.generation.required or "")
            assert phrase.stands_in(f"It is under review. {DISCLAIMER}")
        if name == "evaluation":
            assert suite.baseline is not None
            assert len(read_passages(suite.baseline.documents or "")) > 5
            assert DISCLAIMER in suite.baseline.examples[1].answer


def test_gate_constraints_and_judge_are_what_the_library_reads(tmp_path: Path) -> None:
    gate = read_policy(suites.GATE)
    constraints = read_policy(suites.write_constraints(tmp_path / "constraints.yaml"))
    assert [bound.measure for bound in constraints.bounds] == ["required_phrase/disclaimer"]
    kept = [rule for rule in gate.non_regression if rule.measure != "probe/attack_success"]
    assert constraints.non_regression == kept
    assert len(kept) == len(gate.non_regression) - 1
    assert {rule.measure.removeprefix("check/") for rule in kept} <= set(CHECKS)
    assert [judge.name for judge in read_judge(suites.HERE / "judge.yaml").judges] == ["brevity"]
