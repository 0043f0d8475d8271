"""Schedules, decay groups, and the optimizer's state as tensors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fairlead.training.optimizer import (
    clip_gradients,
    learning_rate_factor,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
    trainable,
)
from tests.tiny import tiny_llama


def factors(schedule: str, *, steps: int = 10, warmup: int = 0) -> list[float]:
    return [learning_rate_factor(s, steps=steps, warmup=warmup, schedule=schedule) for s in range(steps)]  # type: ignore[arg-type]


def test_warm_up_rises_in_equal_steps_to_the_peak() -> None:
    assert factors("constant", steps=6, warmup=4) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


@pytest.mark.parametrize("warmup", [0, 2])
def test_cosine_and_linear_fall_from_the_peak_towards_0(warmup: int) -> None:
    left = [step / 8 for step in range(8)]
    expected = {"cosine": [0.5 * (1 + math.cos(math.pi * x)) for x in left], "linear": [1 - x for x in left]}
    for schedule, values in expected.items():
        found = factors(schedule, steps=8 + warmup, warmup=warmup)[warmup:]
        assert found == pytest.approx(values)
        assert found[0] == 1
        assert found[-1] > 0
        assert found[4] == pytest.approx(0.5)


def test_a_single_step_has_a_learning_rate() -> None:
    for schedule in ("cosine", "linear", "constant"):
        assert factors(schedule, steps=1, warmup=1) == [0.5]
        assert factors(schedule, steps=1) == [1]


def test_all_warm_up_never_falls() -> None:
    assert factors("cosine", steps=4, warmup=4) == pytest.approx([0.2, 0.4, 0.6, 0.8])


def optimizer_for(model: nn.Module, *, weight_decay: float = 0.0) -> torch.optim.AdamW:
    return make_optimizer(
        trainable(model), learning_rate=1e-2, betas=(0.9, 0.99), epsilon=1e-8, weight_decay=weight_decay
    )


def test_norms_and_biases_are_not_decayed() -> None:
    model = tiny_llama()
    optimizer = optimizer_for(model, weight_decay=0.1)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    by_name = {name: decay[id(parameter)] for name, parameter in model.named_parameters()}
    assert by_name["model.norm.weight"] == by_name["model.layers.0.input_layernorm.weight"] == 0
    assert by_name["model.layers.0.self_attn.q_proj.weight"] == by_name["lm_head.weight"] == 0.1
    assert len(by_name) == len(decay)


def test_decay_shrinks_matrices_alone_and_by_the_learning_rate() -> None:
    model = nn.Linear(3, 2)
    nn.init.ones_(model.bias)
    weight = model.weight.detach().clone()
    optimizer = optimizer_for(model, weight_decay=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.weight.detach(), weight * (1 - 1e-2 * 0.1))
    assert torch.equal(model.bias.detach(), torch.ones(2))


def test_only_what_requires_a_gradient_is_trained() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    assert list(trainable(model)) == ["1.weight", "1.bias"]


def test_state_goes_there_and_back() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(5, 4, 3)

    def steps(model: nn.Module, optimizer: torch.optim.AdamW, chosen: range) -> None:
        for index in chosen:
            optimizer.zero_grad()
            model(inputs[index]).square().sum().backward()
            optimizer.step()

    model = nn.Linear(3, 2)
    optimizer = optimizer_for(model)
    steps(model, optimizer, range(2))
    twin = nn.Linear(3, 2)
    twin.load_state_dict(model.state_dict())
    kept = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer, trainable(model)).items()}
    assert set(kept) == {f"{n}/{part}" for n in ("weight", "bias") for part in ("step", "exp_avg", "exp_avg_sq")}
    restored = optimizer_for(twin)
    restore_optimizer(restored, trainable(twin), kept)
    steps(model, optimizer, range(2, 5))
    steps(twin, restored, range(2, 5))
    assert torch.equal(model.weight, twin.weight)
    assert torch.equal(model.bias, twin.bias)


def test_clipping_gives_the_norm_before_and_scales_down_to_the_limit() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients({"p": parameter}, 1.0) == pytest.approx(5)
    torch.testing.assert_close(parameter.grad, torch.tensor([0.6, 0.8]))
    assert clip_gradients({"p": parameter}, 10.0) == pytest.approx(1)
    torch.testing.assert_close(parameter.grad, torch.tensor([0.6, 0.8]))
    parameter.grad = torch.tensor([math.inf, 0.0])
    assert not math.isfinite(clip_gradients({"p": parameter}, 1.0))
