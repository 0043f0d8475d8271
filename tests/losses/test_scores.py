from __future__ import annotations

import pytest
import torch

from fairlead.losses.scores import Demonstrations, Pairs, Thumbs, TokenScores, token_places
from tests.losses.batches import random_batch, scores


def test_total_mean_and_count() -> None:
    completions = scores([-1.0, -2.0, -3.0], [-0.5])
    assert completions.total.tolist() == [-6.0, -0.5]
    assert completions.mean.tolist() == [-2.0, -0.5]
    assert completions.count.tolist() == [3, 1]


def test_select_takes_whole_completions_in_the_order_asked() -> None:
    chosen = scores([-1.0, -2.0], [-3.0], [-4.0, -5.0, -6.0]).select(torch.tensor([2, 0, 2]))
    assert chosen.count.tolist() == [3, 2, 3]
    assert chosen.logp_N.tolist() == [-4, -5, -6, -1, -2, -4, -5, -6]


def test_sums_are_those_of_padded_rows() -> None:
    batch, policy_N = random_batch(Demonstrations)
    completion = TokenScores(policy_N, batch.count_C)
    padded = torch.nn.utils.rnn.pad_sequence(policy_N.split(batch.count_C.tolist()), batch_first=True)
    torch.testing.assert_close(completion.total, padded.sum(1))
    torch.testing.assert_close(completion.mean, padded.sum(1) / completion.count)


def test_places_of_tokens_count_from_the_start_of_their_completion() -> None:
    assert token_places(torch.tensor([3, 1, 2])).tolist() == [0, 1, 2, 0, 0, 1]


def test_select_takes_the_column_along() -> None:
    given = TokenScores(torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([2, 1]), torch.tensor([0.1, 0.2, 0.3]))
    column = given.select(torch.tensor([1, 0])).log_sum_sq_probs_N
    assert column is not None
    assert column.tolist() == pytest.approx([0.3, 0.1, 0.2])
    assert scores([-1.0]).select(torch.tensor([0])).log_sum_sq_probs_N is None


def test_half_precision_is_summed_in_float32() -> None:
    long = TokenScores(torch.full((4096,), -1.0, dtype=torch.bfloat16), torch.tensor([4096]))
    assert long.total.dtype == torch.float32
    assert long.total.item() == -4096.0  # a bfloat16 sum stalls at −256


def test_log_ratio_is_exactly_zero_where_the_models_agree_and_keeps_small_differences() -> None:
    logp_N = -5 * torch.rand(3000, generator=torch.Generator().manual_seed(0))
    policy, reference = logp_N.clone(), TokenScores(logp_N, torch.tensor([3000]))
    assert TokenScores(policy, reference.count).log_ratio(reference).item() == 0.0
    policy[1234] += 2**-12
    exact = (policy[1234].double() - logp_N[1234].double()).item()
    assert TokenScores(policy, reference.count).log_ratio(reference).item() == pytest.approx(exact, rel=1e-6)


def test_pairs_and_thumbs_reduce_to_log_ratios() -> None:
    pairs = Pairs(scores([-1.0, -1.0]), scores([-3.0]), scores([-2.0, -2.0]), scores([-2.5]))
    assert pairs.log_ratio_chosen.item() == 2.0
    assert pairs.log_ratio_rejected.item() == -0.5
    assert pairs.delta.item() == 2.5
    assert pairs.mean_delta.item() == 1.5
    assert Thumbs(scores([-1.0]), torch.tensor([True]), scores([-3.0])).log_ratio.item() == 2.0


def test_a_reading_without_gradient_does_not_take_it_from_later_ones() -> None:
    completions = scores([-1.0, -2.0], grad=True)
    with torch.no_grad():
        assert not completions.mean.requires_grad
    assert completions.mean.requires_grad
    assert completions.total.requires_grad


def test_scores_of_different_tokens_have_no_log_ratio() -> None:
    with pytest.raises(AssertionError, match="different tokens"):
        scores([-1.0, -1.0]).log_ratio(scores([-1.0]))
