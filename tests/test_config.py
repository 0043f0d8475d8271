from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairlead.config import Config, json_schema, read_config
from fairlead.errors import ConfigError

MINIMAL = "model: {path: my-org/my-model}\ndata: {train: pairs.jsonl}\n"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "fairlead.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def faults(folder: Path, text: str | bytes, overrides: tuple[str, ...] = ()) -> dict[str, str]:
    """The faults of a configuration, by field."""
    with pytest.raises(ConfigError) as caught:
        read_config(write(folder, text), overrides)
    return {fault.field: f"{fault.problem} {fault.remedy}" for fault in caught.value.faults}


def test_a_minimal_configuration_takes_every_default(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, MINIMAL))
    assert config.model.path == "my-org/my-model"
    assert config.data.train == [str(tmp_path / "pairs.jsonl")]
    assert config.adapter is None
    assert [loss.name for loss in config.losses] == ["dpo"]
    assert config.train.batch_size == 16
    assert config.user_set() == ["data.train", "model.path"]


def test_paths_are_seen_from_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    config = read_config(
        write(
            tmp_path,
            "model: {path: model, chat_template: chat.jinja}\n"
            f"data: {{train: [a.jsonl, {tmp_path}/b.jsonl], eval: ../c.jsonl}}\n",
        )
    )
    assert config.model.path == str(tmp_path / "model")
    assert config.model.chat_template == str(tmp_path / "chat.jinja")
    assert config.data.train == [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
    assert config.data.eval == [str(tmp_path / "../c.jsonl")]
    assert config.train.output == str(tmp_path / "runs")
    assert config.train.reference_cache == str(tmp_path / ".fairlead/reference")
    assert "train.output" not in config.user_set()


@pytest.mark.parametrize(
    ("given", "joined"),
    [("org/name", False), ("gpt2", False), ("./org", True), ("../x/y", True), ("m.gguf", True), ("a/b/c", True)],
)
def test_what_is_neither_there_nor_a_path_is_a_hub_id(tmp_path: Path, given: str, joined: bool) -> None:
    config = read_config(write(tmp_path, MINIMAL), [f"model.path={given}", "model.chat_template=plain"])
    assert config.model.path == (str(tmp_path / given) if joined else given)
    assert config.model.chat_template == "plain"


def test_all_faults_are_listed_at_once(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        """
        version: 2
        modle: {path: x}
        model: {adaptor: a, engine: fast}
        data: {train: [], max_length: true, eval: [1], strict: maybe, max_quarantined: 1.5}
        loss: {name: dpo, bta: 0.1, weight: 0}
        adapter: {r: 1.5, targets: 3, lora_alpha: 8}
        train: {batch_size: many, lr: 1, epochs: .inf, precision: fp16, run: a/b, max_length: 5, seed: -1}
        """,
    )
    assert set(found) == {
        "version",
        "modle",
        "model.path",
        "model.adaptor",
        "model.engine",
        "data.train",
        "data.max_length",
        "data.eval.0",
        "data.strict",
        "data.max_quarantined",
        "loss.bta",
        "loss.weight",
        "adapter.r",
        "adapter.targets",
        "adapter.lora_alpha",
        "train.batch_size",
        "train.lr",
        "train.epochs",
        "train.precision",
        "train.run",
        "train.max_length",
        "train.seed",
    }
    assert "Did you mean model?" in found["modle"]
    assert "Did you mean model.adapter?" in found["model.adaptor"]
    assert "auto, packed or padded" in found["model.engine"]
    assert "whole number" in found["train.batch_size"]
    assert "train.learning_rate" in found["train.lr"]
    assert "data.max_length" in found["train.max_length"]
    assert "adapter.alpha" in found["adapter.lora_alpha"]
    assert "text (in quotes) or a list" in found["adapter.targets"]
    assert "at most 1, not 1.5" in found["data.max_quarantined"]
    assert "greater than 0, not 0" in found["loss.weight"]
    assert "must not be true" in found["data.max_length"]
    assert "beta" in found["loss.bta"]


def test_no_message_shows_how_it_was_validated(tmp_path: Path) -> None:
    for field, words in faults(tmp_path, "model: 3\ndata: {train: 5}\nloss: [{name: 3}]\ntrain: []\n").items():
        assert "Input should" not in words
        assert "pydantic" not in words.lower()
        assert not {"one", "sum", "str", "LossConfig"} & set(field.split("."))


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ("train: {early_stopping_patience: 2}", "train.early_stopping_patience"),
        ("train: {reference: live}", "train.reference"),
        ("loss: [{name: dpo}, {name: sfd}]", "loss.1.name"),
        ("loss: {name: dpo, beta: -1}", "loss.beta"),
        ("loss: []", "loss"),
        ("loss: dpo", "loss"),
        ("3: x", "3"),
    ],
)
def test_one_fault_each(tmp_path: Path, extra: str, field: str) -> None:
    assert list(faults(tmp_path, f"{MINIMAL}{extra}\n")) == [field]


