"""What holds of every row of the table of losses. A new row fails here until its expected values are written down."""

from __future__ import annotations

import pytest
import torch

from fairlead.losses.binding import BoundLoss, bind
from fairlead.losses.scores import Demonstrations, Pairs, Thumbs
from fairlead.losses.table import LOSSES, parameters
from fairlead.runs.metrics import METRICS
from tests.losses.batches import Batch, imitated_tokens, random_batch, reduced, scores, statistics_for, value

# Published or textbook values; for losses without reference, the value where every token has log-probability −1.
AT_REFERENCE = {
    "sft": 1.0,
    "dpo": 0.693147,
    "ipo": 25.0,
    "hinge": 1.0,
    "dpo_norm": 0.693147,
    "dpop": 0.693147,
    "simpo": 1.313262,  # −log σ(−γ), γ = 1
    "orpo": 1.069315,  # 1 + 0.1·log 2
    "kto": 0.5,
}

# By hand, for a chosen completion with r_w = 1 over 2 tokens (mean −0.75) and a rejected one with r_l = −1 over
# 4 tokens (mean −1), so that Δ = 2 and Δ̄ = 0.75; for kto the same two as a desirable and an undesirable one, z = 0.5.
BY_HAND = {
    "sft": 0.916667,  # (1.5 + 4) / 6 tokens
    "dpo": 0.598139,  # −log σ(0.2)
    "ipo": 18.0625,  # (0.75 − 5)²
    "hinge": 0.8,  # 1 − 0.2
    "dpo_norm": 0.201413,  # −log σ(1.5)
    "dpop": 0.437488,  # r_w > 0, so −log σ(0.6)
    "simpo": 0.974077,  # −log σ(2·0.25 − 1)
    "orpo": 0.800082,  # 0.75 − 0.1·log σ(log(0.472367/0.527633) − log(0.367879/0.632121))
    "kto": 0.475036,  # mean of 1 − σ(0.1·0.5) = 0.487503 and 1 − σ(0.1·1.5) = 0.462570
}

EXTREMES = (0.0, -1e-30, -1e-7, -1.0, -1e4)

every_loss = pytest.mark.parametrize("name", LOSSES)


def batch_of(name: str, *, rows: int = 6, dtype: torch.dtype = torch.float64) -> tuple[Batch, torch.Tensor]:
    return random_batch(LOSSES[name].examples, rows=rows, dtype=dtype)


def bind_one(name: str) -> BoundLoss:
    return bind([(name, {}, 1.0)])


@every_loss
def test_value_where_policy_equals_reference(name: str) -> None:
    batch, _ = batch_of(name)
    same_N = batch.reference_N if LOSSES[name].needs_reference else torch.full_like(batch.reference_N, -1.0)
    examples, loss = batch.examples(same_N), bind_one(name)
    output = loss(examples, statistics_for(loss, shift=0.0))
    total = reduced(output, rows=batch.rows, tokens=imitated_tokens(examples))
    assert total.item() == pytest.approx(AT_REFERENCE[name], abs=5e-7)


@every_loss
def test_value_by_hand(name: str) -> None:
    chosen, rejected = scores([-0.5, -1.0]), scores([-1.0, -1.0, -1.0, -1.0])
    reference_chosen, reference_rejected = scores([-1.0, -1.5]), scores([-0.5, -0.5, -1.0, -1.0])
    both = scores([-0.5, -1.0], [-1.0, -1.0, -1.0, -1.0])
    reference = scores([-1.0, -1.5], [-0.5, -0.5, -1.0, -1.0])
    examples = {
        Pairs: Pairs(chosen, rejected, reference_chosen, reference_rejected),
        Thumbs: Thumbs(both, torch.tensor([True, False]), reference),
        Demonstrations: Demonstrations(both),
    }[LOSSES[name].examples]
    loss = bind_one(name)
    output = loss(examples, statistics_for(loss, shift=0.5))  # three tokens in three completions: a mean of 0.5
    rows = 1 if isinstance(examples, Pairs) else 2
    total = reduced(output, rows=rows, tokens=imitated_tokens(examples))
    assert total.item() == pytest.approx(BY_HAND[name], abs=5e-7)


@every_loss
def test_gradient_agrees_with_finite_differences(name: str) -> None:
    batch, policy_N = batch_of(name, rows=3)
    assert torch.autograd.gradcheck(lambda logp_N: value(name, batch.examples(logp_N)), policy_N.requires_grad_())


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_and_gradient_are_finite_at_extremes(name: str, dtype: torch.dtype) -> None:
    policy_by_reference = torch.cartesian_prod(*[torch.tensor(EXTREMES, dtype=dtype)] * 4)
    policy_N = policy_by_reference[:, :2].T.reshape(-1).clone().requires_grad_()
    kind = LOSSES[name].examples
    batch = Batch(
        kind=kind,
        count_C=torch.ones(len(policy_N), dtype=torch.int64),
        reference_N=policy_by_reference[:, 2:].T.reshape(-1).clone(),
        label=torch.arange(len(policy_N)) % 2 == 0,
    )
    total = value(name, batch.examples(policy_N))
    total.backward()
    assert total.isfinite()
    assert policy_N.grad is not None
    assert policy_N.grad.isfinite().all()


