"""Two adapters as one: exact with the ranks added, and what a cut to a rank leaves out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file

from fairlead.errors import ModelError
from fairlead.models.adapter_sum import save_sum
from fairlead.models.loading import load
from tests.models.adapting import IDS, apart, logits, saved
from tests.tiny import save_tiny

PAIRS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "plain": ("llama", {}, {}),
    "other ranks, scales and modules": (
        "llama",
        {"r": 3, "rslora": True, "alpha": 5, "targets": "attention"},
        {"r": 2, "targets": ["q_proj", "layers.1.mlp.up_proj"]},
    ),
    "a head beneath": ("llama", {"train_head": True}, {"r": 2}),
    "embeddings above": ("llama", {}, {"train_embeddings": True, "alpha": 1}),
    "weights transposed": ("gpt2", {"targets": "attention"}, {"r": 2, "targets": ["c_attn", "h.1.mlp.c_fc"]}),
    "one matrix above": ("gpt2", {}, {"train_embeddings": True, "train_head": True}),
}


def stack(folder: Path, beneath: dict[str, Any], above: dict[str, Any], family: str = "llama") -> Path:
    save_tiny(folder / "base", family)
    saved(folder / "base", folder / "one", **beneath)
    return saved(folder / "one", folder / "two", seed=2, **above)


def update(folder: Path, module: str) -> torch.Tensor:
    """scale · B · A of a module, by the files alone; every rank is the scale's divisor."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    lower, raised = (tensors[f"base_model.model.{module}.lora_{one}.weight"].double() for one in "AB")
    rank = config["rank_pattern"].get(module, config["r"])
    alpha = config["alpha_pattern"].get(module, config["lora_alpha"])
    return alpha / (rank**0.5 if config["use_rslora"] else rank) * raised @ lower


@pytest.mark.parametrize(("family", "beneath", "above"), PAIRS.values(), ids=PAIRS.keys())
def test_exactly_the_sum(tmp_path: Path, family: str, beneath: dict[str, Any], above: dict[str, Any]) -> None:
    expected = load(str(stack(tmp_path, beneath, above, family)), dtype=torch.float32)
    assert save_sum(expected, tmp_path / "sum") is None
    again = load(str(tmp_path / "sum"), dtype=torch.float32)
    assert apart(logits(again), logits(expected)) < 1e-4
    assert len(again.adapters) == 1
    plain = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "sum")
    assert torch.equal(plain(IDS).logits, logits(again))


def test_modules_keep_the_ranks_they_need(tmp_path: Path) -> None:
    lm = load(str(stack(tmp_path, *PAIRS["other ranks, scales and modules"][1:])), dtype=torch.float32)
    save_sum(lm, tmp_path / "sum")
    tensors = load_file(tmp_path / "sum" / "adapter_model.safetensors")
    ranks = {
        name.removeprefix("base_model.model.model.layers.").removesuffix(".lora_A.weight"): len(tensor)
        for name, tensor in tensors.items()
        if name.endswith("lora_A.weight")
    }
    assert ranks["0.self_attn.q_proj"] == ranks["1.self_attn.q_proj"] == 5
    assert ranks["0.self_attn.o_proj"] == 3
    assert ranks["1.mlp.up_proj"] == 2
    assert "0.mlp.up_proj" not in ranks
    both = update(tmp_path / "one", module := "model.layers.1.self_attn.q_proj") + update(tmp_path / "two", module)
    assert apart(update(tmp_path / "sum", module), both) < 1e-6


@pytest.mark.parametrize("rank", [1, 3, 5, 6, 40])
def test_a_cut_is_the_best_of_its_rank_and_says_what_it_lost(tmp_path: Path, rank: int) -> None:
    lm = load(str(stack(tmp_path, {"r": 4}, {"r": 2})), dtype=torch.float32)
    lost = save_sum(lm, tmp_path / "sum", rank=rank)
    assert lost is not None
    total = [0.0, 0.0]
    for module, relative in lost.modules.items():
        both = update(tmp_path / "one", module) + update(tmp_path / "two", module)
        values = torch.linalg.svdvals(both)
        best = float(values[rank:].norm() / values.norm())
        left = (both - update(tmp_path / "sum", module)).norm()
        assert relative == pytest.approx(best, abs=1e-6)
        assert float(left / both.norm()) == pytest.approx(best, abs=1e-6)
        total = [total[0] + float(left) ** 2, total[1] + float(both.norm()) ** 2]
    assert lost.overall == pytest.approx((total[0] / total[1]) ** 0.5, abs=1e-6)
    assert (lost.overall < 1e-6) == (rank >= 6)
    load(str(tmp_path / "sum"), dtype=torch.float32)


def test_a_third_adapter_stays_beneath(tmp_path: Path) -> None:
    stack(tmp_path, {}, {"r": 2})
    saved(tmp_path / "two", tmp_path / "three", seed=3)
    lm = load(str(tmp_path / "three"), dtype=torch.float32)
    save_sum(lm, tmp_path / "sum")
    again = load(str(tmp_path / "sum"), dtype=torch.float32)
    assert [Path(adapter.path).name for adapter in again.adapters] == ["one", "sum"]
    assert apart(logits(again), logits(lm)) < 1e-4


def test_an_adapter_that_was_never_trained_loses_nothing(tmp_path: Path) -> None:
    save_tiny(tmp_path / "base")
    saved(tmp_path / "base", tmp_path / "one", by=0.0)
    lm = load(str(saved(tmp_path / "one", tmp_path / "two", by=0.0)), dtype=torch.float32)
    lost = save_sum(lm, tmp_path / "sum", rank=1)
    assert lost is not None
    assert lost.overall == 0
    assert apart(logits(load(str(tmp_path / "sum"), dtype=torch.float32)), logits(lm)) == 0


def test_dora_has_no_update_of_its_own(tmp_path: Path) -> None:
    lm = load(str(stack(tmp_path, {}, {"kind": "dora"})), dtype=torch.float32)
    with pytest.raises(ModelError, match="DoRA adapter scales the base weights"):
        save_sum(lm, tmp_path / "sum")
