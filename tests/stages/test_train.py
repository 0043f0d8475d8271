"""`train` from end to end on tiny models: every loss, every way of training, and what a run leaves."""

from __future__ import annotations

import json
import math
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers.models.llama.modeling_llama import LlamaMLP

from fairlead.errors import ConfigError, DataError
from fairlead.losses.table import LOSSES
from fairlead.models.sources import locate
from fairlead.runs.directory import RunDirectory
from fairlead.runs.metrics import METRICS
from fairlead.stages.train import TrainResult, train
from tests.stages.running import StopsAfter, resume, stopped
from tests.tiny import save_tiny, tiny_tokenizer
from tests.training.small import make_config

LN2 = math.log(2)
LORA = {"r": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"))


def series(result: TrainResult, name: str) -> dict[int, float]:
    """The values of one metric by step."""
    return {event.step: event.value for event in RunDirectory.open(result.run).events() if event.name == name}


def extra(result: TrainResult) -> dict[str, Any]:
    found: dict[str, Any] = RunDirectory.open(result.run).record["extra"]
    return found


def load_plainly(artifact: Path) -> Any:
    """The artifact by transformers and PEFT alone."""
    if (artifact / "config.json").is_file():
        (architecture,) = json.loads((artifact / "config.json").read_text())["architectures"]
        return getattr(transformers, architecture).from_pretrained(artifact)
    from peft import PeftModel

    base = locate(str(artifact)).base
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        if json.loads((artifact / "adapter_config.json").read_text())["task_type"] == "SEQ_CLS":
            plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
        else:
            plain = AutoModelForCausalLM.from_pretrained(base)
        return PeftModel.from_pretrained(plain, artifact)


@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains(tmp_path: Path, model: Path, loss: str, adapter: dict[str, Any] | None) -> None:
    result = train(make_config(tmp_path, model, loss, adapter=adapter, max_steps=3, learning_rate=1e-3))
    run = RunDirectory.open(result.run)
    assert (result.steps, result.stopped_early, run.status, run.verify()) == (3, False, "complete", [])
    assert list(series(result, "loss")) == [1, 2, 3]
    assert all(math.isfinite(value) for value in series(result, "loss").values())
    assert set(result.metrics) == {event.name for event in run.events() if event.name.startswith("eval/")}
    assert extra(result)["metric_for_best"] == f"eval/{LOSSES[loss].best_metric}"
    assert {event.name.removeprefix("eval/") for event in run.events()} <= METRICS.keys()
    assert result.artifact.name == ("model" if adapter is None else "adapter")
    assert (tmp_path / "reference").exists() == (extra(result)["reference"] is not None) == LOSSES[loss].needs_reference
    loaded = load_plainly(result.artifact)
    changed = {name: p for name, p in loaded.named_parameters() if adapter is None or "lora_B" in name}
    before = load_file(model / "model.safetensors")
    assert any(not torch.equal(p, before.get(name, torch.zeros_like(p))) for name, p in changed.items())


@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("loss", ["dpo", "kto", "ipo"])
def test_policy_and_reference_agree_before_the_first_step(
    tmp_path: Path, model: Path, loss: str, adapter: dict[str, Any] | None
) -> None:
    result = train(make_config(tmp_path, model, loss, adapter=adapter, max_steps=1))
    assert series(result, "loss")[1] == pytest.approx({"dpo": LN2, "kto": 0.5, "ipo": 25.0}[loss], abs=1e-5)
    if loss != "kto":
        assert series(result, "rewards/margins")[1] == pytest.approx(0, abs=1e-5)
    assert extra(result)["reference_gap"] < 1e-5
    assert extra(result)["reference"]["adapter_sha256"] == ""


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """An adapter that was trained to imitate."""
    folder = tmp_path_factory.mktemp("sft")
    return train(make_config(folder, model, "sft", adapter=LORA, learning_rate=0.02)).artifact


@pytest.mark.parametrize("reference", ["cache", "live"])
def test_a_continued_adapter_is_held_against_a_copy_of_itself(
    tmp_path: Path, model: Path, tuned: Path, reference: str
) -> None:
    given = load_file(tuned / "adapter_model.safetensors")
    config = make_config(tmp_path, model, model_adapter=tuned, max_steps=4, learning_rate=0.01, reference=reference)
    result = train(config)
    assert series(result, "loss")[1] == pytest.approx(LN2, abs=1e-5)
    assert abs(series(result, "rewards/margins")[4]) > 1e-4
    assert extra(result)["reference"]["adapter_sha256"] != ""
    assert {name: p.shape for name, p in given.items()} == {
        name: p.shape for name, p in load_file(result.artifact / "adapter_model.safetensors").items()
    }
    assert json.loads((result.artifact / "adapter_config.json").read_text())["base_model_name_or_path"] == str(model)
    load_plainly(result.artifact)
    run = RunDirectory.open(result.run)
    assert [Path(item.path).name for item in run.inputs[:2]] == [model.name, "adapter"]
    parent = run.inputs[1].parent_run
    assert parent is not None
    assert Path(parent).samefile(tuned.parents[1])
    assert all(torch.equal(given[name], p) for name, p in load_file(tuned / "adapter_model.safetensors").items())


def test_a_path_that_leads_to_an_adapter_goes_on_training_it(tmp_path: Path, model: Path, tuned: Path) -> None:
    by_adapter = train(make_config(tmp_path, model, model_adapter=tuned, max_steps=2))
    by_path = train(make_config(tmp_path, tuned, max_steps=2))
    by_run = train(make_config(tmp_path, tuned.parents[1], max_steps=2))
    weights = [(each.artifact / "adapter_model.safetensors").read_bytes() for each in (by_adapter, by_path, by_run)]
    assert weights[0] == weights[1] == weights[2]


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_a_live_reference_gives_the_losses_of_a_cached_one(tmp_path: Path, model: Path, loss: str) -> None:
    found = {}
    for reference in ("cache", "live"):
        config = make_config(
            tmp_path, model, loss, adapter={"r": 2, "dropout": 0.2}, reference=reference, learning_rate=0.01
        )
        found[reference] = series(train(config), "loss")
    assert len(found["live"]) == 5
    assert found["live"] == pytest.approx(found["cache"], rel=1e-4)


@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "lora"])
def test_activations_are_computed_twice_where_asked_and_change_nothing(
    tmp_path: Path, model: Path, adapter: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    forward = LlamaMLP.forward

    def counted(self: LlamaMLP, *inputs: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return forward(self, *inputs)

    monkeypatch.setattr(LlamaMLP, "forward", counted)
    losses, counts = [], []
    for asked in (False, True):
        config = make_config(
            tmp_path, model, adapter=adapter, gradient_checkpointing=asked, learning_rate=0.01, data={"eval": []}
        )
        train(make_config(tmp_path, model, max_steps=1, data={"eval": []}))  # fills the cache
        before = calls
        losses.append(series(train(config), "loss"))
        counts.append(calls - before)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert counts[1] - counts[0] == 5 * 2  # steps × layers


@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "lora"])
def test_bfloat16(tmp_path: Path, model: Path, adapter: dict[str, Any] | None) -> None:
    result = train(make_config(tmp_path, model, adapter=adapter, precision="bf16", max_steps=3, learning_rate=1e-3))
    assert series(result, "loss")[1] == pytest.approx(LN2, abs=0.05)
    assert all(math.isfinite(value) for value in series(result, "grad_norm").values())
    # What is trained keeps float32 whatever it is computed in: small steps would be lost.
    (file,) = result.artifact.glob("*.safetensors")
    assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float32}


