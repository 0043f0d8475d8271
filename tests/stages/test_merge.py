"""`merge`: the merged model says what the model under its adapter said, or it is not written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fairlead.config import AdapterConfig
from fairlead.errors import ModelError
from fairlead.models.adapters import add_lora
from fairlead.models.loading import load
from fairlead.models.weights import digest_weights, save_adapter
from fairlead.stages import merge as stage
from fairlead.stages.merge import merge
from tests.tiny import save_tiny, tiny_llama, tiny_tokenizer

IDS = torch.arange(3, 40)[None]


def trained(folder: Path, *, dtype: torch.dtype = torch.float32, scale: float = 0.05) -> Path:
    """An adapter with weights as training might leave them, on a tiny base in `dtype`."""
    tiny_llama(initializer_range=0.1).to(dtype).save_pretrained(folder / "base")
    tiny_tokenizer().save_pretrained(folder / "base")
    lm = add_lora(load(str(folder / "base"), dtype=torch.float32), AdapterConfig(r=4), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in lm.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=generator).mul_(scale)
    save_adapter(lm, folder / "adapter")
    return folder / "adapter"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_merged_model_is_loaded_by_transformers_and_says_the_same(tmp_path: Path, dtype: torch.dtype) -> None:
    adapter = trained(tmp_path, dtype=dtype)
    report = merge(adapter, to=tmp_path / "merged")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto")
    assert model.dtype == dtype
    assert digest_weights(model) == report.weights_digest
    expected = load(str(adapter), dtype=torch.float32)
    with torch.no_grad():
        difference = (model.float()(IDS).logits - expected.model(IDS).logits).abs().max()
    assert difference < (1e-4 if dtype == torch.float32 else 0.2)
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").chat_template == expected.tokenizer.chat_template
    assert 0 <= report.max_logp_difference <= report.bound
    assert report.prompts == 4
    assert report.greedy_equal == 4 or dtype == torch.bfloat16
    assert report.adapter_digest == expected.adapter_digest
    kept = json.loads((tmp_path / "merged" / "merge.json").read_text())
    assert kept["max_logp_difference"] == report.max_logp_difference
    assert kept["path"] == str(tmp_path / "merged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base", "merged"]


def test_a_run_directory_is_merged_by_its_adapter(tmp_path: Path) -> None:
    adapter = trained(tmp_path)
    (tmp_path / "run" / "artifacts").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text("{}")
    adapter.rename(tmp_path / "run" / "artifacts" / "adapter")
    assert merge(tmp_path / "run", to=tmp_path / "merged").greedy_equal == 4


def test_a_difference_beyond_the_bound_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = trained(tmp_path)
    monkeypatch.setattr(stage, "BOUNDS", {torch.float32: -1.0})
    with pytest.raises(ModelError, match="differ by up to"):
        merge(adapter, to=tmp_path / "merged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base"]


def test_a_wrong_merge_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = trained(tmp_path, scale=0.3)

    def forget_the_adapter(lm, *, dtype):  # type: ignore[no-untyped-def]
        return load(lm.source, dtype=dtype)

    monkeypatch.setattr(stage, "merged", forget_the_adapter)
    with pytest.raises(ModelError, match="differ by up to"):
        merge(adapter, to=tmp_path / "merged")


def test_refusals(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "plain")
    with pytest.raises(ModelError, match="no adapter to merge"):
        merge(base, to=tmp_path / "merged")
    adapter = trained(tmp_path)
    with pytest.raises(ModelError, match="exists already"):
        merge(adapter, to=base)
