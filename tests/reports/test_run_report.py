from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from markupsafe import escape

from fairlead.reports.page import Comparison, Exchanges, Facts, Figures, Numbers, Prose, Section, Table
from fairlead.reports.run_data import read_run
from fairlead.reports.run_report import duration, run_page, run_report
from fairlead.runs.directory import RunDirectory

from .fake_run import make_run
from .markup import Parsed

HOSTILE = "<script>alert('x')</script>"


def _section(page_sections: object, title: str) -> Section:
    assert isinstance(page_sections, list)
    return next(section for section in page_sections if section.title == title)


def test_one_run_in_full(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    page = run_page([read_run(run.path)])
    assert (page.title, page.status, page.tone) == ("2026-11-23-dpo-7f3a", "complete", "good")
    facts, numbers = page.header
    assert isinstance(facts, Facts)
    assert isinstance(numbers, Numbers)
    shown = dict(facts.facts)
    data = read_run(run.path)
    assert shown["Model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert shown["Data"] == f"412 rows, sha256 {data.data_digest[:12]}"
    assert shown["Best step"] == f"{data.best_step}, by rewards/accuracies"
    accuracy = data.series["eval/rewards/accuracies"].at(data.best_step)
    assert accuracy is not None
    assert (numbers.numbers[0].value, numbers.numbers[0].tone) == (f"{100 * accuracy:.0f} %", "good")
    assert [section.title for section in page.sections] == [
        "Curves",
        "Sample completions",
        "Data ledger",
        "Lineage",
        "Configuration",
        "What the metrics mean",
        "Surroundings",
    ]


def test_what_went_wrong_comes_before_any_curve(tmp_path: Path) -> None:
    run = make_run(tmp_path, sealed=False)
    found = [{"code": "loss_zero", "text": "the loss was exactly 0."}, {"code": "epochs", "text": "train.epochs is 9."}]
    run.update_extra(diagnosis=found, stop_reason="probe/length was 99", advice=found)
    page = run_page([read_run(run.path)])
    assert page.sections[0].title == "Worth knowing first"
    texts = [(block.text, block.tone) for block in page.sections[0].blocks if isinstance(block, Prose)]
    assert texts == [
        ("Training was stopped: probe/length was 99", "warn"),
        ("The loss was exactly 0.", "warn"),
        ("train.epochs is 9.", "warn"),
    ]
    assert "loss_zero" not in run_report([run.path])  # nowhere a second time
    other = make_run(tmp_path, name="2026-11-24-dpo-0000")
    both = _section(run_page([read_run(run.path), read_run(other.path)]).sections, "Worth knowing first")
    assert [block.text.split(":")[0] for block in both.blocks if isinstance(block, Prose)] == [run.path.name] * 3


def test_probes_are_drawn_as_what_is_held_out_and_compared(tmp_path: Path) -> None:
    run = make_run(tmp_path, sealed=False)
    for step in (0, 45, 90):
        run.append(step, {"probe/repetition": step / 300, "logps/chosen_change": -step / 100, "mine": step})
    data = read_run(run.path)
    (figures,) = _section(run_page([data]).sections, "Curves").blocks
    assert isinstance(figures, Figures)
    titles = [figure.title for figure in figures.figures]
    assert titles.index("probe/repetition") < titles.index("learning_rate")
    assert "logps/chosen_change (nats/token)" in titles
    assert "mine" in titles
    (repetition,) = [figure for figure in figures.figures if figure.title == "probe/repetition"]
    assert "Lower is better." in repetition.caption
    table = _section(run_page([data, data]).sections, "The runs").blocks[1]
    assert isinstance(table, Table)
    assert "probe/repetition" in {row[0].text for row in table.rows if not isinstance(row[0], str)}


def test_metrics_of_the_users_own_say_what_they_mean(tmp_path: Path) -> None:
    run = make_run(tmp_path, sealed=False)
    for step in (0, 45, 90):
        run.append(step, {"polite": step / 90, "plain": 1.0, "odd": 2.0})
    said = {"meaning": "share of polite replies", "direction": "up", "unit": "share"}
    nothing = {"meaning": "", "direction": "none", "unit": ""}
    run.update_extra(own_metrics={"polite": said, "plain": nothing, "odd": {"direction": "sideways"}, "damaged": 3})
    data = read_run(run.path)
    page = run_page([data])
    (figures,) = _section(page.sections, "Curves").blocks
    assert isinstance(figures, Figures)
    captions = {figure.title: figure.caption for figure in figures.figures}
    assert (captions["polite"], captions["plain"], captions["odd"]) == (
        "Share of polite replies. Higher is better.",
        "",
        "",
    )
    (meanings,) = _section(page.sections, "What the metrics mean").blocks
    assert isinstance(meanings, Table)
    assert ["polite", "Share of polite replies. Higher is better.", "share"] in meanings.rows
    assert ["plain", "–", "–"] in meanings.rows
    assert "own_metrics" not in run_report([run.path])
    table = _section(run_page([data, data]).sections, "The runs").blocks[1]
    assert isinstance(table, Table)
    notes = {row[0].text: row[0].note for row in table.rows if not isinstance(row[0], str)}
    assert notes["polite"] == "Higher is better."
    run.update_extra(metric_for_best="polite")
    assert read_run(run.path).best_step == 90


def test_curves_pair_what_is_read_together_and_say_what_they_mean(tmp_path: Path) -> None:
    page = run_page([read_run(make_run(tmp_path).path)])
    (figures,) = _section(page.sections, "Curves").blocks
    assert isinstance(figures, Figures)
    assert [figure.title for figure in figures.figures] == [
        "loss",
        "rewards/accuracies",
        "rewards/margins (nats × β)",
        "rewards/chosen and rejected (nats × β)",
        "logps/chosen and rejected (nats)",
        "learning_rate",
        "grad_norm",
        "tokens/s",
    ]
    assert "Higher is better." in figures.figures[1].caption
    assert [key.label for key in figures.figures[3].keys] == ["chosen", "rejected"]


def test_values_the_user_set_are_told_from_defaults(tmp_path: Path) -> None:
    page = run_page([read_run(make_run(tmp_path).path)])
    chosen, defaults = _section(page.sections, "Configuration").blocks
    assert isinstance(chosen, Table)
    assert isinstance(defaults, Table)
    assert {str(row[0]) for row in chosen.rows} >= {"loss.beta", "train.learning_rate", "data.train"}
    assert {str(row[0]) for row in defaults.rows} >= {"loss.weight", "train.metric_for_best"}
    assert not {str(row[0]) for row in chosen.rows} & {str(row[0]) for row in defaults.rows}


def test_hostile_text_in_every_field(tmp_path: Path) -> None:
    run = make_run(tmp_path, text=HOSTILE, sealed=False)
    document = run_report([run.path])
    parsed = Parsed(document)
    assert not parsed.faults
    assert "script" not in parsed.tags
    for where in ("odd" + HOSTILE, "train" + HOSTILE, "cpu" + HOSTILE, "dpo" + HOSTILE):
        assert where in parsed.text, where
    assert f"odd{HOSTILE} is not a finite number at step 2." in parsed.text
    assert str(escape(HOSTILE)) in document


def test_two_readings_give_equal_bytes(tmp_path: Path) -> None:
    runs = [make_run(tmp_path).path, make_run(tmp_path, name="other", beta=0.1).path]
    assert run_report(runs) == run_report(runs)
    assert str(tmp_path) not in run_report(runs)


def test_several_runs_laid_side_by_side(tmp_path: Path) -> None:
    parent = make_run(tmp_path, name="sft")
    runs = [make_run(tmp_path, name=name, beta=beta, parent=parent) for name, beta in (("one", 0.3), ("two", 0.1))]
    page = run_page([read_run(run.path) for run in runs])
    differs, same = _section(page.sections, "Configuration").blocks
    assert isinstance(differs, Table)
    assert isinstance(same, Table)
    assert [[cell if isinstance(cell, str) else cell.text for cell in row] for row in differs.rows] == [
        ["loss.beta", "0.3", "0.1"]
    ]
    (ledger_bar, _) = _section(page.sections, "Data ledger").blocks  # the same rows: one ledger
    assert isinstance(ledger_bar, Figures)
    (exchanges,) = _section(page.sections, "Sample completions").blocks
    assert isinstance(exchanges, Exchanges)
    assert [reply.label for reply in exchanges.exchanges[0].replies] == ["before", "after one", "after two"]
    document = run_report([run.path for run in runs])
    assert not Parsed(document).faults
    assert not any(isinstance(block, Comparison) for section in page.sections for block in section.blocks)


def test_lineage_reaches_the_first_ancestor_and_joins_shared_files(tmp_path: Path) -> None:
    parent = make_run(tmp_path, name="sft")
    child = make_run(tmp_path, name="dpo", parent=parent)
    graph = run_report([child.path])
    labels = re.findall(r'<text class="label"[^>]*>([^<]*)</text>', graph)
    assert sorted(labels) == [
        "data/eval.jsonl",
        "data/train.jsonl",
        "dpo",
        "model",
        "model",
        "samples.jsonl",
        "samples.jsonl",
        "sft",
    ]
    sealed = read_run(child.path)
    assert sealed.inputs[0].sha256 in graph


def test_lineage_is_the_same_from_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = make_run(tmp_path, name="sft")
    child = make_run(tmp_path, name="dpo", parent=parent)
    whole = run_report([child.path])
    monkeypatch.chdir(tmp_path)
    graphs = [
        re.findall(r"<svg.*?</svg>", page, re.DOTALL)[-1]
        for page in (whole, run_report([child.path.relative_to(tmp_path)]))
    ]
    assert "data/train.jsonl" in graphs[0]
    assert graphs[0] == graphs[1]


def test_a_parent_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    parent = make_run(tmp_path, name="sft")
    child = make_run(tmp_path, name="dpo", parent=parent)
    parent.path.rename(tmp_path / "elsewhere")
    assert "the folder is gone" in run_report([child.path])


def test_memory_is_said_in_gibibytes(tmp_path: Path) -> None:
    data = read_run(make_run(tmp_path).path)
    record = {**data.record, "hardware": {"cores": 2, "memory_bytes": 3 * 2**29}}
    (facts,) = _section(run_page([replace(data, record=record)]).sections, "Surroundings").blocks
    assert isinstance(facts, Facts)
    assert [fact for fact in facts.facts if fact[0] in {"cores", "memory"}] == [("cores", "2"), ("memory", "1.5 GiB")]


def test_a_run_with_nothing_in_it_still_has_a_report(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", stage="train", config={}, seed=0)
    page = run_page([read_run(run.path)])
    assert [section.title for section in page.sections] == ["Lineage", "Configuration", "Surroundings"]
    assert (page.status, page.tone) == ("running", "warn")
    assert not Parsed(run_report([run.path])).faults


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "not finished"), (0.4, "0 s"), (59.6, "1 min 0 s"), (260, "4 min 20 s"), (7320, "2 h 2 min")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
