"""The load-balancing loss of mixture-of-experts models, against transformers' own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.olmoe.modeling_olmoe import load_balancing_loss_func as olmoe_loss
from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func as qwen3_moe_loss

from fairlead.engine.attention import causal_of
from fairlead.engine.groups import Completion, PromptGroup
from fairlead.engine.packing import pad
from fairlead.engine.routing import Routing, load_balancing_loss, routing_of
from fairlead.engine.scoring import make_scorer
from fairlead.errors import ModelError
from tests.tiny import tiny_llama, tiny_olmoe, tiny_qwen3_moe

FAMILIES = {"qwen3-moe": (tiny_qwen3_moe, qwen3_moe_loss), "olmoe": (tiny_olmoe, olmoe_loss)}
ASKED = {"output_router_logits": True, "router_aux_loss_coef": 0.02}


def ids(seed: int, length: int) -> tuple[int, ...]:
    dice = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(3, 320, (length,), generator=dice).tolist())


def completion(seed: int, length: int) -> Completion:
    return Completion(ids=ids(seed, length), trained=(True,) * length)


GROUPS = [
    PromptGroup(row_id="a", prompt=ids(1, 9), completions=(completion(2, 7), completion(3, 4))),
    PromptGroup(row_id="b", prompt=ids(4, 3), completions=(completion(5, 2), completion(6, 12))),
]


def own_logits(model: Any, tokens: tuple[int, ...]) -> tuple[Tensor, ...]:
    """The router logits of each layer in the model's own forward pass over one sequence."""
    logits: tuple[Tensor, ...] = model(torch.tensor([tokens]), output_router_logits=True).router_logits
    return logits


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("masked", [False, True])
def test_it_is_transformers_own_on_one_batch(family: str, masked: bool) -> None:
    build, theirs = FAMILIES[family]
    model = build()
    batch = pad(GROUPS)
    assert batch.real is not None
    assert not batch.real.all()
    mask = batch.real if masked else None
    logits = model(batch.input_ids, output_router_logits=True).router_logits
    expected = theirs(logits, model.config.num_experts, model.config.num_experts_per_tok, mask)
    found = load_balancing_loss(logits, model.config.num_experts_per_tok, mask)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    parameters = [weight for name, weight in model.named_parameters() if "mlp.gate.weight" in name]
    gradients = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (found, expected)]
    for ours, other in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-6)
    assert gradients[0][0].norm() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_every_token_counts_once_and_padded_padding_does_not(family: str) -> None:
    build, theirs = FAMILIES[family]
    model = build(**ASKED)
    rows = [[(g.prompt + c.ids) for c in g.completions] for g in GROUPS]
    k = model.config.num_experts_per_tok
    whole = [own_logits(model, row) for group in rows for row in group]
    once = [
        tuple(logits if index == 0 else logits[len(group.prompt) :] for logits in own_logits(model, row))
        for group, of_group in zip(GROUPS, rows, strict=True)
        for index, row in enumerate(of_group)
    ]
    for engine, parts in (("padded", whole), ("packed", once)):
        scorer = make_scorer(model, engine=engine)
        layers = tuple(torch.cat(layer) for layer in zip(*parts, strict=True))
        with scorer.attention():
            scores, balance = scorer.score_with_balance(scorer.batch(GROUPS))
            assert torch.equal(scores.logp_N, scorer.score(scorer.batch(GROUPS)).logp_N)
        assert balance is not None
        assert balance.coefficient == 0.02
        assert balance.value.item() == pytest.approx(theirs(layers, model.config.num_experts, k).item(), rel=1e-5)


def test_its_gradient_survives_activations_that_are_computed_twice() -> None:
    found = []
    for checkpointing in (False, True):
        model = tiny_qwen3_moe(**ASKED).train()
        if checkpointing:
            causal_of(model).activation_checkpointing_enable({"use_reentrant": False})
        scorer = make_scorer(model)
        with scorer.attention():
            scores, balance = scorer.score_with_balance(scorer.batch(GROUPS))
            assert balance is not None
            (scores.logp_N.mean() + balance.value).backward()
        found.append({name: weight.grad for name, weight in model.named_parameters()})
    assert found[0]["model.layers.0.mlp.gate.weight"].norm() > 1e-3
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, msg=name)


def test_it_is_the_number_of_experts_per_token_where_all_are_used_alike() -> None:
    even = torch.zeros(4, 8).scatter_(1, torch.tensor([[0, 1], [2, 3], [4, 5], [6, 7]]), 1e-4)
    assert load_balancing_loss([even, even], 2).item() == pytest.approx(2, rel=1e-3)
    uneven = torch.zeros(4, 8).index_fill_(1, torch.tensor([0, 1]), 9.0)
    assert load_balancing_loss([uneven], 2).item() == pytest.approx(8, rel=1e-2)


def test_it_is_there_only_where_the_models_configuration_asks_for_it() -> None:
    assert routing_of(tiny_qwen3_moe(**ASKED)) == Routing(coefficient=0.02, experts_per_token=2)
    assert routing_of(tiny_qwen3_moe(**{**ASKED, "output_router_logits": False})) is None
    assert routing_of(tiny_qwen3_moe(**{**ASKED, "router_aux_loss_coef": 0.0})) is None
    assert routing_of(tiny_llama()) is None
    scorer = make_scorer(tiny_llama())
    with scorer.attention():
        assert scorer.score_with_balance(scorer.batch(GROUPS))[1] is None


def test_a_model_without_router_logits_says_so() -> None:
    model = tiny_llama()
    scorer = make_scorer(model)
    model.config.output_router_logits, model.config.router_aux_loss_coef = True, 0.1
    model.config.num_experts_per_tok = 2
    with scorer.attention(), pytest.raises(ModelError, match=r"does not give the logits of its routers.*Set that to"):
        scorer.score_with_balance(scorer.batch(GROUPS))
