"""Several adapters on one model: which act, which are trained, and what makes each exact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from torch import Tensor, nn

from fairlead.models.dora import use_exact_magnitudes

ADAPTER, BENEATH = "default", "beneath"
"""Name of the uppermost adapter, which is trained and saved; how those beneath it begin, numbered from the base up."""


def has_adapter(model: Any) -> bool:
    """Whether PEFT wraps the model."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def adapter_names(model: Any) -> tuple[str, ...]:
    """Names of the adapters that make up the model, from the base up; a frozen copy kept as reference is not one."""
    return (*(name for name in model.peft_config if name.startswith(BENEATH)), ADAPTER) if has_adapter(model) else ()


def activate(model: Any, names: Sequence[str], *, trained: str | None = None) -> None:
    """Let the adapters `names` act together, the first next to the base, and train `trained` alone."""
    model.base_model.set_adapter(list(names), inference_mode=True)
    model.active_adapter = names[-1]
    if trained is not None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(f".{trained}." in name)


@contextmanager
def inputs_as_they_are(model: Any, *, active: bool) -> Iterator[None]:
    """Within the block adapters take inputs in the type they come in, where PEFT would widen them to float32 first."""
    with disable_input_dtype_casting(model, active=active):
        yield


def settle_adapter(model: Any, name: str) -> bool:
    """Make an adapter that was just put on exact: whole modules it trains in float32, DoRA's lengths too.

    A trained copy of embeddings or head then has float32 weights in a model of any type; what it takes and gives keeps
    the type that the original takes and gives. Returns whether such a copy had been in another type.
    """
    use_exact_magnitudes(model)
    widened = False
    for original, copy in trained_copies(model, name):
        for parameter in copy.parameters():
            widened |= parameter.dtype in (torch.bfloat16, torch.float16)
            parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))
        if isinstance(copy, nn.Embedding):
            copy.register_forward_hook(lambda _, __, output, like=original: output.to(like.weight.dtype))
        else:
            copy.register_forward_pre_hook(_widen_input)
    return widened


def trained_copies(model: Any, name: str = ADAPTER) -> Iterator[tuple[Any, Any]]:
    """Modules that the adapter `name` trains whole, PEFT's `modules_to_save`: the original and the adapter's copy."""
    for module in model.modules():
        copies = getattr(module, "modules_to_save", None)
        if isinstance(copies, nn.ModuleDict) and name in copies:
            yield module.original_module, copies[name]


def _widen_input(copy: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Under autocast this changes nothing: the product is then taken in autocast's type."""
    return (inputs[0].to(copy.weight.dtype), *inputs[1:])
