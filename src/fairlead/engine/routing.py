"""The router of a mixture-of-experts model: the auxiliary loss that keeps its experts evenly used.

Shapes: T tokens, X experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fairlead.engine.attention import causal_of
from fairlead.engine.heads import widen


@dataclass(frozen=True, kw_only=True)
class Routing:
    """What a model's own configuration asks for: the weight of its load-balancing loss, and experts per token."""

    coefficient: float
    experts_per_token: int


@dataclass(frozen=True, kw_only=True)
class Balance:
    """The load-balancing loss of one forward pass (a scalar), and its weight beside the loss that is trained."""

    value: Tensor
    coefficient: float


def routing_of(model: nn.Module) -> Routing | None:
    """The load-balancing loss that the model's configuration asks for, or None.

    It does where `output_router_logits` is true and `router_aux_loss_coef` above 0, as in transformers.
    """
    config = causal_of(model).config.get_text_config()
    coefficient = getattr(config, "router_aux_loss_coef", None) or 0.0
    if not getattr(config, "output_router_logits", False) or coefficient <= 0:
        return None
    return Routing(coefficient=float(coefficient), experts_per_token=int(config.num_experts_per_tok))


def load_balancing_loss(router_logits: Sequence[Tensor], experts_per_token: int, real: Tensor | None = None) -> Tensor:
    """X · Σ_x f_x·P_x, a scalar in float32 or better: it is `experts_per_token` where all experts are used alike.

    `router_logits` holds [T, X] for each layer; f_x is the share of tokens that are sent to expert x, P_x the mean
    probability of it, both over the tokens of all layers. Only P carries a gradient. `real` (bool, T in all) leaves
    padding out. Switch Transformer: Fedus et al. 2021 (arXiv:2101.03961), eqs. 4 to 6, over the k experts of a token.
    """
    experts = router_logits[0].shape[-1]
    layers = [widen(logits.reshape(-1, experts)) for logits in router_logits]
    if real is not None:
        layers = [logits_TX[real.flatten()] for logits_TX in layers]
    probs = [logits_TX.softmax(dim=-1) for logits_TX in layers]
    tokens = sum(len(probs_TX) for probs_TX in probs)
    chosen = torch.cat([probs_TX.detach().topk(experts_per_token, dim=-1).indices.flatten() for probs_TX in probs])
    sent_X = torch.bincount(chosen, minlength=experts) / tokens
    probability_X = torch.stack([probs_TX.sum(dim=0) for probs_TX in probs]).sum(dim=0) / tokens
    return experts * (sent_X * probability_X).sum()
