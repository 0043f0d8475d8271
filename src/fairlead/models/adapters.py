"""LoRA adapters through PEFT, and the reference model that they leave at hand: never a second copy of the weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fairlead.errors import ModelError
from fairlead.models.language_model import LanguageModel
from fairlead.models.quiet import quiet
from fairlead.models.weights import ADAPTER, digest_adapter, has_adapter

if TYPE_CHECKING:
    from fairlead.config import AdapterConfig

REFERENCE = "reference"
"""Name of the frozen copy of an adapter whose training goes on."""


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """What an optimizer will change: number of weights, and the names of their tensors."""

    count: int
    names: tuple[str, ...]


def trainable_parameters(lm: LanguageModel) -> Trainable:
    """Count and name the weights that require a gradient."""
    named = [(name, parameter.numel()) for name, parameter in lm.model.named_parameters() if parameter.requires_grad]
    return Trainable(count=sum(count for _, count in named), names=tuple(name for name, _ in named))


def add_lora(lm: LanguageModel, config: AdapterConfig, *, seed: int) -> LanguageModel:
    """Put a new trainable LoRA adapter (float32) on a model; its output does not change until it is trained.

    LoRA: https://arxiv.org/abs/2106.09685. The same seed gives the same adapter. Raises ModelError when a target names
    no linear module, or when the model carries an adapter already.
    """
    if has_adapter(lm.model):
        raise ModelError(
            "The model carries an adapter already. Merge it first with `fairlead merge`, or leave out the `adapter` "
            "section to go on training it."
        )
    from peft import LoraConfig, get_peft_model

    model: Any = lm.model
    targets = target_modules(model, config.targets)
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=lm.source,
        r=config.r,
        lora_alpha=2 * config.r if config.alpha is None else config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(targets),
        fan_in_fan_out=_fan_in_fan_out(model, targets),
    )
    training = model.training
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        wrapped = get_peft_model(model, lora, adapter_name=ADAPTER).train(training)
    return replace(lm, model=wrapped, adapter_digest=digest_adapter(wrapped))


def continue_adapter(lm: LanguageModel) -> LanguageModel:
    """Make the adapter that `lm` was loaded with trainable, and keep a frozen copy of it as the reference.

    Raises ModelError when the model has no adapter.
    """
    if not has_adapter(lm.model):
        raise ModelError("The model has no adapter to go on training. Give one as model.adapter.")
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    model: Any = lm.model
    state = get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False)
    frozen = copy.deepcopy(model.peft_config[ADAPTER])
    frozen.lora_dropout, frozen.inference_mode = 0.0, True
    model.peft_config[ADAPTER].inference_mode = False
    training = model.training
    with quiet():
        model.add_adapter(REFERENCE, frozen)
        set_peft_model_state_dict(model, state, adapter_name=REFERENCE)
    model.set_adapter(ADAPTER)
    model.train(training)
    return replace(lm, model=model)


@contextmanager
def reference_weights(lm: LanguageModel) -> Iterator[None]:
    """Within the block the model is the reference: the adapter is off, or its frozen copy in its place.

    A model without adapter has no reference weights of its own once training has begun: score it beforehand.
    """
    assert has_adapter(lm.model), "full fine-tuning has no reference at hand: cache its log-probabilities first"
    model: Any = lm.model
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        if REFERENCE in model.peft_config:
            model.set_adapter(REFERENCE, inference_mode=True)
            yield
        else:
            with model.disable_adapter():
                yield
    finally:
        if REFERENCE in model.peft_config:
            model.set_adapter(ADAPTER)
        for parameter, requires_grad in wanted:
            parameter.requires_grad_(requires_grad)


def target_modules(model: nn.Module, targets: str | list[str]) -> tuple[str, ...]:
    """The shortest name endings that mean exactly the linear modules asked for, in PEFT's sense.

    `attention` is every linear module inside an attention module, `all-linear` every one but the output head; otherwise
    names of modules or endings of them. Raises ModelError for a name that no linear module has.
    """
    linear = _linear_modules(model)
    if targets == "all-linear":
        chosen = set(linear)
    elif targets == "attention":
        inside = [name for name, module in model.named_modules() if type(module).__name__.endswith("Attention")]
        chosen = {name for name in linear if any(name.startswith(f"{parent}.") for parent in inside)}
    else:
        chosen = set()
        for target in [targets] if isinstance(targets, str) else targets:
            found = {name for name in linear if name == target or name.endswith(f".{target}")}
            if not found:
                known = sorted({name.rsplit(".", 1)[-1] for name in linear})
                raise ModelError(
                    f"adapter.targets: {type(model).__name__} has no linear module named {target}. "
                    f"Use attention, all-linear, or some of {', '.join(known)}."
                )
            chosen |= found
    if not chosen:
        raise ModelError(f"adapter.targets: {type(model).__name__} has no linear module for {targets}.")
    others = [name for name, _ in model.named_modules() if name not in chosen]
    return tuple(sorted({_shortest_ending(name, others) for name in chosen}))


def _linear_modules(model: Any) -> dict[str, nn.Module]:
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }


def _shortest_ending(name: str, others: list[str]) -> str:
    parts = name.split(".")
    for start in range(len(parts) - 1, 0, -1):
        ending = ".".join(parts[start:])
        if not any(other == ending or other.endswith(f".{ending}") for other in others):
            return ending
    return name


def _fan_in_fan_out(model: nn.Module, targets: tuple[str, ...]) -> bool:
    """Whether the targets keep their weights transposed, as GPT-2's do."""
    from transformers.pytorch_utils import Conv1D

    return any(
        isinstance(module, Conv1D) and any(name == target or name.endswith(f".{target}") for target in targets)
        for name, module in model.named_modules()
    )
