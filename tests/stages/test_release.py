"""From training to the page of a release, through the real verbs: a tiny model, its base, a judge, an audit, a gate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

import fairlead
from fairlead.data.records import Candidates, Message, Preference
from fairlead.errors import RunError
from fairlead.identity import digest_file
from fairlead.reports.page import Exchanges, Prose
from fairlead.reports.release_data import read_release
from fairlead.reports.release_report import release_page
from fairlead.runs.artifact import find_artifact
from fairlead.runs.directory import RunDirectory
from fairlead.stages import registry
from fairlead.stages.evaluate import evaluate
from fairlead.stages.gate import gate
from fairlead.stages.judge import judge
from fairlead.stages.report import report
from tests.reports.markup import Parsed
from tests.tiny import save_tiny

QUESTIONS = ("where is my order?", "was the parcel sent?", "how can we help?", "when does it arrive?")
POLICY = {
    "version": 1,
    "measures": [
        {"measure": "ranking_accuracy", "minimum": 0.0},
        {"measure": "judge/win_rate", "minimum": 0.0},
    ],
    "required_phrases": [{"name": "order", "minimum": 0.99}],
    "non_regression": [{"measure": "factual_accuracy", "margin": 0.9}],
    "data": {"leakage": "none"},
}


def turn(text: str, role: str = "user") -> tuple[Message, ...]:
    return (Message(role=role, content=text),)


def pairs(count: int, start: int = 0) -> list[Preference]:
    return [
        Preference(
            id=f"pair-{n}",
            prompt=turn(f"{QUESTIONS[n % 4]} no. {n}"),
            chosen=turn("the order arrives on Monday. thank you.", "assistant"),
            rejected=turn("no. please tell us the number.", "assistant"),
        )
        for n in range(start, start + count)
    ]


def write_suite(folder: Path, base: str) -> Path:
    fairlead.write(pairs(8, 100), folder / "held-out.jsonl")
    asked = [Candidates(id=f"ask-{n}", prompt=turn(f"{QUESTIONS[n % 4]} it is no. {n}")) for n in range(8)]
    fairlead.write(asked, folder / "prompts.jsonl")
    facts = [{"id": f"fact-{n}", "question": f"what is 2 + {n}?", "answer": str(2 + n)} for n in range(30)]
    (folder / "facts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in facts))
    (folder / "required.yaml").write_text("- {name: order, phrases: [order], when: {prompt: order}}\n")
    suite: dict[str, Any] = {
        "held_out": {"rows": "held-out.jsonl", "reference": base},
        "generation": {"prompts": "prompts.jsonl", "required": "required.yaml", "max_new_tokens": 12},
        "factual": {"questions": "facts.jsonl", "max_new_tokens": 3},
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    return folder / "suite.yaml"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Every run on the way, by the name that a gate is given it under."""
    folder = tmp_path_factory.mktemp("chain")
    base = save_tiny(folder / "base")
    fairlead.write(pairs(12), folder / "pairs.jsonl")
    config = {
        "model": {"path": str(base)},
        "data": {"train": [str(folder / "pairs.jsonl")], "eval_fraction": 0.0, "max_length": 128},
        "loss": {"name": "dpo", "beta": 0.1},
        "adapter": {"r": 4},
        "train": {
            "output": str(folder / "runs"),
            "run": "dpo",
            "epochs": 3,
            "learning_rate": 0.01,
            "batch_size": 4,
            "precision": "fp32",
            "reference_cache": str(folder / "cache"),
        },
    }
    run = fairlead.train(config).run
    suite = write_suite(folder, str(base))
    runs = folder / "runs"
    evaluate([str(run)], suite, out=runs / "eval", baseline=str(base), precision="fp32")
    (ours,) = (runs / "eval" / "artifacts").glob("answers-prompts-*.jsonl")
    (baseline,) = [path for path in (runs / "eval" / "compared").iterdir() if path.name.startswith("1-")]
    (theirs,) = (baseline / "artifacts").glob("answers-prompts-*.jsonl")
    rules = [{"lacks": "Thank you"}, {"lacks": "Note to"}, {"prefer": "longer"}]
    (folder / "judge.yaml").write_text(yaml.safe_dump({"judges": [{"name": "rules", "rules": rules}], "canaries": 2}))
    judge(ours, against=theirs, judge=folder / "judge.yaml", out=runs / "judge")
    fairlead.audit(folder / "pairs.jsonl", eval=folder / "held-out.jsonl", out=runs / "audit")
    (folder / "gate.yaml").write_text(yaml.safe_dump(POLICY))
    given = {
        "run": run,
        "policy": folder / "gate.yaml",
        "eval": runs / "eval",
        "baseline": baseline,
        "judge": runs / "judge",
        "audit": runs / "audit",
    }
    gate(**given, out=runs / "gate")  # type: ignore[arg-type]
    return given | {"gate": runs / "gate", "base": base, "suite": suite}


