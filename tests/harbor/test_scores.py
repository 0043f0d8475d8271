"""Likelihoods under a real tiny model: what an adapter changes is seen, and what it does not change is nil."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from examples.harbor import scores
from fairlead.config import AdapterConfig
from fairlead.data.records import Candidate, Candidates, Message, Preference
from fairlead.models.adapters import add_lora
from fairlead.models.loading import load
from fairlead.models.weights import save_adapter
from tests.tiny import save_tiny


def turn(role: str, content: str) -> tuple[Message, ...]:
    return (Message(role=role, content=content),)


PROMPT = turn("user", "where is my order?")
REPLIES = [
    Candidates(id=str(n), prompt=PROMPT, candidates=(Candidate(id="0", messages=turn("assistant", text)),))
    for n, text in enumerate(("it was sent yesterday.", "please tell us the number."))
]


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    monkeypatch.setattr(scores, "resolve_dtype", lambda _: request.param)
    return request.param


def adapter(folder: Path, base: Path, *, trained: bool) -> Path:
    lm = add_lora(load(str(base), dtype=torch.float32), AdapterConfig(r=4), seed=0)
    for name, parameter in lm.model.named_parameters():
        if trained and "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    save_adapter(lm, folder)
    return folder


def test_divergence_is_nil_for_an_adapter_without_effect_and_positive_for_another(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    base = save_tiny(tmp_path / "base")
    idle = adapter(tmp_path / "idle", base, trained=False)
    moved = adapter(tmp_path / "moved", base, trained=True)
    same = scores.divergence(model=str(base), adapter=str(idle), reference=str(base), candidates=REPLIES)
    other = scores.divergence(model=str(base), adapter=str(moved), reference=str(base), candidates=REPLIES)
    assert abs(same.k1).max() == abs(same.per_token).max() == 0
    assert (other.k3 > 0.01).all()
    assert (other.per_token > 0.01).all()
    assert len(other.k1) == len(REPLIES)


def test_mean_log_probs_are_those_of_the_chosen_and_the_rejected_reply(tmp_path: Path, dtype: torch.dtype) -> None:
    base = save_tiny(tmp_path / "base")
    one, two = (row.candidates[0].messages for row in REPLIES)
    rows = [
        Preference(id="a", prompt=PROMPT, chosen=one, rejected=two),
        Preference(id="b", prompt=PROMPT, chosen=two, rejected=one),
    ]
    (chosen, rejected), (other_chosen, other_rejected) = scores.mean_logps(model=str(base), rows=rows)
    assert chosen == pytest.approx(other_rejected, abs=1e-5 if dtype == torch.float32 else 0.05)
    assert rejected == pytest.approx(other_chosen, abs=1e-5 if dtype == torch.float32 else 0.05)
    assert chosen != rejected
