from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.losses.reference_free import CLOSEST_TO_CERTAIN, _log1mexp, _log_odds, alpha_po, cpo, simpo
from fairlead.losses.scores import Pairs
from tests.losses.batches import random_pairs, scores, value


@given(st.floats(min_value=-40.0, max_value=CLOSEST_TO_CERTAIN))
@settings(max_examples=60, deadline=None)
def test_log1mexp_agrees_with_more_digits(x: float) -> None:
    exact = math.log(-math.expm1(x)) if x > -1 else math.log1p(-math.exp(x))
    assert _log1mexp(torch.tensor(x, dtype=torch.float64)).item() == pytest.approx(exact, rel=1e-12)
    rounded = torch.tensor(x, dtype=torch.float32)
    again = math.log(-math.expm1(rounded.item())) if x > -1 else math.log1p(-math.exp(rounded.item()))
    assert _log1mexp(rounded).item() == pytest.approx(again, rel=2e-6)


def test_odds_stop_growing_next_to_certainty() -> None:
    odds = _log_odds(scores([0.0], [-1e-8], [CLOSEST_TO_CERTAIN], [-1e-3], dtype=torch.float32)).tolist()
    assert odds[0] == odds[1] == odds[2] > odds[3]
    assert odds[3] == pytest.approx(math.log(math.exp(-1e-3) / -math.expm1(-1e-3)), rel=1e-6)


def test_alpha_po_becomes_simpo_as_alpha_goes_to_zero() -> None:
    pairs, _ = random_pairs()
    torch.testing.assert_close(value("alpha_po", pairs, {"alpha": 1e-7}), value("simpo", pairs), rtol=1e-5, atol=0)


def test_alpha_po_rewards_a_power_of_the_mean_probability() -> None:
    pairs = Pairs(scores([math.log(0.5)] * 2), scores([math.log(0.25)]))
    metrics = alpha_po(pairs, beta=3.0, alpha=1.0).metrics
    assert metrics["rewards/chosen"].item() == pytest.approx(3 * (1 - 1 / 0.5))
    assert metrics["rewards/rejected"].item() == pytest.approx(3 * (1 - 1 / 0.25))


def test_cpo_is_dpo_against_a_uniform_reference_plus_imitation() -> None:
    pairs = Pairs(scores([-1.0, -2.0]), scores([-1.5, -3.0]))
    output = cpo(pairs, beta=0.2, cpo_alpha=0.5)
    assert output.terms[0].value.item() == pytest.approx(math.log1p(math.exp(-0.2 * 1.5)) + 0.5 * 1.5)
    assert output.metrics["nll_loss"].item() == 1.5
    assert output.metrics["rewards/margins"].item() == pytest.approx(0.3)


def test_none_of_them_reads_a_reference() -> None:
    pairs, _ = random_pairs()
    for name in ("simpo", "alpha_po", "cpo", "orpo"):
        assert torch.equal(value(name, pairs), value(name, Pairs(pairs.chosen, pairs.rejected)))


def test_metrics_of_simpo_are_beta_times_means() -> None:
    pairs = Pairs(scores([-1.0, -3.0]), scores([-3.0]))
    assert simpo(pairs, beta=2.0).metrics["rewards/margins"].tolist() == [2.0]
