from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from examples.harbor.checks import CHECKS, apologises, words
from examples.harbor.questions import DISCLAIMER, INTENTS, KINDS, REFUSALS, kinds_of
from examples.harbor.records import SEGMENTS, TOOLS, draw_record
from examples.harbor.transcripts import exported
from examples.harbor.world import FULL, HELD_OUT_SEGMENT, SEED, World, build, draw_records
from fairlead.data.split import count_shared_prompts


@pytest.fixture(scope="module")
def world() -> World:
    return build(SEED, FULL)


def test_every_pool_has_the_questions_it_should(world: World) -> None:
    for pool, mix in FULL.mixes().items():
        assert Counter(case.intent for case in world[pool]) == Counter(mix)


def test_the_world_follows_from_its_seed(world: World) -> None:
    assert build(SEED, FULL) == world
    assert build(SEED + 1, FULL.scaled(0.1))["sft"] != build(SEED, FULL.scaled(0.1))["sft"]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_smaller_worlds_are_whole(share: int) -> None:
    small = build(SEED, FULL.scaled(share))
    assert all({case.intent for case in small[pool]} == set(mix) for pool, mix in FULL.mixes().items())


def test_no_record_and_no_prompt_stands_in_two_pools(world: World) -> None:
    pools = sorted(world.pools)
    for index, first in enumerate(pools):
        for second in pools[index + 1 :]:
            assert not {case.record for case in world[first]} & {case.record for case in world[second]}
            assert count_shared_prompts(world.rows(first), world.rows(second)) == 0


def test_one_segment_is_met_in_evaluation_alone(world: World) -> None:
    segments = {pool: Counter(case.record.segment for case in cases) for pool, cases in world.pools.items()}
    assert [pool for pool, found in segments.items() if HELD_OUT_SEGMENT in found] == ["evaluation"]
    unseen = segments["evaluation"][HELD_OUT_SEGMENT]
    assert unseen == len(world["evaluation"]) // 2
    # Every intent is asked in both.
    for intent in FULL.evaluation:
        asked = [case.record.segment == HELD_OUT_SEGMENT for case in world["evaluation"] if case.intent == intent]
        assert any(asked)
        assert not all(asked)


def test_demonstrations_share_records_and_other_pools_do_not(world: World) -> None:
    assert len({case.record for case in world["sft"]}) == len(world["sft"]) // 4
    tools = [case for case in world["sft"] if case.intent == "tool"]
    systems = Counter(case.system for case in tools)
    assert max(systems.values()) == 4
    for pool in ("preference", "held_out", "evaluation"):
        assert len({case.record for case in world[pool]}) == len(world[pool])


def test_no_question_is_asked_twice_off_one_record(world: World) -> None:
    asked = Counter((case.record, case.question) for cases in world.pools.values() for case in cases)
    assert max(asked.values()) == 1


def test_every_wording_is_met_in_training(world: World) -> None:
    """Measured wordings have been seen, on other records: what is measured is the answer, not the reading."""
    for intent in INTENTS:
        kinds = kinds_of(intent)
        assert {case.kind_name for case in world["sft"] if case.intent == intent} == set(kinds)
    assert all(len(kind.questions) >= 4 for kind in KINDS.values())


def test_facts_of_a_record_cannot_be_mixed_up() -> None:
    for record in draw_records(3, 300):
        facts = record.facts
        assert facts["due"] != facts["change"]
        assert facts["amount"] != facts["fee"]
        assert facts["returns"] != facts["refunds"]
        assert record.change_day >= 1
        assert record.customer.first != record.neighbour.first


def test_records_are_drawn_from_their_segment() -> None:
    record = draw_record(Random(1))
    assert record.item in SEGMENTS[record.segment]


def test_the_prompt_lists_the_tool_that_is_asked_for(world: World) -> None:
    for case in world["evaluation"]:
        if case.intent == "tool":
            assert case.call is not None
            listed = [tool for tool in TOOLS if f'"name": "{tool}"' in case.system]
            assert len(listed) == 4
            assert case.call["name"] in listed


def test_transcripts_are_right_and_long_winded(world: World) -> None:
    rows = exported(world["sft"], SEED)
    replies = {row["id"]: row["conversations"][-1]["value"] for row in rows}
    for case in world["sft"]:
        for name, (intents, passes) in CHECKS.items():
            if case.intent in intents and name != "no_apology":
                assert passes(case, replies[case.id]), (name, case.id)
        assert (DISCLAIMER in replies[case.id]) is (case.intent == "dispute")
    prose = [replies[case.id] for case in world["sft"] if case.intent != "tool"]
    assert 32 <= sorted(map(words, prose))[len(prose) // 2] <= 42
    assert 0.85 < sum(map(apologises, prose)) / len(prose) < 1


def test_refusals_are_written_for_every_kind_that_must_be_refused() -> None:
    assert set(REFUSALS) == set(kinds_of("refuse"))


@pytest.mark.parametrize("tool", [True, False])
def test_no_prompt_is_nearly_one_of_another_pool(world: World, tool: bool) -> None:
    def shingles(pool: str) -> list[set[tuple[str, ...]]]:
        texts = [f"{case.system} {case.question}".split() for case in world[pool] if (case.intent == "tool") is tool]
        return [{tuple(text[start : start + 5]) for start in range(len(text) - 4)} for text in texts[:100]]

    nearest = max(len(a & b) / len(a | b) for a in shingles("sft") for b in shingles("evaluation"))
    assert nearest < 0.7
