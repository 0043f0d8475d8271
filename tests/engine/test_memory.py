from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from fairlead.config import AdapterConfig
from fairlead.engine.attention import causal_of, trunk_of
from fairlead.engine.groups import PromptGroup
from fairlead.engine.memory import Holdings, Pass, extended, holdings, measure_pass, phases
from fairlead.engine.metering import Meter
from fairlead.engine.scoring import Scorer
from fairlead.models.outline import filled, put_new_adapter
from tests.tiny import FAMILIES, tiny_llama
from tests.training.small import make_groups

GROUPS = make_groups("dpo", 12)
NOTHING = Pass(**dict.fromkeys(Pass.__dataclass_fields__, 0))


def without_weights(model: Any) -> Any:
    with torch.device("meta"):
        return type(model)(model.config)


def lora(model: Any) -> Any:
    """Under an adapter, which has weights if the model has."""
    adapted = put_new_adapter(model.requires_grad_(False), AdapterConfig(r=2))
    if next(model.parameters()).device.type == "meta":
        return adapted
    return filled(adapted, lambda each: torch.zeros(each.shape, dtype=each.dtype) if each.is_meta else each.detach())


def really(model: Any, groups: list[PromptGroup], *, packed: bool, compute: torch.dtype) -> dict[str, int]:
    """The same counts on a model with weights, which computes."""
    model.train()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    scorer = Scorer(model=model, packed=packed, compute=compute)
    batch = scorer.batch(groups)
    found: dict[str, int] = {}
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    meter = Meter([*model.parameters(), *model.buffers(), *gradients])
    hook = trunk_of(model).register_forward_hook(lambda *_: found.update(kept=meter.live, trunk=meter.restart_peak()))
    with meter, scorer.attention():
        scores = scorer.score(batch).logp_N
        found["head"] = meter.restart_peak()
        scores.sum().backward()  # type: ignore[no-untyped-call]
        found["backward"] = meter.restart_peak()
    hook.remove()
    return found


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gpt2", "gemma2"])
def test_without_weights_as_with_them(family: str, adapter: bool) -> None:
    model = FAMILIES[family]()
    outlined = without_weights(model)
    if adapter:
        model, outlined = lora(model), lora(outlined)
    measured = measure_pass(outlined, GROUPS, compute=torch.float32)
    assert measured.packed == (family != "gemma2")
    assert not measured.is_rough
    real = really(model, GROUPS, packed=measured.packed, compute=torch.float32)
    taken = measured.taken
    # Masks are built of parts here, and not at all there: a small difference in tiny models.
    bound = 0.002 if measured.packed else 0.1
    assert taken.kept == pytest.approx(real["kept"], rel=bound)
    assert taken.head == pytest.approx(real["head"], rel=bound)
    assert max(taken.head_backward, taken.trunk_backward) == pytest.approx(real["backward"], rel=bound)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("adapter", "compute"), [(True, torch.bfloat16), (False, torch.bfloat16)])
def test_low_precision_and_checkpointing(adapter: bool, compute: torch.dtype, checkpointing: bool) -> None:
    model = tiny_llama(num_hidden_layers=4, hidden_size=64, intermediate_size=160)
    outlined = without_weights(model)
    if adapter:
        model, outlined = lora(model.to(compute)), lora(outlined.to(compute))
    measured = measure_pass(outlined, GROUPS, compute=compute, checkpointing=checkpointing)
    if checkpointing:
        causal_of(model).activation_checkpointing_enable({"use_reentrant": False})
    real = really(model, GROUPS, packed=True, compute=compute)
    assert measured.taken.kept == pytest.approx(real["kept"], rel=0.01)
    backward = max(measured.taken.head_backward, measured.taken.trunk_backward)
    assert backward == pytest.approx(real["backward"], rel=0.03)


def outlined(layers: int) -> Any:
    return without_weights(tiny_llama(num_hidden_layers=layers))


def test_layers_lie_on_a_line() -> None:
    few, more, many = (measure_pass(outlined(layers), GROUPS, compute=torch.float32).taken for layers in (2, 4, 9))
    line = extended(few, more, at=(2, 4), to=9)
    for name in ("kept", "trunk", "head", "head_backward", "scored", "flops", "scored_flops"):
        assert getattr(line, name) == getattr(many, name), name
    assert line.trunk_backward == pytest.approx(many.trunk_backward, rel=0.1)


def test_checkpointing_keeps_less_and_computes_more() -> None:
    plain, checkpointed = (
        measure_pass(outlined(6), GROUPS, compute=torch.float32, checkpointing=saving).taken for saving in (False, True)
    )
    assert checkpointed.kept < plain.kept / 4
    assert checkpointed.flops > plain.flops
    assert checkpointed.scored == plain.scored


def test_a_family_that_cannot_be_run_without_values_is_taken_by_its_shapes() -> None:
    class Choosy(torch.nn.Module):
        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden * hidden.sum().item()

    model = outlined(3)
    reference = measure_pass(outlined(3), GROUPS, compute=torch.float32).taken
    model.model.layers[1].mlp.act_fn = Choosy()
    measured = measure_pass(model, GROUPS, compute=torch.float32)
    assert measured.is_rough
    assert 0.5 < measured.taken.peak / reference.peak < 2
    assert 0.5 < measured.taken.flops / reference.flops < 2


def test_what_a_model_holds() -> None:
    model = tiny_llama().requires_grad_(True)
    size = sum(4 * each.numel() for each in model.parameters())
    held = holdings(model, is_full=True)
    tensors = len(list(model.parameters()))
    assert (held.weights, held.adapter, held.gradients, held.reference) == (size, 0, size, 0)
    assert held.optimizer == 2 * size + 4 * tensors
    assert held.head_gradient == held.largest_gradient == 4 * 320 * 32
    assert holdings(model, is_full=True, copies=1).reference == size
    adapted = lora(tiny_llama())
    trained = sum(4 * each.numel() for each in adapted.parameters() if each.requires_grad)
    held = holdings(adapted, is_full=False, copies=1)
    assert (held.weights, held.adapter, held.gradients, held.head_gradient) == (size, 2 * trained, trained, 0)


HELD = Holdings(
    weights=100, adapter=0, reference=0, gradients=100, optimizer=200, head_gradient=30, largest_gradient=30
)
TAKEN = replace(NOTHING, kept=50, trunk=55, head=90, head_backward=70, trunk_backward=60, scored=20)


def totals(held: Holdings, taken: Pass, **options: Any) -> dict[str, int]:
    return {phase.name: phase.total for phase in phases(held, taken, **options)}


def test_with_several_micro_batches_gradients_lie_beside_activations() -> None:
    found = totals(HELD, TAKEN, accumulates=True, loading=40, sampling=7)
    assert found == {
        "loading": 140,
        "sampling": 100 + 200 + 100 + 7,
        "reference pass": 120,
        "training step": 100 + 200 + 100 + 90,
        "evaluation": 100 + 200 + 100 + 20,
    }


def test_with_one_micro_batch_they_take_turns() -> None:
    # The end, when all gradients are there and the largest is made once more; or the head's chunk; or the beginning.
    assert totals(HELD, TAKEN, accumulates=False)["training step"] == 300 + 100 + 30
    chunk = replace(TAKEN, head=150)
    assert totals(HELD, chunk, accumulates=False)["training step"] == 300 + 150
    long = replace(TAKEN, trunk_backward=140)
    assert totals(HELD, long, accumulates=False)["training step"] == 300 + 30 + 140


def test_without_a_reference_there_is_no_reference_pass() -> None:
    assert "reference pass" not in totals(HELD, TAKEN, accumulates=True, scores_reference=False)
