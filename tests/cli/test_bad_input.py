"""`fairlead train` on what is wrong: one message with a remedy, the right exit code, nothing left that looks whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fairlead.runs.directory import RunDirectory
from fairlead.stages.train import train
from tests.cli.calling import call
from tests.cli.project import Project
from tests.tiny import save_tiny, tiny_tokenizer
from tests.training.small import make_config, rows_of, write_rows


def test_the_project_works_before_anything_is_broken(project: Project) -> None:
    assert call("train", project.config, "--json") == 0
    shown = json.loads(project.capsys.readouterr().out)
    assert RunDirectory.open(shown["run"]).verify() == []


# The configuration


def test_a_configuration_that_is_not_there(project: Project) -> None:
    project.config.unlink()
    assert "fairlead.yaml: 1 fault" in (message := project.fail(lines=2))
    assert "file: does not exist. Check the path, or write a starter project with `fairlead init DIR`." in message


def test_a_configuration_that_is_no_yaml(project: Project) -> None:
    project.config.write_text("model:\n  path: [model\ndata:\n")
    assert "is not valid YAML in line 3" in project.fail(lines=2)


def test_every_fault_of_a_configuration_at_once(project: Project) -> None:
    project.config.write_text(
        "model: {pth: model}\ndata: {train: rows.jsonl, eval_fraction: 2}\nloss: {name: dpo, bta: 0.1}\n"
        "train: {epochs: -1, lr: 1e-5}\n"
    )
    message = project.fail(lines=7)
    assert "6 faults" in message
    for words in (
        "model.pth: is not a known key. Did you mean model.path?",
        "model.path: is missing.",
        "data.eval_fraction: must be less than 1",
        "loss.bta: dpo has no parameter 'bta'. Did you mean beta?",
        "train.epochs: must be greater than 0",
        "train.lr: is not a known key. Write it as train.learning_rate.",
    ):
        assert words in message


def test_an_override_that_is_none(project: Project) -> None:
    assert "--set loss.beta: is not of the form path=value." in project.fail("--set", "loss.beta", lines=2)


def test_a_metric_that_does_not_exist(project: Project) -> None:
    message = project.fail("--set", "train.metric_for_best=accuracy", lines=2)
    assert "train.metric_for_best: there is no metric 'accuracy'. Did you mean ranking_accuracy?" in message


# The model


def test_a_folder_without_weights(project: Project) -> None:
    (project.model / "model.safetensors").unlink()
    assert "holds no complete weights: model.safetensors is missing. Copy it again." in project.fail()


def test_a_folder_without_a_model(project: Project) -> None:
    shutil.rmtree(project.model)
    project.model.mkdir()
    assert "holds no model: config.json is missing. Give a transformers folder" in project.fail()


def test_no_folder_at_all(project: Project) -> None:
    shutil.rmtree(project.model)
    assert "There is no model at" in project.fail()


def test_a_tokenizer_without_a_template(project: Project) -> None:
    (project.model / "chat_template.jinja").unlink()
    assert "has no chat template" in (message := project.fail())
    assert "Set `model.chat_template: plain`" in message
    assert call("train", project.config, "--set", "model.chat_template=plain") == 0


def test_a_template_that_does_not_work(project: Project) -> None:
    (project.folder / "mine.jinja").write_text("{{ nothing.at.all }}")
    assert "mine.jinja does not work" in project.fail("--set", "model.chat_template=mine.jinja")


def test_a_tokenizer_of_another_model(project: Project) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"more {n}" for n in range(99)])
    tokenizer.save_pretrained(project.model)
    assert "Model and tokenizer do not belong together" in project.fail()


@pytest.mark.parametrize("size", [0, 7, 5000])
def test_weights_that_were_cut_short(project: Project, size: int) -> None:
    os.truncate(project.model / "model.safetensors", size)
    assert "model.safetensors is damaged" in (message := project.fail())
    assert "Copy it again." in message


def test_weights_with_a_broken_header(project: Project) -> None:
    content = bytearray((project.model / "model.safetensors").read_bytes())
    content[20] ^= 0xFF
    (project.model / "model.safetensors").write_bytes(content)
    assert "model.safetensors is damaged" in project.fail()


def test_weights_that_lack_a_tensor(project: Project) -> None:
    tensors = load_file(project.model / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, project.model / "model.safetensors", metadata={"format": "pt"})
    assert "are incomplete: model.norm.weight is missing. Copy the model again" in project.fail()


def test_weights_that_are_no_numbers(project: Project) -> None:
    tensors = load_file(project.model / "model.safetensors")
    tensors["model.norm.weight"][0] = torch.nan
    save_file(tensors, project.model / "model.safetensors", metadata={"format": "pt"})
    message = project.fail()
    assert "LlamaForCausalLM gives log-probabilities that are not finite: its weights are damaged" in message


# Adapters


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    return train(make_config(tmp_path_factory.mktemp("sft"), tiny, "sft", adapter={"r": 2}, max_steps=1)).artifact


@pytest.fixture
def broken_adapter(project: Project, adapter: Path) -> Path:
    shutil.copytree(adapter, project.folder / "adapter")
    project.configure(model_adapter=project.folder / "adapter")
    return project.folder / "adapter"


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


ADAPTER_FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "not there": (shutil.rmtree, "There is no adapter at"),
    "no configuration": (
        lambda path: (path / "adapter_config.json").unlink(),
        "adapter_config.json is missing. Give a PEFT adapter's folder.",
    ),
    "no weights": (lambda path: (path / "adapter_model.safetensors").unlink(), "has no adapter_model.safetensors"),
    "cut short": (lambda path: os.truncate(path / "adapter_model.safetensors", 900), "is damaged"),
    "another kind": (
        lambda path: edit(path / "adapter_config.json", peft_type="IA3"),
        "is of the kind IA3. Only LoRA and DoRA adapters can be used.",
    ),
    "another rank": (lambda path: edit(path / "adapter_config.json", r=3), "does not fit"),
    "other modules": (lambda path: edit(path / "adapter_config.json", target_modules=["q_proj"]), "does not fit"),
    "modules of another family": (
        lambda path: edit(path / "adapter_config.json", target_modules=["c_attn"]),
        "does not fit",
    ),
}


@pytest.mark.parametrize("fault", ADAPTER_FAULTS)
def test_an_adapter_that_cannot_be_used(project: Project, broken_adapter: Path, fault: str) -> None:
    damage, words = ADAPTER_FAULTS[fault]
    damage(broken_adapter)
    assert words in project.fail()


def test_an_adapter_of_a_model_of_another_size(project: Project, broken_adapter: Path) -> None:
    shutil.rmtree(project.model)
    save_tiny(project.model, hidden_size=16)
    project.capsys.readouterr()
    assert "does not fit" in project.fail()


def test_modules_that_the_model_does_not_have(project: Project) -> None:
    message = project.fail("--set", "adapter.targets=[c_attn]")
    assert "adapter.targets: LlamaForCausalLM has no linear module named c_attn. Use attention, all-linear" in message


# The rows


def rows(project: Project, loss: str, made: list[dict[str, Any]]) -> None:
    """Configure `loss` without evaluation and train on these rows."""
    project.configure(loss, adapter={"r": 2}, data={"eval": [], "train": [str(project.folder / "rows.jsonl")]})
    write_rows(project.folder / "rows.jsonl", made)


def test_a_file_that_is_not_there(project: Project) -> None:
    (project.folder / "preference.jsonl").unlink()
    assert "preference.jsonl" in (message := project.fail())
    assert "no such file" in message.lower() or "does not exist" in message


def test_an_empty_file(project: Project) -> None:
    rows(project, "dpo", [])
    assert "rows.jsonl" in project.fail()


def test_a_file_of_only_bad_rows(project: Project) -> None:
    rows(project, "dpo", [{"prompt": "a", "chosen": "same", "rejected": "same"}] * 5)
    message = project.fail()
    assert "5 rows in = 0 ok + 0 fixed + 5 quarantined: no row is left to use" in message
    assert "rows.jsonl:1: identical_pair" in message


def test_more_bad_rows_than_allowed(project: Project) -> None:
    good = rows_of("preference", 9)
    rows(project, "dpo", [*good, {**good[0], "rejected": []}])
    assert "1 row (10.00%) quarantined, and the limit is 2.00%" in project.fail()
    assert call("train", project.config, "--set", "data.max_quarantined=0.2") == 0


@pytest.mark.parametrize(
    ("loss", "kind"),
    [("sft", "preference"), ("dpo", "demonstration"), ("dpo", "feedback"), ("kto", "preference")],
)
def test_rows_of_another_kind_than_the_loss_takes(project: Project, loss: str, kind: str) -> None:
    rows(project, loss, rows_of(kind, 8))
    message = project.fail()
    assert f"rows.jsonl: holds {kind} rows, and the loss {loss} trains on " in message
    fitting = {"preference": "dpo, dpo_robust, ipo", "demonstration": "sft", "feedback": "kto"}[kind]
    assert f"or a loss for these ({fitting}" in message


def test_a_file_of_rows_of_two_kinds(project: Project) -> None:
    rows(project, "dpo", [*rows_of("preference", 8), *rows_of("feedback", 2)])
    assert "rows.jsonl:9: wrong_kind" in project.fail()


def test_feedback_on_a_single_prompt(project: Project) -> None:
    feedback = rows_of("feedback", 8)
    rows(project, "kto", [{**row, "prompt": feedback[0]["prompt"]} for row in feedback])
    assert "the loss kto compares each row with the completion of another prompt" in project.fail()


def test_margins_that_the_loss_has_no_place_for(project: Project) -> None:
    rows(project, "ipo", [{**row, "margin": 1.0} for row in rows_of("preference", 8)])
    assert "has a margin, which the loss ipo has no place for. Remove the field `margin`" in project.fail()


def test_weights_that_the_loss_has_no_place_for(project: Project) -> None:
    rows(project, "aot", [{**row, "weight": 2.0} for row in rows_of("preference", 8)])
    assert "has the weight 2, which the loss aot has no place for. Remove the field `weight`" in project.fail()


def test_rows_longer_than_the_model_may_take(project: Project) -> None:
    message = project.fail("--set", "data.max_length=3")
    assert "prompt_too_long" in message


def test_as_a_program(project: Project) -> None:
    """Once as a user runs it: what libraries print on their way out is seen only so."""
    (project.model / "model.safetensors").unlink()
    program = "import sys; from fairlead.cli import main; sys.argv[0] = 'fairlead'; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "train", str(project.config)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    said = done.stderr.splitlines()
    assert [line.split(": ")[0].rpartition("/")[2] for line in said[:-1]] == [
        "preference.jsonl",
        "preference-eval.jsonl",
    ]
    assert said[-1].startswith("fairlead: The folder ")
    assert said[-1].endswith("Copy it again.")
