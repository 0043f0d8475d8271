"""`sweep`: a grid in, one sealed run with a frontier out; kept, resumed or redone after a stop."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import fairlead
from fairlead.errors import ConfigError, DataError, RunError, Stopped
from fairlead.evaluation.results import read_measures
from fairlead.runs.directory import RunDirectory
from fairlead.stages import sweep as stage
from fairlead.stages.sweep import Sweep, plan_sweep, sweep
from tests.reports.markup import Parsed
from tests.stages.running import StopsAfter
from tests.stages.sweeping import make_project, write_gate, write_judge
from tests.training.small import rows_of, write_rows

BETAS = "loss.beta=0.1,10"
LEFT_OUT = {"created", "ended", "id"}


def run(folder: Path, *overrides: str, out: str = "sweep", **how: Any) -> Sweep:
    asked = {"suite": folder / "suite.yaml", "precision": "fp32"} | how
    return sweep(folder / "fairlead.yaml", overrides=overrides or (BETAS,), out=folder / out, **asked)


def content(folder: Path, out: str = "sweep") -> dict[str, Any]:
    return json.loads((folder / out / "frontier.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sweep]:
    folder = make_project(tmp_path_factory.mktemp("swept"))
    gate = write_gate(
        folder,
        "version: 1\nmeasures: [{measure: length/words, maximum: 1000}, {measure: judge/win_rate, minimum: 0.01}]\n"
        "data: {audit: clean}\n",
    )
    return folder, run(folder, judge=write_judge(folder), constraints=gate, max_kl=1000.0)


def test_every_point_has_its_runs_and_the_whole_is_sealed(swept: tuple[Path, Sweep]) -> None:
    _folder, found = swept
    opened = RunDirectory.open(found.run)
    assert (opened.stage, opened.status, opened.verify()) == ("sweep", "complete", [])
    for name, parts in {
        "base": ["eval"],
        "beta=0.1": ["train", "eval", "judge"],
        "beta=10": ["train", "eval", "judge"],
    }.items():
        for part in parts:
            each = RunDirectory.open(found.run / "points" / name / part)
            assert (each.stage, each.status, each.verify()) == (part, "complete", [])
            assert (each.path / "report.html").is_file()
    assert {Path(item.path).name for item in opened.inputs} == {
        *("fairlead.yaml", "suite.yaml", "judge.yaml", "gate.yaml"),
        *("pairs.jsonl", "held-out.jsonl", "prompts.jsonl", "facts.jsonl"),
    }
    assert RunDirectory.open(found.run / "points" / "beta=10" / "train").config["loss"]["beta"] == 10


def test_frontier_json_has_what_others_read(swept: tuple[Path, Sweep]) -> None:
    folder, found = swept
    kept = content(folder)
    assert list(kept) == ["format", "x", "y", "rule", "points", "picked", "why", "diagnoses"]
    assert (kept["format"], kept["x"], kept["y"]) == (1, "kl/k1", "judge/win_rate")
    base, low, high = kept["points"]
    assert list(base) == [
        *("name", "settings", "run", "eval", "judge", "measures", "constraints", "on_front", "eligible")
    ]
    assert (base["name"], base["settings"], base["run"], base["judge"]) == ("base", {}, None, None)
    assert low["settings"] == {"loss.beta": 0.1}
    assert (low["run"], low["eval"], low["judge"]) == (
        "points/beta=0.1/train",
        "points/beta=0.1/eval",
        "points/beta=0.1/judge",
    )
    for point in (low, high):
        evaluated = read_measures(found.run / point["eval"])
        for name in ("kl/k1", "ranking_accuracy", "length/words"):
            measure = evaluated.find(name)
            assert measure is not None
            assert point["measures"][name] == {
                key: getattr(measure, key) for key in ("value", "low", "high", "n", "unit", "direction")
            }
        assert (
            point["measures"]["judge/win_rate"]["value"]
            == read_measures(found.run / point["judge"]).find("judge/win_rate").value
        )  # type: ignore[union-attr]
        assert [each["text"] for each in point["constraints"]] == ["length/words ≤ 1000", "judge/win_rate ≥ 0.01"]
        assert all(each["passed"] for each in point["constraints"])
    assert base["measures"]["kl/k1"]["value"] == 0
    assert base["measures"]["judge/win_rate"] == {
        "value": 0.5, "low": None, "high": None, "n": 0, "unit": "share", "direction": "up"
    }  # fmt: skip
    assert found.frontier.picked == kept["picked"]
    assert found.failed == {}


def test_the_page_is_that_of_report(swept: tuple[Path, Sweep], tmp_path: Path) -> None:
    _folder, found = swept
    again = fairlead.report([found.run], to=tmp_path / "again.html")
    assert again.read_bytes() == (found.run / "report.html").read_bytes()
    parsed = Parsed(again.read_text())
    assert not parsed.faults
    assert "Fairlead sweep report" in parsed.text
    for link in parsed.values("href"):
        assert link.startswith("#") or (found.run / link.replace("%3D", "=")).is_file()


def test_a_point_is_the_run_that_train_makes(swept: tuple[Path, Sweep], tmp_path: Path) -> None:
    folder, found = swept
    alone = fairlead.train(folder / "fairlead.yaml", overrides=["loss.beta=10", f"train.output={tmp_path}"])
    ours = found.run / "points" / "beta=10" / "train" / "artifacts" / "adapter" / "adapter_model.safetensors"
    assert ours.read_bytes() == (alone.artifact / "adapter_model.safetensors").read_bytes()


def test_a_complete_sweep_is_not_changed(swept: tuple[Path, Sweep]) -> None:
    folder, _found = swept
    with pytest.raises(RunError, match="this sweep is complete"):
        run(folder)
    with pytest.raises(RunError, match="this is a run of `train`"):
        run(folder, out="sweep/points/beta=10/train")
    with pytest.raises(RunError, match="something of that name already"):
        run(folder, out="reference")


def test_prompting_the_base_is_a_point_more(tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    suite = yaml.safe_load((folder / "suite.yaml").read_text()) | {"baseline": {"system": "the order was sent."}}
    suite["generation"]["required"] = "required.yaml"
    (folder / "required.yaml").write_text("- {name: order, phrases: [order], when: {prompt: help}}\n")
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    progress = StopsAfter(-1)
    found = run(folder, "loss.beta=0.1", judge=write_judge(folder), progress=progress)
    prompting = content(folder)["points"][-1]
    assert (prompting["name"], prompting["run"], prompting["eligible"]) == ("prompting", None, False)
    assert prompting["eval"] == "prompting/compared/1-base-prompted"
    assert prompting["judge"] == "points/prompting/judge"
    assert prompting["measures"]["judge/win_rate"]["n"] == 8
    assert "kl/k1" not in prompting["measures"]
    assert found.frontier.points[-1].barred == ("kl/k1 was not measured",)
    reused = [each for each in progress.said if each.startswith("answers of base (prompts) are those of")]
    assert len(reused) == 1
    assert (found.run / "prompting" / "prompting.json").is_file()
    assert RunDirectory.open(found.run).verify() == []


# ---------------------------------------------------------------------------------------- stopped, killed, and changed


def unsealed(folder: Path, *gone: str) -> None:
    """The sweep as a kill leaves it before its end, without some of its runs."""
    for name in ("manifest.json", "frontier.json", "report.html"):
        (folder / "sweep" / name).unlink()
    for name in gone:
        shutil.rmtree(folder / "sweep" / "points" / name)


class Asked:
    """What a sweep did anew."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        for name in ("train_settled", "evaluate", "judge_answers"):
            inner = getattr(stage, name)
            monkeypatch.setattr(stage, name, lambda *a, n=name, f=inner, **k: self.done.append(n) or f(*a, **k))


