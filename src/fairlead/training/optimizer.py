"""AdamW over the trainable parameters, the learning-rate schedule, and the optimizer's state as named tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn
from torch.optim import AdamW

Schedule = Literal["cosine", "linear", "constant"]


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def make_optimizer(
    parameters: Mapping[str, nn.Parameter],
    *,
    learning_rate: float,
    betas: tuple[float, float],
    epsilon: float,
    weight_decay: float,
) -> AdamW:
    """AdamW; norms and biases (parameters of fewer than two dimensions) are not decayed."""
    matrices = [parameter for parameter in parameters.values() if parameter.dim() >= 2]
    vectors = [parameter for parameter in parameters.values() if parameter.dim() < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    kept = [group for group in groups if group["params"]]
    return AdamW(kept, lr=learning_rate, betas=betas, eps=epsilon, fused=True)


def learning_rate_factor(step: int, *, steps: int, warmup: int, schedule: Schedule) -> float:
    """The share of the peak learning rate at a step counted from 0: linear warm-up, then the schedule down to 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * done)) if schedule == "cosine" else 1 - done


def clip_gradients(parameters: Mapping[str, nn.Parameter], max_norm: float) -> float:
    """Scale gradients down to a total 2-norm of `max_norm`; returns the norm before, which may not be finite."""
    return nn.utils.clip_grad_norm_(list(parameters.values()), max_norm, error_if_nonfinite=False).item()


def optimizer_tensors(optimizer: AdamW, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimizer's state as `name/part` → tensor."""
    return {
        f"{name}/{part}": value
        for name, parameter in parameters.items()
        for part, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(optimizer: AdamW, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave; a fused optimizer wants its step count beside the weights too."""
    for key, value in tensors.items():
        name, part = key.rsplit("/", 1)
        parameter = parameters[name]
        optimizer.state.setdefault(parameter, {})[part] = value.to(parameter.device)