def test_a_family_that_cannot_be_packed_is_trained_padded(tmp_path: Path) -> None:
    progress = StopsAfter(-1)
    gemma = save_tiny(tmp_path / "gemma", "gemma2")
    result = train(make_config(tmp_path, gemma, adapter=LORA, max_steps=3, learning_rate=1e-3), progress=progress)
    assert series(result, "loss")[1] == pytest.approx(LN2, abs=1e-5)
    assert any(line.startswith("scored padded: ") for line in progress.said)


def test_tied_weights_are_trained_and_saved_once(tmp_path: Path) -> None:
    qwen = save_tiny(tmp_path / "qwen", "qwen3")
    result = train(make_config(tmp_path, qwen, "sft", max_steps=2, learning_rate=1e-3))
    tensors = load_file(result.artifact / "model.safetensors")
    assert "lm_head.weight" not in tensors
    assert not torch.equal(
        tensors["model.embed_tokens.weight"], load_file(qwen / "model.safetensors")["model.embed_tokens.weight"]
    )


def test_a_sum_of_losses(tmp_path: Path, model: Path) -> None:
    parts = [{"name": "dpo"}, {"name": "sft", "weight": 0.5}]
    together = train(make_config(tmp_path, model, parts, adapter=LORA, max_steps=1))
    alone = train(make_config(tmp_path, model, "dpo", adapter=LORA, max_steps=1))
    nll = series(together, "loss")[1] - series(alone, "loss")[1]
    assert nll > 0.5
    assert together.run.name.split("-")[3:5] == ["dpo", "sft"]


