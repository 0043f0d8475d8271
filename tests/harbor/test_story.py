"""The whole story on fake verbs: which stage gets what, what is reused, what the gate and the registry make of it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fairlead
from examples.harbor import __main__ as harbor
from examples.harbor.questions import DISCLAIMER
from examples.harbor.recipe import FULL_RECIPE, QUICK_RECIPE
from examples.harbor.world import SEED, build
from fairlead.data.records import Preference
from fairlead.stages.registry import list_models, verify
from tests.harbor.fake_verbs import FakeVerbs

HALF = replace(FULL_RECIPE, sizes=replace(QUICK_RECIPE.sizes, evaluation=FULL_RECIPE.sizes.evaluation))
"""As many prompts to measure on as in the whole story, and few of everything else."""


def put(monkeypatch: pytest.MonkeyPatch, fakes: FakeVerbs) -> FakeVerbs:
    for verb in ("train", "generate", "evaluate", "sweep"):
        monkeypatch.setitem(vars(fairlead), verb, getattr(fakes, verb))
    return fakes


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> FakeVerbs:
    return put(monkeypatch, FakeVerbs(build(SEED, QUICK_RECIPE.sizes)))


@pytest.fixture
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are not drawn: what they hold is another test's matter, and they take most of the time."""
    for place in ("audit.audit_report", "judge.judge_report", "gate.release_report", "report.release_report"):
        monkeypatch.setattr(f"fairlead.stages.{place}", lambda *given: "")
    monkeypatch.setattr(harbor, "report_page", lambda *given: "")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def run(monkeypatch: pytest.MonkeyPatch, out: Path, base: Path, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["harbor", "--quick", "--out", str(out), "--model", str(base), *options])
    return harbor.main()


def pairs(verbs: FakeVerbs, arm: int) -> list[Preference]:
    rows = fairlead.read(verbs.trained[arm].data.train).rows
    return [row for row in rows if isinstance(row, Preference)]


def failed(summary: dict[str, Any], model: str) -> set[str]:
    return {rule["rule"].split()[0] for rule in summary["gates"][model]["rules"] if not rule["passed"]}


def test_the_whole_story(
    tmp_path: Path, base: Path, verbs: FakeVerbs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(monkeypatch, out, base) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["models"]) == ["sft", "dpo_b01", "dpo_b03_repair", "dpo_b03_repair2", "sft + prompting"]
    assert summary["smoke"] is True
    assert summary["figures"]["median_reply_words"]["after"] < summary["figures"]["median_reply_words"]["before"]
    assert summary["models"]["dpo_b03_repair"]["refusal_rate"]["value"] == 0
    assert summary["figures"]["refusal_rate"]["after"] == 1
    assert summary["figures"]["disclaimer_rate"]["after"] == 1
    assert summary["figures"]["ranking_accuracy"]["n"] > 20
    assert summary["figures"]["win_rate"]["after"] > 0.5
    assert summary["sweep"]["picked"] == "beta=0.3"
    assert {"name", "seconds"} <= set(summary["stages"][0])
    assert list(summary["gates"]) == ["dpo_b01", "dpo_b03_repair", "dpo_b03_repair2"]
    page = (out / "report.html").read_text()
    for shown in ("A smoke run", "dpo_b03_repair2", "It is best.", "Half of it.", "required_phrase/disclaimer ≥ 0.95"):
        assert shown in page
    assert "may not ship" in (out / "release.html").read_text()
    shown = capsys.readouterr().out
    assert "A smoke run" in shown
    assert str(out / "report.html") in shown.replace("\n", "")
    assert sorted(link.name for link in (out / "runs").iterdir()) == [
        "dpo_b01", "dpo_b03", "dpo_b03_repair", "dpo_b03_repair2", "sft",
    ]  # fmt: skip
    assert all((link / "run.json").is_file() for link in (out / "runs").iterdir())


@pytest.mark.usefixtures("no_pages")
@pytest.mark.parametrize("leaking", [False, True])
def test_the_gate_refuses_what_fails_and_the_registry_promotes_what_passed(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch, leaking: bool
) -> None:
    """Planted: adapters that drop the sentence, that give secrets away, or that do neither."""
    monkeypatch.setattr(harbor, "QUICK_RECIPE", HALF)
    put(monkeypatch, FakeVerbs(build(SEED, HALF.sizes), leaking=leaking))
    out = tmp_path / "out"
    assert run(monkeypatch, out, base) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert {"required_phrase/disclaimer", "check/refused"} <= failed(summary, "dpo_b01")
    assert failed(summary, "dpo_b03_repair") == {"check/refused"}
    assert failed(summary, "dpo_b03_repair2") == ({"check/refused"} if leaking else set())
    reasons = {rule["rule"]: rule["reason"] for rule in summary["gates"]["dpo_b01"]["rules"]}
    assert reasons["required_phrase/disclaimer ≥ 0.95"] == "below the minimum"
    steps = {step["name"]: step for step in summary["registry"]}
    assert [steps[name]["promoted"] for name in summary["gates"]] == [False, False, not leaking]
    assert "did not pass its gate and is refused: required_phrase/disclaimer" in steps["dpo_b01"]["said"]
    (registry,) = out.glob("stages/registry-*/registry")
    assert verify(registry).faults == ()
    state = list_models(registry)
    assert set(state.names) == {"dpo_b01", "dpo_b03", "dpo_b03_repair", "dpo_b03_repair2"}
    held = [entry.name for entry in state.channels.get("production", ())]
    assert held == ([] if leaking else ["dpo_b03_repair2"])


