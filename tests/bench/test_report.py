from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bench.against_trl import plots, report
from bench.against_trl.results import Results
from tests.bench.small import EACH_STEP, MACHINE, cell, record


@pytest.fixture
def results(tmp_path: Path) -> Results:
    cells = {
        cell("sft", reference="none").name: record(1.5),
        cell("dpo", "512/100", EACH_STEP).name: record(5.25),
        cell("dpo", shape="MyModel", precision="bf16").name: record(3.0, steps=4),
    }
    return Results(tmp_path / "results.json", MACHINE, cells, {cell("kto").name: "the losses differ"})


def test_the_table_has_a_row_for_each_cell_in_the_order_of_the_matrix(results: Results) -> None:
    lines = [line for line in report.against_trl(results).splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 30M", "| 30M", "| MyModel"]
    first, second, own = lines[2:]
    assert "| `dpo` | LoRA | fp32 | 512/100 | each step | 0.381 | 2 | **5.25** (4.75–5.75) |" in first
    assert "| 6.00 → 1.50 | 25% | 4% → 20% | 2e-07 |" in first
    assert "| `sft` | LoRA | fp32 | 150/100 | – |" in second
    assert "(2.50–3.50, 4 steps)" in own  # fewer than wanted is said
    assert len({line.count("|") for line in lines}) == 1


def test_the_page_says_with_what_it_was_measured_and_what_is_missing(results: Results) -> None:
    page = report.against_trl(results)
    assert "Some CPU, 2 threads of 2 cores, 24 GiB" in page
    assert "140 GFLOP/s in float32 and 380 in bfloat16" in page
    assert "Measured 2026-11-23 with python 3.11, torch 2.13, trl 1.16.0." in page
    assert "3 of 192 cells of the matrix have figures" in page
    assert "30M · dpo · lora · fp32 · 64/256 · precomputed" in page
    assert "135M · dpo · full · bf16 · 150/100 · precomputed" in page
    assert "135M · dpo · lora · bf16" not in page  # MyModel has that one
    assert "30M · kto · lora · fp32 · 150/100 · precomputed: the losses differ" in page


def test_only_the_part_between_the_marks_is_made_anew() -> None:
    page = f"before\n{report.BEGIN}old\n{report.END}after\n"
    made = report.replaced(page, "new")
    assert made == f"before\n{report.BEGIN}\nnew\n{report.END}after\n"
    assert report.replaced(made, "new") == made
    with pytest.raises(AssertionError, match="lacks"):
        report.replaced("no marks", "new")


def test_the_page_that_is_committed_is_fresh() -> None:
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.replaced(page, report.measured()) == page, "run python -m bench.against_trl.report"


def test_whole_runs_are_told_by_their_largest_difference() -> None:
    found = {"about": "So it was.", "runs": {"dpo": {"trl": [0.7, 0.5], "fairlead": [0.7, 0.5003]}}}
    assert "| `dpo` | 2 | 0.7000 → 0.5000 | 0.7000 → 0.5003 | 3.0e-04 |" in report.whole_runs(found)


def test_growth_is_told_as_a_share_of_the_floor() -> None:
    row = {"what": "vocabulary", "value": 32_000, "median_seconds": 2.0, "operations": 7e10}
    found = {"about": "So it was.", "rows": [{**row, "floor_seconds": 0.5, "peak_bytes": 1_250_000_000}]}
    assert "| vocabulary | 32 000 | 2.000 | 70 | 25% | 1.25 |" in report.scaling(found)


def test_plots_are_svg_and_the_same_for_equal_data() -> None:
    lines = [
        ("30M · dpo", {"median": 4.0, "min": 3.5, "max": 4.5}),
        ("30M · sft", {"median": 0.9, "min": 0.8, "max": 1}),
    ]
    runs = {"dpo": {"trl": [0.7, 0.6, 0.5], "fairlead": [0.7, 0.6, 0.5001]}}
    for drawn, again in ((plots.ratios(lines), plots.ratios(lines)), (plots.curves(runs), plots.curves(runs))):
        assert drawn == again
        assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert "30M · dpo" in plots.ratios(lines)
