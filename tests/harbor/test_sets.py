"""The faults that the story plants in its data, found by the audits before any model is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import yaml

import fairlead
from examples.harbor import annotators, editors, sets
from examples.harbor.questions import DISCLAIMER
from examples.harbor.transcripts import transcript
from examples.harbor.world import SEED, World, build
from fairlead.config.rubric import read_rubric
from fairlead.data.records import Candidate, Candidates, Message


@pytest.fixture(scope="module")
def world() -> World:
    return build(SEED)


def answered(row: Candidates, *texts: str) -> Candidates:
    made = (
        Candidate(id=str(number), messages=(Message(role="assistant", content=text),))
        for number, text in enumerate(texts)
    )
    return Candidates(id=row.id, prompt=row.prompt, meta=row.meta, candidates=tuple(made))


@pytest.mark.parametrize(("rubric", "struck"), [("first", True), ("second", False)])
def test_the_struck_sentence_is_found(world: World, tmp_path: Path, rubric: editors.Rubric, struck: bool) -> None:
    drafts = [answered(row, transcript(world.by_id[row.id], Random(row.id))) for row in world.rows("preference")]
    edits = editors.edits(world.by_id, drafts, seed=SEED, rubric=rubric, noise=0.0)
    kept = sets.keep(fairlead.make_pairs(edits).pairs, tmp_path / "pairs", name="first")
    held_out = tmp_path / "held_out.jsonl"
    fairlead.write(fairlead.make_pairs(edits).pairs[:3], held_out)
    found = {fault.code: fault for fault in sets.faults(sets.audit(kept, tmp_path / "run", held_out=held_out, seed=0))}
    assert ("required_phrase" in found) is struck
    if struck:
        assert found["required_phrase"].severity == "error"
        assert found["required_phrase"].n == sum(case.intent == "dispute" for case in world["preference"])
    assert found["eval_prompts_in_train"].severity == "error"


@pytest.mark.parametrize("drift", [1.0, 0.0])
def test_the_drifting_annotator_is_found(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drift: float
) -> None:
    monkeypatch.setattr("fairlead.stages.audit.audit_report", lambda *given: "")  # which takes most of the time
    people = tuple(replace(person, drift=min(person.drift, drift)) for person in annotators.ANNOTATORS)
    monkeypatch.setattr(annotators, "ANNOTATORS", people)
    judged = annotators.judgements(world.by_id, [_two_replies(world, row) for row in world.rows("held_out")], seed=SEED)
    fairlead.write(judged, tmp_path / "judgements.jsonl")
    run = sets.audit(tmp_path / "judgements.jsonl", tmp_path / "run", seed=0)
    found = {fault.code: fault.detail for fault in sets.faults(run)}
    assert ("agreement_over_time" in found) is bool(drift)
    assert ("annotator_disagrees" in found) is bool(drift)
    if drift:
        assert "di 6" in found["annotator_disagrees"]
        assert "ana" not in found["annotator_disagrees"]


def _two_replies(world: World, row: Candidates) -> Candidates:
    case, rng = world.by_id[row.id], Random(f"{row.id}/second")
    second = transcript(case, rng)
    if rng.random() < 0.5:
        second = editors.edit(case, second, rng, rubric="second")
    return answered(row, transcript(case, Random(f"{row.id}/first")), second)


def test_the_files_say_what_the_story_means() -> None:
    assert [criterion.name for criterion in read_rubric(sets.RUBRIC).criteria] == ["accuracy", "brevity", "warmth"]
    assert read_rubric(sets.RUBRIC).version == annotators.RUBRIC
    (required,) = yaml.safe_load(sets.REQUIRED.read_text())
    assert required["phrases"] == DISCLAIMER
