"""Which run is resumed, and what may not have changed since: each change is named."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from fairlead.config import Config
from fairlead.errors import RunError, Stopped
from fairlead.runs.directory import RunDirectory
from fairlead.stages.train import train
from tests.stages.running import StopsAfter, resume, stopped
from tests.tiny import CHATML, save_tiny
from tests.training.small import make_config, rows_of, write_rows


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"))


def test_a_stopped_run_goes_on_and_is_sealed(tmp_path: Path, model: Path) -> None:
    config = make_config(tmp_path, model, adapter={"r": 2})
    run = stopped(config)
    assert not run.is_complete()
    result, said = resume(config)
    assert result.run == run.path
    assert "resumed after step 2" in said
    assert (run.status, run.verify()) == ("complete", [])


@pytest.mark.parametrize(("loss", "momentum"), [("bco", True), ("bco_pair", True), ("aot", False)])
def test_batch_statistics_go_on_bit_for_bit(tmp_path: Path, model: Path, loss: str, momentum: bool) -> None:
    named = {"name": loss, **({"reward_shift": "running"} if momentum else {})}
    settings = {"adapter": {"r": 2, "dropout": 0.2}, "max_steps": 5, "epochs": 3, "learning_rate": 0.01}
    settings["micro_batch_tokens"] = 70
    whole = train(make_config(tmp_path, model, named, **settings, run="whole")).run
    parts = make_config(tmp_path, model, named, **settings, run="parts")
    stopped(parts, steps=3)
    folders = [whole, resume(parts)[0].run]
    last = [RunDirectory.open(folder).checkpoints / "step-000005" for folder in folders]
    weights = [(folder / "weights.safetensors").read_bytes() for folder in last]
    means = [json.loads((folder / "state.json").read_text())["loop"]["statistics"] for folder in last]
    assert weights[0] == weights[1]
    assert means[0] == means[1]
    assert list(means[0]) == ([loss] if momentum else [])


def test_nothing_to_resume(tmp_path: Path, model: Path) -> None:
    config = make_config(tmp_path, model, max_steps=1)
    with pytest.raises(RunError, match="no unfinished run of this configuration"):
        train(config, resume=True)
    train(config)
    with pytest.raises(RunError, match="no unfinished run of this configuration"):
        train(config, resume=True)


def test_a_named_run_is_the_one_that_is_resumed(tmp_path: Path, model: Path) -> None:
    runs = {}
    for name in ("one", "two"):
        with pytest.raises(Stopped):
            train(make_config(tmp_path, model, adapter={"r": 2}, run=name), progress=StopsAfter(1))
        runs[name] = RunDirectory.open(tmp_path / "runs" / name)
    named = make_config(tmp_path, model, adapter={"r": 2}, run="one")
    assert resume(named)[0].run == runs["one"].path
    with pytest.raises(RunError, match="one is no unfinished training run"):
        resume(named)
    with pytest.raises(RunError, match="no such folder"):
        resume(make_config(tmp_path, model, run="three"))
    assert not runs["two"].is_complete()


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "beta": ({"loss": {"name": "dpo", "beta": 0.3}}, "loss.beta was not set and is 0.3"),
    "loss": ({"loss": "kto"}, 'loss.name was "dpo" and is "kto"'),
    "learning rate": ({"learning_rate": 0.5}, "train.learning_rate was null and is 0.5"),
    "batch": ({"batch_size": 2}, "train.batch_size was 4 and is 2"),
    "seed": ({"seed": 1}, "train.seed was 0 and is 1"),
    "rank": ({"adapter": {"r": 8}}, "adapter.r was 2 and is 8"),
    "length": ({"data": {"max_length": 100}}, "data.max_length was 2048 and is 100"),
}


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    folder = tmp_path_factory.mktemp("unfinished")
    stopped(make_config(folder, model, adapter={"r": 2}))
    return folder


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_setting_is_named(unfinished: Path, model: Path, change: str) -> None:
    changes, words = CHANGES[change]
    with pytest.raises(RunError) as caught:
        resume(make_config(unfinished, model, **{"adapter": {"r": 2}, **changes}))
    assert f"cannot be resumed: {words}. Undo the change, or start anew without --resume." in str(caught.value)
    assert caught.value.exit_code == 2


def test_every_changed_setting_is_named(unfinished: Path, model: Path) -> None:
    with pytest.raises(RunError, match=r"train.batch_size was 4 and is 2; train.seed was 0 and is 7"):
        resume(make_config(unfinished, model, adapter={"r": 2}, seed=7, batch_size=2))


def test_changed_rows_are_named(tmp_path: Path, model: Path) -> None:
    config = make_config(tmp_path, model, adapter={"r": 2})
    stopped(config)
    write_rows(tmp_path / "preference-eval.jsonl", rows_of("preference", 6, first=200))
    with pytest.raises(RunError, match=r"preference-eval\.jsonl has other content than the run read"):
        resume(config)


def test_a_changed_model_is_named(tmp_path: Path) -> None:
    config = make_config(tmp_path, save_tiny(tmp_path / "model"), adapter={"r": 2})
    stopped(config)
    save_tiny(tmp_path / "model", seed=1)
    with pytest.raises(RunError, match=r"model has other content than the run read"):
        resume(config)


def test_a_changed_adapter_is_named(tmp_path: Path, model: Path) -> None:
    adapters = [
        train(make_config(tmp_path / "sft", model, "sft", adapter={"r": 2}, run=str(seed), seed=seed)).artifact
        for seed in (0, 1)
        if (tmp_path / "sft").mkdir(exist_ok=True) is None
    ]
    config = make_config(tmp_path, model, model_adapter=adapters[0])
    stopped(config)
    with pytest.raises(RunError, match=r"adapter has other content than the run read"):
        resume(make_config(tmp_path, model, model_adapter=adapters[1]))


def test_a_changed_chat_template_is_named(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model")
    config = make_config(tmp_path, model, adapter={"r": 2})
    stopped(config)
    (model / "chat_template.jinja").write_text(CHATML.replace("message.role + '\n'", "message.role + '\n\n'"))
    with pytest.raises(RunError, match="the rows give other tokens than before: the tokenizer or its chat template"):
        resume(config)


def test_moving_everything_changes_nothing(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    stopped(make_config(old, save_tiny(old / "model"), adapter={"r": 2}, max_steps=4))
    shutil.move(old, new)
    config = make_config(new, new / "model", adapter={"r": 2}, max_steps=4, tensorboard=True, keep_checkpoints=5)
    assert resume(config)[0].steps == 4


def test_a_run_that_another_process_is_at_is_left_alone(tmp_path: Path, model: Path) -> None:
    config = make_config(tmp_path, model, adapter={"r": 2})
    run = stopped(config)
    with run.held(), pytest.raises(RunError, match="another process is at work"):
        resume(config)
    assert run.status == "stopped"


def test_a_full_fine_tuning_can_go_on_without_its_reference_cache(tmp_path: Path, model: Path) -> None:
    config = make_config(tmp_path, model, learning_rate=1e-2)
    stopped(config)
    shutil.rmtree(tmp_path / "reference")
    assert resume(config)[0].steps == 5


def test_a_damaged_checkpoint_is_passed_over_and_said_so(tmp_path: Path, model: Path) -> None:
    config = make_config(tmp_path, model, adapter={"r": 2}, save_steps=1)
    run = stopped(config, steps=3)
    os.truncate(run.checkpoints / "step-000003" / "weights.safetensors", 50)
    result, said = resume(config)
    assert "resumed after step 2" in said
    assert any(
        line.startswith("passed over a checkpoint: step-000003: weights.safetensors is damaged") for line in said
    )
    assert result.steps == 5
    steps = [event.step for event in run.events() if event.name == "loss"]
    assert steps == [1, 2, 3, 4, 5]


def test_without_a_whole_checkpoint_it_begins_anew(tmp_path: Path, model: Path) -> None:
    config = make_config(tmp_path, model, adapter={"r": 2}, sample_prompts=2, sample_tokens=3)
    run = stopped(config)
    shutil.rmtree(run.checkpoints / "step-000002")
    result, _ = resume(config)
    assert result.steps == 5
    samples = [json.loads(line) for line in run.artifact("samples.jsonl").read_text().splitlines()]
    assert [sorted(sample) for sample in samples] == [["after", "before", "prompt", "replies"]] * 2


class Damages(StopsAfter):
    """Cuts a file short once so many steps are done."""

    def __init__(self, steps: int, file: Path) -> None:
        super().__init__(-1)
        self.steps, self.file = steps, file

    def advance(self, count: int = 1, **fields: float) -> None:
        self.steps -= count if self.tasks[-1] == "train" else 0
        if self.steps == 0:
            os.truncate(self.file, 50)
            self.steps = -1


def test_a_best_checkpoint_that_is_lost_is_made_again(tmp_path: Path, model: Path) -> None:
    """With a learning rate far too high the first evaluation is the best, and every later checkpoint needs it."""

    def configured(name: str) -> Config:
        return make_config(tmp_path, model, "sft", run=name, learning_rate=0.5, eval_steps=1, warmup_ratio=0)

    whole = train(configured("whole"))
    assert whole.best_step is not None
    assert whole.best_step < 4
    best = tmp_path / "runs" / "damaged" / "checkpoints" / f"step-{whole.best_step:06d}"
    with pytest.raises(RunError, match=r"the best checkpoint, cannot be used: .* is damaged.*--resume"):
        train(configured("damaged"), progress=Damages(4, best / "weights.safetensors"))
    run = RunDirectory.open(tmp_path / "runs" / "damaged")
    assert (run.status, list(run.artifacts.iterdir())) == ("failed", [])
    result, said = resume(configured("damaged"))
    assert any("the best checkpoint before it" in line for line in said)
    names = "artifacts/model/model.safetensors", f"checkpoints/{best.name}/weights.safetensors"
    assert [(result.run / name).read_bytes() for name in names] == [(whole.run / name).read_bytes() for name in names]
