"""Reward models from end to end: trained, gone on with, stopped and resumed, merged, and loaded by others."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from fairlead.data.reading import read
from fairlead.errors import ConfigError, ModelError
from fairlead.models.sources import locate
from fairlead.runs.directory import RunDirectory
from fairlead.stages.merge import merge
from fairlead.stages.score import score
from fairlead.stages.train import TrainResult, train
from tests.stages.running import resume, stopped
from tests.tiny import save_tiny
from tests.training.small import make_config, rows_of, write_rows

LORA = {"r": 4}
FAST = {"learning_rate": 0.01, "warmup_ratio": 0}

both_ways = pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "lora"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"))


def series(result: TrainResult, name: str) -> dict[int, float]:
    """The values of one metric by step."""
    return {event.step: event.value for event in RunDirectory.open(result.run).events() if event.name == name}


def load_plainly(artifact: Path) -> Any:
    """The artifact by transformers and PEFT alone, as docs/reward-models.md has it."""
    if (artifact / "config.json").is_file():
        return AutoModelForSequenceClassification.from_pretrained(artifact)
    pad = AutoTokenizer.from_pretrained(artifact).pad_token_id
    base = locate(str(artifact)).base
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, pad_token_id=pad)
        return PeftModel.from_pretrained(plain, artifact)


def rewards_plainly(artifact: Path, rows: Any) -> list[float]:
    """The rewards of pairs by transformers and PEFT alone."""
    classifier, tokenizer = load_plainly(artifact).eval(), AutoTokenizer.from_pretrained(artifact)
    found = []
    for row in rows:
        for completion in (row.chosen, row.rejected):
            dialogue = [{"role": each.role, "content": each.content} for each in (*row.prompt, *completion)]
            text = tokenizer.apply_chat_template(dialogue, tokenize=False).rstrip()
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
            with torch.no_grad():
                found.append(classifier(input_ids=ids).logits.item())
    return found


@both_ways
def test_a_reward_model_learns_and_others_load_it(tmp_path: Path, model: Path, adapter: dict[str, Any] | None) -> None:
    config = make_config(tmp_path, model, "reward", adapter=adapter, epochs=4, sample_prompts=2, **FAST)
    result = train(config)
    run = RunDirectory.open(result.run)
    assert (run.status, run.verify()) == ("complete", [])
    # Before the first step nothing is preferred.
    assert series(result, "loss")[1] == pytest.approx(math.log(2), abs=1e-6)
    assert series(result, "rewards/accuracies")[1] == 0.5
    assert result.metrics["eval/rewards/accuracies"] == 1.0
    assert min(series(result, "eval/loss").values()) < 0.2
    assert run.record["extra"]["reference"] is None
    assert not run.artifact("samples.jsonl").exists()
    # The run, the artifact under transformers, and the merged artifact give the same rewards.
    rows = read(tmp_path / "preference-eval.jsonl").rows
    ours = [reward for scored in score(str(result.run), rows, precision="fp32") for reward in scored.rewards.values()]
    assert rewards_plainly(result.artifact, rows) == pytest.approx(ours, rel=1e-4, abs=1e-5)
    if adapter is not None:
        merge(result.run, to=tmp_path / "merged")
        assert rewards_plainly(tmp_path / "merged", rows) == pytest.approx(ours, rel=1e-3, abs=1e-3)


def test_nothing_but_the_head_moves_in_the_first_step(tmp_path: Path, model: Path) -> None:
    result = train(make_config(tmp_path, model, "reward", max_steps=1, **FAST))
    before, after = AutoModelForSequenceClassification.from_pretrained(model), load_plainly(result.artifact)
    trunk = dict(before.model.named_parameters())
    assert all(torch.equal(trunk[name], parameter) for name, parameter in after.model.named_parameters())
    assert after.score.weight.abs().sum() > 0


@both_ways
def test_training_of_a_reward_model_goes_on(tmp_path: Path, model: Path, adapter: dict[str, Any] | None) -> None:
    first = train(make_config(tmp_path, model, "reward", adapter=adapter, run="first", **FAST))
    second = train(make_config(tmp_path, first.run, "reward", run="second", learning_rate=1e-9, max_steps=1))
    assert second.artifact.name == first.artifact.name
    rows = read(tmp_path / "preference-eval.jsonl").rows
    assert rewards_plainly(second.artifact, rows) == pytest.approx(rewards_plainly(first.artifact, rows), rel=1e-4)
    assert series(second, "loss")[1] < math.log(2) - 0.01


def test_an_adapter_on_a_reward_model(tmp_path: Path, model: Path) -> None:
    first = train(make_config(tmp_path, model, "reward", run="first", **FAST))
    second = train(make_config(tmp_path, first.artifact, "reward", adapter=LORA, run="second", **FAST))
    rows = read(tmp_path / "preference-eval.jsonl").rows
    ours = [each for scored in score(str(second.run), rows, precision="fp32") for each in scored.rewards.values()]
    assert rewards_plainly(second.artifact, rows) == pytest.approx(ours, rel=1e-4)


@both_ways
def test_a_resumed_run_is_the_run_that_never_stopped(
    tmp_path: Path, model: Path, adapter: dict[str, Any] | None
) -> None:
    if adapter is not None:
        adapter = adapter | {"dropout": 0.1}

    def configured(name: str) -> Any:
        return make_config(tmp_path, model, "reward", adapter=adapter, run=name, epochs=2, save_steps=1, **FAST)

    whole = train(configured("whole"))
    stopped(configured("stopped"), steps=3)
    result, said = resume(configured("stopped"))
    assert "resumed after step 3" in said
    (weights,) = {file.name for file in whole.artifact.glob("*.safetensors")}
    assert (result.artifact / weights).read_bytes() == (whole.artifact / weights).read_bytes()
    assert series(result, "loss") == series(whole, "loss")
    assert result.metrics == whole.metrics


def test_margins_and_weights_of_rows_count(tmp_path: Path, model: Path) -> None:
    rows = rows_of("preference", 18)
    write_rows(tmp_path / "preference.jsonl", [row | {"margin": 1.5, "weight": 2.0} for row in rows])
    result = train(make_config(tmp_path, model, "reward", max_steps=1))
    assert series(result, "loss")[1] == pytest.approx(2 * math.log1p(math.exp(1.5)), abs=1e-6)


def test_the_best_checkpoint_is_that_of_held_out_accuracy(tmp_path: Path, model: Path) -> None:
    config = make_config(
        tmp_path, model, "reward", learning_rate=0.02, epochs=6, eval_steps=1, early_stopping_patience=2
    )
    result = train(config)
    accuracies = series(result, "eval/rewards/accuracies")
    assert result.stopped_early
    assert accuracies[result.best_step] == max(accuracies[step] for step in accuracies if step)


@pytest.mark.parametrize("parameter", ["nll_weight", "wpo", "label_smoothing", "beta"])
def test_parameters_of_language_models_are_refused(tmp_path: Path, model: Path, parameter: str) -> None:
    with pytest.raises(ConfigError, match=rf"reward has no parameter '{parameter}'.*reward takes center_coefficient"):
        make_config(tmp_path, model, {"name": "reward", parameter: 0.1})


def test_losses_of_language_models_are_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ConfigError, match="train different models"):
        make_config(tmp_path, model, [{"name": "reward"}, {"name": "dpo"}])
    reward = train(make_config(tmp_path, model, "reward", max_steps=1)).run
    with pytest.raises(ModelError, match=r"is a reward model.*dpo cannot train it"):
        train(make_config(tmp_path, reward, "dpo"))
    language = train(make_config(tmp_path, model, "sft", adapter=LORA, max_steps=1)).artifact
    with pytest.raises(ModelError, match="starts from full weights"):
        train(make_config(tmp_path, language, "reward"))
