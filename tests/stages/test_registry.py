"""Models in a registry: what is kept of them, what is refused, and what tampering leaves unfound: nothing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from fairlead.errors import RunError
from fairlead.identity import digest_file
from fairlead.runs.artifact import find_artifact
from fairlead.runs.directory import Input, RunDirectory
from fairlead.runs.registry import LOG
from fairlead.stages import registry
from fairlead.stages.gate import gate
from tests.cli.calling import call
from tests.stages import shipping


def gated(folder: Path, weights: bytes = b"weights", **measured: int) -> tuple[Path, Path]:
    """A training run and its gate's run."""
    given = shipping.all_of(folder, weights, **measured)
    gate(**given, out=folder / "gate")  # type: ignore[arg-type]
    return given["run"], folder / "gate"


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A registry with two models that passed, the second one in production."""
    home = tmp_path / "registry"
    for name in ("one", "two"):
        run, decision = gated(tmp_path / name, name.encode())
        registry.add(home, name, run, gate=decision)
        registry.promote(home, name, to="production")
    return home


def test_the_statement(shipped: Path, tmp_path: Path) -> None:
    found = registry.show(shipped, "two")
    statement = found.statement
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    subject = {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}
    folder = tmp_path / "two" / "train" / "artifacts" / "adapter"
    assert subject == {path.name: digest_file(path) for path in folder.iterdir()}
    build = statement["predicate"]["buildDefinition"]
    assert build["externalParameters"]["seed"] == 7
    assert build["externalParameters"]["config"]["loss"] == {"name": "dpo", "beta": 0.3}
    named = {each["name"]: each for each in build["resolvedDependencies"]}
    assert named["base"]["digest"] == {"weightsSha256": "b" * 64}
    assert named["base"]["uri"] == "pkg:huggingface/org/base"
    assert named["data"]["uri"] == "file:pairs.jsonl"
    assert named["data"]["annotations"] == {"rows": 1, "name": "sets", "ordered": "0" * 64, "set": "5" * 64}
    assert named["tokenizer"]["digest"]["sha256"] == subject["tokenizer.json"]
    assert named["chat_template"]["digest"]["sha256"] == subject["chat_template.jinja"]
    assert "packages" in named["code"]["annotations"]
    details = statement["predicate"]["runDetails"]
    for key in ("startedOn", "finishedOn"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", details["metadata"][key])
    assert all(isinstance(version, str) for version in details["builder"]["version"].values())
    kept = {each["name"] for each in details["byproducts"]}
    assert {"decision.json", "policy.yaml", "eval-measures.json", "eval-items.jsonl", "audit-findings.json"} <= kept
    assert {"train-manifest.json", "eval-manifest.json", "baseline-manifest.json", "audit-manifest.json"} <= kept
    assert {path.name: digest_file(path) for path in found.artifact.iterdir()} == subject


def test_the_card(shipped: Path) -> None:
    card = registry.show(shipped, "two").card.read_text()
    assert card.startswith("# two\n\nAdapter, digest `")
    for words in (
        "It passed its gate (5 rules).",
        f"| base | org/base | `{'b' * 64}` |",
        f"(1 rows, data set sets, set hash {'5' * 64})",
        "| loss.beta | 0.3 |",
        "| train.learning_rate | 0.0001 |",
        "| ranking_accuracy ≥ 0.6 | pass | 0.9 (0.826 to 0.945) | 100 |  |  | keeps to the bound |",
    ):
        assert words in card, words


def test_channels(shipped: Path) -> None:
    assert registry.show(shipped, "production").entry.name == "two"
    assert registry.rollback(shipped, "production").name == "one"
    found = registry.show(shipped, "production")
    assert (found.entry.name, found.channels) == ("one", ("production",))
    with pytest.raises(RunError, match="no model before the one in it"):
        registry.rollback(shipped, "production")
    with pytest.raises(RunError, match="nothing was ever promoted"):
        registry.rollback(shipped, "test")
    registry.promote(shipped, "two", to="production")
    with pytest.raises(RunError, match="is in production already"):
        registry.promote(shipped, "two", to="production")
    assert registry.verify(shipped).faults == ()
    assert len((shipped / LOG).read_text().splitlines()) == 6


def test_promotion_needs_a_passed_gate(tmp_path: Path) -> None:
    home = tmp_path / "registry"
    run, failed = gated(tmp_path / "bad", disclaimers=27)
    registry.add(home, "bad", run)
    with pytest.raises(RunError, match=r"has no gate decision .* add it again with --gate"):
        registry.promote(home, "bad", to="production")
    registry.add(home, "bad", run, gate=failed)
    with pytest.raises(RunError, match=r"did not pass its gate and is refused: required_phrase/dispute ≥ 0\.9"):
        registry.promote(home, "bad", to="production")
    assert registry.list_models(home).channels == {}
    _, good = gated(tmp_path / "good", b"another")
    with pytest.raises(RunError, match="about another artifact"):
        registry.add(home, "sly", run, gate=good)


def test_a_name_stands_for_one_artifact(tmp_path: Path) -> None:
    home = tmp_path / "registry"
    run, decision = gated(tmp_path / "one")
    other, _ = gated(tmp_path / "two", b"another")
    registry.add(home, "one", run, gate=decision)
    with pytest.raises(RunError, match="is registered already, with the same statement"):
        registry.add(home, "one", run, gate=decision)
    with pytest.raises(RunError, match="the name of another model"):
        registry.add(home, "one", other)
    registry.add(home, "alias", run, gate=decision)
    assert registry.verify(home).faults == ()
    for name in ("../up", "", ".hidden", "a/b"):
        with pytest.raises(RunError, match="cannot be a name"):
            registry.add(home, name, run)
    with pytest.raises(RunError, match=r"nothing is registered as three\. Registered are: alias, one\."):
        registry.promote(home, "three", to="production")


def test_every_file_is_watched(shipped: Path) -> None:
    """One byte more in any file that the registry holds is found and named, and stops promotion and rollback."""
    entry = registry.show(shipped, "one").entry
    own = [shipped / entry.place, shipped / "statements" / entry.statement]
    files = [path for folder in own for path in sorted(folder.rglob("*")) if path.is_file()]
    assert len(files) >= 4 + 2 + 8
    for path in files:
        before = path.read_bytes()
        path.write_bytes(before + b" ")
        faults = registry.verify(shipped).faults
        assert faults
        assert str(path) in faults[0]
        for step in (
            lambda: registry.promote(shipped, "one", to="test"),
            lambda: registry.rollback(shipped, "production"),
        ):
            with pytest.raises(RunError, match=r"tampered with and is refused"):
                step()
        path.unlink()
        assert any(str(path) in fault and "missing" in fault for fault in registry.verify(shipped).faults)
        path.write_bytes(before)
    (shipped / entry.place / "added.py").write_text("")
    assert "was added afterwards" in registry.verify(shipped).faults[0]
    (shipped / entry.place / "added.py").unlink()
    assert registry.verify(shipped).faults == ()


def test_a_log_that_was_cut_is_found_by_its_head(shipped: Path) -> None:
    head = registry.verify(shipped).head
    assert registry.verify(shipped, head=head).faults == ()
    lines = (shipped / LOG).read_bytes().splitlines(keepends=True)
    (shipped / LOG).write_bytes(b"".join(lines[:-1]))
    assert registry.verify(shipped).faults == ()
    assert "it was cut, or written anew" in registry.verify(shipped, head=head).faults[0]
    (shipped / LOG).write_bytes(b"".join([lines[0].replace(b"one", b"two"), *lines[1:]]))
    assert "log.jsonl:1: " in registry.verify(shipped).faults[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train/artifacts/adapter/adapter_model.safetensors", "was changed"),
        ("train/manifest.json", "missing"),
        ("gate/decision.json", "decision.json"),
        ("eval/measures.json", "was changed since the gate read it"),
        ("eval/items.jsonl", "was changed since the gate read it"),
        ("audit/findings.json", "was changed since the gate read it"),
    ],
)
def test_what_was_changed_is_not_added(tmp_path: Path, name: str, words: str) -> None:
    run, decision = gated(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes().replace(b"e", b"E", 1))
    if name.endswith("manifest.json"):
        (tmp_path / name).unlink()
    with pytest.raises(RunError, match=words):
        registry.add(tmp_path / "registry", "one", run, gate=decision)
    assert not (tmp_path / "registry" / LOG).exists()


def test_a_decision_that_was_forged_is_not_added(tmp_path: Path) -> None:
    """Rewritten and sealed anew: every hash is right, and the evidence says otherwise."""
    run, decided = gated(tmp_path, disclaimers=27)
    (decided / "manifest.json").unlink()
    forged = json.loads((decided / "decision.json").read_text())
    forged["passed"] = True
    forged["rules"] = [{**rule, "passed": True} for rule in forged["rules"]]
    (decided / "decision.json").write_text(json.dumps(forged))
    RunDirectory.open(decided).seal()
    with pytest.raises(RunError, match="does not follow from its evidence"):
        registry.add(tmp_path / "registry", "one", run, gate=decided)


def test_a_model_is_referenced_where_it_lies(tmp_path: Path) -> None:
    home = tmp_path / "registry"
    run, decision = gated(tmp_path / "one")
    registry.add(home, "one", run, gate=decision, reference=True)
    registry.promote(home, "one", to="production")
    found = registry.show(home, "one")
    assert found.artifact == run / "artifacts" / "adapter"
    assert not (home / "artifacts").exists()
    (found.artifact / "adapter_model.safetensors").write_bytes(b"changed")
    assert "adapter_model.safetensors: was changed" in registry.verify(home).faults[0]


def test_a_folder_that_another_trainer_saved(tmp_path: Path) -> None:
    folder = shipping.save_adapter(tmp_path / "theirs")
    registry.add(tmp_path / "registry", "theirs", folder)
    found = registry.show(tmp_path / "registry", "theirs")
    assert found.entry.artifact == find_artifact(folder).digest
    assert "Not known: another trainer made it." in found.card.read_text()
    details = found.statement["predicate"]["runDetails"]
    assert details["metadata"] == {"invocationId": ""}
    base = found.statement["predicate"]["buildDefinition"]["resolvedDependencies"][0]
    assert base == {"name": "base", "uri": "pkg:huggingface/base", "digest": {}}
    assert "| base | base | not known |" in found.card.read_text()


def test_the_base_of_such_a_folder_is_known_by_its_evaluation(tmp_path: Path) -> None:
    folder = shipping.save_adapter(tmp_path / "theirs")
    digest = find_artifact(folder).digest
    known = {"model": {"weights": "base", "sha256": "b" * 64, "adapter_sha256": "a" * 64}}
    inputs = [Input(path=str(folder), sha256=digest)]
    evaluated = shipping.evaluate(tmp_path / "eval", folder, inputs=inputs, extra=known)
    policy = shipping.policy(tmp_path, "version: 1\nmeasures: [{measure: ranking_accuracy, minimum: 0.6}]\n")
    assert gate(folder, policy=policy, eval=evaluated.path, out=tmp_path / "gate").passed
    registry.add(tmp_path / "registry", "theirs", folder, gate=tmp_path / "gate")
    registry.promote(tmp_path / "registry", "theirs", to="production")
    found = registry.show(tmp_path / "registry", "production")
    base = found.statement["predicate"]["buildDefinition"]["resolvedDependencies"][0]
    assert base["digest"] == {"weightsSha256": "b" * 64}


def test_an_add_that_was_killed_is_made_again(tmp_path: Path) -> None:
    """The copies were there already, and a half of another: the log did not say so yet."""
    home = tmp_path / "registry"
    run, decision = gated(tmp_path / "one")
    registry.add(home, "one", run, gate=decision)
    (home / LOG).unlink()
    shutil.copytree(home / "artifacts", home / "artifacts" / ".x.1.part")
    registry.add(home, "one", run, gate=decision)
    assert registry.verify(home).faults == ()


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ("--registry", tmp_path / "registry")
    run, decision = gated(tmp_path / "one")
    assert call("registry", "promote", "one", "--to", "production", *home) == 2
    assert call("registry", "add", "one", run, "--gate", decision, *home) == 0
    assert call("registry", "promote", "one", "--to", "production", *home) == 0
    assert "is in production. head " in capsys.readouterr().out
    assert call("registry", "list", *home) == 0
    assert capsys.readouterr().out.rstrip().endswith("in production")
    assert call("registry", "show", "production", *home) == 0
    assert "gate      passed" in capsys.readouterr().out
    assert call("registry", "show", "one", "--json", *home) == 0
    assert json.loads(capsys.readouterr().out)["decision"]["passed"] is True
    assert call("registry", "verify", *home) == 0
    assert "2 entries: as written." in capsys.readouterr().out
    assert call("registry", "rollback", "production", *home) == 2
    log = tmp_path / "registry" / LOG
    log.write_bytes(log.read_bytes().replace(b"production", b"prodaction"))
    assert call("registry", "verify", *home) == 1
    assert "FAULT" in capsys.readouterr().out
