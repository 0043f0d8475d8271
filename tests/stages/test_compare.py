"""`compare`: finished evaluations against one another, from their items alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from fairlead.errors import ConfigError, RunError
from fairlead.evaluation.estimates import Observed, as_items, estimate
from fairlead.evaluation.results import ITEMS, write_measures
from fairlead.reports.evaluation_report import COMPARISON
from fairlead.runs.directory import RunDirectory
from fairlead.stages.compare import compare
from fairlead.stages.report import report
from fairlead.stats.intervals import mcnemar
from tests.reports.markup import Parsed

# Ten items: both right on two, the second alone on seven, the first alone on one.
BEFORE = [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]
AFTER = [1, 1, 0, 1, 1, 1, 1, 1, 1, 1]


def evaluated(
    folder: Path,
    values: Sequence[float],
    *,
    measure: str = "ranking_accuracy",
    base: str | None = "b",
    suite: str = "s",
    files: str = "f",
    sealed: bool = True,
) -> Path:
    """A run as `evaluate` leaves it."""
    extra = {"name": f"model-{folder.name}", "model": {"sha256": base}, "notes": []}
    run = RunDirectory.create(folder, stage="eval", config={}, seed=0, extra=extra)
    observed = [Observed(measure=measure, id=f"i{n}", value=value, group=f"i{n}") for n, value in enumerate(values)]
    write_measures(
        run,
        estimate(observed),
        model=folder.name,
        adapter=None,
        suite={"path": "suite.yaml", "sha256": suite, "files": files},
        items=as_items(observed),
    )
    if sealed:
        run.seal()
    return folder


def test_two_runs(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path / "before", BEFORE), evaluated(tmp_path / "after", AFTER)]
    found = compare(runs, out=tmp_path / "out")
    assert (found.baseline, found.notes) == ("before", ())
    (against,) = found.comparisons
    (row,) = against.compared
    assert (against.model, row.n, row.lost, row.gained) == ("after", 10, 1, 7)
    assert row.difference == pytest.approx(0.6)
    assert row.p_value == pytest.approx(mcnemar(1, 7).p_value) == pytest.approx(18 / 256)
    opened = RunDirectory.open(tmp_path / "out")
    assert (opened.stage, opened.verify()) == ("compare", [])
    assert [Path(str(each.parent_run)).name for each in opened.inputs] == ["before", "after"]
    content = json.loads((tmp_path / "out" / COMPARISON).read_text())
    assert content["models"] == [{"name": "before", "run": "../before"}, {"name": "after", "run": "../after"}]
    assert content["comparisons"][0]["measures"][0]["gained"] == 7
    text = Parsed((tmp_path / "out" / "report.html").read_text()).text
    assert "after against before" in text
    assert "+60.0 points" in text
    assert "before: model-before" in text
    assert Parsed(report([tmp_path / "out"], to=tmp_path / "again.html").read_text()).text == text


def test_a_baseline_and_the_order_of_the_runs(tmp_path: Path) -> None:
    before, after = evaluated(tmp_path / "before", BEFORE), evaluated(tmp_path / "after", AFTER)
    one = compare([after, before], out=tmp_path / "one", baseline=before)
    two = compare([after], out=tmp_path / "two", baseline=before)
    assert one.comparisons == two.comparisons == compare([before, after], out=tmp_path / "three").comparisons


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"base": "c"}, "after and before stand on different base weights"),
        ({"suite": "t"}, "measured by suites or files that differ"),
        ({"files": "g"}, "measured by suites or files that differ"),
    ],
)
def test_what_keeps_runs_apart_is_said(tmp_path: Path, other: Mapping[str, str], said: str) -> None:
    runs = [evaluated(tmp_path / "before", BEFORE), evaluated(tmp_path / "after", AFTER, **other)]  # type: ignore[arg-type]
    (note,) = compare(runs, out=tmp_path / "out").notes
    assert said in note
    assert said in Parsed((tmp_path / "out" / "report.html").read_text()).text


def test_of_models_behind_servers_the_base_is_not_known(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path / "before", BEFORE), evaluated(tmp_path / "after", AFTER, base=None)]
    assert compare(runs, out=tmp_path / "out").notes == ()


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path / each / "run", values) for each, values in (("a", BEFORE), ("b", AFTER))]
    found = compare(runs, out=tmp_path / "out")
    assert (found.baseline, found.comparisons[0].model) == (str(runs[0]), str(runs[1]))


def test_faults(tmp_path: Path) -> None:
    before = evaluated(tmp_path / "before", BEFORE)
    with pytest.raises(ConfigError, match="nothing is given to compare with"):
        compare([before], out=tmp_path / "out")
    with pytest.raises(ConfigError, match="one is given twice"):
        compare([before, before], out=tmp_path / "out")
    with pytest.raises(RunError, match="there is no such folder"):
        compare([before, tmp_path / "none"], out=tmp_path / "out")
    broken_off = evaluated(tmp_path / "broken-off", AFTER, sealed=False)
    with pytest.raises(RunError, match="this evaluation is not complete"):
        compare([before, broken_off], out=tmp_path / "out")
    trained = RunDirectory.create(tmp_path / "trained", stage="train", config={}, seed=0)
    trained.seal()
    with pytest.raises(RunError, match="is a run of `train`"):
        compare([before, trained.path], out=tmp_path / "out")
    foreign = evaluated(tmp_path / "foreign", [5, 7], measure="length/words")
    with pytest.raises(RunError, match="share no item"):
        compare([before, foreign], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    after = evaluated(tmp_path / "after", AFTER)
    (after / ITEMS).write_text((after / ITEMS).read_text().replace('"value": 1', '"value": 0'))
    with pytest.raises(RunError, match=r"items\.jsonl was changed since"):
        compare([before, after], out=tmp_path / "out")
