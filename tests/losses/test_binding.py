from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fairlead.errors import ConfigError
from fairlead.losses.binding import bind
from fairlead.losses.scores import Demonstrations, Pairs, RewardPairs, Thumbs
from fairlead.losses.table import LOSSES
from tests.losses.batches import imitated_tokens, random_pairs, reduced, scores, statistics_for, value

OVER_PAIRS = [name for name, loss in LOSSES.items() if loss.examples is Pairs]


def assert_same_value_and_gradient(one: Tensor, other: Tensor, policy_N: Tensor) -> None:
    torch.testing.assert_close(one, other)
    gradients = [torch.autograd.grad(loss, policy_N, retain_graph=True)[0] for loss in (one, other)]
    torch.testing.assert_close(*gradients)


def test_a_sum_weighs_its_losses() -> None:
    pairs, policy_N = random_pairs(grad=True)
    loss = bind([("dpo", {"beta": 0.5}, 1.0), ("ipo", {}, 0.25)])
    expected = value("dpo", pairs, {"beta": 0.5}) + 0.25 * value("ipo", pairs)
    total = reduced(loss(pairs), rows=6, tokens=imitated_tokens(pairs))
    assert_same_value_and_gradient(total, expected, policy_N)


@pytest.mark.parametrize("name", OVER_PAIRS)
def test_sft_joins_pairs_on_the_chosen_completions(name: str) -> None:
    pairs, policy_N = random_pairs(grad=True)
    loss = bind([("sft", {}, 0.5), (name, {}, 1.0)])
    assert loss.examples is Pairs
    assert loss.leading.name == name
    expected = 0.5 * value("sft", Demonstrations(pairs.chosen)) + value(name, pairs)
    output = loss(pairs, statistics_for(loss, pairs))
    total = reduced(output, rows=6, tokens=imitated_tokens(pairs))
    assert_same_value_and_gradient(total, expected, policy_N)
    assert {"nll_loss", "rewards/margins"} <= output.metrics.keys()


@pytest.mark.parametrize("name", OVER_PAIRS)
def test_nll_weight_adds_the_likelihood_of_the_chosen_completion(name: str) -> None:
    pairs, policy_N = random_pairs(grad=True)
    expected = value(name, pairs) - 0.3 * pairs.chosen.mean.mean()
    assert_same_value_and_gradient(value(name, pairs, {"nll_weight": 0.3}), expected, policy_N)
    loss = bind([(name, {"nll_weight": 0.3}, 1.0)])
    metrics = loss(pairs, statistics_for(loss, pairs)).metrics
    torch.testing.assert_close(metrics["nll_loss"], -pairs.chosen.mean.detach())


def test_a_metric_of_two_losses_is_the_first_ones() -> None:
    pairs = Pairs(scores([-1.0]), scores([-2.0]), scores([-2.0]), scores([-2.0]))
    loss = bind([("dpo", {"beta": 0.5}, 1.0), ("ipo", {"beta": 0.1}, 3.0)])
    assert loss(pairs).metrics["rewards/chosen"].tolist() == [0.5]


def test_what_a_sum_needs() -> None:
    assert not bind([("simpo", {}, 1.0)]).needs_reference
    assert bind([("simpo", {}, 1.0), ("dpo", {}, 1.0)]).needs_reference
    assert bind([("sft", {}, 1.0)]).examples is Demonstrations
    assert bind([("kto", {}, 1.0)]).examples is Thumbs
    assert bind([("dpo", {}, 1.0)]).statistics == {}
    assert bind([("kto", {}, 1.0)]).statistics["kto"].completions == "mismatched"
    assert bind([("reward", {}, 1.0)]).examples is RewardPairs


def test_a_statistic_is_in_force_where_the_parameters_ask_for_it() -> None:
    assert bind([("bco_pair", {}, 1.0)]).statistics == {}
    assert bind([("bco_pair", {"reward_shift": "running"}, 1.0)]).statistics["bco_pair"].momentum == 0.9
    assert bind([("bco", {}, 1.0)]).statistics["bco"].completions == "own"
    assert bind([("bco", {"reward_shift": "zero"}, 1.0)]).statistics == {}
    assert bind([("aot", {}, 1.0)]).statistics["aot"].per_example


def test_rows_have_weights_where_no_loss_sorts_them() -> None:
    assert bind([("dpo", {}, 1.0), ("sft", {}, 1.0)]).takes_weights
    assert not bind([("dpo", {}, 1.0), ("aot", {}, 1.0)]).takes_weights


def test_a_statistic_reaches_its_loss() -> None:
    thumbs = Thumbs(scores([-1.0]), torch.tensor([True]), scores([-2.0]))
    loss = bind([("kto", {"beta": 1.0}, 1.0)])
    at_one = loss(thumbs, {"kto": torch.tensor(1.0)}).terms[0].value.item()
    assert at_one == pytest.approx(0.5)
    with pytest.raises(AssertionError, match="statistic"):
        loss(thumbs)


def test_margins_only_where_every_loss_over_pairs_has_a_place_for_them() -> None:
    assert bind([("dpo", {}, 1.0), ("sft", {}, 1.0)]).takes_margin
    assert not bind([("dpo", {}, 1.0), ("ipo", {}, 1.0)]).takes_margin
    assert not bind([("sft", {}, 1.0)]).takes_margin
    assert bind([("reward", {}, 1.0)]).takes_margin
    pairs = Pairs(*(scores([-1.0]) for _ in range(4)), margin=torch.ones(1))
    with pytest.raises(AssertionError):
        bind([("ipo", {}, 1.0)])(pairs)


def test_all_faults_are_raised_at_once_with_their_places() -> None:
    with pytest.raises(ConfigError) as caught:
        bind([("dpo", {"betta": 1}, 0.0), ("dpi", {}, 1.0)])
    assert [fault.field for fault in caught.value.faults] == ["loss.0.betta", "loss.0.weight", "loss.1.name"]
