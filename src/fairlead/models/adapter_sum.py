"""Two adapters as one: the sum of their updates, exactly with the ranks added, or by SVD to a smaller rank.

Shapes: I inputs, O outputs, r rank.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fairlead.errors import ModelError
from fairlead.models.adapters import target_modules
from fairlead.models.language_model import LanguageModel
from fairlead.models.stacks import adapter_names
from fairlead.models.weights import adapter_config, write_adapter

PREFIX = "base_model.model."


@dataclass(frozen=True, kw_only=True)
class Factors:
    """An update B·A of one module, its scale in B: A [r, I], B [O, r]."""

    A_rI: Tensor
    B_Or: Tensor


@dataclass(frozen=True, kw_only=True)
class Lost:
    """What cutting an update to a rank left out, by Frobenius norm, relative to the whole: per module, and overall."""

    modules: dict[str, float]
    overall: float


def save_sum(lm: LanguageModel, folder: str | Path, *, rank: int | None = None) -> Lost | None:
    """Write the uppermost adapter and the one beneath it as one adapter that stands in the place of both.

    Exact without `rank`: the ranks of a module add up. With `rank` each module's update is cut to its largest `rank`
    singular values, the best approximation of that rank (Eckart and Young 1936), and what was lost is returned. Modules
    trained whole (embeddings, head) are taken over as they are. Raises ModelError for DoRA, whose update is no product
    of its own, and as `save_adapter`.
    """
    model: Any = lm.model
    lower, upper = adapter_names(model)[-2:]
    configs = [adapter_config(model, name) for name in (lower, upper)]
    if any(config["use_dora"] for config in configs):
        raise ModelError(
            "A DoRA adapter scales the base weights themselves, so its update is not that of another adapter of low "
            "rank. Merge it into full weights: leave out --into."
        )
    tensors, factors = dict[str, Tensor](), dict[str, Factors]()
    for name in (lower, upper):
        own, rest = _factors(model, name)
        tensors |= rest
        for module, more in own.items():
            factors[module] = _stacked(factors[module], more) if module in factors else more
    lost = None
    if rank is not None:
        factors, lost = _cut(factors, rank)
    for module, one in factors.items():
        tensors[f"{module}.lora_A.weight"], tensors[f"{module}.lora_B.weight"] = one.A_rI, one.B_Or
    config = _config(lm, configs, {module: len(one.A_rI) for module, one in factors.items()})
    write_adapter(lm, folder, tensors, config, beneath=lm.adapters[:-2])
    return lost


def _factors(model: Any, name: str) -> tuple[dict[str, Factors], dict[str, Tensor]]:
    """The low-rank updates of an adapter by module, and its other tensors by their names in the file."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    scaling = {f"{PREFIX}{at}": float(m.scaling[name]) for at, m in _lora_layers(model) if name in m.scaling}
    factors = {
        module: Factors(A_rI=state.pop(f"{module}.lora_A.weight"), B_Or=state.pop(f"{module}.lora_B.weight") * scale)
        for module, scale in scaling.items()
    }
    return factors, state


def _lora_layers(model: Any) -> list[tuple[str, Any]]:
    return [(name, module) for name, module in model.get_base_model().named_modules() if hasattr(module, "lora_A")]


def _stacked(lower: Factors, upper: Factors) -> Factors:
    """B₁A₁ + B₂A₂ = [B₁ B₂]·[A₁; A₂]."""
    return Factors(A_rI=torch.cat((lower.A_rI, upper.A_rI)), B_Or=torch.cat((lower.B_Or, upper.B_Or), dim=1))


def _cut(factors: dict[str, Factors], rank: int) -> tuple[dict[str, Factors], Lost]:
    cut, lost, squares = {}, {}, [0.0, 0.0]
    for module, one in factors.items():
        # B·A = Q_B (R_B R_Aᵀ) Q_Aᵀ: the singular values are those of a matrix of the size of the ranks.
        Q_B, R_B = torch.linalg.qr(one.B_Or.double())
        Q_A, R_A = torch.linalg.qr(one.A_rI.double().T)
        U, S, Vh = torch.linalg.svd(R_B @ R_A.T)
        root = S[:rank].sqrt()
        cut[module] = Factors(
            A_rI=(root[:, None] * (Vh[:rank] @ Q_A.T)).to(one.A_rI.dtype),
            B_Or=((Q_B @ U[:, :rank]) * root).to(one.B_Or.dtype),
        )
        whole, left = float(S.square().sum()), float(S[rank:].square().sum())
        lost[module.removeprefix(PREFIX)] = (left / whole) ** 0.5 if whole else 0.0
        squares = [squares[0] + whole, squares[1] + left]
    return cut, Lost(modules=lost, overall=(squares[1] / squares[0]) ** 0.5 if squares[0] else 0.0)


def _config(lm: LanguageModel, configs: list[dict[str, Any]], ranks: dict[str, int]) -> dict[str, Any]:
    """PEFT's configuration of the sum: the lower adapter's with other modules and ranks, and scale 1 everywhere."""
    named = {module.removeprefix(PREFIX): rank for module, rank in ranks.items()}
    usual = Counter(named.values()).most_common(1)[0][0]
    others = {module: rank for module, rank in sorted(named.items()) if rank != usual}
    whole = sorted({name for config in configs for name in config["modules_to_save"] or ()})
    return configs[0] | {
        "r": usual,
        "lora_alpha": usual,
        "use_rslora": False,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": list(target_modules(lm.model, list(named))),
        "modules_to_save": whole or None,
        "ensure_weight_tying": any(config["ensure_weight_tying"] for config in configs),
    }
