"""Sampling: what is sampled, and on what it does not depend."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from fairlead.engine import decoding
from fairlead.engine.sampling import Sample, Sampling, sample
from fairlead.errors import ConfigError, DataError, ModelError
from tests.tiny import FAMILIES, tiny_gemma2, tiny_llama

NO_STOP: frozenset[int] = frozenset()
PROMPTS = [[5, 6, 7], [9], [11, 12, 13, 14, 15, 16, 17, 18, 19, 20], [5, 6, 8], [40] * 30, [3, 4], [100, 200, 300], [8]]
GREEDY = Sampling(temperature=0, max_new_tokens=12)


def recompute(model: Any, prompt: Sequence[int], length: int) -> tuple[list[int], float]:
    """Greedy decoding without any cache: the whole sequence again for every token."""
    ids, logp = list(prompt), 0.0
    with torch.no_grad():
        for _ in range(length):
            scores = model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)
            ids.append(int(scores.argmax()))
            logp += float(scores[ids[-1]])
    return ids[len(prompt) :], logp


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_greedy_is_what_recomputing_every_token_gives(family: str) -> None:
    model = FAMILIES[family]()
    for prompt, (got,) in zip(PROMPTS, sample(model, PROMPTS, GREEDY, stop_ids=NO_STOP), strict=True):
        ids, logp = recompute(model, prompt, 12)
        assert list(got.ids) == ids
        assert got.logp == pytest.approx(logp, abs=1e-3)
        assert not got.finished


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gemma3", "gpt2"])
def test_no_bit_depends_on_the_batch(family: str, dtype: torch.dtype) -> None:
    model = FAMILIES[family]().to(dtype)
    whole = sample(model, PROMPTS, GREEDY, stop_ids=frozenset({7, 70, 170}))
    for size in (1, 2, 3, 5):
        settings = Sampling(temperature=0, max_new_tokens=12, batch_size=size)
        assert sample(model, PROMPTS, settings, stop_ids=frozenset({7, 70, 170})) == whole
    assert sample(model, PROMPTS[3:4], GREEDY, stop_ids=frozenset({7, 70, 170})) == whole[3:4]


def test_a_long_neighbour_changes_nothing() -> None:
    """The attention is as wide as the longest row needs: what lies beyond a row's own end must add exact zeros."""
    for dtype in (torch.float32, torch.bfloat16):
        model = tiny_llama(seed=3).to(dtype)
        short = sample(model, [[5, 6, 7]], GREEDY, stop_ids=NO_STOP)
        both = sample(model, [[5, 6, 7], list(range(3, 303))], GREEDY, stop_ids=NO_STOP)
        assert both[0] == short[0]


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_samples_depend_on_seed_prompt_and_number_only(top_p: float) -> None:
    model = tiny_llama()

    def draw(prompts: list[list[int]], **changes: Any) -> list[list[Sample]]:
        settings = Sampling(**({"n": 3, "top_p": top_p, "max_new_tokens": 10, "seed": 4} | changes))
        return sample(model, prompts, settings, stop_ids=frozenset({50, 150, 250}))

    whole = draw(PROMPTS)
    assert draw(PROMPTS, batch_size=2) == whole
    assert draw(PROMPTS[::-1]) == whole[::-1]
    assert draw(PROMPTS, n=2) == [row[:2] for row in whole]
    assert draw(PROMPTS, seed=5) != whole
    assert len({one.ids for row in whole for one in row}) == 3 * len(PROMPTS)
    first, second = draw([[5, 6, 7], [5, 6, 7]])
    assert first == whole[0]
    assert not {one.ids for one in first} & {one.ids for one in second}


def test_log_probability_is_the_models_own_whatever_the_temperature() -> None:
    model = tiny_llama()
    settings = Sampling(n=2, temperature=0.5, top_p=0.7, max_new_tokens=6)
    for prompt, row in zip(PROMPTS, sample(model, PROMPTS, settings, stop_ids=NO_STOP), strict=True):
        for one in row:
            with torch.no_grad():
                scores = model(torch.tensor([[*prompt, *one.ids]])).logits[0].float().log_softmax(-1)
            places = range(len(prompt) - 1, len(prompt) + len(one.ids) - 1)
            wanted = sum(float(scores[place, token]) for place, token in zip(places, one.ids, strict=True))
            assert one.logp == pytest.approx(wanted, abs=1e-4)


def test_ends_with_a_stop_token_or_at_the_limit() -> None:
    model = tiny_llama()
    free = sample(model, PROMPTS, GREEDY, stop_ids=NO_STOP)
    stop = free[2][0].ids[4]
    for before, (after,) in zip(free, sample(model, PROMPTS, GREEDY, stop_ids=frozenset({stop})), strict=True):
        ids = before[0].ids
        end = ids.index(stop) + 1 if stop in ids else len(ids)
        assert after.ids == ids[:end]
        assert after.finished == (stop in ids)


