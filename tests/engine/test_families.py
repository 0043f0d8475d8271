"""Every family that docs/families.md claims: which engine is chosen, and that it is exact."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from fairlead.engine.attention import causal_of
from fairlead.engine.sampling import Sampling, sample
from fairlead.engine.scoring import make_scorer
from tests import tiny
from tests.engine import families
from tests.engine.families import (
    BOUNDS,
    FAMILIES,
    GROUPS,
    all_in_float64,
    checkpointed,
    gradients,
    in_float64,
    own_logps,
    with_lora,
)

every_family = pytest.mark.parametrize("name", FAMILIES)


@every_family
def test_packed_is_padded_is_the_models_own_forward(name: str) -> None:
    """Log-probabilities and gradients, all weights and LoRA with checkpointing; and the line in the docs."""
    measured = families.measure(FAMILIES[name].build)
    row = families.row(name, measured)
    print(" | ".join(row))
    assert ("packed" if measured.scorer.packed else "padded") == FAMILIES[name].engine, measured.scorer.note
    assert bool(measured.scorer.note) != measured.scorer.packed, "padded has a reason, packed none"
    for dtype, bound in BOUNDS.items():
        assert measured.differences[dtype].values <= bound
        assert measured.differences[dtype].gradients <= bound
    # Digits of rounding differ between machines: the page must name the same facts, and differences within the bounds.
    shown = families.documented()[name]
    assert shown[:5] == row[:5], "run: make docs"
    assert all(float(digits) <= bound for digits, bound in zip(shown[5:], (1e-10, 1e-10, 1e-5, 1e-5), strict=True))


def test_the_page_lists_these_families_in_this_order() -> None:
    assert list(families.documented()) == list(FAMILIES)


@pytest.mark.parametrize("name", ["Llama", "Mistral", "GPT-2", "Cohere", "Qwen3-MoE", "Gemma 2", "Qwen3-Next"])
def test_bfloat16_stays_near_float64(name: str) -> None:
    build = FAMILIES[name].build
    with all_in_float64(), torch.no_grad():
        exact = own_logps(in_float64(build(initializer_range=0.05)))
    scorer = make_scorer(build(initializer_range=0.05).bfloat16())
    assert scorer.packed == (FAMILIES[name].engine == "packed"), scorer.note
    with scorer.attention(), torch.no_grad():
        logps = scorer.score(scorer.batch(GROUPS)).logp_N
    assert logps.dtype == torch.float32
    assert (logps.double() - exact).abs().max().item() < 0.15


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("name", ["Llama", "Mistral", "GPT-2", "Qwen3-MoE"])
def test_backward_in_another_thread_with_checkpointing(name: str, lora: bool) -> None:
    """On CUDA, autograd recomputes on threads of its own: nothing that attention needs may hang on the first thread."""
    model = FAMILIES[name].build()
    model = in_float64(checkpointed(with_lora(model) if lora else model)).train()
    found: dict[str, torch.Tensor] = {}
    with all_in_float64():
        expected = gradients(model, own_logps(model))
        scorer = make_scorer(model, engine="packed")
        with scorer.attention():
            logps = scorer.score(scorer.batch(GROUPS)).logp_N
            thread = threading.Thread(target=lambda: found.update(gradients(model, logps)))
            thread.start()
            thread.join()
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        assert (found[key] - gradient).abs().max() <= 1e-10 * gradient.abs().max().clamp(min=1), key


PROMPTS = ((5, 6, 7), (9,), tuple(range(11, 31)), (5, 6, 8), (40,) * 30, (3, 4), (100, 200, 300))


@every_family
def test_greedy_text_is_that_of_transformers(name: str) -> None:
    model = FAMILIES[name].build()
    greedy = Sampling(temperature=0, max_new_tokens=16)
    ours = sample(model, PROMPTS, greedy, stop_ids=frozenset({2}))
    assert [list(one.ids) for (one,) in ours] == generated(model, 16)


def generated(model: Any, length: int) -> list[list[int]]:
    """transformers' own greedy continuation of all prompts in one left-padded batch, up to the end token."""
    width = max(map(len, PROMPTS))
    rows = torch.tensor([(2,) * (width - len(prompt)) + prompt for prompt in PROMPTS])
    mask = torch.tensor([(0,) * (width - len(prompt)) + (1,) * len(prompt) for prompt in PROMPTS])
    with torch.no_grad():
        done = model.generate(rows, attention_mask=mask, max_new_tokens=length, do_sample=False)[:, width:].tolist()
    return [row[: row.index(2) + 1] if 2 in row else row for row in done]


def test_a_window_in_the_mask_alone_is_never_lost() -> None:
    """The self-check's short group would not show it: the window is far longer."""
    scorer = make_scorer(tiny.tiny_qwen2_moe(sliding_window=4096))
    assert not scorer.packed
    assert "mask" in scorer.note
    assert make_scorer(tiny.tiny_qwen2_moe(use_sliding_window=False)).packed
    assert make_scorer(tiny.tiny_mistral(sliding_window=4096)).packed


def test_without_its_soft_caps_gemma_2_is_packed() -> None:
    """Nothing goes by the name of a family."""
    scorer = make_scorer(tiny.tiny_gemma2(attn_logit_softcapping=None))
    assert scorer.packed
    assert causal_of(scorer.model).config.final_logit_softcapping
