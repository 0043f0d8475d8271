from __future__ import annotations

import pytest

from bench.against_trl.cells import METHODS
from bench.against_trl.rows import FIRST_ID, InOrder, digest_of, draw_groups, sequence_tokens
from fairlead.engine.groups import PromptGroup


def draw(method: str, *, count: int = 12, seed: int = 0) -> list[PromptGroup]:
    return draw_groups(method, count=count, prompt_tokens=150, completion_tokens=100, vocabulary=320, seed=seed)


@pytest.mark.parametrize("method", METHODS)
def test_rows_depend_on_the_seed_alone(method: str) -> None:
    assert digest_of(draw(method)) == digest_of(draw(method)) != digest_of(draw(method, seed=1))


def test_rows_have_the_lengths_asked_for_and_no_control_tokens() -> None:
    groups = draw("dpo", count=4000)
    prompts = [len(group.prompt) for group in groups]
    completions = [len(completion.ids) for group in groups for completion in group.completions]
    assert sum(prompts) / len(prompts) == pytest.approx(150, rel=0.05)
    assert sum(completions) / len(completions) == pytest.approx(100, rel=0.05)
    assert min(min(group.prompt) for group in groups) >= FIRST_ID


def test_every_method_gets_its_kind_of_rows() -> None:
    assert {len(group.completions) for group in draw("sft")} == {1}
    assert {len(group.completions) for group in draw("reward")} == {2}
    thumbs = draw("kto")
    assert {len(group.completions) for group in thumbs} == {2}  # behind its own completion a mismatched one
    assert [group.label for group in thumbs[:3]] == [True, False, True]


def test_steps_go_through_the_rows_in_order_and_begin_again() -> None:
    groups = draw("sft", count=6)
    source = InOrder(groups, 2)
    assert source.steps_per_epoch == 3
    assert [source.at(step) for step in range(4)] == [groups[:2], groups[2:4], groups[4:], groups[:2]]


def test_a_prompt_counts_for_each_of_its_completions() -> None:
    (group,) = draw("dpo", count=1)
    chosen, rejected = group.completions
    assert sequence_tokens([group]) == 2 * len(group.prompt) + len(chosen.ids) + len(rejected.ids)
