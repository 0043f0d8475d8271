"""The page of a sweep, from run directories written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairlead.errors import RunError
from fairlead.reports.sweep_report import sweep_report
from fairlead.runs.directory import RunDirectory

from .frontiers import frontier
from .markup import Parsed

HOSTILE = "</title><script>alert(1)</script>\x00"
ASKED: dict[str, Any] = {
    "config": "fairlead.yaml",
    "overrides": ["loss.beta=0.05,0.1,0.2,0.3,0.5"],
    "suite": "suite.yaml",
    "judge": None,
    "constraints": "gate.yaml",
    "max_kl": 5.0,
}


def make_sweep(folder: Path, content: dict[str, Any], **extra: Any) -> Path:
    run = RunDirectory.create(folder / "sweep", stage="sweep", config=ASKED, seed=0, extra=extra)
    (run.path / "frontier.json").write_text(json.dumps(content))
    for each in content["points"]:
        if each["run"] is not None and each["name"] == content["picked"]:
            config = {"loss": {"name": "dpo", "beta": 0.3}, "adapter": {"targets": ["q_proj"]}}
            chosen = ["loss.beta", "adapter.targets"]
            RunDirectory.create(run.path / each["run"], stage="train", config=config, user_set=chosen, seed=0).seal()
    run.seal()
    return run.path


def test_the_pick_comes_first_and_every_point_has_its_figures(tmp_path: Path) -> None:
    parsed = Parsed(sweep_report(make_sweep(tmp_path, frontier())))
    assert not parsed.faults
    text = parsed.text.replace("\u00a0", " ")
    assert text.index("beta=0.3 has the highest") < text.index("The rule: the highest judge/win_rate")
    for words in ("picked: beta=0.3", "66 %", "59 % to 73 %, n = 120", "β is too low", "0 of 1", "below the minimum"):
        assert words in text, words
    assert "loss.beta" in text
    assert '["q_proj"]' in text
    assert "5 nats" in text


def test_links_lead_to_the_pages_of_the_points(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, frontier())
    links = [link for link in Parsed(sweep_report(folder)).values("href") if not link.startswith("#")]
    assert len(links) == 6 + 5 + 5  # the base was neither trained nor judged
    assert "points/beta%3D0.3/train/report.html" in links
    assert "points/base/eval/report.html" in links
    assert not any(":" in link or link.startswith("/") for link in links)


def test_where_nothing_is_picked_it_says_so(tmp_path: Path) -> None:
    text = Parsed(sweep_report(make_sweep(tmp_path, frontier(picked=None, why="No point is eligible.")))).text
    assert "none picked" in text
    assert "No point is eligible." in text
    assert "Configuration of the pick" not in text


def test_points_that_could_not_be_made_are_named(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, frontier(diagnoses=[]), failed={"beta=9": "the loss is not finite"})
    text = Parsed(sweep_report(folder)).text
    assert "beta=9 is left out: the loss is not finite" in text
    assert "No point stayed where the base is" in text


def test_what_prompting_reaches_is_said(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, frontier(), prompting=["language_match: Prompting reaches 94 % of the gain."])
    assert "language_match: Prompting reaches 94 % of the gain." in Parsed(sweep_report(folder)).text


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    content = frontier(why=HOSTILE, rule=HOSTILE)
    content["points"][1] |= {"name": HOSTILE, "settings": {HOSTILE: HOSTILE}, "eval": f'points/x"{HOSTILE}/eval'}
    content["diagnoses"][0]["text"] = HOSTILE
    parsed = Parsed(sweep_report(make_sweep(tmp_path, content)))
    assert not parsed.faults
    assert "script" not in parsed.tags


def test_what_is_no_sweep_is_refused(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", stage="sweep", config=ASKED, seed=0)
    with pytest.raises(RunError, match=r"frontier\.json: cannot be read"):
        sweep_report(run.path)
    (run.path / "frontier.json").write_text("[]")
    with pytest.raises(RunError, match="does not hold"):
        sweep_report(run.path)
