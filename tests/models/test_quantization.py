"""Base weights in 4 bits: what is quantised, that it trains, and what cannot be quantised."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from fairlead.errors import MachineError, ModelError
from fairlead.models.adapters import reference_weights, trainable_parameters
from fairlead.models.loading import is_stored_quantized, load, load_dequantized
from fairlead.models.quantization import is_quantized, narrow, quantized_share
from fairlead.models.weights import digest_weights, save_adapter
from tests.models.adapting import IDS, apart, disturb, fresh, logits, saved
from tests.tiny import save_tiny, save_tiny_gguf, tiny_llama

NF4 = (-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0)
NF4 += (0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1.0)
"""The values of NF4, quantiles of a normal distribution (arXiv:2305.14314, appendix E), to four digits."""
WIDE = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
"""Rows of whole blocks of 64 values."""
IN_4_BITS: dict[str, Any] = {"load_with": {"quantize": "nf4"}}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "llama", **WIDE)


@pytest.fixture(scope="module")
def stored(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose weights are in 4 bits on disk."""
    folder = tmp_path_factory.mktemp("models") / "nf4"
    lm = load(str(base), dtype=torch.float32, quantize="nf4")
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return folder


def dequantized(layer: Any) -> torch.Tensor:
    from bitsandbytes.functional import dequantize_4bit

    values: torch.Tensor = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return values


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_the_linear_layers_of_the_trunk_are_quantised(base: Path, dtype: torch.dtype) -> None:
    lm = load(str(base), dtype=dtype, quantize="nf4")
    plain = tiny_llama(**WIDE)
    for name, module in lm.model.named_modules():
        if isinstance(module, nn.Linear) and name != "lm_head":
            assert module.weight.dtype == torch.uint8
            assert module.weight.numel() == module.in_features * module.out_features // 2
        elif isinstance(getattr(module, "weight", None), nn.Parameter):
            assert torch.equal(module.weight, plain.get_parameter(f"{name}.weight").to(dtype))
    assert lm.quantize == "nf4"
    assert is_quantized(lm.model)
    assert 0.5 < quantized_share(lm.model) < 0.9
    assert lm.notes == ()
    assert not is_quantized(plain)


def test_the_values_are_those_of_nf4_block_by_block(base: Path) -> None:
    layer = load(str(base), dtype=torch.float32, quantize="nf4").model.model.layers[0].mlp.up_proj
    blocks = tiny_llama(**WIDE).model.layers[0].mlp.up_proj.weight.detach().reshape(-1, 64)
    scale = blocks.abs().amax(dim=1, keepdim=True)
    nearest = (blocks / scale - torch.tensor(NF4)[:, None, None]).abs().argmin(dim=0)
    expected = (torch.tensor(NF4)[nearest] * scale).reshape(layer.out_features, layer.in_features)
    off = (dequantized(layer) - expected).abs() / scale.max()
    assert off.quantile(0.99) < 0.03  # the scales are in 8 bits, and a value between two may go to either


def test_the_codes_do_not_depend_on_the_precision_of_the_run(base: Path) -> None:
    one, two = (load(str(base), dtype=dtype, quantize="nf4").model for dtype in (torch.float32, torch.bfloat16))
    for first, second in zip(one.modules(), two.modules(), strict=True):
        if is_quantized(nn.ModuleList([first])) and isinstance(first, nn.Linear):
            assert torch.equal(first.weight, second.weight)
            assert second.compute_dtype == torch.bfloat16


def test_the_digest_tells_quantised_weights_from_plain_ones_and_outlives_an_evaluation(base: Path) -> None:
    lm, plain = load(str(base), dtype=torch.float32, quantize="nf4"), load(str(base), dtype=torch.float32)
    assert lm.weights_digest != plain.weights_digest
    assert lm.weights_digest == load(str(base), dtype=torch.float32, quantize="nf4").weights_digest
    assert apart(logits(lm), logits(plain)) > 1e-3
    assert digest_weights(lm.model) == lm.weights_digest


def test_layers_that_are_read_wrongly_on_a_cpu_stay_as_they_are(tmp_path: Path) -> None:
    save_tiny(tmp_path / "narrow")  # rows of 32 values, but for the layer that takes the 64 of the feed-forward
    lm = load(str(tmp_path / "narrow"), dtype=torch.float32, quantize="nf4")
    quantised = {name for name, module in lm.model.named_modules() if is_quantized(nn.ModuleList([module]))}
    assert {name.rsplit(".", 1)[-1] for name in quantised if name.endswith("_proj")} == {"down_proj"}
    assert "q_proj" in lm.notes[0]
    assert "not brought to 4 bits" in lm.notes[0]
    assert lm.notes[1].startswith("Only 10% of the weights")
    save_tiny(tmp_path / "odd", intermediate_size=48)
    with pytest.raises(ModelError, match=r"No layer of .* can be brought to 4 bits"):
        load(str(tmp_path / "odd"), dtype=torch.float32, quantize="nf4")
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "narrow", quantization_config=config)
    whole.save_pretrained(tmp_path / "stored")
    lm.tokenizer.save_pretrained(tmp_path / "stored")
    with pytest.raises(ModelError, match=r"q_proj.*rows of 32 values.*wrongly on a CPU"):
        load(str(tmp_path / "stored"), dtype=torch.float32)


