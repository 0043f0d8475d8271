"""Names and outputs of the user's own losses and metrics."""

from __future__ import annotations

import pytest
import torch

from fairlead.errors import ConfigError
from fairlead.losses.contract import Loss
from fairlead.losses.pairwise import dpo
from fairlead.losses.scores import LossOutput, Pairs, RewardPairs, Term, TokenScores
from fairlead.losses.table import defaults
from fairlead.stages.own import checked
from fairlead.training.measuring import Measure

SCORES = TokenScores(torch.full((5,), -1.0, requires_grad=True), torch.tensor([2, 3]))
PAIRS = Pairs(SCORES, SCORES, SCORES, SCORES)


def call(function: object, examples: Pairs | RewardPairs = PAIRS) -> LossOutput:
    loss = Loss(function=function, examples=type(examples), needs_reference=False)  # type: ignore[arg-type]
    return checked({"mine": loss}, {})["mine"].function(examples)


def test_a_good_loss_is_what_it_was() -> None:
    loss = checked({"mine": Loss(function=dpo, examples=Pairs, needs_reference=True)}, {})["mine"]
    assert torch.equal(loss.function(PAIRS, beta=0.3).terms[0].value, dpo(PAIRS, beta=0.3).terms[0].value)
    assert defaults(loss)["label_smoothing"] == 0.0


def test_taken_and_unusable_names() -> None:
    loss = Loss(function=dpo, examples=Pairs, needs_reference=True)
    measure = Measure(function=lambda evaluation: 0.0)
    with pytest.raises(ConfigError) as caught:
        checked(
            dict.fromkeys(["dpo", "a/b", "fine"], loss), dict.fromkeys(["loss", "eval/x", "probe/y", "ok"], measure)
        )
    assert [fault.field for fault in caught.value.faults] == [
        "losses.dpo",
        "losses.a/b",
        "metrics.loss",
        "metrics.eval/x",
        "metrics.probe/y",
    ]


def test_a_mean_in_place_of_one_value_per_example_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a term of shape \(\) for 2 examples. Return one value per example"):
        call(lambda pairs: LossOutput((Term(pairs.chosen.mean.mean()),)))
    with pytest.raises(ConfigError, match=r"a term of shape \(5,\) for 2 examples"):
        call(lambda pairs: LossOutput((Term(pairs.chosen.logp_N),)))
    rewards = RewardPairs(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ConfigError, match="for 3 examples"):
        call(lambda pairs: LossOutput((Term(torch.zeros(2)),)), rewards)


def test_a_tensor_in_place_of_terms_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"losses.mine: its function gives Tensor. Return LossOutput"):
        call(lambda pairs: pairs.chosen.mean)


def test_metrics_are_detached_and_one_value_per_example() -> None:
    for metric in (lambda pairs: pairs.chosen.mean, lambda pairs: pairs.chosen.mean.detach().mean()):
        with pytest.raises(ConfigError, match="its metric x must be detached and hold one value per example"):
            call(lambda pairs, metric=metric: LossOutput((Term(pairs.chosen.mean),), {"x": metric(pairs)}))
