"""What a run would be: every value with its origin, and the same counts as the run itself."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from fairlead.errors import ConfigError, DataError
from fairlead.losses.contract import Loss
from fairlead.losses.pairwise import dpo
from fairlead.losses.scores import Pairs
from fairlead.losses.table import LOSSES, parameters
from fairlead.runs.directory import RunDirectory
from fairlead.stages.dry_run import DryRun, Setting, dry_run
from fairlead.stages.train import train
from tests.tiny import save_tiny
from tests.training.small import make_config, write_rows


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture
def no_weights(tmp_path: Path, model: Path) -> Path:
    """The tokenizer and the configuration of a model alone."""
    copy = tmp_path / "no-weights"
    shutil.copytree(model, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    return copy


def settings(found: DryRun) -> dict[str, Setting]:
    return {setting.field: setting for setting in found.settings}


def shown(found: DryRun, field: str) -> tuple[Any, str, str]:
    setting = settings(found)[field]
    return setting.value, setting.origin, setting.source


def test_values_and_where_they_are_from(tmp_path: Path, no_weights: Path) -> None:
    loss = {"name": "dpo", "beta": 0.3}
    found = dry_run(make_config(tmp_path, no_weights, loss, adapter={"r": 4}, epochs=2, data={"max_length": 500}))
    assert shown(found, "data.max_length") == (500, "user", "")
    assert shown(found, "data.strict") == (False, "default", "")
    assert shown(found, "loss.name") == ("dpo", "user", "")
    assert shown(found, "loss.weight") == (1.0, "default", "")
    assert shown(found, "loss.beta") == (0.3, "user", "")
    assert shown(found, "loss.label_smoothing") == (0.0, "method", LOSSES["dpo"].source)
    assert shown(found, "loss.nll_weight") == (0.0, "default", "")
    assert shown(found, "train.learning_rate") == (1e-5, "method", "dpo, an adapter")
    assert shown(found, "train.metric_for_best") == ("eval/rewards/accuracies", "method", "dpo")
    assert shown(found, "train.eval_steps") == (5, "default", "an epoch")
    assert shown(found, "train.save_steps") == (5, "default", "each evaluation")
    assert shown(found, "adapter.alpha") == (8, "default", "twice the rank")
    assert shown(found, "train.precision") == ("fp32", "user", "")
    names = {f"loss.{name}" for name in parameters("dpo")} | {"loss.name", "loss.weight"}
    assert {field for field in settings(found) if field.startswith("loss.")} == names


@pytest.mark.parametrize("loss", ["sft", "dpo", "kto"])
def test_the_counts_are_those_of_the_run(tmp_path: Path, model: Path, loss: str) -> None:
    config = make_config(tmp_path, model, loss, adapter={"r": 2}, epochs=1.4, eval_steps=2, sample_prompts=2)
    found = dry_run(config)
    assert not (tmp_path / "runs").exists()
    result = train(config)
    recorded = [(event.name, event.step) for event in RunDirectory.open(result.run).events()]
    assert found.steps == result.steps == 7
    assert found.evaluations == len([step for name, step in recorded if name == "eval/loss"]) == 5
    assert found.ledger == result.ledger
    assert (found.rows, found.held_out, found.probes, found.steps_per_epoch) == (18, 6, 2, 5)
    assert shown(found, "train.learning_rate")[0] == LOSSES[loss].learning_rates.lora
    assert found.trained_tokens < found.tokens


def test_without_anything_to_measure_there_are_no_evaluations(tmp_path: Path, no_weights: Path) -> None:
    found = dry_run(make_config(tmp_path, no_weights, data={"eval": []}))
    assert (found.evaluations, found.held_out, found.held_out_tokens) == (0, 0, 0)
    assert shown(found, "train.metric_for_best") == (None, "default", "no rows are held out")
    assert shown(found, "train.learning_rate") == (1e-6, "method", "dpo, full fine-tuning")


def test_tokens_by_hand(tmp_path: Path, no_weights: Path) -> None:
    row = {"prompt": "a", "chosen": "b", "rejected": "c d"}
    other = {"prompt": "a b", "chosen": "c", "rejected": "d"}
    one = dry_run(make_config(tmp_path, no_weights, data={"train": str(write_rows(tmp_path / "1.jsonl", [row]))}))
    two = dry_run(
        make_config(tmp_path, no_weights, data={"train": str(write_rows(tmp_path / "2.jsonl", [row, other]))})
    )
    assert one.trained_tokens < one.tokens < two.tokens
    from fairlead.engine.rendering import Renderer
    from fairlead.models.loading import load_tokenizer

    renderer = Renderer(load_tokenizer(str(no_weights)))
    from fairlead.data.records import Message

    def said(role: str, text: str) -> tuple[Message]:
        return (Message(role=role, content=text),)

    prompt = said("user", "a")
    completions = [renderer.completion(prompt, said("assistant", text)) for text in ("b", "c d")]
    assert one.tokens == len(renderer.prompt_ids(prompt)) + sum(len(each.ids) for each in completions)
    assert one.trained_tokens == sum(sum(each.trained) for each in completions)


def test_advice_comes_with_it(tmp_path: Path, no_weights: Path) -> None:
    found = dry_run(make_config(tmp_path, no_weights, learning_rate=1.0, epochs=9))
    assert [text.split(" ")[0] for text in found.advice] == ["train.learning_rate", "train.epochs"]


def test_a_sum_and_a_loss_of_the_users_own(tmp_path: Path, no_weights: Path) -> None:
    given = make_config(tmp_path, no_weights).model_dump(mode="json")
    given["loss"] = [{"name": "mine", "beta": 0.7}, {"name": "sft", "weight": 0.5}]
    loss = Loss(function=dpo, examples=Pairs, needs_reference=True, source="a paper")
    found = dry_run(given, losses={"mine": loss})
    assert shown(found, "loss.0.beta") == (0.7, "user", "")
    assert shown(found, "loss.0.label_smoothing") == (0.0, "method", "a paper")
    assert shown(found, "loss.1.weight") == (0.5, "user", "")


def test_it_raises_what_the_run_would(tmp_path: Path, no_weights: Path) -> None:
    with pytest.raises(ConfigError, match="gives no metric"):
        dry_run(make_config(tmp_path, no_weights, "sft", metric_for_best="rewards/margins"))
    with pytest.raises(DataError, match="too few different prompts are held out"):
        dry_run(make_config(tmp_path, no_weights, data={"eval": [], "eval_fraction": 1e-6}))
