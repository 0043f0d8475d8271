"""The reference model: live, cached, and proven to be the one that training starts from."""

from __future__ import annotations

import pytest
import torch

from fairlead.config import AdapterConfig
from fairlead.engine.reference import (
    PROOF_TOKENS,
    CopiedReference,
    FollowedWeight,
    LiveReference,
    SyncedReference,
    prove_reference,
)
from fairlead.engine.reference_cache import ReferenceCache
from fairlead.engine.scoring import make_scorer
from fairlead.errors import RunError
from fairlead.models.adapters import add_lora
from fairlead.models.language_model import LanguageModel
from tests.engine.test_reference_cache import GROUPS, own_scores
from tests.tiny import tiny_llama, tiny_tokenizer


def with_adapter(*, dropout=0.0):
    """A model with a LoRA adapter that does something."""
    model = tiny_llama()
    model.requires_grad_(False)
    plain = LanguageModel(model=model, tokenizer=tiny_tokenizer(), source="tiny", weights_digest="w")
    return add_lora(plain, AdapterConfig(r=2, dropout=dropout), seed=0)


def train_a_little(lm):
    """The adapter changes what the model says."""
    with torch.no_grad():
        for name, parameter in lm.model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)


def test_the_live_reference_is_the_base_whatever_the_adapter_has_learned(tmp_path):
    lm = with_adapter()
    scorer = make_scorer(lm.model)
    cache = ReferenceCache(tmp_path, {"weights": "w"})
    cache.fill(GROUPS, scorer, 100)  # before training: adapter and base agree
    train_a_little(lm)
    live = LiveReference(lm, scorer)
    with scorer.attention():
        for which in (None, (1,)):
            ours = live.scores(GROUPS, which)
            torch.testing.assert_close(ours.logp_N, cache.scores(GROUPS, which).logp_N, rtol=1e-4, atol=1e-4)
            assert not ours.logp_N.requires_grad
        base = make_scorer(tiny_llama())
    torch.testing.assert_close(cache.scores(GROUPS).logp_N, own_scores(base, GROUPS).logp_N, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(own_scores(scorer, GROUPS).logp_N, cache.scores(GROUPS).logp_N, atol=1e-3)


def test_the_live_reference_leaves_the_policy_as_it_was():
    lm = with_adapter(dropout=0.5)
    scorer = make_scorer(lm.model)
    lm.model.train()
    trainable = [name for name, parameter in lm.model.named_parameters() if parameter.requires_grad]
    with scorer.attention():
        first, second = (LiveReference(lm, scorer).scores(GROUPS).logp_N for _ in range(2))
    assert torch.equal(first, second)  # no dropout
    assert lm.model.training
    assert [name for name, parameter in lm.model.named_parameters() if parameter.requires_grad] == trainable


def test_a_reference_that_follows_moves_when_it_is_due_and_by_its_share():
    """π_ref ← α·π + (1 − α)·π_ref, every three steps."""
    policy, own = tiny_llama(), tiny_llama(seed=1).requires_grad_(False)
    start = [weight.clone() for weight in own.parameters()]
    followed = {
        name: FollowedWeight(own=own.get_parameter(name), policy=weight) for name, weight in policy.named_parameters()
    }
    inner = CopiedReference(make_scorer(own))
    reference = SyncedReference(inner=inner, weights=followed, every=3, alpha=0.25)
    for step in range(1, 7):
        reference.after_step(step)
        share = 0.75 ** (step // 3)
        for weight, before, ours in zip(policy.parameters(), start, own.parameters(), strict=True):
            torch.testing.assert_close(ours, share * before + (1 - share) * weight.detach())
    assert reference.parameters.keys() == dict(own.named_parameters()).keys()
    assert torch.equal(reference.scores(GROUPS).logp_N, own_scores(make_scorer(own), GROUPS).logp_N)


@pytest.mark.parametrize("cached", [True, False])
def test_the_proof_holds_before_training_and_not_after(tmp_path, cached):
    lm = with_adapter()
    scorer = make_scorer(lm.model)
    reference = LiveReference(lm, scorer)
    if cached:
        reference = ReferenceCache(tmp_path, {"weights": "w"})
        reference.fill(GROUPS, scorer, 100)
    lm.model.train()
    assert prove_reference(scorer, reference, GROUPS) < 1e-4
    assert lm.model.training
    train_a_little(lm)
    with pytest.raises(RunError, match=r"differ by .* nats per token.*train\.reference_cache"):
        prove_reference(scorer, reference, GROUPS)


def test_the_proof_finds_another_model(tmp_path):
    cache = ReferenceCache(tmp_path, {"weights": "w"})
    cache.fill(GROUPS, make_scorer(tiny_llama(seed=1)), 100)
    scorer = make_scorer(tiny_llama())
    with pytest.raises(RunError, match="not the model that training starts from"):
        prove_reference(scorer, cache, GROUPS)


def test_values_that_are_no_numbers_prove_nothing(tmp_path):
    model = tiny_llama()
    scorer = make_scorer(model)
    with torch.no_grad():
        model.model.embed_tokens.weight.fill_(torch.nan)
    cache = ReferenceCache(tmp_path, {"weights": "w"})
    cache.fill(GROUPS, scorer, 100)
    with pytest.raises(RunError, match="differ by nan"):
        prove_reference(scorer, cache, GROUPS)


def test_the_proof_takes_the_first_groups_only(tmp_path):
    scorer = make_scorer(tiny_llama())
    many = GROUPS * (PROOF_TOKENS // GROUPS[0].tokens)
    seen = []

    class Noted:
        def scores(self, groups, which=None):
            seen.extend(groups)
            return own_scores(scorer, groups, which)

    assert prove_reference(scorer, Noted(), many) < 1e-4
    assert 0 < sum(group.tokens for group in seen) <= PROOF_TOKENS
    assert len(seen) < len(many)
