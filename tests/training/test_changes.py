"""Changes of log-probabilities per token, against the same sums by hand."""

from __future__ import annotations

import math

import pytest
import torch

from fairlead.losses.scores import Demonstrations, Pairs, RewardPairs, Thumbs, TokenScores
from fairlead.training.changes import logp_changes


def scores(*completions: list[float]) -> TokenScores:
    flat = [value for completion in completions for value in completion]
    return TokenScores(torch.tensor(flat, dtype=torch.float64), torch.tensor([len(each) for each in completions]))


POLICY = scores([-1.0, -2.0], [-3.0], [-0.5, -0.5, -0.5])
REFERENCE = scores([-1.5, -2.5], [-1.0], [-0.5, -1.0, -0.6])
PER_TOKEN = [0.5, -2.0, 0.2]


def test_pairs() -> None:
    changes = logp_changes(Pairs(POLICY, REFERENCE, REFERENCE, POLICY))
    assert changes["logps/chosen_change"].tolist() == pytest.approx(PER_TOKEN)
    assert changes["logps/rejected_change"].tolist() == pytest.approx([-change for change in PER_TOKEN])


def test_thumbs() -> None:
    changes = logp_changes(Thumbs(POLICY, torch.tensor([True, False, True]), REFERENCE))
    assert changes["logps/chosen_change"].tolist() == pytest.approx([0.5, 0.2])
    assert changes["logps/rejected_change"].tolist() == pytest.approx([-2.0])


def test_it_is_exactly_0_where_policy_and_reference_are_one() -> None:
    changes = logp_changes(Pairs(POLICY, POLICY, POLICY, POLICY))
    assert all(torch.equal(change, torch.zeros_like(change)) for change in changes.values())


def test_half_as_likely_is_a_change_of_log_2() -> None:
    halved = TokenScores(POLICY.logp_N - math.log(2), POLICY.count_C)
    change = logp_changes(Pairs(halved, halved, POLICY, POLICY))["logps/chosen_change"]
    assert change.tolist() == pytest.approx([-math.log(2)] * 3)


@pytest.mark.parametrize(
    "examples",
    [
        Pairs(POLICY, POLICY),
        Thumbs(POLICY, torch.ones(3, dtype=torch.bool)),
        Demonstrations(POLICY),
        RewardPairs(torch.zeros(2), torch.zeros(2)),
    ],
)
def test_without_a_reference_there_is_none(examples: Pairs | Thumbs | Demonstrations | RewardPairs) -> None:
    assert logp_changes(examples) == {}
