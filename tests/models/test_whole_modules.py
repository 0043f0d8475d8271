"""Embeddings and output head trained whole beside an adapter: exact, float32, saved and loaded, tied or not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file, save_file
from torch import nn

from fairlead.errors import ModelError
from fairlead.models.adapters import continue_adapter, keep_reference, reference_weights, trainable_parameters
from fairlead.models.language_model import LanguageModel
from fairlead.models.loading import load
from fairlead.models.stacks import trained_copies
from fairlead.models.weights import digest_adapter, digest_weights, merged, save_adapter
from tests.models.adapting import IDS, apart, disturb, fresh, logits, saved
from tests.tiny import save_tiny, tiny_tokenizer

BOTH = {"train_embeddings": True, "train_head": True}
CASES = {
    "head": ("llama", {"train_head": True}),
    "embeddings": ("llama", {"train_embeddings": True}),
    "both": ("llama", BOTH),
    "tied": ("qwen3", BOTH),
    "tied, by other names": ("gpt2", BOTH),
    "dora": ("llama", BOTH | {"kind": "dora"}),
}
all_cases = pytest.mark.parametrize(("family", "config"), CASES.values(), ids=CASES.keys())


def copies(lm: Any) -> list[nn.Parameter]:
    return [copy.weight for _, copy in trained_copies(lm.model)]


@all_cases
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_reference_is_the_base_and_the_start_the_same(
    tmp_path: Path, family: str, config: dict[str, Any], dtype: torch.dtype
) -> None:
    plain = load(str(save_tiny(tmp_path, family)), dtype=dtype)
    lm = fresh(tmp_path, dtype, **config)
    assert {weight.dtype for weight in copies(lm)} == {torch.float32}

    def out(one: LanguageModel) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            return logits(one)

    expected = out(plain)
    assert torch.equal(out(lm), expected)
    disturb(lm)
    assert apart(out(lm), expected) > 0.01
    with reference_weights(lm):
        assert torch.equal(out(lm), expected)
        assert trainable_parameters(lm).count == 0
    assert apart(out(lm), expected) > 0.01
    assert digest_weights(lm.model) == plain.weights_digest
    assert torch.isfinite(logits(lm)).all()  # sampling computes without autocast


@all_cases
def test_it_is_loaded_by_peft_alone_and_by_us_to_the_bit(tmp_path: Path, family: str, config: dict[str, Any]) -> None:
    save_tiny(tmp_path / "base", family)
    lm = disturb(fresh(tmp_path / "base", **config))
    expected = logits(lm)
    save_adapter(lm, tmp_path / "adapter")
    assert torch.equal(AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")(IDS).logits, expected)
    again = load(str(tmp_path / "adapter"), dtype=torch.float32)
    assert torch.equal(logits(again), expected)
    assert again.adapter_digest == digest_adapter(lm.model)
    narrow = load(str(tmp_path / "adapter"), dtype=torch.bfloat16)
    assert narrow.adapter_digest == again.adapter_digest  # nothing of the adapter is rounded
    whole = merged(again, dtype=torch.float32)
    assert apart(logits(whole), expected) < 1e-4
    embeddings, head = whole.model.get_input_embeddings(), whole.model.get_output_embeddings()
    assert (embeddings.weight is head.weight) == (family != "llama") == whole.model.config.tie_word_embeddings


@all_cases
def test_going_on_keeps_a_copy_of_them_as_the_reference(tmp_path: Path, family: str, config: dict[str, Any]) -> None:
    save_tiny(tmp_path / "base", family)
    adapter = saved(tmp_path / "base", tmp_path / "adapter", **config)
    lm = continue_adapter(load(str(adapter), dtype=torch.bfloat16))
    start = logits(lm)
    assert len(trainable_parameters(lm).names) == len(trainable_parameters(fresh(tmp_path / "base", **config)).names)
    disturb(lm, seed=2)
    with reference_weights(lm):
        assert torch.equal(logits(lm), start)
    assert apart(logits(lm), start) > 0.01
    assert all(weight.requires_grad for weight in copies(lm))


def test_a_copy_made_later_stands_for_what_the_adapter_is_then(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    lm = disturb(fresh(tmp_path, **BOTH))
    then = logits(lm)
    keep_reference(lm)
    disturb(lm, seed=2)
    with reference_weights(lm):
        assert torch.equal(logits(lm), then)


def test_tied_modules_stay_one_matrix_that_learns_from_both_ends(tmp_path: Path) -> None:
    save_tiny(tmp_path, "qwen3")
    lm = fresh(tmp_path, **BOTH)
    one, two = copies(lm)
    assert one is two
    assert sum(name.endswith("modules_to_save.default.weight") for name in trainable_parameters(lm).names) == 1
    lm.model(IDS).logits.log_softmax(-1)[..., 300].sum().backward()
    assert one.grad is not None
    assert one.grad[300].abs().max() > 0  # never an input: learns as an output
    assert one.grad[3].abs().max() > 0


@pytest.mark.parametrize("config", [{"train_head": True}, {"train_embeddings": True}])
def test_one_of_two_that_are_one_matrix_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    save_tiny(tmp_path, "qwen3")
    with pytest.raises(ModelError, match=r"are one matrix.*Set both adapter\.train_embeddings and adapter\.train_head"):
        fresh(tmp_path, **config)


def test_a_head_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    adapter = saved(save_tiny(tmp_path / "base"), tmp_path / "adapter", **BOTH)
    save_tiny(tmp_path / "larger", vocab_size=384)
    with pytest.raises(ModelError, match="embeddings or an output head of another vocabulary"):
        load(str(tmp_path / "larger"), dtype=torch.float32, adapter=str(adapter))
    # As PEFT saves it where the vocabulary was resized: whole weights that no configuration speaks of.
    resized = shutil.copytree(saved(tmp_path / "base", tmp_path / "second"), tmp_path / "resized")
    tensors = load_file(resized / "adapter_model.safetensors")
    tensors["base_model.model.lm_head.weight"] = torch.zeros(384, 32)
    save_file(tensors, resized / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="another vocabulary"):
        load(str(resized), dtype=torch.float32)
    tensors["base_model.model.lm_head.weight"] = torch.zeros(320, 32)
    save_file(tensors, resized / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"does not fit.*lm_head\.weight is on one side only"):
        load(str(resized), dtype=torch.float32)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bias": "lora_only"}, "PEFT's bias: lora_only"),
        ({"lora_bias": True}, "PEFT's lora_bias: True"),
        ({"trainable_token_indices": [1, 2]}, "PEFT's trainable_token_indices"),
        ({"peft_type": "LOHA"}, "of the kind LOHA. Only LoRA and DoRA"),
    ],
)
def test_adapters_that_change_what_cannot_be_switched_off_are_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    adapter = saved(save_tiny(tmp_path / "base"), tmp_path / "adapter")
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=said):
        load(str(adapter), dtype=torch.float32)


def test_the_tokenizer_of_the_adapter_still_goes_before_the_bases(tmp_path: Path) -> None:
    adapter = saved(save_tiny(tmp_path / "base"), tmp_path / "adapter", **BOTH)
    assert load(str(adapter), dtype=torch.float32).tokenizer.get_vocab() == tiny_tokenizer().get_vocab()