def test_the_best_checkpoint_becomes_the_artifact_and_patience_ends_the_run(tmp_path: Path, model: Path) -> None:
    # A learning rate that is far too high: the first evaluation is the best.
    config = make_config(
        tmp_path, model, "sft", learning_rate=0.5, epochs=9, eval_steps=1, early_stopping_patience=3, warmup_ratio=0
    )
    result = train(config)
    losses = series(result, "eval/loss")
    best = min(list(losses)[1:], key=losses.__getitem__)
    assert (result.best_step, result.stopped_early, result.steps) == (best, True, best + 3)
    assert list(losses) == list(range(best + 4))
    assert result.stop_reason == "eval/loss has not improved at 3 evaluations in a row"
    assert extra(result)["stop_reason"] == result.stop_reason
    assert result.metrics["eval/loss"] == losses[best]
    kept = load_file(result.run / "checkpoints" / f"step-{best:06d}" / "weights.safetensors")
    saved = load_file(result.artifact / "model.safetensors")
    assert all(torch.equal(kept[name], saved[name]) for name in saved)
    assert extra(result)["best_step"] == best


def test_rewards_accuracies_pick_the_best_of_preferences(tmp_path: Path, model: Path) -> None:
    config = make_config(tmp_path, model, adapter=LORA, learning_rate=0.01, epochs=6, early_stopping_patience=2)
    result = train(config)
    accuracies = series(result, "eval/rewards/accuracies")
    assert result.best_step == max(accuracies, key=lambda step: (accuracies[step], -step))
    assert result.stopped_early
    assert result.metrics["eval/rewards/accuracies"] == max(accuracies.values())


@pytest.mark.parametrize(
    ("length", "steps", "evaluated"),
    [
        ({"epochs": 0.5}, 3, [3]),
        ({"epochs": 1.4}, 7, [5, 7]),
        ({"epochs": 1.6, "eval_steps": 3}, 8, [3, 6, 8]),
        ({"epochs": 9, "max_steps": 2}, 2, [2]),
        ({"epochs": 2, "batch_size": 99}, 2, [1, 2]),
    ],
)
def test_how_long_a_run_is(
    tmp_path: Path, model: Path, length: dict[str, Any], steps: int, evaluated: list[int]
) -> None:
    result = train(make_config(tmp_path, model, adapter=LORA, **length))
    assert result.steps == steps
    assert list(series(result, "loss")) == list(range(1, steps + 1))
    assert list(series(result, "eval/loss")) == [0, *evaluated]


def test_the_seed_decides(tmp_path: Path, model: Path) -> None:
    def trained(seed: int) -> bytes:
        result = train(make_config(tmp_path, model, adapter={"r": 2, "dropout": 0.3}, seed=seed, learning_rate=1e-3))
        return (result.artifact / "adapter_model.safetensors").read_bytes()

    assert trained(0) == trained(0) != trained(1)


def test_without_held_out_rows_the_last_step_is_the_result(tmp_path: Path, model: Path) -> None:
    result = train(make_config(tmp_path, model, adapter=LORA, data={"eval": []}))
    assert (result.best_step, result.steps) == (None, 5)
    assert result.metrics["loss"] == series(result, "loss")[5]


def board(result: TrainResult) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(result.run / "tensorboard"))
    found.Reload()
    return {name: [(each.step, each.value) for each in found.Scalars(name)] for name in found.Tags()["scalars"]}