@every_loss
def test_order_of_rows_changes_nothing(name: str) -> None:
    batch, policy_N = batch_of(name)
    order, loss = [4, 2, 0, 5, 1, 3], bind_one(name)
    statistics = statistics_for(loss)
    straight = loss(batch.examples(policy_N), statistics)
    shuffled = loss(batch.examples(policy_N, order), statistics)
    for one, other in zip(straight.terms, shuffled.terms, strict=True):
        assert torch.equal(one.value[order], other.value)
    for key, one in straight.metrics.items():
        assert torch.equal(one.sort().values, shuffled.metrics[key].sort().values), key


@every_loss
@pytest.mark.parametrize("parts", [[[0, 1, 2, 3, 4, 5]], [[0, 1], [2], [3, 4, 5]], [[0], [1], [2], [3], [4], [5]]])
def test_micro_batches_sum_to_the_batch(name: str, parts: list[list[int]]) -> None:
    batch, policy_N = batch_of(name)
    policy_N.requires_grad_()
    loss, whole = bind_one(name), batch.examples(policy_N)
    statistics, tokens = statistics_for(loss), imitated_tokens(whole)
    (expected,) = torch.autograd.grad(reduced(loss(whole, statistics), rows=6, tokens=tokens), policy_N)
    accumulated = torch.zeros_like(policy_N)
    for rows in parts:
        part = reduced(loss(batch.examples(policy_N, rows), statistics), rows=6, tokens=tokens)
        accumulated += torch.autograd.grad(part, policy_N)[0]
    torch.testing.assert_close(accumulated, expected, rtol=1e-12, atol=1e-15)


@every_loss
def test_sum_of_padded_rows_is_the_packed_total(name: str) -> None:
    batch, policy_N = batch_of(name)
    examples = batch.examples(policy_N)
    completion = examples.chosen if isinstance(examples, Pairs) else examples.completion
    padded = torch.nn.utils.rnn.pad_sequence(completion.logp_N.split(completion.count.tolist()), batch_first=True)
    torch.testing.assert_close(completion.total, padded.sum(1))
    torch.testing.assert_close(completion.mean, padded.sum(1) / completion.count)


@every_loss
def test_arithmetic_is_at_least_float32(name: str) -> None:
    for given, expected in ((torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64,) * 2):
        batch, policy_N = batch_of(name, dtype=given)
        loss = bind_one(name)
        output = loss(batch.examples(policy_N), statistics_for(loss, dtype=expected))
        assert {term.value.dtype for term in output.terms} == {expected}


@every_loss
def test_one_value_per_row_and_detached_metrics(name: str) -> None:
    batch, policy_N = batch_of(name)
    loss = bind_one(name)
    output = loss(batch.examples(policy_N.requires_grad_()), statistics_for(loss))
    assert all(term.value.shape == (6,) and term.value.requires_grad for term in output.terms)
    assert output.metrics
    for key, metric in output.metrics.items():
        assert key in METRICS
        assert not metric.requires_grad
        labelled = {"chosen": int(batch.label.sum()), "rejected": int((~batch.label).sum())}
        by_label = LOSSES[name].examples is Thumbs and "/" in key
        assert metric.shape == ((labelled[key.split("/")[1]],) if by_label else (6,)), key


@every_loss
def test_a_better_policy_has_a_lower_loss_than_a_worse_one(name: str) -> None:
    batch, policy_N = batch_of(name)
    policy_N.requires_grad_()
    before = value(name, batch.examples(policy_N))
    (gradient,) = torch.autograd.grad(before, policy_N)
    assert gradient.abs().max() > 0
    after = value(name, batch.examples(policy_N - 1e-4 * gradient))
    assert after < before


@every_loss
def test_its_row_is_whole(name: str) -> None:
    loss = LOSSES[name]
    assert set(parameters(name)) - {"nll_weight"} == set(loss.ranges)
    assert loss.function.__name__ == name
    assert loss.function.__doc__
    assert loss.best_metric in METRICS
    assert loss.learning_rates.lora == pytest.approx(10 * loss.learning_rates.full)


def test_every_row_has_its_expected_values() -> None:
    assert set(AT_REFERENCE) == set(BY_HAND) == set(LOSSES)