def test_an_adapter_over_it_is_float32_and_learns_also_after_an_evaluation(base: Path) -> None:
    lm = fresh(base, torch.bfloat16, **IN_4_BITS)
    assert apart(logits(lm), logits(load(str(base), dtype=torch.bfloat16, quantize="nf4"))) == 0
    assert {lm.model.get_parameter(name).dtype for name in trainable_parameters(lm).names} == {torch.float32}
    disturb(lm)
    lm.model.train()
    lm.model(IDS).logits.float().square().mean().backward()
    assert all(lm.model.get_parameter(name).grad.abs().max() > 0 for name in trainable_parameters(lm).names)


def test_gradients_are_those_of_an_adapter_over_the_dequantised_weights(base: Path, tmp_path: Path) -> None:
    lm = disturb(fresh(base, **IN_4_BITS))
    save_adapter(lm, tmp_path / "adapter")
    plain = load_dequantized(str(tmp_path / "adapter"), dtype=torch.float32)
    assert not is_quantized(plain.model)
    assert apart(logits(plain), logits(lm)) < 1e-4
    names = trainable_parameters(lm).names
    for name in names:
        plain.model.get_parameter(name).requires_grad_(True)
    for one in (lm, plain):
        one.model(IDS).logits.log_softmax(-1)[..., 7].sum().backward()
    for name in names:
        expected = plain.model.get_parameter(name).grad
        assert apart(lm.model.get_parameter(name).grad, expected) < 1e-3 * max(1.0, float(expected.abs().max()))


def test_the_reference_and_a_reloaded_adapter_are_over_the_same_weights(base: Path, tmp_path: Path) -> None:
    lm = fresh(base, **IN_4_BITS)
    start = logits(lm)
    disturb(lm)
    with reference_weights(lm):
        assert torch.equal(logits(lm), start)
    save_adapter(lm, tmp_path / "adapter")
    assert json.loads((tmp_path / "adapter" / "fairlead.json").read_text())["quantize"] == "nf4"
    again = load(str(tmp_path / "adapter"), dtype=torch.float32)
    assert torch.equal(logits(again), logits(lm))
    assert again.weights_digest == lm.weights_digest
    assert "in 4 bits (nf4), as when" in again.notes[0]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("config", [{}, {"kind": "dora"}], ids=["lora", "dora"])
def test_dequantised_weights_say_the_same_in_every_family(tmp_path: Path, family: str, config: dict[str, Any]) -> None:
    save_tiny(tmp_path / "base", family, **(WIDE if family == "llama" else {"n_embd": 64}))
    adapter = saved(tmp_path / "base", tmp_path / "adapter", **IN_4_BITS, **config)
    quantised = load(str(adapter), dtype=torch.float32)
    assert apart(logits(load_dequantized(str(adapter), dtype=torch.float32)), logits(quantised)) < 1e-4
    assert apart(logits(load_dequantized(str(tmp_path / "base"), dtype=torch.float32)), logits(quantised)) > 1e-2


def test_a_checkpoint_in_4_bits_is_used_as_it_is(stored: Path, base: Path, tmp_path: Path) -> None:
    lm = load(str(stored), dtype=torch.float32)
    assert is_quantized(lm.model)
    assert is_stored_quantized(str(stored))
    assert not is_stored_quantized(str(base))
    assert lm.quantize is None
    assert torch.equal(logits(lm), logits(load(str(base), dtype=torch.float32, quantize="nf4")))
    adapter = saved(stored, tmp_path / "adapter")
    assert not (adapter / "fairlead.json").exists()
    plain = load_dequantized(str(adapter), dtype=torch.float32)
    assert apart(logits(plain), logits(load(str(adapter), dtype=torch.float32))) < 1e-4
    plain.model.get_base_model().save_pretrained(tmp_path / "whole")
    assert "quantization_config" not in json.loads((tmp_path / "whole" / "config.json").read_text())


def test_what_is_quantised_cannot_be_quantised_again(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"in 4 bits already. Leave out model\.quantize"):
        load(str(stored), dtype=torch.float32, quantize="nf4")
    save_tiny_gguf(tmp_path / "tiny.gguf")
    with pytest.raises(ModelError, match=r"quantised once already.*original weights"):
        load(str(tmp_path / "tiny.gguf"), dtype=torch.float32, quantize="nf4")


@pytest.mark.parametrize(
    ("stored_as", "said"),
    [
        ({"quant_method": "gptq", "bits": 4}, r"quantised already \(gptq\)"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, r"bitsandbytes in 8 bits"),
        ({"quant_method": "fp8"}, r"fp8.*Give the original weights; with `model\.quantize: nf4`"),
    ],
)
def test_other_kinds_of_quantised_weights_are_refused(tmp_path: Path, stored_as: dict[str, Any], said: str) -> None:
    path = save_tiny(tmp_path) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": stored_as}))
    for call in (lambda: load(str(tmp_path), dtype=torch.float32), lambda: is_stored_quantized(str(tmp_path))):
        with pytest.raises(ModelError, match=said):
            call()


def test_without_bitsandbytes_it_is_said_how_to_get_it(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MachineError, match=r"pip install 'fairlead\[quant\]'"):
        load(str(base), dtype=torch.float32, quantize="nf4")
    load(str(base), dtype=torch.float32)


def test_narrowing_leaves_codes_and_rotary_frequencies_alone(base: Path) -> None:
    lm = fresh(base, **IN_4_BITS)
    frequencies = lm.model.get_base_model().model.rotary_emb.inv_freq.clone()
    codes = lm.model.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight.clone()
    narrow(lm.model, torch.bfloat16)
    assert lm.model.get_base_model().lm_head.weight.dtype == torch.bfloat16
    assert torch.equal(lm.model.get_base_model().model.rotary_emb.inv_freq, frequencies)
    assert torch.equal(lm.model.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight, codes)
    assert torch.isfinite(logits(lm)).all()