def test_tensorboard_shows_what_the_events_say(tmp_path: Path, model: Path) -> None:
    config = make_config(tmp_path, model, adapter=LORA, tensorboard=True, epochs=2, save_steps=3)
    stopped(config, steps=4)
    result, _ = resume(config)
    names = {event.name for event in RunDirectory.open(result.run).events()}
    shown = board(result)
    assert set(shown) == names
    for name in names:
        assert [step for step, _ in shown[name]] == list(series(result, name))
        assert [value for _, value in shown[name]] == pytest.approx(list(series(result, name).values()), rel=1e-6)


def test_without_tensorboard_no_file_of_it_is_there(tmp_path: Path, model: Path) -> None:
    assert not (train(make_config(tmp_path, model, adapter=LORA, max_steps=1)).run / "tensorboard").exists()


def test_samples_are_messages_and_answers_in_words(tmp_path: Path, model: Path) -> None:
    config = make_config(tmp_path, model, "sft", sample_prompts=3, sample_tokens=5, learning_rate=0.05)
    result = train(config)
    lines = (result.run / "artifacts" / "samples.jsonl").read_text().splitlines()
    samples = [json.loads(line) for line in lines]
    assert [sample["prompt"] for sample in samples] == [
        [{"role": "user", "content": f"where is order {number}?"}] for number in (100, 101, 102)
    ]
    assert all("<|im" not in sample[when] for sample in samples for when in ("before", "after"))
    assert any(sample["before"] != sample["after"] for sample in samples)


def test_the_run_says_what_it_read_and_with_what(tmp_path: Path, model: Path) -> None:
    progress = StopsAfter(-1)
    result = train(make_config(tmp_path, model, adapter=LORA, max_steps=1), progress=progress)
    run = RunDirectory.open(result.run)
    digest = extra(result)["reference"]["sha256"]
    assert [(Path(item.path).name, item.rows) for item in run.inputs] == [
        (model.name, None),
        ("preference.jsonl", 18),
        ("preference-eval.jsonl", 6),
    ]
    assert run.inputs[0].sha256 == digest
    assert f"reference: {model} (weights {digest[:12]})" in progress.said
    assert result.ledger == {"rows_in": 24, "ok": 24, "fixed": 0, "quarantined": 0, "by_code": {}}
    assert json.loads((run.path / "ledger.json").read_text()) == result.ledger
    assert AutoTokenizer.from_pretrained(result.artifact).chat_template == tiny_tokenizer().chat_template


def test_only_fairlead_speaks(tmp_path: Path, model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for adapter in (None, LORA):
            train(make_config(tmp_path, model, adapter=adapter, max_steps=1, tensorboard=True, sample_prompts=1))
    assert capfd.readouterr() == ("", "")
    assert [str(each.message) for each in caught if issubclass(each.category, FutureWarning | UserWarning)] == []


def test_it_trains_outside_the_main_thread(tmp_path: Path, model: Path) -> None:
    results: list[TrainResult] = []
    config = make_config(tmp_path, model, adapter=LORA, max_steps=1)
    thread = threading.Thread(target=lambda: results.append(train(config)))
    thread.start()
    thread.join()
    assert results[0].steps == 1


@pytest.mark.parametrize("name", ["rewards/margins", "eval/rewards/margins"])
def test_the_metric_for_best_may_be_chosen(tmp_path: Path, model: Path, name: str) -> None:
    result = train(make_config(tmp_path, model, adapter=LORA, metric_for_best=name, epochs=2, learning_rate=0.01))
    margins = series(result, "eval/rewards/margins")
    assert result.best_step == max(list(margins)[1:], key=margins.__getitem__)
    assert extra(result)["metric_for_best"] == "eval/rewards/margins"


def test_a_metric_that_the_loss_does_not_give_is_refused_before_anything_is_loaded(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ConfigError, match=r"this loss gives no metric 'rewards/accuracies'. It gives loss, nll_loss"):
        train(make_config(tmp_path, tmp_path / "no-model", "sft", metric_for_best="rewards/accuracies"))
    assert not (tmp_path / "runs").exists()


def test_held_out_rows_that_were_asked_for_must_be_there(tmp_path: Path, model: Path) -> None:
    with pytest.raises(DataError, match=r"too few different prompts are held out. Raise `data.eval_fraction`"):
        train(make_config(tmp_path, model, data={"eval": [], "eval_fraction": 1e-6}))
