"""`plan` on tiny models: its figures against what training then does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from fairlead.config import AdapterConfig
from fairlead.errors import ConfigError, DataError, ModelError
from fairlead.losses.table import LOSSES
from fairlead.models.adapters import add_lora
from fairlead.models.loading import load
from fairlead.models.weights import save_adapter
from fairlead.runs.directory import RunDirectory
from fairlead.stages import plan as stage
from fairlead.stages.footprint import other_ways
from fairlead.stages.machines import GPUS
from fairlead.stages.plan import plan
from fairlead.stages.train import train
from fairlead.training.sources import OfflineRows
from tests.tiny import save_tiny
from tests.training.small import make_config

LORA = {"r": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"))


def test_a_plan_loads_no_weights(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("weights are loaded")

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", refuse)
    assert plan(make_config(tmp_path, model, adapter=LORA)).parameters > 0


@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("loss", ["dpo", "sft", "kto", "reward"])
def test_every_kind_of_training_is_planned(
    tmp_path: Path, model: Path, loss: str, adapter: dict[str, Any] | None
) -> None:
    found = plan(make_config(tmp_path, model, loss, adapter=adapter))
    assert found.layout == "packed"
    assert found.precision == "float32"
    assert found.parameters == 39_072
    assert (found.trained == 39_072) == (adapter is None and loss != "reward")
    assert found.work.steps == 5
    assert found.rows["rows_in"] == 24
    assert found.memory.fits
    assert not found.memory.is_rough
    names = [phase.name for phase in found.memory.phases]
    assert ("reference pass" in names) == LOSSES[loss].needs_reference
    assert found.memory.total == found.memory.process + max(phase.total for phase in found.memory.phases)
    assert found.time is not None
    assert found.time.is_measured
    assert (found.time.reference > 0) == LOSSES[loss].needs_reference
    assert found.evidence.pairs == 6


@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "lora"])
def test_the_figures_are_those_of_the_run(tmp_path: Path, model: Path, adapter: dict[str, Any] | None) -> None:
    config = make_config(tmp_path, model, "dpo", adapter=adapter, epochs=1.5, save_steps=2)
    found = plan(config)
    run = RunDirectory.open(train(config).run)
    assert found.work.steps == run.record["extra"]["steps"]
    sizes = [sum(file.stat().st_size for file in folder.iterdir()) for folder in run.checkpoints.iterdir()]
    assert found.disk.checkpoints >= sum(sizes) - 25_000 * len(sizes), "but for names and the random state"
    artifact = run.artifact("adapter" if adapter else "model")
    stored = next(artifact.glob("*.safetensors")).stat().st_size
    assert found.disk.artifact == pytest.approx(stored, abs=4_000)
    cache = sum(file.stat().st_size for file in (tmp_path / "reference").rglob("*.safetensors"))
    assert found.disk.cache == pytest.approx(cache, rel=0.3)


def test_a_run_that_does_not_fit_is_told_what_to_change(tmp_path: Path, model: Path) -> None:
    config = make_config(tmp_path, model, "dpo", micro_batch_tokens=300)
    roomy = plan(config)
    assert roomy.memory.changes == ()
    assert roomy.memory.largest_micro_batch_tokens is not None
    tight = plan(config, memory=roomy.memory.total / stage.GIB * 0.9)
    assert not tight.memory.fits
    assert [change.settings for change in tight.memory.changes][-2:] == [
        "adapter.r=16",
        "model.quantize=nf4 adapter.r=16",
    ]
    assert all("train.gradient_checkpointing=true" in change.settings for change in tight.memory.changes[1:3])


def test_the_largest_micro_batch_is_the_last_that_fits(tmp_path: Path, model: Path) -> None:
    config = make_config(tmp_path, model, "dpo", adapter=LORA)
    rows, loss, machine = _parts(config)
    way, _ = stage._way(config, loss, rows, machine)
    way = replace(way, gaps=0.0)
    step = max(sum(group.tokens for group in OfflineRows(rows.train, 4, 0).at(i)) for i in range(5))
    assert way.largest_micro_batch(way.peak().total) == step
    assert way.largest_micro_batch(10) is None
    fewer = way.largest_micro_batch(round(way.peak().total * 0.7))
    assert fewer is not None
    assert max(group.tokens for group in way.batches.largest) <= fewer < step


def test_other_ways_take_less(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model", num_hidden_layers=6, hidden_size=64, intermediate_size=192, head_dim=16)
    config = make_config(tmp_path, model, "sft", batch_size=18)
    rows, loss, machine = _parts(config)
    way, _ = stage._way(config, loss, rows, machine)
    way = replace(way, gaps=0.0)
    now = way.peak().total
    totals = {settings: other.peak().total for settings, other in other_ways(way)}
    assert len(totals) == 5
    assert all(total < now for total in totals.values())
    assert totals["model.quantize=nf4 adapter.r=16"] < totals["adapter.r=16"]


def _parts(config: Any) -> tuple[Any, Any, Any]:
    loss = stage.bind([(each.name, each.parameters, each.weight) for each in config.losses])
    renderer = stage.Renderer(stage.load_tokenizer(config.model.path))
    return stage.read_training_rows(config, loss, renderer), loss, stage._machine(None, None, 0.05, 0)


def test_for_a_gpu_by_its_data_sheet(tmp_path: Path, model: Path) -> None:
    config = make_config(tmp_path, model, "dpo", adapter=LORA, precision="auto")
    found = plan(config, gpu="L4")
    assert (found.machine, found.precision) == ("l4", "bfloat16")
    assert found.memory.process == 0
    assert found.memory.capacity < GPUS["l4"].memory * stage.GIB
    assert not any("gaps in the heap" in phase.parts for phase in found.memory.phases)
    assert found.time is not None
    assert not found.time.is_measured
    faster = plan(config, gpu="h100").time
    assert faster is not None
    assert faster.train < found.time.train


def test_every_fault_of_the_arguments_at_once(tmp_path: Path, model: Path) -> None:
    config = make_config(tmp_path, model)
    with pytest.raises(ConfigError) as caught:
        plan(config, gpu="h1000", memory=-1, detect=1.5, answers=-1)
    assert [fault.field for fault in caught.value.faults] == ["--memory", "--memory", "--detect", "--answers", "--gpu"]


def test_a_model_that_must_be_padded(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model", "gemma2")
    found = plan(make_config(tmp_path, model, "dpo", adapter=LORA))
    assert found.layout == "padded"
    assert found.work.tokens > found.work.tokens_unshared
    config = make_config(tmp_path, model, "dpo", adapter=LORA)
    packed = config.model_copy(update={"model": config.model.model_copy(update={"engine": "packed"})})
    with pytest.raises(ModelError, match="cannot be scored with `engine: packed`"):
        plan(packed)


def test_what_training_would_refuse(tmp_path: Path, model: Path) -> None:
    config = make_config(tmp_path, model)
    quantized = config.model_copy(update={"model": config.model.model_copy(update={"quantize": "nf4"})})
    with pytest.raises(ConfigError, match="a quantised base cannot be trained in full"):
        plan(quantized)
    Path(config.data.train[0]).write_text("")
    with pytest.raises(DataError):
        plan(config)


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model")
    (model / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no complete weights"):
        plan(make_config(tmp_path, model))


def test_an_adapter_that_is_trained_on_has_a_copy(tmp_path: Path, model: Path) -> None:
    lm = load(str(model), dtype=torch.float32)
    save_adapter(add_lora(lm, AdapterConfig(r=4), seed=0), tmp_path / "adapter")
    alone = plan(make_config(tmp_path, model, "dpo", adapter={"r": 4}))
    continued = plan(make_config(tmp_path, model, "dpo", model_adapter=tmp_path / "adapter"))
    sizes = [found.memory.phases[-1].parts["adapter"] for found in (alone, continued)]
    assert sizes[1] == 2 * sizes[0]
