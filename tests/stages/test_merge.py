"""`merge`: the merged model says what the model under its adapter said, or it is not written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fairlead.config import AdapterConfig
from fairlead.errors import ConfigError, ModelError
from fairlead.models.adapters import add_lora
from fairlead.models.loading import load
from fairlead.models.reward_model import add_reward_head, is_reward_model
from fairlead.models.weights import digest_weights, save_adapter
from fairlead.stages import merge as stage
from fairlead.stages.merge import merge
from tests.models.adapting import IDS, apart, disturb, logits
from tests.tiny import save_tiny, tiny_llama, tiny_tokenizer


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
    assert kept["order"] == [{"path": str(adapter), "digest": report.adapter_digest}]
    assert (kept["base_weights"], kept["into"], kept["lost"]) == ("as stored", None, None)
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


def stacked(folder: Path, **above: Any) -> Path:
    """An adapter over that of `trained`."""
    lm = add_lora(load(str(trained(folder)), dtype=torch.float32), AdapterConfig(**({"r": 2} | above)), seed=5)
    save_adapter(disturb(lm, by=0.02), folder / "above")
    return folder / "above"


def test_a_stack_is_merged_in_its_order(tmp_path: Path) -> None:
    report = merge(stacked(tmp_path, kind="dora"), to=tmp_path / "merged")
    assert [Path(adapter.path).name for adapter in report.order] == ["adapter", "above"]
    assert report.max_logp_difference < 1e-4
    expected = load(str(tmp_path / "above"), dtype=torch.float32)
    assert report.adapter_digest == expected.adapter_digest
    assert apart(logits(load(str(tmp_path / "merged"), dtype=torch.float32)), logits(expected)) < 1e-4


def test_into_the_adapter_beneath_exactly(tmp_path: Path) -> None:
    report = merge(stacked(tmp_path), into=tmp_path / "adapter", to=tmp_path / "sum")
    assert (report.rank, report.lost, report.dtype, report.greedy_equal) == (None, None, "float32", 4)
    assert report.max_logp_difference < 1e-4
    kept = json.loads((tmp_path / "sum" / "merge.json").read_text())
    assert [Path(item["path"]).name for item in kept["order"]] == ["adapter", "above"]
    assert kept["into"] == str(tmp_path / "adapter")
    again = load(str(tmp_path / "sum"), dtype=torch.float32)
    assert (kept["adapter_digest"], kept["weights_digest"]) == (again.adapter_digest, again.weights_digest)
    assert len(again.adapters) == 1
    # What came out is the main adapter from now on: another can be trained over it and merged into it.
    lm = add_lora(again, AdapterConfig(r=2), seed=6)
    save_adapter(disturb(lm, by=0.02), tmp_path / "third")
    assert merge(tmp_path / "third", into=tmp_path / "sum", to=tmp_path / "next").greedy_equal == 4


def test_into_a_copy_of_the_adapter_beneath_too(tmp_path: Path) -> None:
    adapter = stacked(tmp_path)
    shutil.copytree(tmp_path / "adapter", tmp_path / "copy")
    assert merge(adapter, into=tmp_path / "copy", to=tmp_path / "sum").greedy_equal == 4


def test_cut_to_a_rank_by_svd_and_refused_beyond_the_stated_bound(tmp_path: Path) -> None:
    adapter, into = stacked(tmp_path), tmp_path / "adapter"
    with pytest.raises(ModelError, match=r"more than the 0\.0001 that is tolerated where ranks are cut to 2"):
        merge(adapter, into=into, to=tmp_path / "sum", rank=2, bound=1e-4)
    assert not (tmp_path / "sum").exists()
    report = merge(adapter, into=into, to=tmp_path / "sum", rank=2, bound=5.0)
    assert report.lost is not None
    assert 0 < report.lost.overall < 1
    kept = json.loads((tmp_path / "sum" / "merge.json").read_text())
    assert kept["lost"]["overall"] == report.lost.overall
    assert len(kept["lost"]["modules"]) == 14
    assert (kept["rank"], kept["bound"]) == (2, 5.0)
    whole = merge(adapter, into=into, to=tmp_path / "whole", rank=6)  # both ranks: nothing to lose
    assert whole.lost is not None
    assert whole.lost.overall < 1e-6
    assert (whole.bound, whole.greedy_equal) == (stage.CUT_BOUND, 4)


def test_only_what_was_trained_together_is_merged_into_one_adapter(tmp_path: Path) -> None:
    above = stacked(tmp_path)
    lm = add_lora(load(str(tmp_path / "base"), dtype=torch.float32), AdapterConfig(r=4), seed=9)
    save_adapter(disturb(lm), tmp_path / "other")
    with pytest.raises(ModelError, match=r"was trained over .*adapter, not over .*other"):
        merge(above, into=tmp_path / "other", to=tmp_path / "sum")
    with pytest.raises(ModelError, match="lies straight on its base: it was not trained over"):
        merge(tmp_path / "other", into=tmp_path / "adapter", to=tmp_path / "sum")
    with pytest.raises(ModelError, match="no adapter at"):
        merge(above, into=tmp_path / "base", to=tmp_path / "sum")
    dora = add_lora(load(str(tmp_path / "adapter"), dtype=torch.float32), AdapterConfig(kind="dora"), seed=0)
    save_adapter(dora, tmp_path / "dora")
    with pytest.raises(ModelError, match=r"DoRA adapter scales the base weights.*leave out --into"):
        merge(tmp_path / "dora", into=tmp_path / "adapter", to=tmp_path / "sum")
    assert not (tmp_path / "sum").exists()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"rank": 4}, "rank"),
        ({"rank": 0, "into": "a"}, "rank"),
        ({"bound": 1.0, "into": "a"}, "bound"),
        ({"rank": 2, "into": "a", "bound": 0.0}, "bound"),
    ],
)
def test_settings_that_do_not_go_together(tmp_path: Path, settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        merge(tmp_path, to=tmp_path / "sum", **settings)
    assert [fault.field for fault in caught.value.faults] == [field]


def test_over_4_bits_the_weights_it_was_trained_over_are_merged_into(tmp_path: Path) -> None:
    wide = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    save_tiny(tmp_path / "base", initializer_range=0.1, **wide)
    lm = add_lora(load(str(tmp_path / "base"), dtype=torch.bfloat16, quantize="nf4"), AdapterConfig(r=4), seed=0)
    save_adapter(disturb(lm, by=0.02), tmp_path / "adapter")
    report = merge(tmp_path / "adapter", to=tmp_path / "merged")
    assert report.base_weights == stage.DEQUANTIZED
    assert report.max_logp_difference < 1e-4
    whole = load(str(tmp_path / "merged"), dtype=torch.float32)
    assert whole.quantize is None
    trained_over = load(str(tmp_path / "adapter"), dtype=torch.float32)
    assert apart(logits(whole), logits(trained_over)) < 1e-4
    # Into the weights as stored it would be a model that was not trained.
    (tmp_path / "adapter" / "fairlead.json").unlink()
    unquantised = load(str(tmp_path / "adapter"), dtype=torch.float32)
    assert apart(logits(unquantised), logits(trained_over)) > 0.01


def test_a_reward_models_adapter_is_merged_by_its_rewards(tmp_path: Path) -> None:
    save_tiny(tmp_path / "base")
    lm = add_reward_head(load(str(tmp_path / "base"), dtype=torch.float32), endings=[2])
    save_adapter(disturb(add_lora(lm, AdapterConfig(r=2), seed=0)), tmp_path / "adapter")
    report = merge(tmp_path / "adapter", to=tmp_path / "merged")
    assert report.greedy_equal is None
    assert report.max_logp_difference < 1e-4
    assert is_reward_model(load(str(tmp_path / "merged"), dtype=torch.float32).model)