def test_what_is_complete_and_unchanged_is_kept(
    swept: tuple[Path, Sweep], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(swept[0], tmp_path / "copy"))
    how: dict[str, Any] = {"max_kl": 1000.0}
    # In another place all is measured anew: evaluations name their models.
    unsealed(folder)
    run(folder, **how)
    before = content(folder)
    unsealed(folder)
    asked = Asked(monkeypatch)
    run(folder, **how)
    assert asked.done == []
    assert content(folder) == before
    unsealed(folder, "beta=10/eval")
    run(folder, **how)
    assert asked.done == ["evaluate"]
    assert content(folder) == before
    asked.done.clear()
    unsealed(folder)
    run(folder, "loss.beta=0.1,10,2", **how)  # a further value
    assert asked.done == ["train_settled", "evaluate"]
    assert [point["name"] for point in content(folder)["points"]] == ["base", "beta=0.1", "beta=10", "beta=2"]
    assert content(folder)["points"][:3] != []
    asked.done.clear()
    unsealed(folder)
    write_rows(folder / "pairs.jsonl", rows_of("preference", 20))
    run(folder, **how)
    assert asked.done == ["train_settled"] * 2 + ["evaluate"] * 2
    asked.done.clear()
    unsealed(folder)
    weights = folder / "sweep" / "points" / "beta=10" / "train" / "artifacts" / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    run(folder, **how)
    assert asked.done == ["train_settled"]
    assert RunDirectory.open(folder / "sweep").verify() == []


