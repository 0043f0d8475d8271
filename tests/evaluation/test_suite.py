"""Suites: read whole, or refused with every fault at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.errors import ConfigError
from fairlead.evaluation.suite import BEGINNINGS, Suite, read_suite
from fairlead.evaluation.table import KINDS, SECTIONS


def read(folder: Path, text: str) -> Suite:
    path = folder / "suite.yaml"
    path.write_text(text, encoding="utf-8")
    return read_suite(path)


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return [str(fault) for fault in caught.value.faults]


def test_paths_are_seen_from_the_folder_of_the_suite(tmp_path: Path) -> None:
    (tmp_path / "sft").mkdir()
    suite = read(tmp_path, "held_out: {rows: [a.jsonl, b.jsonl], reference: sft}\ngeneration: {prompts: p.jsonl}\n")
    assert suite.held_out.rows == [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
    assert suite.held_out.reference == str(tmp_path / "sft")
    assert (suite.generation.temperature, suite.generation.max_new_tokens, suite.generation.n) == (0.0, 256, 1)
    assert [section for section in SECTIONS if suite.wants(section)] == ["held_out", "generation"]


def test_only_what_is_asked_for_is_measured(tmp_path: Path) -> None:
    text = "held_out: {rows: a.jsonl}\ngeneration: {prompts: p.jsonl, required: r.yaml}\n"
    suite = read(tmp_path, text + "measures: [required_phrase/notice]\n")
    assert not suite.wants("held_out")
    assert suite.wants("generation")
    assert suite.keeps("required_phrase/notice")
    assert not suite.keeps("required_phrase/other")
    assert read(tmp_path, text + "measures: [required_phrase/]\n").keeps("required_phrase/other")


def test_answers_are_measured_apart_by_segment_unless_said_otherwise(tmp_path: Path) -> None:
    assert read(tmp_path, "generation: {prompts: p.jsonl}\n").generation.slices == ["segment"]
    assert read(tmp_path, "generation: {prompts: p.jsonl, slices: [intent]}\n").generation.slices == ["intent"]
    (fault,) = faults(tmp_path, "generation: {prompts: p.jsonl, slices: ['']}\n")
    assert fault.startswith("generation.slices.0: ")


def test_checks_of_the_user_may_be_asked_for_by_name(tmp_path: Path) -> None:
    text = "generation: {prompts: p.jsonl}\nmeasures: [check/polite]\n"
    suite = read(tmp_path, text)
    assert suite.wants("generation")
    assert suite.keeps("check/polite")
    assert not suite.keeps("check/other")
    assert read(tmp_path, text.replace("polite", "")).keeps("check/other")
    (fault,) = faults(tmp_path, "held_out: {rows: p.jsonl}\nmeasures: [check/polite]\n")
    assert fault.startswith("measures.0: check/polite needs the section generation.")


def test_all_faults_at_once(tmp_path: Path) -> None:
    text = (
        "held_out: {rows: a.jsonl, beta: -1, refrence: sft}\n"
        "generation: {prompts: p.jsonl, n: 0}\n"
        "measures: [ranking_acuracy, kl/k1, rewards/margins, required_phrase/notice]\n"
        "generate: {}\n"
    )
    found = "\n".join(faults(tmp_path, text))
    assert "held_out.beta: must be greater than 0, not -1." in found
    assert "Did you mean held_out.reference?" in found
    assert "generation.n: must be at least 1" in found
    assert "'ranking_acuracy' is no measure. Did you mean ranking_accuracy?" in found
    assert "measures.1: kl/k1 needs the section kl." in found
    assert "measures.2: rewards/margins needs held_out.reference." in found
    assert "measures.3: required_phrase/notice needs generation.required." in found
    assert "generate: is not a known key." in found


def test_a_suite_without_sections_measures_nothing(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "measures: null\n")
    assert fault.startswith("suite: measures nothing. Add one of the sections held_out, generation, factual")
    with pytest.raises(ConfigError, match="fairlead eval --starter"):
        read_suite(tmp_path / "none.yaml")


def test_every_measure_belongs_to_one_section() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted([*KINDS, *BEGINNINGS])
