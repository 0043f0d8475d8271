"""DoRA: PEFT's function, to the last digit where PEFT computes it in full, and exact where it rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from peft.helpers import disable_input_dtype_casting
from peft.tuners.lora.dora import DoraLinearLayer
from torch.optim import AdamW

from fairlead.models.adapters import continue_adapter, reference_weights
from fairlead.models.dora import Magnitudes
from fairlead.models.loading import load
from fairlead.models.weights import save_adapter
from tests.models.adapting import IDS, apart, disturb, fresh, logits, saved
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "llama")


def with_pefts_layers(model: Any) -> Any:
    """The same model with PEFT's own layers of lengths, on the same parameters."""
    for module in model.modules():
        layers = getattr(module, "lora_magnitude_vector", None) or {}
        for name, layer in layers.items():
            own = DoraLinearLayer(layer.fan_in_fan_out)
            own.weight = layer.weight
            layers[name] = own.train(layer.training)
    return model


def gradients(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    torch.manual_seed(0)  # dropout
    out = model(IDS).logits
    out.log_softmax(-1)[..., 5].sum().backward()
    named = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return out.detach(), named


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_values_and_gradients_are_pefts(tmp_path: Path, family: str, dropout: float) -> None:
    save_tiny(tmp_path, family)
    lm = disturb(fresh(tmp_path, torch.float64, kind="dora", dropout=dropout, rslora=True))
    lm.model.train()
    assert any(isinstance(module, Magnitudes) for module in lm.model.modules())
    ours, our_gradients = gradients(lm.model)
    theirs, their_gradients = gradients(with_pefts_layers(lm.model))
    assert not any(isinstance(module, Magnitudes) for module in lm.model.modules())
    assert apart(ours, theirs) < 1e-10
    assert our_gradients.keys() == their_gradients.keys()
    assert any("magnitude" in name for name in our_gradients)
    for name, gradient in their_gradients.items():
        assert apart(our_gradients[name], gradient) < 1e-10 * max(1.0, float(gradient.abs().max()))


@pytest.mark.parametrize("autocast", [False, True])
def test_before_training_it_changes_nothing_in_bfloat16_where_pefts_own_does(base: Path, autocast: bool) -> None:
    plain, lm = load(str(base), dtype=torch.bfloat16), fresh(base, torch.bfloat16, kind="dora")

    def out(model: Any) -> torch.Tensor:
        narrow = torch.autocast("cpu", torch.bfloat16, enabled=autocast)
        with torch.no_grad(), narrow, disable_input_dtype_casting(model, active=autocast):
            found: torch.Tensor = model(IDS).logits
        return found

    expected = out(plain.model)
    assert torch.equal(out(lm.model), expected)
    if autocast:
        assert apart(out(with_pefts_layers(lm.model)), expected) > 0.01


def test_lengths_follow_the_matrices(base: Path) -> None:
    lm = disturb(fresh(base, torch.float64, kind="dora"))
    first = logits(lm)
    assert torch.equal(logits(lm), first)
    lm.model.eval()
    optimizer = AdamW([p for p in lm.model.parameters() if p.requires_grad], lr=0.05, fused=True)
    lm.model(IDS).logits.log_softmax(-1)[..., 5].sum().backward()
    optimizer.step()
    trained = logits(lm)
    assert apart(trained, first) > 0.01
    disturb(lm, seed=2)
    disturbed = logits(lm)
    with_pefts_layers(lm.model)
    assert apart(disturbed, logits(lm)) < 1e-10
    disturb(lm, seed=2, by=-0.05)
    assert apart(trained, logits(lm)) < 1e-10


def test_a_trained_one_is_loaded_by_peft_alone_and_goes_on_against_a_copy_of_itself(base: Path, tmp_path: Path) -> None:
    lm = disturb(fresh(base, kind="dora"))
    save_adapter(lm, tmp_path / "adapter")
    assert torch.equal(AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")(IDS).logits, logits(lm))
    again = continue_adapter(load(str(tmp_path / "adapter"), dtype=torch.float32))
    start = logits(again)
    assert torch.equal(start, logits(lm))
    disturb(again, seed=3)
    with reference_weights(again):
        assert torch.equal(logits(again), start)
    assert apart(logits(again), start) > 0.01


def test_one_over_another_adapter_leaves_that_as_it_is(base: Path, tmp_path: Path) -> None:
    beneath = saved(base, tmp_path / "beneath")
    lm = fresh(beneath, kind="dora")
    start = logits(lm)
    assert torch.equal(start, logits(load(str(beneath), dtype=torch.float32)))
    disturb(lm)
    with reference_weights(lm):
        assert torch.equal(logits(lm), start)
