"""Weights as content and as files."""

from __future__ import annotations

import json
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from fairlead.config import AdapterConfig
from fairlead.errors import MachineError, ModelError
from fairlead.models.adapters import add_lora, continue_adapter
from fairlead.models.language_model import LanguageModel
from fairlead.models.loading import load
from fairlead.models.weights import digest_adapter, digest_weights, merged, save_adapter, save_model
from tests.tiny import save_tiny, tiny_llama, tiny_qwen3

IDS = torch.arange(3, 40)[None]


@pytest.fixture
def adapted(tmp_path: Path) -> LanguageModel:
    lm = add_lora(load(str(save_tiny(tmp_path / "base")), dtype=torch.float32), AdapterConfig(r=4), seed=0)
    with torch.no_grad():
        for name, parameter in lm.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1)).mul_(0.1)
    return lm


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes: what a full disk is to the one who writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_digest_is_of_names_types_shapes_and_bytes() -> None:
    digest = digest_weights(tiny_llama())
    assert digest == digest_weights(tiny_llama())
    assert len({digest, digest_weights(tiny_llama(seed=1)), digest_weights(tiny_llama().bfloat16())}) == 3
    model = tiny_llama()
    with torch.no_grad():
        model.lm_head.weight[5, 5] += 1e-3
    assert digest_weights(model) != digest
    assert digest_weights(tiny_qwen3()) == digest_weights(tiny_qwen3())  # tied head


def test_the_digest_does_not_see_adapters(adapted: LanguageModel) -> None:
    assert digest_weights(adapted.model) == digest_weights(tiny_llama())
    assert digest_adapter(tiny_llama()) == ""
    before = digest_adapter(adapted.model)
    adapted.model.peft_config["default"].lora_alpha *= 2
    assert digest_adapter(adapted.model) != before


def test_a_saved_model_is_loaded_by_transformers_alone(tmp_path: Path) -> None:
    lm = load(str(save_tiny(tmp_path / "base", "qwen3")), dtype=torch.bfloat16)
    save_model(lm, tmp_path / "out" / "model")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model", dtype="auto")
    assert again.dtype == torch.bfloat16
    assert torch.equal(again(IDS).logits, lm.model(IDS).logits)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "model")
    assert tokenizer.chat_template == lm.tokenizer.chat_template
    assert tokenizer("Hello <|im_end|>").input_ids == lm.tokenizer("Hello <|im_end|>").input_ids
    assert digest_weights(again) == lm.weights_digest
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model"]
    names = {path.name for path in (tmp_path / "out" / "model").iterdir()}
    assert "model.safetensors" in names
    assert not {name for name in names if name.endswith((".bin", ".pt", ".pkl"))}
    mode = stat.S_IMODE((tmp_path / "out" / "model" / "model.safetensors").stat().st_mode)
    assert mode == stat.S_IMODE((tmp_path / "out" / "model" / "config.json").stat().st_mode)
    config = json.loads((tmp_path / "out" / "model" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_a_saved_adapter_is_loaded_by_peft_alone_and_byte_for_byte_the_same(
    adapted: LanguageModel, tmp_path: Path
) -> None:
    save_adapter(adapted, tmp_path / "one")
    save_adapter(adapted, tmp_path / "two")
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "chat_template.jinja"} <= set(files)
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    again = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "one")
    assert torch.equal(again(IDS).logits, adapted.model(IDS).logits)


def test_the_frozen_copy_is_neither_saved_nor_merged(adapted: LanguageModel, tmp_path: Path) -> None:
    save_adapter(adapted, tmp_path / "start")
    lm = continue_adapter(load(str(tmp_path / "start"), dtype=torch.float32))
    with torch.no_grad():
        for parameter in lm.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05)
        trained = lm.model(IDS).logits
    save_adapter(lm, tmp_path / "end")
    assert not (tmp_path / "end" / "reference").exists()
    assert torch.equal(load(str(tmp_path / "end"), dtype=torch.float32).model(IDS).logits, trained)
    assert torch.allclose(merged(lm, dtype=torch.float32).model(IDS).logits, trained, atol=1e-4)


def test_merging_adds_the_adapter_into_the_base(adapted: LanguageModel) -> None:
    with torch.no_grad():
        before = adapted.model(IDS).logits
    whole = merged(adapted, dtype=torch.float32)
    assert torch.allclose(whole.model(IDS).logits, before, atol=1e-4)
    assert whole.adapter_digest == ""
    assert whole.weights_digest == digest_weights(whole.model) != adapted.weights_digest
    assert not hasattr(whole.model, "peft_config") or not whole.model._hf_peft_config_loaded


def test_a_merged_weight_that_is_not_finite_is_refused(adapted: LanguageModel) -> None:
    with torch.no_grad():
        next(p for name, p in adapted.model.named_parameters() if "lora_B" in name).fill_(float("inf"))
    with pytest.raises(ModelError, match="cannot be merged"):
        merged(adapted, dtype=torch.float32)


def test_nothing_is_written_over(tmp_path: Path, adapted: LanguageModel) -> None:
    (tmp_path / "taken").mkdir()
    save_adapter(adapted, tmp_path / "taken")  # empty: fine
    with pytest.raises(ModelError, match="exists already"):
        save_adapter(adapted, tmp_path / "taken")
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="exists already"):
        save_adapter(adapted, tmp_path / "file")


@pytest.mark.parametrize("size", [0, 500, 5000])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, adapted: LanguageModel, size: int) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(MachineError, match="cannot be written"), disk_of(size):
        save_adapter(adapted, tmp_path / "out" / "adapter")
    plain = load(adapted.source, dtype=torch.float32)
    with pytest.raises(MachineError, match="cannot be written"), disk_of(size):
        save_model(plain, tmp_path / "out" / "model")
    assert list((tmp_path / "out").iterdir()) == []
