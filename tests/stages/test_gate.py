"""The gate over run directories: what it reads, what it refuses, and what its decision is bound to."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import fairlead
from fairlead.errors import ConfigError, RunError
from fairlead.evaluation.comparison import compare
from fairlead.evaluation.results import read_item_list, write_measures
from fairlead.identity import digest_file
from fairlead.runs.artifact import find_artifact
from fairlead.runs.directory import Input, RunDirectory
from fairlead.stages.gate import GateResult, decide_again
from tests.cli.calling import call
from tests.reports import fake_release
from tests.stages import shipping


def gated(given: dict[str, Path], out: Path, **others: Any) -> GateResult:
    return fairlead.gate(**{**given, **others, "out": out})  # type: ignore[no-any-return]


def reasons(result: GateResult) -> dict[str, str]:
    return {each.rule.split()[0]: each.reason for each in result.decision.outcomes if not each.passed}


def test_a_good_adapter_passes(tmp_path: Path) -> None:
    given = shipping.all_of(tmp_path)
    result = gated(given, tmp_path / "gate")
    assert result.passed, reasons(result)
    run = RunDirectory.open(tmp_path / "gate")
    assert (run.stage, run.is_complete(), run.verify()) == ("gate", True, [])
    decision = json.loads((run.path / "decision.json").read_text())
    assert decision["passed"] is True
    assert decision["artifact"]["digest"] == find_artifact(given["run"]).digest
    assert decision["run"]["manifest"] == digest_file(given["run"] / "manifest.json")
    bound = {(each["role"], each["file"]): each for each in decision["evidence"]}
    assert sorted(bound) == [
        ("audit", "findings.json"),
        ("audit", "manifest.json"),
        ("baseline", "items.jsonl"),
        ("baseline", "manifest.json"),
        ("baseline", "measures.json"),
        ("eval", "items.jsonl"),
        ("eval", "manifest.json"),
        ("eval", "measures.json"),
    ]
    for each in bound.values():
        assert digest_file(run.path / each["run"] / each["file"]) == each["sha256"]
    assert digest_file(given["policy"]) == decision["policy"]["sha256"]


def test_a_planted_failing_adapter_is_refused_with_reasons(tmp_path: Path) -> None:
    """What β 0.1 does: the ranking is better than ever, the disclaimers are dropped and facts are lost."""
    given = shipping.all_of(tmp_path, accuracy=97, disclaimers=27, facts=45)
    result = gated(given, tmp_path / "gate")
    assert not result.passed
    found = reasons(result)
    assert found.keys() == {"required_phrase/dispute", "factual_accuracy"}
    assert found["required_phrase/dispute"] == "below the minimum"
    assert found["factual_accuracy"] == "a loss of 0.214 (15 lost, 0 gained), beyond the margin and beyond chance"
    outcome = result.decision.outcomes[2]
    assert outcome.p == pytest.approx(2**-15)


def test_missing_evidence_fails(tmp_path: Path) -> None:
    given = shipping.all_of(tmp_path)
    del given["audit"], given["baseline"]
    found = reasons(gated(given, tmp_path / "gate"))
    assert found == {
        "factual_accuracy": "evidence is missing: give --baseline",
        "the": "evidence is missing: give --audit",
        "no": "evidence is missing: give --audit",
    }


def test_evidence_of_another_model_fails(tmp_path: Path) -> None:
    given = shipping.all_of(tmp_path)
    other = shipping.train(tmp_path / "other", shipping.rows(tmp_path), b"others")
    result = gated({**given, "run": other.path}, tmp_path / "gate")
    found = reasons(result)
    assert found.keys() == {"ranking_accuracy", "required_phrase/dispute", "factual_accuracy"}
    assert "it is of another model" in found["ranking_accuracy"]


def test_evidence_that_is_older_than_the_model_fails(tmp_path: Path) -> None:
    """The run was removed and trained again under its old name."""
    given = shipping.all_of(tmp_path)
    given["run"].rename(tmp_path / "old")
    shipping.train(given["run"], tmp_path / "pairs.jsonl", b"new")
    assert "an earlier model in the same place" in reasons(gated(given, tmp_path / "gate"))["ranking_accuracy"]


@pytest.mark.parametrize(
    ("role", "name"), [("eval", "measures.json"), ("eval", "items.jsonl"), ("audit", "findings.json")]
)
def test_evidence_that_was_changed_fails(tmp_path: Path, role: str, name: str) -> None:
    given = shipping.all_of(tmp_path)
    file = given[role] / name
    file.write_bytes(file.read_bytes().replace(b": 0.", b": 1.", 1))
    result = gated(given, tmp_path / "gate")
    assert not result.passed
    assert any(f"{name} was changed" in reason for reason in reasons(result).values())


def test_answers_that_were_changed_fail(tmp_path: Path) -> None:
    """No rule reads them, and the page shows them: the manifest stands for them."""
    given = fake_release.all_of(tmp_path)
    (answers,) = (given["eval"] / "artifacts").glob("answers-prompts-*.jsonl")
    answers.write_bytes(answers.read_bytes().replace(b"case", b"cake"))
    result = gated(given, tmp_path / "gate")
    assert "answers-prompts-0123456789abcdef.jsonl was changed" in reasons(result)["ranking_accuracy"]
    decision = json.loads((result.run / "decision.json").read_text())
    assert decision["refused"].keys() == {"eval"}
    assert not (result.run / "comparison.json").exists()


def test_evaluations_are_compared_as_eval_does(tmp_path: Path) -> None:
    given = fake_release.all_of(tmp_path, facts=45)
    result = gated(given, tmp_path / "gate")
    content = json.loads((result.run / "comparison.json").read_text())
    expected = compare(read_item_list(given["baseline"]), read_item_list(given["eval"]))
    assert content["comparisons"][0]["measures"] == [asdict(each) for each in expected]
    facts = next(each for each in expected if each.name == "factual_accuracy")
    outcome = next(each for each in result.decision.outcomes if each.measure == "factual_accuracy")
    assert (outcome.p, outcome.n) == (facts.p_value, facts.n)


def test_items_that_share_a_prompt_are_drawn_together(tmp_path: Path) -> None:
    """As the files of a run say: each question stands twice in the suite."""
    given = shipping.all_of(tmp_path, facts=45)
    for role, facts in (("eval", 45), ("baseline", 60)):
        file = given[role] / "items.jsonl"
        items = [
            {"measure": "factual_accuracy", "id": str(i), "value": float(i < facts), "group": f"q{i // 2}"}
            for i in range(70)
        ]
        (given[role] / "manifest.json").unlink()
        file.write_text("".join(json.dumps(item) + "\n" for item in items))
        RunDirectory.open(given[role]).seal()
    found = reasons(gated(given, tmp_path / "gate"))
    assert "over 35 prompts, since items share them), beyond the margin and beyond chance" in found["factual_accuracy"]


def test_a_sweep_is_bound_and_must_be_whole(tmp_path: Path) -> None:
    given = shipping.all_of(tmp_path)
    swept = fake_release.sweep(tmp_path / "sweep", given["run"]).path
    result = gated(given, tmp_path / "gate", sweep=swept)
    assert result.passed
    bound = json.loads((result.run / "decision.json").read_text())["evidence"]
    assert ("sweep", digest_file(swept / "frontier.json")) in [(each["role"], each["sha256"]) for each in bound]
    assert decide_again(RunDirectory.open(result.run), find_artifact(given["run"])) == result.decision
    with pytest.raises(RunError, match=r"holds no frontier\.json"):
        gated(given, tmp_path / "g2", sweep=given["audit"])
    frontier = swept / "frontier.json"
    frontier.write_bytes(frontier.read_bytes().replace(b"beta 0.3", b"beta 0.4"))
    with pytest.raises(RunError, match=r"frontier\.json was changed.*leave --sweep out"):
        gated(given, tmp_path / "g2", sweep=swept)
    assert not (tmp_path / "g2").exists()


def test_void_and_leaking_evidence_fails(tmp_path: Path) -> None:
    given = shipping.all_of(tmp_path)
    void = shipping.evaluate(tmp_path / "void", given["run"], extra={"void": ["the null answer won"]})
    assert "is void: the null answer won" in reasons(gated(given, tmp_path / "g1", eval=void.path))["ranking_accuracy"]
    leak = shipping.evaluate(tmp_path / "leak", given["run"], extra={"leaks": [{"rows": ["a"]}]})
    assert "was trained on" in reasons(gated(given, tmp_path / "g2", eval=leak.path))["ranking_accuracy"]


def test_a_judges_run_names_its_model_as_answers_do(tmp_path: Path) -> None:
    """`base + adapter`, as candidates say where an adapter was put on a model."""
    given = shipping.all_of(tmp_path)
    given["policy"] = shipping.policy(tmp_path, "version: 1\nmeasures: [{measure: judge/win_rate, minimum: 0.5}]\n")
    adapter = given["run"] / "artifacts" / "adapter"
    for number, (model, passed) in enumerate(((f"my-model + {adapter}", True), ("my-model + other", False))):
        run = RunDirectory.create(tmp_path / f"judge{number}", stage="judge", config={}, seed=0)
        measures = [shipping.share("judge/win_rate", 130, 200)]
        write_measures(run, measures, model=model, adapter=None, suite={"path": "answers.jsonl", "sha256": "0" * 64})
        run.seal()
        assert gated(given, tmp_path / f"gate{number}", judge=run.path).passed is passed


def test_a_judge_of_the_answers_that_were_evaluated_counts(tmp_path: Path) -> None:
    """Evaluations call models by short names; the answers themselves say whose they are. Sides swapped do not count."""
    given = fake_release.all_of(tmp_path)
    for number, (role, passed) in enumerate((("eval", True), ("baseline", False))):
        (answers,) = (given[role] / "artifacts").glob("answers-prompts-*.jsonl")
        judged = fake_release.judge(tmp_path / f"judge{number}", Path("tuned"), answers)
        found = reasons(gated(given, tmp_path / f"gate{number}", judge=judged.path))
        assert ("judge/win_rate" in found) is not passed


def test_an_audit_of_other_rows_fails(tmp_path: Path) -> None:
    given = shipping.all_of(tmp_path)
    other = tmp_path / "other.jsonl"
    other.write_text("{}\n")
    audit = shipping.audit(tmp_path / "audit-other", other)
    found = reasons(gated(given, tmp_path / "gate", audit=audit.path))
    assert found.keys() == {"the", "no"}
    assert "did not see" in found["no"]
    assert "pairs.jsonl" in found["no"]


def test_a_leak_fails(tmp_path: Path) -> None:
    given = shipping.all_of(tmp_path)
    leaking = shipping.audit(tmp_path / "leaking", tmp_path / "pairs.jsonl", leaks=0.02)
    found = reasons(gated(given, tmp_path / "gate", audit=leaking.path))
    assert found == {"the": "eval_prompts_in_train (error)", "no": "eval_prompts_in_train"}


def test_a_folder_that_another_trainer_saved(tmp_path: Path) -> None:
    """It has no manifest: evidence must record its digest, and nothing says what it was trained on."""
    given = shipping.all_of(tmp_path)
    folder = shipping.save_adapter(tmp_path / "theirs")
    digest = find_artifact(folder).digest
    known = shipping.evaluate(tmp_path / "known", folder, inputs=[Input(path=str(folder), sha256=digest)])
    found = reasons(gated({**given, "run": folder}, tmp_path / "g1", eval=known.path))
    assert found.keys() == {"the", "no"}
    assert "nothing records which rows" in found["no"]
    unknown = shipping.evaluate(tmp_path / "unknown", folder)
    found = reasons(gated({**given, "run": folder}, tmp_path / "g2", eval=unknown.path))
    assert "does not record the digest" in found["ranking_accuracy"]


def test_what_is_at_fault_is_refused(tmp_path: Path) -> None:
    given = shipping.all_of(tmp_path)
    with pytest.raises(RunError, match="no such folder"):
        gated(given, tmp_path / "gate", run=tmp_path / "none")
    with pytest.raises(RunError, match="has made no model and no adapter"):
        gated(given, tmp_path / "gate", run=given["eval"])
    with pytest.raises(RunError, match=r"measures\.json: there is no such file"):
        gated(given, tmp_path / "gate", eval=given["audit"])
    with pytest.raises(RunError, match=r"holds no findings\.json"):
        gated(given, tmp_path / "gate", audit=given["eval"])
    with pytest.raises(ConfigError):
        gated(given, tmp_path / "gate", policy=tmp_path / "none.yaml")
    weights = given["run"] / "artifacts" / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(b"changed")
    with pytest.raises(RunError, match=r"adapter_model\.safetensors was changed"):
        gated(given, tmp_path / "gate")
    assert not (tmp_path / "gate").exists()


# --------------------------------------------------------------------------------------------------------- command line


def arguments(given: dict[str, Path]) -> list[object]:
    named = [[f"--{name}", path] for name, path in given.items() if name != "run"]
    return ["gate", given["run"], *(word for pair in named for word in pair)]


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = shipping.all_of(tmp_path / "good"), shipping.all_of(tmp_path / "bad", disclaimers=27)
    assert call(*arguments(good), "--out", tmp_path / "g1") == 0
    shown = capsys.readouterr().out
    assert "pass  ranking_accuracy ≥ 0.6\n      0.9 (0.826 to 0.945), n = 100, n suffices: shows a difference" in shown
    assert f"PASSED: 5 rules passed, 0 failed. {tmp_path / 'g1'}" in shown
    assert f"The page of the release is {tmp_path / 'g1' / 'report.html'}." in shown
    assert call(*arguments(bad), "--out", tmp_path / "g2") == 1
    shown = capsys.readouterr().out
    assert "FAIL  required_phrase/dispute ≥ 0.9\n      0.45 (" in shown
    assert "→ below the minimum" in shown
    assert call(*arguments(bad), "--out", tmp_path / "g3", "--json") == 1
    result = json.loads(capsys.readouterr().out)
    assert result["passed"] is False
    assert [rule["passed"] for rule in result["rules"]] == [True, False, True, True, True]
    assert call(*arguments({**bad, "policy": tmp_path / "none.yaml"})) == 2


def test_the_starter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("gate", "--starter", tmp_path / "gate.yaml") == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "gate.yaml")
    assert (tmp_path / "gate.yaml").is_file()
