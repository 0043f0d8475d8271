"""The policy: a model with what is trained in it, and what training starts from."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from fairlead.config import Config
from fairlead.engine.attention import causal_of
from fairlead.models.adapters import add_lora, continue_adapter, reference_weights
from fairlead.models.language_model import LanguageModel
from fairlead.models.loading import load, resolve_dtype
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


def load_policy(config: Config) -> Policy:
    """Load the model and make trainable what the configuration trains.

    Weights that are trained are float32; under an adapter the frozen ones have the type of the computation. Raises
    ModelError where the model, or an adapter on it, cannot be used as asked.
    """
    model = config.model
    is_full = config.adapter is None and locate(model.path, adapter=model.adapter).adapter is None
    dtype = torch.float32 if is_full else resolve_dtype(config.train.precision)
    lm = load(model.path, dtype=dtype, adapter=model.adapter, chat_template=model.chat_template)
    start = lm.adapter_digest
    if config.adapter is not None:
        lm = add_lora(lm, config.adapter, seed=config.train.seed)
    elif is_full:
        lm.model.requires_grad_(True)
    else:
        lm = continue_adapter(lm)
    return Policy(lm=lm, is_full=is_full, start_adapter=start)
