"""Grids: which points `--set` means, what they are called, and all that can be wrong with them at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fairlead.errors import ConfigError
from fairlead.stages.sweep_grid import changes_of, make_grid
from tests.stages.sweeping import make_project


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"), loss={"beta": 0.2}) / "fairlead.yaml"


def settings(config: Path, *overrides: str) -> list[tuple[str, dict[str, object]]]:
    return [(point.name, dict(point.settings)) for point in make_grid(config, overrides)]


def test_all_combinations_the_last_fastest(config: Path) -> None:
    assert settings(config, "loss.beta=0.1,0.3", "train.learning_rate=1e-5,5e-6") == [
        ("beta=0.1,learning_rate=1e-5", {"loss.beta": 0.1, "train.learning_rate": 1e-5}),
        ("beta=0.1,learning_rate=5e-6", {"loss.beta": 0.1, "train.learning_rate": 5e-6}),
        ("beta=0.3,learning_rate=1e-5", {"loss.beta": 0.3, "train.learning_rate": 1e-5}),
        ("beta=0.3,learning_rate=5e-6", {"loss.beta": 0.3, "train.learning_rate": 5e-6}),
    ]


def test_only_what_varies_is_in_the_name(config: Path) -> None:
    assert [name for name, _ in settings(config, "loss.beta=0.1,0.3", "train.epochs=2")] == ["beta=0.1", "beta=0.3"]
    assert [name for name, _ in settings(config, "loss.beta=0.1")] == ["beta=0.1"]
    assert settings(config) == [("dpo", {})]


@pytest.mark.parametrize(
    ("override", "names", "values"),
    [
        ("loss.name=dpo,ipo", ["name=dpo", "name=ipo"], ["dpo", "ipo"]),
        ("data.max_prompt_length=null, 16", ["max_prompt_length=null", "max_prompt_length=16"], [None, 16]),
        ("adapter.targets=attention,[q_proj, v_proj]", ["targets=attention", "targets=q_proj-v_proj"], None),
        ("loss={name: dpo, beta: 0.1},{name: simpo}", ["loss=name-dpo-beta-0.1", "loss=name-simpo"], None),
        ("adapter.alpha=8,", ["alpha=8"], [8.0]),
        ('train.schedule="cosine",linear', ["schedule=cosine", "schedule=linear"], ["cosine", "linear"]),
    ],
)
def test_values_are_yaml(config: Path, override: str, names: list[str], values: list[object] | None) -> None:
    found = settings(config, override)
    assert [name for name, _ in found] == names
    if values is not None:
        assert [value for _, given in found for value in given.values()] == values


def test_fields_may_vary_together(config: Path) -> None:
    found = settings(config, "loss.name,loss.beta=[dpo, 0.1],[ipo, 0.5]", "train.learning_rate=1e-5,5e-6")
    assert [name for name, _ in found] == [
        "name=dpo,learning_rate=1e-5",
        "name=dpo,learning_rate=5e-6",
        "name=ipo,learning_rate=1e-5",
        "name=ipo,learning_rate=5e-6",
    ]
    assert found[-1][1] == {"loss.name": "ipo", "loss.beta": 0.5, "train.learning_rate": 5e-6}
    for values in ("[dpo, 0.1],[ipo]", "dpo,ipo", "[dpo, 0.1, 2]"):
        with pytest.raises(ConfigError, match="gives 2 fields together, and not every value is a list of so many"):
            settings(config, f"loss.name,loss.beta={values}")
    with pytest.raises(ConfigError, match=r"loss\.beta: is given 2 times"):
        settings(config, "loss.name,loss.beta=[dpo, 0.1]", "loss.beta=0.3")


def test_fields_with_one_last_word_are_told_apart_and_so_are_names(config: Path, tmp_path: Path) -> None:
    given = yaml.safe_load(config.read_text()) | {"loss": [{"name": "dpo"}, {"name": "ipo"}]}
    other = config.with_name("two.yaml")
    other.write_text(yaml.safe_dump(given))
    (name, *_) = [name for name, _ in settings(other, "loss.0.beta=0.1,0.2", "loss.1.beta=0.1,0.2")]
    assert name == "loss.0.beta=0.1,loss.1.beta=0.1"
    long = "x" * 80
    names = [name for name, _ in settings(config, f"data.train={long}a,{long}b")]
    assert len(set(names)) == 2
    assert all(len(name) < 70 for name in names)


def test_a_point_says_what_it_changes(config: Path) -> None:
    same, other = make_grid(config, ["loss.beta=0.2,0.5", "train.epochs=2"])
    assert changes_of(same, config) == {"train.epochs": (1.0, 2.0)}
    assert changes_of(other, config) == {"loss.beta": (0.2, 0.5), "train.epochs": (1.0, 2.0)}


def test_where_a_point_lies_changes_nothing_else(config: Path, tmp_path: Path) -> None:
    (point,) = make_grid(config, ["loss.beta=0.5"])
    there = point.at(tmp_path / "points" / "beta=0.5" / "train")
    assert (there.config.train.output, there.config.train.run) == (str(tmp_path / "points" / "beta=0.5"), "train")
    before, after = point.config.model_dump(), there.config.model_dump()
    for each in (before, after):
        del each["train"]["output"], each["train"]["run"]
    assert before == after


def test_faults_of_all_points_at_once(config: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        make_grid(config, ["loss.beta=0.1,-1,often", "train.epochs=0"])
    told = str(caught.value)
    assert f"{config}: 3 faults" in told
    assert "  - train.epochs: must be greater than 0, not 0." in told  # of every point: told once
    assert "  - beta=-1: loss.beta: " in told
    assert "  - beta=often: loss.beta: " in told


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["loss.beta"], "is not of the form path=value,value."),
        (["loss.beta="], "holds no list of values"),
        (["loss.beta=0.1]"], "holds no list of values"),
        (["loss.beta=0.1,,0.2"], "holds no list of values"),
        (["loss.beta=0.1 # a comment"], "holds no list of values"),
        (["loss.beta=0.1,0.2", "loss.beta=0.3"], "is given 2 times."),
        (["train.output=a,b"], "train.output is where runs lie"),
        (["loss.beta=0.1,0.10"], "is the same run as beta=0.1."),
        (["loss.bta=0.1"], "bta"),
    ],
)
def test_mistakes(config: Path, overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_grid(config, overrides)
    assert words in str(caught.value)


def test_what_a_suite_cannot_measure_is_refused(config: Path) -> None:
    given = yaml.safe_load(config.read_text())
    given["loss"] = {"name": "reward"}
    config.with_name("reward.yaml").write_text(yaml.safe_dump(given))
    with pytest.raises(ConfigError, match="trains a reward model"):
        make_grid(config.with_name("reward.yaml"), [])
    with pytest.raises(ConfigError, match="points start from different models"):
        make_grid(config, ["model.path=base,base/../base"])
