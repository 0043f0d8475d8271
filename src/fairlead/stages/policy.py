"""The policy: a model with what is trained in it, and what training starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from fairlead.config import Config
from fairlead.engine.attention import causal_of
from fairlead.engine.rendering import Renderer
from fairlead.errors import ConfigError, Fault, ModelError
from fairlead.models.adapters import add_lora, continue_adapter, reference_weights
from fairlead.models.language_model import LanguageModel
from fairlead.models.loading import is_stored_quantized, load, resolve_dtype
from fairlead.models.reward_model import add_reward_head, is_reward_model
from fairlead.models.sources import locate
from fairlead.models.weights import save_adapter, save_model
from fairlead.runs.directory import RunDirectory
from fairlead.training.optimizer import trainable


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A model in training: all its weights (`is_full`), or an adapter on frozen ones.

    `start_adapter` is the digest of the adapter that training goes on from; empty where there is none.
    """

    lm: LanguageModel
    is_full: bool
    start_adapter: str

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """What is trained, by name."""
        return trainable(self.lm.model)

    def as_reference(self) -> AbstractContextManager[None]:
        """Within the block, and before the first step, the model is the reference."""
        return nullcontext() if self.is_full else reference_weights(self.lm)

    def checkpoint_activations(self) -> None:
        """Keep fewer activations and compute them twice."""
        causal_of(self.lm.model).activation_checkpointing_enable({"use_reentrant": False})

    def save(self, run: RunDirectory) -> str:
        """Write the artifact, unless it is there already; returns its name."""
        name = "model" if self.is_full else "adapter"
        if not run.artifact(name).exists():
            (save_model if self.is_full else save_adapter)(self.lm, run.artifact(name))
        return name


def load_policy(config: Config, *, rewards: bool = False, load_base: Callable[..., LanguageModel] = load) -> Policy:
    """Load the model and make trainable what the configuration trains; `rewards` asks for a reward model.

    load_base: called as `load` is, for runs that share the weights beneath their adapters.
    Weights that are trained are float32; under an adapter the frozen ones have the type of the computation, or 4 bits.
    Raises ModelError where the model, or an adapter on it, cannot be used as asked, ConfigError where weights in 4 bits
    would be trained themselves.
    """
    model = config.model
    is_full = config.adapter is None and locate(model.path, adapter=model.adapter).adapter is None
    if is_full:
        _refuse_quantized(config)
    dtype = torch.float32 if is_full else resolve_dtype(config.train.precision)
    lm = load_base(
        model.path, dtype=dtype, adapter=model.adapter, chat_template=model.chat_template, quantize=model.quantize
    )
    lm = of_kind(lm, config, rewards=rewards)
    start = lm.adapter_digest
    if config.adapter is not None:
        lm = add_lora(lm, config.adapter, seed=config.train.seed)
    elif is_full:
        lm.model.requires_grad_(True)
    else:
        lm = continue_adapter(lm)
    return Policy(lm=lm, is_full=is_full, start_adapter=start)


def _refuse_quantized(config: Config) -> None:
    """Weights in 4 bits are steps apart that no optimizer's update is as large as: only an adapter over them learns."""
    if config.model.quantize is not None:
        problem = "a quantised base cannot be trained in full, only under an adapter."
        remedy = "Add an `adapter` section, or leave out model.quantize."
        raise ConfigError([Fault(field="model.quantize", problem=problem, remedy=remedy)])
    if is_stored_quantized(config.model.path):
        raise ModelError(
            f"The weights of {config.model.path} are in 4 bits, and a quantised base cannot be trained in full. Add an "
            f"`adapter` section, or give the original weights."
        )


def of_kind(lm: LanguageModel, config: Config, *, rewards: bool) -> LanguageModel:
    """The model as the loss trains it: a reward model, made of a language model where it is not one yet, or not one.

    Raises ModelError for a reward model under a loss of language models, and as `add_reward_head`.
    """
    if rewards == is_reward_model(lm.model):
        return lm
    if not rewards:
        names = " + ".join(each.name for each in config.losses)
        raise ModelError(
            f"{config.model.path} is a reward model: it gives completions a number and cannot write any, so {names} "
            f"cannot train it. Give a language model as model.path, or set `loss.name: reward`."
        )
    return add_reward_head(lm, endings=Renderer(lm.tokenizer).stop_ids)
