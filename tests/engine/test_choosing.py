"""Choosing tokens: exact supports and frequencies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.engine import choosing
from fairlead.engine.choosing import Draft, choose, stream


def drafts(count: int, seed: int = 0) -> list[Draft]:
    return [Draft(prompt=(1,), stream=stream(seed, (1,), index), limit=1) for index in range(count)]


def test_streams_differ_by_seed_prompt_and_sample_and_repeat() -> None:
    draws = {
        (seed, prompt, sample): stream(seed, prompt, sample).random(3).tobytes()
        for seed in (0, 1)
        for prompt in ((1,), (1, 2))
        for sample in (0, 1)
    }
    assert len(set(draws.values())) == 8
    assert stream(1, (1, 2), 1).random(3).tobytes() == draws[1, (1, 2), 1]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.75), (2.0, 0.9)])
def test_frequencies_are_those_of_the_distribution(temperature: float, top_p: float) -> None:
    probability = np.array([0.05, 0.4, 0.02, 0.3, 0.2, 0.03])
    bent = probability ** (1 / temperature)
    bent /= bent.sum()
    order = np.argsort(-bent)
    kept = order[: int((np.cumsum(bent[order]) < top_p - 1e-9).sum()) + 1]
    wanted = np.zeros(6)
    wanted[kept] = bent[kept] / bent[kept].sum()
    count = 20_000
    logits = torch.from_numpy(probability).log().float().expand(count, 6)
    tokens, logps = choose(logits, drafts(count), temperature=temperature, top_p=top_p)
    shares = np.bincount(tokens, minlength=6) / count
    assert np.abs(shares - wanted).max() < 4 * np.sqrt(0.25 / count)
    assert not shares[wanted == 0].any()
    assert logps == pytest.approx([float(np.log(probability[token])) for token in tokens], abs=1e-5)


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=40), st.floats(0.01, 0.999), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_a_nucleus_draw_is_the_same_through_every_tier(values: list[float], top_p: float, seed: int) -> None:
    logits = torch.tensor([values, values[::-1]])
    whole = choose(logits, drafts(2, seed), temperature=1.0, top_p=top_p)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choosing, "NUCLEUS", (1, 3))
        tiered = choose(logits, drafts(2, seed), temperature=1.0, top_p=top_p)
    probability = logits.softmax(-1)
    for row, (token, other) in enumerate(zip(whole[0], tiered[0], strict=True)):
        assert probability[row, token] == probability[row, other]  # equal ones may be sorted either way
        before = probability[row][probability[row] > probability[row, token]].sum()
        assert before < top_p + 1e-5


def test_a_token_without_probability_is_never_drawn() -> None:
    probability = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    for uniform in (0.0, 0.5, 0.99999994):
        tokens = choosing._draw(probability, torch.full((2,), uniform))
        assert tokens.tolist()[0] == 1
        assert tokens.tolist()[1] in (0, 1)
