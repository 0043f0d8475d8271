"""DoRA's factors, with the lengths of the weight columns in float32 whatever type the products are computed in.

DoRA (arXiv:2402.09353) writes a weight as m · (W + s·BA) / ‖W + s·BA‖, one length per output. Under autocast PEFT
takes the norm in the type of the inputs: in bfloat16 the factor m / ‖W + s·BA‖ of an adapter that has not been trained
yet is then off by up to 0.4 % per output, and the policy is not the reference before the first step. Here it is 1.

Shapes: I inputs, O outputs, r rank.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.dora import DoraLinearLayer
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn
from torch.nn import functional as F


class Magnitudes(DoraLinearLayer):  # type: ignore[misc]
    """PEFT's layer of lengths, `weight` [O]; saved, loaded and merged as PEFT does it."""

    _kept: tuple[Any, Tensor] | None = None

    def forward(
        self,
        x: Tensor,
        *,
        lora_A: Any,
        lora_B: Any,
        scaling: float,
        base_layer: Any,
        base_result: Tensor | None = None,
        adapter_name: str = "default",
    ) -> Tensor:
        """What is added to the base layer's output: (f − 1)·W·x + f·s·B·A·x with f = m / ‖W + s·BA‖.

        `base_result` is W·x with the base layer's bias; None where `x` went through dropout. As in the paper (4.3) the
        norm is a constant to the gradient.
        """
        factor_O = self.weight / self._norm(base_layer, lora_A.weight, lora_B.weight, scaling)
        if base_result is None:
            base_result = F.linear(x, self.base_weight(base_layer).to(x.dtype))
        elif base_layer.bias is not None:
            base_result = base_result - base_layer.bias
        result: Tensor = (factor_O - 1) * base_result + factor_O * scaling * lora_B(lora_A(x))
        return result.to(base_result.dtype)

    def _norm(self, base_layer: Any, A_rI: Tensor, B_Or: Tensor, scaling: float) -> Tensor:
        """‖W + s·BA‖ of each output, [O]; without gradients, as in sampling, it is kept from call to call.

        A fused optimizer changes weights and does not count it as a change, so every pass with gradients, of which each
        step has one, throws away what was kept.
        """
        made_of = [(factor.data_ptr(), factor._version, factor.dtype) for factor in (A_rI, B_Or)]
        if torch.is_grad_enabled() or self._kept is None or self._kept[0] != made_of:
            with torch.no_grad(), torch.autocast(A_rI.device.type, enabled=False):
                norm_O: Tensor = torch.linalg.norm(self.base_weight(base_layer) + scaling * (B_Or @ A_rI), dim=1)
            self._kept = None if torch.is_grad_enabled() else (made_of, norm_O)
            return norm_O
        return self._kept[1]

    def base_weight(self, base_layer: Any) -> Tensor:
        """The base layer's weight as [O, I], dequantised."""
        weight: Tensor = dequantize_module_weight(base_layer)
        return weight.T if self.fan_in_fan_out else weight


def use_exact_magnitudes(model: nn.Module) -> None:
    """Put `Magnitudes` in the place of PEFT's layers, with the same parameters."""
    for module in model.modules():
        layers = getattr(module, "lora_magnitude_vector", None) or {}
        for name, layer in layers.items():
            if type(layer) is DoraLinearLayer:
                exact = Magnitudes(layer.fan_in_fan_out)
                exact.weight = layer.weight
                layers[name] = exact.train(layer.training)


@torch.no_grad()
def start_magnitudes(model: nn.Module, name: str) -> None:
    """Set the lengths of a new adapter, whose B is 0, to those of the base weights, exactly as `forward` takes them."""
    for module in model.modules():
        layers = getattr(module, "lora_magnitude_vector", None) or {}
        if name in layers:
            weight_OI = layers[name].base_weight(module.base_layer)
            lengths = torch.linalg.norm(weight_OI.to(torch.promote_types(weight_OI.dtype, torch.float32)), dim=1)
            layers[name].weight.data = lengths