def test_settings_that_contradict_each_other(tmp_path: Path) -> None:
    text = (
        "model: {path: m, adapter: a}\nadapter: {r: 4}\ndata: {train: a.jsonl, eval: b.jsonl, eval_fraction: 0.1}\n"
        "train: {reference: live, early_stopping_patience: 1}\n"
    )
    assert set(faults(tmp_path, text)) == {"data.eval_fraction"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"# nothing\n", "empty"),
        (b"- a\n- b\n", "not a list"),
        (b"text\n", "single value"),
        (b"model:\n  path: 'x\n", "not valid YAML"),
        (b"model:\n\tpath: x\n", "line 2, column 1"),
        (b"model: {path: !!python/object:os.system x}\n", "line 1"),
        (b"\xff\xfe\xff", "UTF-8"),
        (b"model: \xe9\n", "UTF-8"),
        (b"[" * 5000, "nested too deeply"),
        (b"run: 2026-99-99\n", "cannot be read"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, content: bytes, words: str) -> None:
    found = faults(tmp_path, content)
    assert list(found) == ["file"]
    assert words in found["file"]


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not exist.*fairlead init"):
        read_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        read_config(tmp_path)


def test_duplicate_keys_are_refused_with_their_lines(tmp_path: Path) -> None:
    found = faults(tmp_path, MINIMAL + "train:\n  seed: 1\n  seed: 2\n")
    assert "lines 4 and 5" in found["seed"]


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    config = read_config(
        write(tmp_path, MINIMAL + "train: {learning_rate: 5e-6, epochs: 1}\nloss: {name: dpo, beta: 3e-1}\n")
    )
    assert config.train.learning_rate == 5e-6
    assert config.losses[0].parameters == {"beta": 0.3}


def test_overrides_are_laid_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "loss:\n  - {name: dpo}\n  - {name: simpo}\ntrain:\nadapter: {r: 4}\n")
    config = read_config(
        path,
        [
            "loss.1.beta=1e1",
            "train.seed=7",
            "data.train=[a.jsonl, b.jsonl]",
            "adapter=null",
            "train.run=a=b",
            "data.eval_fraction=0.5",
        ],
    )
    assert config.losses[1].parameters == {"beta": 10.0}
    assert config.train.seed == 7
    assert config.train.run == "a=b"
    assert config.adapter is None
    assert len(config.data.train) == 2
    assert "train.seed" in config.user_set()
    assert "loss.1.beta" in config.user_set()


def test_faults_of_overrides_come_with_the_others(tmp_path: Path) -> None:
    overrides = ("seed", "=3", "train.seed.x=1", "loss.beta=1", "loss.7.beta=1", "data.train='", "train.sed=3")
    found = faults(tmp_path, MINIMAL + "loss: [{name: dpo}]\ntrain: {seed: 1, epochs: 0}\n", overrides)
    assert set(found) == {
        *(f"--set {override}" for override in overrides[:-1]),
        "train.sed",
        "train.epochs",
    }
    assert "list of 1" in found["--set loss.beta=1"]


def test_a_configuration_written_in_python() -> None:
    config = Config(model={"path": "m"}, data={"train": "pairs.jsonl"}, loss={"name": "ipo", "beta": 0.2})
    assert config.data.train == ["pairs.jsonl"]
    assert config.user_set() == ["data.train", "loss.beta", "loss.name", "model.path"]
    assert Config.model_validate(config.model_dump(exclude_unset=True)) == config
    with pytest.raises(ConfigError) as caught:
        Config(model={}, data={"train": "pairs.jsonl"}, loss={"name": "ipo", "beta": -1})
    assert [fault.field for fault in caught.value.faults] == ["model.path", "loss.beta"]


def test_a_configuration_cannot_be_changed() -> None:
    config = Config(model={"path": "m"}, data={"train": "pairs.jsonl"})
    with pytest.raises(ValueError, match="frozen"):
        config.train.seed = 3


def test_the_schema_describes_every_field() -> None:
    schema = json.loads(json.dumps(json_schema()))
    sections = {name: schema["$defs"][name]["properties"] for name in schema["$defs"]}
    assert set(sections) == {"ModelConfig", "DataConfig", "LossConfig", "AdapterConfig", "StopRule", "TrainConfig"}
    for properties in [schema["properties"], *sections.values()]:
        assert [name for name, field in properties.items() if not field.keys() & {"description", "$ref"}] == []
    assert schema["additionalProperties"] is False
    assert {"type": "string"} in sections["DataConfig"]["train"]["anyOf"]