def test_the_gate_refuses_with_its_reason(chain: Mapping[str, Path]) -> None:
    decision = json.loads((chain["gate"] / "decision.json").read_text())
    assert decision["refused"] == {}
    failed = [rule["rule"] for rule in decision["rules"] if not rule["passed"]]
    assert failed == ["required_phrase/order ≥ 0.99"], decision["rules"]


def test_the_page_is_made_of_the_real_runs(chain: Mapping[str, Path]) -> None:
    release = read_release(chain["gate"])
    assert release.unused == {}
    assert set(release.given) == {"eval", "baseline", "judge", "audit"}
    page = release_page(release)
    assert page.status == "may not ship"
    titles = [each.title for each in page.sections]
    assert titles == [
        *("Rules", "Before and after", "How it answers", "Side by side", "Judge"),
        *("Data audit", "Training", "Lineage", "Hashes"),
    ]
    parsed = Parsed((chain["gate"] / "report.html").read_text())
    assert not parsed.faults
    for words in ("before: base", "after: dpo", "ranking_accuracy", "judge/win_rate", "method", "dpo"):
        assert words in parsed.text, words
    replies = [
        reply
        for block in page.sections[3].blocks
        if isinstance(block, Exchanges)
        for exchange in block.exchanges
        for reply in exchange.replies
    ]
    assert replies
    assert all("".join(piece.text for piece in reply.pieces) == reply.text for reply in replies)


def test_figures_of_the_page_are_those_of_eval(chain: Mapping[str, Path]) -> None:
    """One implementation: what the gate compares is what `fairlead eval` compared."""
    ours = json.loads((chain["gate"] / "comparison.json").read_text())["comparisons"][0]["measures"]
    theirs = json.loads((chain["eval"] / "comparison.json").read_text())["comparisons"][0]["measures"]
    assert ours == theirs


def test_the_page_can_be_written_again_and_the_run_stays_whole(chain: Mapping[str, Path], tmp_path: Path) -> None:
    before = (chain["gate"] / "report.html").read_bytes()
    assert report([chain["gate"]], to=tmp_path / "page.html").read_bytes() == before
    assert RunDirectory.open(chain["gate"]).verify() == []


def test_the_registry_takes_it_and_refuses_to_promote_it(chain: Mapping[str, Path], tmp_path: Path) -> None:
    registry.add(tmp_path / "registry", "first", chain["run"], gate=chain["gate"])
    with pytest.raises(RunError, match="required_phrase/order"):
        registry.promote(tmp_path / "registry", "first", to="production")
    statement = registry.show(tmp_path / "registry", "first").statement
    kept = {each["name"]: each["digest"]["sha256"] for each in statement["predicate"]["runDetails"]["byproducts"]}
    assert kept["judge-measures.json"] == digest_file(chain["judge"] / "measures.json")


def test_an_adapter_that_peft_saved(chain: Mapping[str, Path], tmp_path: Path) -> None:
    """No run of Fairlead made it: the evaluation records its digest, and its page has no training and no audit."""
    torch.manual_seed(0)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(chain["base"]), LoraConfig(r=2, init_lora_weights=False)
    )
    model.save_pretrained(tmp_path / "theirs")
    suite = write_suite(tmp_path, str(chain["base"]))
    evaluate(str(tmp_path / "theirs"), suite, out=tmp_path / "eval", baseline=str(chain["base"]), precision="fp32")
    policy = tmp_path / "gate.yaml"
    policy.write_text("version: 1\nmeasures: [{measure: ranking_accuracy, minimum: 0}]\ndata: {audit: no_errors}\n")
    given = {"policy": policy, "eval": tmp_path / "eval", "out": tmp_path / "gate"}
    result = gate(tmp_path / "theirs", **given, audit=chain["audit"])
    assert [each.passed for each in result.decision.outcomes] == [True, False]
    assert "nothing records which rows" in result.decision.outcomes[1].reason
    page = release_page(read_release(result.run))
    assert page.title == "theirs"
    assert not {"Training", "Data audit"} & {each.title for each in page.sections}
    said = [each.text for each in page.header if isinstance(each, Prose)]
    assert any("The evidence of --audit is not shown: nothing records which rows" in each for each in said)
    registry.add(tmp_path / "registry", "theirs", tmp_path / "theirs", gate=result.run)
    statement = registry.show(tmp_path / "registry", "theirs").statement
    base = statement["predicate"]["buildDefinition"]["resolvedDependencies"][0]
    assert base["digest"] == {"weightsSha256": base_digest(tmp_path / "eval")}
    assert find_artifact(tmp_path / "theirs").digest == result.artifact


def base_digest(run: Path) -> str:
    """The digest of the base weights, as the evaluation told it."""
    return str(RunDirectory.open(run).record["extra"]["model"]["sha256"])
