"""The page of a release: the verdict first, every part with what it rests on, and nothing that must not be shown."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import fairlead
from fairlead.errors import RunError
from fairlead.reports.page import Comparison, Exchanges, Prose, Section
from fairlead.reports.release_data import read_release
from fairlead.reports.release_report import release_page, release_report
from fairlead.reports.release_samples import Sample, pick
from fairlead.runs.directory import RunDirectory
from fairlead.stages.gate import GateResult
from fairlead.stages.report import report
from tests.reports import fake_release
from tests.reports.markup import Parsed

HOSTILE = "</p></title><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }} "


def gated(given: Mapping[str, Path], out: Path) -> GateResult:
    return fairlead.gate(**given, out=out)  # type: ignore[arg-type, no-any-return]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a gate that a model passed."""
    folder = tmp_path_factory.mktemp("good")
    return gated(fake_release.all_of(folder), folder / "gate").run


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a gate that refused a model: disclaimers dropped, facts lost, hostile replies."""
    folder = tmp_path_factory.mktemp("bad")
    return gated(fake_release.all_of(folder, drops=0.7, facts=45, text=HOSTILE), folder / "gate").run


def section(run: Path, title: str) -> Section:
    return next(each for each in release_page(read_release(run)).sections if each.title == title)


def test_the_verdict_comes_first(good: Path, bad: Path) -> None:
    page = release_page(read_release(good))
    assert (page.title, page.status, page.tone) == ("2026-11-23-dpo-7f3a", "may ship", "good")
    assert isinstance(page.header[0], Prose)
    assert page.header[0].text == "May ship: it meets all of 8 rules."
    refused = release_page(read_release(bad))
    assert (refused.status, refused.tone) == ("may not ship", "bad")
    said = [each.text for each in refused.header if isinstance(each, Prose)]
    assert said[0] == "May not ship: it fails 2 of 8 rules."
    assert said[1].startswith("required_phrase/dispute ≥ 0.9: found 20 %, below the minimum.")
    assert said[2].startswith(
        "factual_accuracy no worse than the baseline by 0.1 (mcnemar): found 64 %, a loss of 0.214"
    )


def test_every_part_is_there_in_order(good: Path) -> None:
    assert [each.title for each in release_page(read_release(good)).sections] == [
        "Rules",
        "Before and after",
        "Frontier",
        "How it answers",
        "Side by side",
        "Judge",
        "Probes",
        "Data audit",
        "Training",
        "Lineage",
        "Hashes",
    ]


def test_a_rule_is_shown_with_bound_n_and_whether_it_sufficed(good: Path) -> None:
    text = Parsed(release_report(good)).text
    for words in ("≥ 0.6", "93 %", "86.3 to 96.6", "shows 0.0", "keeps to the bound", "no loss (0 lost"):
        assert words in text, words


def test_before_after_and_prompting_with_the_paired_difference(good: Path) -> None:
    (table, *_) = section(good, "Before and after").blocks
    assert isinstance(table, Comparison)
    assert table.columns == ["before: base", "after: 2026-11-23-dpo-7f3a", "prompting: base"]
    rows = {row.name: row for row in table.rows}
    ranked = rows["ranking_accuracy"]
    assert [round(each.value, 2) for each in ranked.estimates if each] == [0.58, 0.93, 0.58]
    # All 35 that differ were gained: p = 2 · 2^−35.
    assert ranked.verdict == "+35.0 points: better"
    assert ranked.verdict_note.endswith("n = 100, p < 0.001")
    assert ranked.tone == "good"
    assert rows["length/words"].verdict.endswith("words: less")
    text = Parsed(release_report(good)).text
    assert "Prompting, ranking_accuracy: prompting reaches 93 % of the gain" in text


def test_samples_are_picked_by_the_rule() -> None:
    def sample(name: str, changed: float, *worse: str) -> Sample:
        return Sample(id=name, prompt="p", before="b", after="a", changed=changed, worse=worse)

    samples = [sample(f"s{n}", n / 10) for n in range(10)]
    samples += [sample("two", 0.1, "x", "y"), sample("one", 0.95, "x"), sample("same", 0.9)]
    found = pick(samples)
    assert [each.id for each in found["Got worse"]] == ["two", "one"]
    assert [each.id for each in found["Largest change"]] == ["s9", "same", "s8"]
    assert [each.id for each in found["Typical change"]] == ["s5", "s4", "s6"]
    assert pick(samples[::-1]) == found


def test_replies_stand_side_by_side_with_their_differences_marked(bad: Path) -> None:
    blocks = section(bad, "Side by side").blocks
    titles = [each.text for each in blocks if isinstance(each, Prose)]
    assert titles == ["Largest change", "Typical change", "Got worse", "Facts lost"]
    shown = [each for each in blocks if isinstance(each, Exchanges)]
    worse, facts = shown[2].exchanges, shown[3].exchanges
    assert worse[0].label.endswith("worse: required_phrase/dispute")
    assert [each.label.split(":")[0] for each in facts] == ["045", "046", "047"]
    assert [[piece.text for piece in each.pieces] for each in facts[0].replies] == [
        ["Fourteen days."],
        ["About a month."],
    ]
    assert [piece.mark for each in facts[0].replies for piece in each.pieces] == ["del", "ins"]
    document = release_report(bad)
    assert "<del>Fourteen days.</del>" in document
    assert "<ins>About a month.</ins>" in document


def test_failed_probes_are_shown_as_text(bad: Path) -> None:
    document = release_report(bad)
    parsed = Parsed(document)
    assert not parsed.faults
    assert not {"script", "img", "b", "link", "iframe"} & set(parsed.tags)
    assert HOSTILE.strip() in parsed.text
    assert "refused, though harmless, new: the model before did not" in parsed.text
    assert "benign lookalike" in parsed.text
    assert "Failed by 2026-11-23-dpo-7f3a: 6 of 6 shown" in parsed.text


def test_the_frontier_says_which_point_this_is(good: Path) -> None:
    text = Parsed(release_report(good)).text
    assert "This release is beta 0.1; the rule picks beta 0.3." in text
    assert "At beta 0.1 KL is 9.2 and disclaimers fall." in text


def test_the_lineage_joins_data_training_evidence_and_decision(good: Path) -> None:
    document = release_report(good)
    labels = re.findall(r'<text class="label"[^>]*>([^<]*)</text>', document)
    names = [
        "2026-11-23-dpo-7f3a",
        "artifacts/adapter",
        "audit",
        "eval",
        "eval-base",
        "gate",
        "judge",
        "org/base",
        "sweep",
    ]
    assert sorted(label for label in labels if ".jsonl" not in label and ".yaml" not in label) == names
    assert {label.split("/")[-1] for label in labels} >= {"gate.yaml", "pairs.jsonl"}
    release = read_release(good)
    for sha256 in (
        *release.decision["artifact"]["files"].values(),
        *(e["sha256"] for e in release.decision["evidence"]),
    ):
        assert sha256 in document


def test_one_file_without_network_and_without_places(good: Path) -> None:
    document = release_report(good)
    assert release_report(good) == document
    assert "http://" not in document.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "https://" not in document
    assert str(good.parent) not in document
    assert (good / "report.html").read_text() == document
    assert RunDirectory.open(good).verify() == []
    assert report([good], to=good.parent / "page.html").read_text() == document


def test_evidence_that_was_changed_since_is_not_shown(tmp_path: Path) -> None:
    given = fake_release.all_of(tmp_path)
    run = gated(given, tmp_path / "gate").run
    (answers,) = (given["eval"] / "artifacts").glob("answers-prompts-*.jsonl")
    answers.write_bytes(answers.read_bytes().replace(b"case", b"cake"))
    shutil.rmtree(given["judge"])
    shutil.rmtree(given["sweep"])
    page = release_page(read_release(run))
    titles = [each.title for each in page.sections]
    assert titles == [
        "Rules",
        "Before and after",
        "How it answers",
        "Probes",
        "Data audit",
        "Training",
        "Lineage",
        "Hashes",
    ]
    said = " ".join(each.text for each in page.header if isinstance(each, Prose))
    assert "The evidence of --eval is not shown: it was changed since it was decided by: " in said
    assert "The evidence of --judge is not shown: it is not where it was" in said
    (table, *_) = page.sections[1].blocks
    assert isinstance(table, Comparison)
    assert table.columns == ["before: base"]
    assert not any(row.verdict for row in table.rows)
    assert not Parsed(release_report(run)).faults


def test_without_evidence_the_page_still_says_why(tmp_path: Path) -> None:
    given = fake_release.all_of(tmp_path)
    run = gated({name: given[name] for name in ("run", "policy")}, tmp_path / "gate").run
    page = release_page(read_release(run))
    assert [each.title for each in page.sections] == ["Rules", "Training", "Lineage", "Hashes"]
    said = [each.text for each in page.header if isinstance(each, Prose)]
    assert "ranking_accuracy ≥ 0.6: evidence is missing: give --eval." in said


def test_what_is_no_gate_is_refused(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", stage="gate", config={}, seed=0)
    with pytest.raises(RunError, match=r"decision\.json: cannot be read"):
        release_report(run.path)
    content: dict[str, Any] = {"passed": True}
    (run.path / "decision.json").write_text(str(content).replace("'", '"').replace("True", "true"))
    with pytest.raises(RunError, match="holds no decision"):
        release_report(run.path)