def test_greedy_samples_of_a_prompt_are_the_same() -> None:
    row = sample(tiny_llama(), [[5, 6]], Sampling(n=3, temperature=0, max_new_tokens=4), stop_ids=NO_STOP)[0]
    assert row == [row[0]] * 3


def test_each_distinct_prompt_is_computed_once() -> None:
    model, seen = tiny_llama(), []
    model.model.embed_tokens.register_forward_hook(lambda _module, given, _out: seen.append(tuple(given[0].shape)))
    prompts = [[5, 6, 7], [9, 9], [5, 6, 7]]
    sample(model, prompts, Sampling(n=5, max_new_tokens=4, batch_size=15), stop_ids=NO_STOP)
    assert [shape for shape in seen if shape[0] == 1] == [(1, 12)], "both at once, filled up to 12 rows"
    assert all(shape[1] == 1 and shape[0] <= 16 for shape in seen[1:])
    assert len(seen[1:]) == 3  # the first token of each sample comes from its prompt


def test_little_memory_means_fewer_rows_not_other_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    model, settings = tiny_llama(), Sampling(n=2, max_new_tokens=8)
    whole = sample(model, PROMPTS, settings, stop_ids=NO_STOP)
    monkeypatch.setattr(decoding, "STORE_BYTES", 1)
    rows = []
    model.model.embed_tokens.register_forward_hook(lambda _module, given, _out: rows.append(given[0].shape[0]))
    assert sample(model, PROMPTS, settings, stop_ids=NO_STOP) == whole
    assert max(rows) == 4


def test_a_family_with_soft_caps_is_decoded_with_padding_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_gemma2()
    settings = Sampling(n=2, max_new_tokens=5, batch_size=3)
    with caplog.at_level(logging.WARNING, logger="fairlead"):
        whole = sample(model, PROMPTS, settings, stop_ids=frozenset({50, 150}))
    assert ["padding" in line for line in caplog.messages] == [True]
    assert [len(row) for row in whole] == [2] * len(PROMPTS)
    assert all(one.finished == (one.ids[-1] in {50, 150}) for row in whole for one in row)


def test_works_on_an_adapter_and_leaves_the_model_as_it_was() -> None:
    model = get_peft_model(tiny_llama(), LoraConfig(target_modules=["q_proj"], init_lora_weights=False)).train()
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    before = model.get_base_model().config._attn_implementation
    got = sample(model, [[5, 6, 7]], GREEDY, stop_ids=NO_STOP)[0][0]
    assert model.training
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert model.get_base_model().config._attn_implementation == before
    assert list(got.ids) == recompute(model.eval(), [5, 6, 7], 12)[0]
    assert got != sample(tiny_llama(), [[5, 6, 7]], GREEDY, stop_ids=NO_STOP)[0][0]


def test_works_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rows = sample(tiny_llama(), PROMPTS, GREEDY, stop_ids=NO_STOP)
        assert rows[0] == sample(tiny_llama(), PROMPTS[:1], GREEDY, stop_ids=NO_STOP)[0]


def test_stops_at_the_end_of_the_context() -> None:
    model = tiny_llama(max_position_embeddings=16)
    assert len(sample(model, [[5] * 10], GREEDY, stop_ids=NO_STOP)[0][0].ids) == 6
    with pytest.raises(DataError, match="Prompt 1 has 16 tokens"):
        sample(model, [[5], [5] * 16], GREEDY, stop_ids=NO_STOP)
    with pytest.raises(DataError, match="Prompt 0 is empty"):
        sample(model, [[]], GREEDY, stop_ids=NO_STOP)


def test_no_prompts_no_samples() -> None:
    assert sample(tiny_llama(), [], GREEDY, stop_ids=NO_STOP) == []


def test_logits_that_are_not_finite_are_an_error() -> None:
    model = tiny_llama()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        sample(model, [[5]], GREEDY, stop_ids=NO_STOP)


def test_all_faults_of_the_settings_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Sampling(n=0, temperature=float("nan"), top_p=0, max_new_tokens=0, batch_size=0, seed=-1)
    assert {fault.field for fault in caught.value.faults} == {
        "n",
        "temperature",
        "top_p",
        "max_new_tokens",
        "batch_size",
        "seed",
    }


class Counting:
    """A progress display that keeps what it is told."""

    def __init__(self) -> None:
        self.done, self.total, self.fields = 0, 0, {}

    @contextmanager
    def task(self, name: str, *, total: int, unit: str, done: int = 0) -> Iterator[Counting]:
        assert (name, unit) == ("sample", "samples")
        self.total = total
        yield self

    def advance(self, count: int = 1, **fields: float) -> None:
        self.done += count
        self.fields = fields


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_progress_counts_samples_and_tells_tokens_per_second(family: str) -> None:
    shown = Counting()
    settings = Sampling(n=3, max_new_tokens=5, batch_size=4)
    sample(FAMILIES[family](), PROMPTS, settings, stop_ids=frozenset({50, 150}), progress=shown)
    assert shown.done == shown.total == 3 * len(PROMPTS)
    assert shown.fields["tokens/s"] > 0
