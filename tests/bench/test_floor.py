"""Operations counted by hand for a row of 3 + 2 and 3 + 1 tokens, and for a model small enough to count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from bench.against_trl import floor
from bench.against_trl.cells import EACH_STEP, NO_REFERENCE, Job
from bench.against_trl.floor import Counts, Dimensions, count, operations, peaks
from bench.against_trl.rows import draw_groups
from fairlead.engine.groups import Completion, PromptGroup
from tests.bench.small import TINY, tiny_job


def completion(length: int) -> Completion:
    return Completion(ids=(20,) * length, trained=(True,) * length)


GROUP = PromptGroup(row_id="a", prompt=(11, 12, 13), completions=(completion(2), completion(1)))
CONFIG = LlamaConfig(**TINY).to_dict()


def test_a_prompt_is_read_once_and_seen_by_both_completions() -> None:
    # Keys seen: 1 + 2 + 3 in the prompt, 4 + 5 by the first completion, 4 by the second.
    assert count([GROUP]) == Counts(tokens=6, pairs=6 + 9 + 4, trained=3)
    assert count([GROUP], (0,)) == Counts(tokens=5, pairs=6 + 9, trained=2)


def test_the_forward_pass_counts_what_pytorch_counts(tmp_path: Path) -> None:
    """Of one long completion all of whose positions are scored, so that the plain forward pass does the same work."""
    size = Dimensions.of(CONFIG)
    length = 64
    group = PromptGroup(row_id="a", prompt=(11,), completions=(completion(length),))
    job = replace(tiny_job(tmp_path, "sft", "full"), reference=NO_REFERENCE)
    model = LlamaForCausalLM(LlamaConfig(**TINY, attn_implementation="eager"))
    with FlopCounterMode(display=False) as counter:
        logits = model(torch.full((1, length), 20)).logits
        logits.sum().backward()
    # PyTorch counts all pairs of positions, seen or not, and the token that is the prompt here is not in its input.
    square, seen = length**2, count([group]).pairs
    attention = 12.0 * size.layers * size.query * (square - seen)
    extra_token = 6.0 * size.layers * size.linear
    ours = operations(job, [group], size) + attention - extra_token
    assert ours == counter.get_total_flops()


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_a_reference_at_each_step_is_one_more_forward_pass(method: str, tmp_path: Path) -> None:
    size = Dimensions.of(CONFIG)
    groups = draw_groups(method, count=4, prompt_tokens=30, completion_tokens=20, vocabulary=320, seed=0)
    job: Job = tiny_job(tmp_path, method, "full")
    more = operations(replace(job, reference=EACH_STEP), groups, size) - operations(job, groups, size)
    everything = count(groups)
    expected = (
        2.0 * everything.tokens * size.layers * size.linear
        + 4.0 * everything.pairs * size.layers * size.query
        + 2.0 * everything.trained * size.hidden * size.vocabulary
    )
    assert more == pytest.approx(expected)


def test_frozen_weights_need_no_gradients(tmp_path: Path) -> None:
    size = Dimensions.of(CONFIG)
    full = operations(tiny_job(tmp_path, "dpo", "full"), [GROUP], size)
    frozen, small = (operations(replace(tiny_job(tmp_path, "dpo"), lora_rank=r), [GROUP], size) for r in (0, 2))
    assert frozen < small < full


def test_a_peak_is_a_number_of_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floor, "PEAK_SIZE", 64)
    assert all(value > 1e6 for value in peaks(torch.get_num_threads()).values())
