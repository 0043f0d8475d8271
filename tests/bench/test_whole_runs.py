"""A few steps of TRL's trainer and of `fairlead.train` on a tiny model: one curve, whichever drew it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.small import TINY

pytest.importorskip("trl", reason="TRL is not installed (extra `dev`): there is nobody to compare with")

from bench.against_trl import whole_runs
from bench.against_trl.models import SHAPES
from bench.against_trl.report import largest_difference

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
STEPS = 4


@pytest.mark.parametrize("run", whole_runs.RUNS, ids=lambda run: run.method)
def test_the_curves_are_one(run: whole_runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "tiny", TINY)
    monkeypatch.setattr(whole_runs, "SHAPE", "tiny")
    monkeypatch.setattr(whole_runs, "VOCABULARY", TINY["vocab_size"])
    curves = whole_runs.compare(run, tmp_path, steps=STEPS, count=24)
    assert {len(curve) for curve in curves.values()} == {STEPS}
    assert largest_difference(curves) < 1e-5
    first, *_, last = curves["fairlead"]
    assert abs(first - last) > 1e-4, "curves of a model that does not learn agree whatever is wrong"
