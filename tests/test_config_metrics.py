"""The metrics that a configuration names: what is wrong with them is told with all its other faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.config import Config, Own, make_config, read_config
from fairlead.errors import ConfigError
from fairlead.losses.contract import Loss
from fairlead.losses.pairwise import dpo
from fairlead.losses.scores import Pairs
from tests.test_config import write

HELD_OUT = "model: {path: m}\ndata: {train: a.jsonl, eval: b.jsonl}\n"
NONE_HELD_OUT = "model: {path: m}\ndata: {train: a.jsonl}\n"


def faults(folder: Path, text: str, *, own: Own | None = None) -> dict[str, str]:
    try:
        read_config(write(folder, text), own=own or Own())
    except ConfigError as error:
        return {fault.field: f"{fault.problem} {fault.remedy}" for fault in error.faults}
    return {}


def rules(*given: str) -> str:
    return f"train: {{stop_if: [{', '.join(given)}]}}\n"


def test_rules_as_they_are_meant(tmp_path: Path) -> None:
    text = HELD_OUT + rules(
        "{metric: probe/repetition, above: 0.3}",
        "{metric: eval/loss, above: 2, evaluations: 3}",
        "{metric: rewards/accuracies, below: 0.5}",
    )
    config = read_config(write(tmp_path, text))
    assert [(rule.metric, rule.above, rule.below, rule.evaluations) for rule in config.train.stop_if] == [
        ("probe/repetition", 0.3, None, 1),
        ("eval/loss", 2.0, None, 3),
        ("rewards/accuracies", None, 0.5, 1),
    ]
    assert "train.stop_if.1.evaluations" in config.user_set()


def test_every_fault_of_rules_is_told_with_the_others(tmp_path: Path) -> None:
    text = (
        HELD_OUT
        + "loss: {name: dpo, bta: 1}\n"
        + rules(
            "{metric: probe/repetition}",
            "{metric: probe/repetition, above: 0.1, below: 0.9}",
            "{metric: probe/repitition, above: 0.3}",
            "{metric: eval/rewards/acuracies, below: 0.3}",
            "{metric: loss, abov: 0.3, evaluations: 0}",
            "{above: 3}",
        )
    )
    found = faults(tmp_path, text)
    assert found["train.stop_if.0"] == "has no bound. Write either above or below, with a number."
    assert found["train.stop_if.1"].startswith("has two bounds.")
    assert found["train.stop_if.2.metric"] == "there is no metric 'probe/repitition'. Did you mean probe/repetition?"
    assert "Did you mean rewards/accuracies?" in found["train.stop_if.3.metric"]
    assert "Did you mean train.stop_if.4.above?" in found["train.stop_if.4.abov"]
    assert set(found) == {
        "loss.bta",
        "train.stop_if.0",
        "train.stop_if.1",
        "train.stop_if.2.metric",
        "train.stop_if.3.metric",
        "train.stop_if.4",
        "train.stop_if.4.abov",
        "train.stop_if.4.evaluations",
        "train.stop_if.5.metric",
    }


def test_a_metric_of_held_out_rows_needs_some(tmp_path: Path) -> None:
    text = NONE_HELD_OUT + "train: {metric_for_best: loss, stop_if: [{metric: eval/loss, above: 3}]}\n"
    found = faults(tmp_path, text)
    assert found["train.metric_for_best"] == "loss needs held-out rows. Set data.eval or data.eval_fraction."
    assert found["train.stop_if.0.metric"].startswith("eval/loss needs held-out rows.")
    assert faults(tmp_path, text.replace("a.jsonl", "a.jsonl, eval_fraction: 0.1")) == {}


def test_probes_do_without_held_out_rows_but_need_prompts(tmp_path: Path) -> None:
    text = NONE_HELD_OUT + "train: {metric_for_best: probe/repetition, stop_if: [{metric: probe/length, above: 99}]}\n"
    assert faults(tmp_path, text) == {}
    found = faults(tmp_path, text.replace("{metric_for", "{sample_prompts: 0, metric_for"))
    assert set(found) == {"train.metric_for_best", "train.stop_if.0.metric"}
    assert "train.sample_prompts is 0" in found["train.metric_for_best"]


@pytest.mark.parametrize("name", ["probe/length", "kl", "eval/kl", "probe/refusals"])
def test_a_metric_of_which_neither_way_is_better_cannot_pick_a_checkpoint(tmp_path: Path, name: str) -> None:
    found = faults(tmp_path, HELD_OUT + f"train: {{metric_for_best: {name}}}\n")
    assert f"neither way is better of {name} by itself" in found["train.metric_for_best"]
    assert faults(tmp_path, HELD_OUT + rules(f"{{metric: {name}, above: 3}}")) == {}


def test_a_metric_of_the_users_own(tmp_path: Path) -> None:
    text = NONE_HELD_OUT + "train: {metric_for_best: polite, stop_if: [{metric: polite, below: 0.1}]}\n"
    assert faults(tmp_path, text, own=Own(metrics=("polite",))) == {}
    assert set(faults(tmp_path, text)) == {"train.metric_for_best", "train.stop_if.0.metric"}
    near = faults(tmp_path, text.replace("polite", "polit"), own=Own(metrics=("polite",)))
    assert "Did you mean polite?" in near["train.metric_for_best"]


MINE = Own(losses={"mine": Loss(function=dpo, examples=Pairs, needs_reference=True)})


def test_a_loss_of_the_users_own(tmp_path: Path) -> None:
    text = HELD_OUT + "loss: {name: mine, beta: 0.2}\ntrain: {metric_for_best: what/ever}\n"
    assert faults(tmp_path, text, own=MINE) == {}
    assert "there is no loss named 'mine'" in faults(tmp_path, text)["loss.name"]
    assert "Did you mean beta?" in faults(tmp_path, text.replace("beta", "betta"), own=MINE)["loss.betta"]
    assert "is not a number" in faults(tmp_path, text.replace("0.2", "high"), own=MINE)["loss.beta"]
    assert "Did you mean mine?" in faults(tmp_path, text.replace("name: mine", "name: mime"), own=MINE)["loss.name"]


def test_sections_as_mappings() -> None:
    sections = {"model": {"path": "m"}, "data": {"train": "a.jsonl"}, "loss": {"name": "mine"}}
    config = make_config(sections, ["loss.beta=0.7"], own=MINE)
    assert (config.losses[0].parameters, sections["loss"]) == ({"beta": 0.7}, {"name": "mine"})
    assert make_config({key: sections[key] for key in ("model", "data")}) == Config(
        model={"path": "m"}, data={"train": "a.jsonl"}
    )
    with pytest.raises(ConfigError, match="there is no loss named 'mine'"):
        make_config(sections)


def test_patience_needs_something_to_wait_for(tmp_path: Path) -> None:
    text = NONE_HELD_OUT + "train: {early_stopping_patience: 2}\n"
    assert "early stopping needs held-out rows" in faults(tmp_path, text)["train.early_stopping_patience"]
    assert faults(tmp_path, text.replace("2}", "2, metric_for_best: probe/repetition}")) == {}
