"""Several adapters on one model: the new one alone is trained and saved, and the stack is found again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fairlead.errors import ModelError
from fairlead.identity import digest
from fairlead.models.adapters import continue_adapter, keep_reference, reference_weights, trainable_parameters
from fairlead.models.loading import load
from fairlead.models.sources import locate
from fairlead.models.stacks import adapter_names
from fairlead.models.weights import digest_weights, merged, save_adapter
from tests.models.adapting import IDS, apart, disturb, fresh, logits, saved
from tests.tiny import save_tiny

KINDS = {
    "lora over lora": ({}, {"r": 2, "targets": "attention"}),
    "dora over lora": ({"rslora": True}, {"kind": "dora"}),
    "lora over dora": ({"kind": "dora"}, {}),
    "lora over a trained head": ({"train_head": True}, {}),
    "head over lora": ({"dropout": 0.5}, {"train_head": True}),
}
all_kinds = pytest.mark.parametrize(("beneath", "above"), KINDS.values(), ids=KINDS.keys())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "llama")


@all_kinds
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_reference_is_the_base_with_the_adapter_beneath(
    base: Path, tmp_path: Path, beneath: dict[str, Any], above: dict[str, Any], dtype: torch.dtype
) -> None:
    lower = load(str(saved(base, tmp_path / "one", **beneath)), dtype=dtype)
    start = logits(lower)
    lm = fresh(tmp_path / "one", dtype, **above)
    if "train_head" not in above or dtype == torch.float32:  # a head in float32 rounds less than the one it copies
        assert torch.equal(logits(lm), start)
    assert {name for name in trainable_parameters(lm).names if ".default." not in name} == set()
    before = {name: p.clone() for name, p in lm.model.named_parameters() if ".beneath0." in name}
    assert before
    disturb(lm)
    lm.model.train()
    lm.model(IDS).logits.float().sum().backward()
    lm.model.eval()
    with reference_weights(lm):
        assert torch.equal(logits(lm), start)
        assert trainable_parameters(lm).count == 0
    for name, weight in before.items():
        assert torch.equal(lm.model.get_parameter(name), weight)
        assert lm.model.get_parameter(name).grad is None
    assert apart(logits(lm), start) > 0.01
    assert digest_weights(lm.model) == lower.weights_digest
    assert lm.adapters[0] == lower.adapters[0]


@all_kinds
def test_the_new_one_is_saved_alone_and_the_stack_is_found_again(
    base: Path, tmp_path: Path, beneath: dict[str, Any], above: dict[str, Any]
) -> None:
    saved(base, tmp_path / "one", **beneath)
    lm = disturb(fresh(tmp_path / "one", **above))
    save_adapter(lm, tmp_path / "two")
    alone = load_file(tmp_path / "two" / "adapter_model.safetensors")
    assert sum(p.numel() for p in alone.values()) == trainable_parameters(lm).count
    assert json.loads((tmp_path / "two" / "fairlead.json").read_text())["beneath"] == [
        {"path": str(tmp_path / "one"), "digest": load(str(tmp_path / "one"), dtype=torch.float32).adapter_digest}
    ]
    for again in (
        load(str(tmp_path / "two"), dtype=torch.float32),
        load(str(base), dtype=torch.float32, adapter=str(tmp_path / "two")),
    ):
        assert torch.equal(logits(again), logits(lm))
        assert [Path(adapter.path).name for adapter in again.adapters] == ["one", "two"]
        assert again.adapter_digest == digest([adapter.digest for adapter in again.adapters])
        assert trainable_parameters(again).count == 0
    assert apart(logits(merged(again, dtype=torch.float32)), logits(lm)) < 1e-4


def test_the_readme_puts_it_together_with_peft_alone(base: Path, tmp_path: Path) -> None:
    saved(base, tmp_path / "one")
    saved(tmp_path / "one", tmp_path / "two", r=2)
    lm = disturb(fresh(tmp_path / "two", targets="attention"), seed=5)
    save_adapter(lm, tmp_path / "three")
    text = (tmp_path / "three" / "README.md").read_text()
    assert [line[:2] for line in text.splitlines() if re.match(r"\d\. ", line)] == ["1.", "2.", "3.", "4."]
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    made: dict[str, Any] = {}
    exec(code.replace("'this folder'", repr(str(tmp_path / "three"))), made)
    assert apart(made["model"].eval()(IDS).logits.detach(), logits(lm)) == 0


def test_three_high_and_gone_on_with(base: Path, tmp_path: Path) -> None:
    saved(base, tmp_path / "one")
    saved(tmp_path / "one", tmp_path / "two", r=2)
    saved(tmp_path / "two", tmp_path / "three", kind="dora")
    lm = continue_adapter(load(str(tmp_path / "three"), dtype=torch.float32))
    assert adapter_names(lm.model) == ("beneath0", "beneath1", "default")
    start = logits(lm)
    disturb(lm)
    with reference_weights(lm):
        assert torch.equal(logits(lm), start)
    save_adapter(lm, tmp_path / "four")
    assert [Path(item.path).name for item in locate(str(tmp_path / "four")).adapters] == ["one", "two", "four"]
    assert torch.equal(logits(load(str(tmp_path / "four"), dtype=torch.float32)), logits(lm))


def test_a_copy_of_the_new_one_becomes_the_reference_over_what_lies_beneath(base: Path, tmp_path: Path) -> None:
    saved(base, tmp_path / "one")
    lm = disturb(fresh(tmp_path / "one"))
    then = logits(lm)
    keep_reference(lm)
    disturb(lm, seed=2)
    with reference_weights(lm):
        assert torch.equal(logits(lm), then)


def test_paths_in_the_record_may_be_relative_to_it(base: Path, tmp_path: Path) -> None:
    saved(base, tmp_path / "one")
    expected = logits(load(str(saved(tmp_path / "one", tmp_path / "two")), dtype=torch.float32))
    record = json.loads((tmp_path / "two" / "fairlead.json").read_text())
    record["beneath"][0]["path"] = "../one"
    (tmp_path / "two" / "fairlead.json").write_text(json.dumps(record))
    assert torch.equal(logits(load(str(tmp_path / "two"), dtype=torch.float32)), expected)


def test_what_lies_beneath_must_be_what_it_was(base: Path, tmp_path: Path) -> None:
    saved(base, tmp_path / "one")
    saved(tmp_path / "one", tmp_path / "two")
    (tmp_path / "one").rename(tmp_path / "moved")
    with pytest.raises(ModelError, match=r"was trained over the adapter .*one, which is not there.*fairlead\.json"):
        load(str(tmp_path / "two"), dtype=torch.float32)
    saved(base, tmp_path / "one", seed=7)
    with pytest.raises(ModelError, match="which has other content now"):
        load(str(tmp_path / "two"), dtype=torch.float32)
    for damaged in ("{", '{"format": 2, "quantize": null, "beneath": []}', '{"format": 1}'):
        (tmp_path / "two" / "fairlead.json").write_text(damaged)
        with pytest.raises(ModelError, match=r"fairlead\.json, which says what this adapter was trained over"):
            load(str(tmp_path / "two"), dtype=torch.float32)


def test_what_cannot_be_stacked_is_refused(base: Path, tmp_path: Path) -> None:
    saved(base, tmp_path / "head", train_head=True)
    with pytest.raises(ModelError, match="holds its own copy of lm_head"):
        fresh(tmp_path / "head", train_head=True)
    with pytest.raises(ModelError, match=r"Set adapter\.dropout to 0"):
        fresh(tmp_path / "head", kind="dora", dropout=0.1)
    with pytest.raises(ModelError, match="no linear module named query"):
        fresh(tmp_path / "head", targets=["query"])


def test_an_adapter_on_plain_weights_keeps_no_record(base: Path, tmp_path: Path) -> None:
    names = {path.name for path in saved(base, tmp_path / "one").iterdir()}
    assert not names & {"fairlead.json", "README.md"}
