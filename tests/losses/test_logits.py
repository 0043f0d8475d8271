from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from fairlead.losses.pairwise import dpo
from fairlead.losses.reference_free import simpo
from fairlead.losses.scores import Pairs
from fairlead.losses.table import LOSSES, parameters
from tests.losses.batches import random_pairs, scores, value

OWN_NOISE = {"dpo_robust", "exo"}
"""Losses whose `label_smoothing` is not the mixture of both orders but the ε of their own equation."""
SMOOTHED = [name for name in LOSSES if "label_smoothing" in parameters(name) and name not in OWN_NOISE]
WITH_MARGIN = [name for name, loss in LOSSES.items() if loss.margin and loss.examples is Pairs]

PLAIN = {"cpo": {"cpo_alpha": 0.0}, "dpo_robust": {"label_smoothing": 0.0}}
"""Parameters under which a loss is −log σ of its logit and nothing else."""


def test_label_smoothing_is_where_it_belongs() -> None:
    assert set(SMOOTHED) == {"dpo", "dpo_norm", "hinge", "cpo", "simpo"}


@pytest.mark.parametrize("name", SMOOTHED)
def test_label_smoothing_mixes_both_orders(name: str) -> None:
    pairs, _ = random_pairs()
    swapped = Pairs(pairs.rejected, pairs.chosen, pairs.reference_rejected, pairs.reference_chosen)
    free = {"simpo": {"gamma": 0.0}, **PLAIN}.get(name, {})  # γ and the imitation keep their side
    straight, flipped = value(name, pairs, free), value(name, swapped, free)
    smoothed = value(name, pairs, {"label_smoothing": 0.3} | free)
    torch.testing.assert_close(smoothed, 0.7 * straight + 0.3 * flipped)


def test_label_smoothing_of_simpo_flips_the_whole_logit() -> None:
    pairs = Pairs(scores([-1.0]), scores([-2.0]))
    z = 2.0 * 1.0 - 0.5
    expected = 0.9 * math.log1p(math.exp(-z)) + 0.1 * math.log1p(math.exp(z))
    assert simpo(pairs, beta=2.0, gamma=0.5, label_smoothing=0.1).terms[0].value.item() == pytest.approx(expected)


def test_margins_are_for_the_losses_with_one_sigmoid() -> None:
    expected = {"dpo", "dpo_robust", "dpo_norm", "r_dpo", "ld_dpo", "dpop", "simpo", "alpha_po", "cpo"}
    assert set(WITH_MARGIN) == expected


@pytest.mark.parametrize("name", WITH_MARGIN)
def test_margin_moves_the_logit(name: str) -> None:
    plain, _ = random_pairs()
    margin = torch.linspace(0, 2, 6, dtype=torch.float64)
    function, given = LOSSES[name].function, PLAIN.get(name, {})
    logit = -torch.log(torch.expm1(function(plain, **given).terms[0].value))  # the inverse of −log σ
    expected = torch.log1p(torch.exp(margin - logit))
    torch.testing.assert_close(function(replace(plain, margin=margin), **given).terms[0].value, expected)


def test_margin_under_label_smoothing() -> None:
    pairs = Pairs(scores([-1.0]), scores([-2.0]), scores([-1.5]), scores([-1.5]), margin=torch.tensor([0.4]).double())
    z = 0.5 * 1.0 - 0.4
    expected = 0.9 * math.log1p(math.exp(-z)) + 0.1 * math.log1p(math.exp(z))
    assert dpo(pairs, beta=0.5, label_smoothing=0.1).terms[0].value.item() == pytest.approx(expected)
