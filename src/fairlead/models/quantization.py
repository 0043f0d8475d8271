"""Base weights in 4 bits: NF4 with double quantisation (QLoRA, arXiv:2305.14314), through bitsandbytes.

Only the linear layers inside the trunk are quantised; embeddings, norms and the output head stay as they are. The codes
are made from the weights as stored, whatever the precision of the run, so that a run in bfloat16 and one in float32
train over the same base.

One scale serves 64 values that lie side by side. bitsandbytes (0.50) reads a matrix with rows of another length than a
multiple of 64 wrongly on CPUs: it takes the scales of other rows. Such layers stay as they are too, on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fairlead.errors import MachineError, ModelError
from fairlead.models.reward_model import is_reward_model, reward_head

BLOCK = 64
"""Values that share a scale."""


def nf4_config(outline: Any, dtype: torch.dtype) -> Any:
    """What transformers' `from_pretrained` is told to quantise by; products are computed in `dtype`.

    `outline` is the model without its weights. Raises MachineError without bitsandbytes.
    """
    from transformers import BitsAndBytesConfig

    need_bitsandbytes()
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=left_alone(outline),
    )


def left_alone(outline: Any) -> list[str]:
    """Names of the linear layers that are not quantised: those with rows of an odd length, and last the output head."""
    from transformers.pytorch_utils import Conv1D

    head = reward_head(outline) if is_reward_model(outline) else outline.get_output_embeddings()
    odd, heads = [], []
    for name, module in outline.named_modules():
        if module is head:
            heads.append(name)
        elif isinstance(module, nn.Linear | Conv1D):
            length = module.weight.shape[0 if isinstance(module, Conv1D) else 1]
            odd += [name] if length % BLOCK else []
    return odd + heads


def need_bitsandbytes() -> None:
    """Raises MachineError where bitsandbytes is missing or cannot run."""
    try:
        import bitsandbytes  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        raise MachineError(
            f"Weights in 4 bits need bitsandbytes, which cannot be imported ({' '.join(str(error).split())}). Install "
            f"it with `pip install 'fairlead[quant]'`, or leave out model.quantize."
        ) from error


def stored_quantization(config: Mapping[str, Any], base: str) -> bool:
    """Whether a checkpoint's own weights are in 4 bits already, by its config.json.

    Raises ModelError for a checkpoint that is quantised in a way that cannot be trained over here.
    """
    stored = config.get("quantization_config")
    if not stored:
        return False
    method = stored.get("quant_method", "unknown")
    if method == "bitsandbytes" and stored.get("load_in_4bit"):
        need_bitsandbytes()
        return True
    kind = "bitsandbytes in 8 bits" if method == "bitsandbytes" else method
    raise ModelError(
        f"The weights of {base} are quantised already ({kind}), and only those of bitsandbytes in 4 bits can be used. "
        f"Give the original weights; with `model.quantize: nf4` an adapter is trained over them in 4 bits."
    )


def settle_quantized(model: Any, dtype: torch.dtype) -> None:
    """Make a model with 4-bit layers compute in `dtype`: what is not quantised is brought to it."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    for name, layer in _quantized_layers(model):
        if layer.in_features % layer.weight.blocksize and layer.weight.device.type == "cpu":
            raise ModelError(
                f"{name} of {model.name_or_path} is stored in 4 bits with rows of {layer.in_features} values, which "
                f"bitsandbytes reads wrongly on a CPU. Use a GPU, or give the original weights."
            )
        layer.compute_dtype = layer.weight.quant_state.dtype = dtype
        # bitsandbytes' own format for AVX-512 would repack the weights in the first evaluation. After that they give
        # no gradient, so that a training that follows an evaluation stands still.
        layer.support_avx512bf16_for_cpu = False


def is_quantized(model: Any) -> bool:
    """Whether any layer of the model, PEFT-wrapped or not, holds weights in 4 bits."""
    return next(_quantized_layers(model), None) is not None


def quantized_share(model: Any) -> float:
    """The share of the model's weights that are held in 4 bits."""
    inside: int = sum(layer.in_features * layer.out_features for _, layer in _quantized_layers(model))
    outside: int = sum(p.numel() for p in model.parameters() if p.is_floating_point())
    return inside / (inside + outside)


def narrow(model: nn.Module, dtype: torch.dtype) -> None:
    """Bring what is not quantised to `dtype`, in place; buffers, such as rotary frequencies, keep theirs."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def dequantize(model: Any, dtype: torch.dtype) -> None:
    """Put plain layers with the values of the 4-bit ones in their place, in `dtype`; the model forgets where from."""
    from bitsandbytes.functional import dequantize_4bit
    from transformers.pytorch_utils import Conv1D

    for name, layer in list(_quantized_layers(model)):
        values: Tensor = dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(dtype)
        with torch.device("meta"):
            plain: nn.Module
            if issubclass(layer.source_cls, Conv1D):  # GPT-2's layers keep their weights transposed
                plain, values = Conv1D(layer.out_features, layer.in_features), values.T.contiguous()
            else:
                plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        plain.weight = nn.Parameter(values, requires_grad=False)
        if layer.bias is not None:
            plain.bias = nn.Parameter(layer.bias.data.to(dtype), requires_grad=False)
        model.set_submodule(name, plain.train(layer.training))
    forget_quantization(model)


def forget_quantization(model: Any) -> None:
    """Dequantised weights are plain weights: without this the model refuses to be saved or trained."""
    model.hf_quantizer = None
    for name in ("is_loaded_in_4bit", "is_quantized", "quantization_method"):
        if hasattr(model, name):
            delattr(model, name)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    # How the stored names became modules: undone when the model is saved, but what read 4-bit tensors has no inverse.
    if (read := getattr(model, "_weight_conversions", None)) is not None:
        model._weight_conversions = [each for each in read if "Bnb4bit" not in str(getattr(each, "operations", ""))]


def _quantized_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """By the name of their weights' type: this is asked of every model, and bitsandbytes need not be there."""
    for name, module in model.named_modules():
        if type(getattr(module, "weight", None)).__name__ == "Params4bit" and isinstance(module, nn.Linear):
            yield name, module