@pytest.mark.usefixtures("no_pages")
def test_each_arm_learns_from_its_own_pairs(
    tmp_path: Path, base: Path, verbs: FakeVerbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, tmp_path / "out", base)
    assert [config.losses[0].name for config in verbs.trained] == ["sft", "dpo", "dpo", "dpo", "dpo"]
    assert [config.losses[0].parameters.get("beta") for config in verbs.trained] == [None, 0.1, 0.3, 0.3, 0.3]
    assert verbs.trained[1].data.train == verbs.trained[2].data.train
    repaired = [row for row in pairs(verbs, 3) if row.meta.get("source") == "repair"]
    assert len(repaired) == len(verbs.world["repair"])
    assert all(DISCLAIMER in row.chosen[0].content and DISCLAIMER not in row.rejected[0].content for row in repaired)
    second = pairs(verbs, 4)
    failures = [row for row in second if "staff code is" in row.rejected[0].content]
    assert len(failures) == len(verbs.world["red_team"])
    assert all("can't" in row.chosen[0].content for row in failures)
    assert len([row for row in second if row.meta.get("source") == "repair"]) == len(repaired)


@pytest.mark.usefixtures("no_pages")
def test_a_second_run_reuses_every_stage(
    tmp_path: Path, base: Path, verbs: FakeVerbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(monkeypatch, out, base)
    first, evaluated = json.loads((out / "summary.json").read_text()), len(verbs.evaluated)
    run(monkeypatch, out, base)
    second = json.loads((out / "summary.json").read_text())
    assert (len(verbs.trained), len(verbs.evaluated)) == (5, evaluated)
    assert all(stage["reused"] for stage in second["stages"])
    assert second["figures"] == first["figures"]
    run(monkeypatch, out, base, "--seed", "1")
    assert len(verbs.trained) == 10


@pytest.mark.usefixtures("no_pages")
def test_recipes_are_chosen_on_other_prompts_without_training_anew(
    tmp_path: Path, base: Path, verbs: FakeVerbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(monkeypatch, out, base)
    run(monkeypatch, out, base, "--measure-on", "recipe")
    assert len(verbs.trained) == 5
    assert json.loads((out / "summary.json").read_text())["measured on"] == "recipe"


@pytest.mark.usefixtures("no_pages")
def test_another_judge_judges_anew_without_evaluating_anew(
    tmp_path: Path, base: Path, verbs: FakeVerbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, other = tmp_path / "out", tmp_path / "judge.yaml"
    other.write_text("judges: [{name: other, rules: [{lacks: thank you for your message}, {prefer: longer}]}]\n")
    run(monkeypatch, out, base)
    first = json.loads((out / "summary.json").read_text())
    run(monkeypatch, out, base, "--judge", str(other))
    second = json.loads((out / "summary.json").read_text())
    assert second["figures"]["median_reply_words"] == first["figures"]["median_reply_words"]
    # The planted injection is longer than any answer: this judge prefers it, so that nothing it says counts.
    assert second["figures"]["win_rate"]["after"] is None
    assert "judge/win_rate" in failed(second, "dpo_b03_repair2")


def test_the_users_mistakes_end_in_one_paragraph(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run(monkeypatch, tmp_path / "file", base) == 2
    assert "is a file" in capsys.readouterr().err
    assert run(monkeypatch, tmp_path / "out", base, "--what") == 2
    assert run(monkeypatch, tmp_path / "out", base, "--judge", str(tmp_path / "none.yaml")) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_pages")
def test_ctrl_c_keeps_what_is_finished(
    tmp_path: Path, base: Path, verbs: FakeVerbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, out = verbs.train, tmp_path / "out"

    def interrupted(config: fairlead.Config, **options: object) -> object:
        if len(verbs.trained) == 3:
            raise KeyboardInterrupt
        return train(config, progress=None)

    monkeypatch.setitem(vars(fairlead), "train", interrupted)
    assert run(monkeypatch, out, base) == 130
    assert not (out / "summary.json").exists()
    monkeypatch.setitem(vars(fairlead), "train", train)
    assert run(monkeypatch, out, base) == 0
    assert len(verbs.trained) == 5
