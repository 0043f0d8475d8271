"""Adapters on tiny models as training might leave them: what the tests of adapters share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fairlead.config import AdapterConfig
from fairlead.models.adapters import add_lora
from fairlead.models.language_model import LanguageModel
from fairlead.models.loading import load
from fairlead.models.weights import save_adapter

IDS = torch.arange(3, 40)[None]


def fresh(base: Path, dtype: torch.dtype = torch.float32, *, load_with: Any = None, **config: Any) -> LanguageModel:
    """The model in a folder (an adapter's too) under a new adapter, by default of rank 4."""
    lm = load(str(base), dtype=dtype, **(load_with or {}))
    return add_lora(lm, AdapterConfig(**({"r": 4} | config)), seed=3)


def disturb(lm: LanguageModel, *, seed: int = 1, by: float = 0.05) -> LanguageModel:
    """Stands for training: changes every trainable weight."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in lm.model.parameters():
            if parameter.requires_grad:
                parameter += by * torch.randn(parameter.shape, generator=generator)
    return lm


def saved(base: Path, folder: Path, *, seed: int = 1, by: float = 0.05, **config: Any) -> Path:
    """The folder of an adapter trained on `base`, which may be an adapter's folder itself."""
    save_adapter(disturb(fresh(base, **config), seed=seed, by=by), folder)
    return folder


def logits(lm: LanguageModel) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = lm.model(IDS).logits
    return out


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())
