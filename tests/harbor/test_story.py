"""The whole story on fake verbs: which stage gets what, what is reused, what comes out at the end."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import fairlead
from examples.harbor import __main__ as harbor
from examples.harbor import story
from examples.harbor.questions import DISCLAIMER
from examples.harbor.recipe import QUICK_RECIPE
from examples.harbor.world import SEED, build
from fairlead.data.records import Preference
from tests.harbor.fake_verbs import FakeVerbs


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> FakeVerbs:
    fakes = FakeVerbs(build(SEED, QUICK_RECIPE.sizes))
    monkeypatch.setattr(story, "mean_logps", fakes.mean_logps)
    monkeypatch.setattr(story, "divergence", fakes.divergence)
    monkeypatch.setitem(vars(fairlead), "train", fakes.train)
    monkeypatch.setitem(vars(fairlead), "generate", fakes.generate)
    return fakes


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


def test_the_whole_story(
    tmp_path: Path, base: Path, verbs: FakeVerbs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(monkeypatch, out, base) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["models"]) == ["sft", "dpo_b01", "dpo_b03", "dpo_b03_repair", "dpo_b03_repair2"]
    assert summary["smoke"] is True
    assert summary["figures"]["median_reply_words"]["after"] < summary["figures"]["median_reply_words"]["before"]
    assert summary["models"]["dpo_b03_repair"]["refusal_rate"]["value"] == 0
    assert summary["figures"]["refusal_rate"]["after"] == 1
    assert summary["figures"]["disclaimer_rate"]["after"] == 1
    assert summary["figures"]["ranking_accuracy"]["n"] > 20
    assert {"name", "seconds"} <= set(summary["stages"][0])
    page = (out / "report.html").read_text()
    assert "A smoke run" in page
    assert "dpo_b03_repair2" in page
    shown = capsys.readouterr().out
    assert "A smoke run" in shown
    assert str(out / "report.html") in shown.replace("\n", "")


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


def test_a_second_run_reuses_every_stage(
    tmp_path: Path, base: Path, verbs: FakeVerbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(monkeypatch, out, base)
    first = json.loads((out / "summary.json").read_text())
    run(monkeypatch, out, base)
    second = json.loads((out / "summary.json").read_text())
    assert len(verbs.trained) == 5
    assert all(stage["reused"] for stage in second["stages"])
    assert second["figures"] == first["figures"]
    run(monkeypatch, out, base, "--seed", "1")
    assert len(verbs.trained) == 10


def test_recipes_are_chosen_on_other_prompts_without_training_anew(
    tmp_path: Path, base: Path, verbs: FakeVerbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(monkeypatch, out, base)
    run(monkeypatch, out, base, "--measure-on", "recipe")
    assert len(verbs.trained) == 5
    assert json.loads((out / "summary.json").read_text())["measured on"] == "recipe"


def test_the_users_mistakes_end_in_one_paragraph(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run(monkeypatch, tmp_path / "file", base) == 2
    assert "is a file" in capsys.readouterr().err
    assert run(monkeypatch, tmp_path / "out", base, "--what") == 2


def test_ctrl_c_keeps_what_is_finished(
    tmp_path: Path, base: Path, verbs: FakeVerbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, out = verbs.train, tmp_path / "out"

    def interrupted(config: fairlead.Config, **options: object) -> object:
        if len(verbs.trained) == 2:
            raise KeyboardInterrupt
        return train(config, progress=None)

    monkeypatch.setitem(vars(fairlead), "train", interrupted)
    assert run(monkeypatch, out, base) == 130
    assert not (out / "summary.json").exists()
    monkeypatch.setitem(vars(fairlead), "train", train)
    assert run(monkeypatch, out, base) == 0
    assert len(verbs.trained) == 5