def test_a_sweep_that_is_stopped_goes_on_with_the_same_call(tmp_path: Path) -> None:
    whole, broken = make_project(tmp_path / "whole"), make_project(tmp_path / "broken")
    run(whole)
    progress = StopsAfter(6)  # amid the second point, of four steps each
    with pytest.raises(Stopped, match=r"stopped as asked while beta=10 was trained.*The same command goes on"):
        run(broken, progress=progress)
    assert RunDirectory.open(broken / "sweep").status == "stopped"
    again = StopsAfter(-1)
    run(broken, progress=again)
    assert "resumed after step 2" in again.said
    assert "train: 1 of 2 points are kept as they are" in again.said
    assert content(broken) == content(whole)


KILLED = """
import sys
from fairlead.stages.sweep import sweep
sweep(sys.argv[1] + "/fairlead.yaml", overrides=[sys.argv[2]], suite=sys.argv[1] + "/suite.yaml",
      out=sys.argv[1] + "/sweep", precision="fp32")
"""


def test_a_sweep_that_is_killed_goes_on_with_the_same_call(tmp_path: Path) -> None:
    """SIGKILL as soon as the second point has its first checkpoint."""
    folder = make_project(tmp_path / "project", train={"save_steps": 1, "epochs": 6})
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder), BETAS], cwd=Path.cwd())
    checkpoint = folder / "sweep" / "points" / "beta=10" / "train" / "checkpoints"
    deadline = time.monotonic() + 60
    while not list(checkpoint.glob("step-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert RunDirectory.open(folder / "sweep").status == "running"
    made = RunDirectory.open(folder / "sweep" / "points" / "beta=0.1" / "train").record["id"]
    progress = StopsAfter(-1)
    found = run(folder, progress=progress)
    assert any(each.startswith("resumed after step") for each in progress.said)
    assert RunDirectory.open(found.run / "points" / "beta=0.1" / "train").record["id"] == made
    assert RunDirectory.open(found.run).verify() == []


# ------------------------------------------------------------------------------------------- what β did, on real models


def test_absurd_betas_are_told_on_both_ends(tmp_path: Path) -> None:
    """At β 1e6 the loss is settled after a few steps and the model stays; at β 1e-6 it never is, and facts are lost."""
    steady = {"epochs": 60, "learning_rate": 1e-5, "warmup_ratio": 0.0, "schedule": "constant"}
    folder = make_project(tmp_path, train=steady)
    gate = write_gate(folder, "version: 1\nnon_regression: [{measure: factual_accuracy, margin: 0.1}]\n")
    found = run(folder, "loss.beta=1e-6,1e6", constraints=gate)
    codes = {each.code: each.points for each in found.frontier.diagnoses}
    assert codes == {"beta_too_high": ("beta=1e6",), "beta_too_low": ("beta=1e-6",)}
    assert not found.frontier.points[1].eligible


# -------------------------------------------------------------------------------------------------------------- faults


def test_methods_that_take_other_rows_are_points_of_one_sweep(tmp_path: Path) -> None:
    folder = make_project(tmp_path, train={"epochs": 1})
    write_rows(folder / "thumbs.jsonl", rows_of("feedback", 24))
    write_rows(folder / "chosen.jsonl", rows_of("demonstration", 24))
    methods = {"dpo": "pairs", "simpo": "pairs", "orpo": "pairs", "kto": "thumbs", "sft": "chosen"}
    asked = ",".join(f"[{method}, {rows}.jsonl]" for method, rows in methods.items())
    found = run(folder, f"loss.name,data.train={asked}")
    assert [point.point.name for point in found.frontier.points] == ["base", *(f"name={name}" for name in methods)]
    for method, rows in methods.items():
        trained = RunDirectory.open(folder / "sweep" / "points" / f"name={method}" / "train")
        assert trained.status == "complete"
        assert any(Path(item.path).name == f"{rows}.jsonl" for item in trained.inputs)


def test_all_faults_at_once_before_anything_is_made(tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    (folder / "suite.yaml").write_text("generation: {prompts: prompts.jsonl}\nmeasures: [length/wrods]\n")
    (folder / "judge.yaml").write_text("judges: []\n")
    write_gate(folder, "version: 1\ndata: {audit: clean}\n")
    with pytest.raises(ConfigError) as caught:
        run(folder, "loss.beta=0,0.1", judge=folder / "judge.yaml", constraints=folder / "gate.yaml", max_kl=-1.0)
    told = str(caught.value)
    for words in (
        "beta=0: loss.beta",
        "length/wrods",
        "judges: must not be empty",
        "no rule over measures",
        "--max-kl",
    ):
        assert words in told, words
    assert not (folder / "sweep").exists()
    suite = {"generation": {"prompts": "prompts.jsonl"}}
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    with pytest.raises(ConfigError) as caught:
        run(folder, rubric=folder / "none.yaml")
    for words in ("suite.yaml: kl: is not measured", "ranking_accuracy is not measured", "--rubric: is for judges"):
        assert words in str(caught.value), words
    (folder / "suite.yaml").write_text(
        "held_out: {rows: held-out.jsonl}\nkl: {prompts: prompts.jsonl, reference: base}\n"
    )
    with pytest.raises(ConfigError, match="no prompts are answered, so there is nothing to judge"):
        run(folder, judge=write_judge(folder))


def test_rows_at_fault_are_told_before_anything_is_made(tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    with pytest.raises(DataError, match="trains on feedback rows"):
        run(folder, "loss.name=dpo,kto")
    write_rows(folder / "held-out.jsonl", rows_of("preference", 6, first=20))
    with pytest.raises(DataError, match=r"the prompts of \d of 6 rows stand in the training rows of beta=0.1 too"):
        run(folder)
    assert not (folder / "sweep").exists()
    assert run(folder, allow_leakage=True).failed == {}
    rows = (folder / "prompts.jsonl").read_text().splitlines()
    (folder / "prompts.jsonl").write_text("\n".join([*rows, rows[0]]) + "\n")
    with pytest.raises(DataError, match="have the same prompt"):
        run(folder, judge=write_judge(folder), allow_leakage=True, out="other")


def test_a_point_that_cannot_be_trained_is_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_project(tmp_path)
    inner = stage.train_settled

    def failing(settled: Any, **how: Any) -> Any:
        if settled.config.loss.parameters["beta"] == 10:
            raise RunError("the loss is not finite.")
        return inner(settled, **how)

    monkeypatch.setattr(stage, "train_settled", failing)
    found = run(folder)
    assert found.failed == {"beta=10": "the loss is not finite."}
    assert [point["name"] for point in content(folder)["points"]] == ["base", "beta=0.1"]
    assert RunDirectory.open(found.run).record["extra"]["failed"] == found.failed
    assert "beta=10 is left out" in Parsed((found.run / "report.html").read_text()).text
    monkeypatch.setattr(stage, "train_settled", lambda *_, **__: (_ for _ in ()).throw(RunError("never.")))
    with pytest.raises(RunError, match=r"no point could be made\. beta=0.1: never\.; beta=10: never\."):
        run(folder, out="none")


def test_a_void_judge_picks_nothing(tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    (folder / "judge.yaml").write_text("judges: [{name: rules, rules: [{prefer: longer}]}]\n")
    found = run(folder, "loss.beta=0.1", judge=folder / "judge.yaml", constraints=write_gate(folder))
    assert found.frontier.points[1].barred == ("judge/win_rate was not measured",)


def test_a_plan_checks_everything_and_makes_nothing(tmp_path: Path) -> None:
    folder = make_project(tmp_path, loss={"beta": 0.1})
    planned = plan_sweep(folder / "fairlead.yaml", overrides=[BETAS], suite=folder / "suite.yaml")
    assert [(point.name, point.changes) for point in planned] == [
        ("beta=0.1", {}),
        ("beta=10", {"loss.beta": (0.1, 10)}),
    ]
    assert not (folder / "sweep").exists()
    with pytest.raises(DataError):
        plan_sweep(folder / "fairlead.yaml", overrides=["loss.name=dpo,kto"], suite=folder / "suite.yaml")
