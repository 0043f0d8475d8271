"""What runs share changes no number: adapters trained one after another are those trained alone, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairlead.models.weights import digest_weights
from fairlead.runs.artifact import hashes
from fairlead.stages import sweep_sharing
from fairlead.stages.settling import settle
from fairlead.stages.sweep_sharing import Shared
from fairlead.stages.train import train, train_settled
from tests.stages.sweeping import make_project

CASES: list[dict[str, Any]] = [
    {"loss": {"name": "dpo", "beta": 0.5}, "adapter": {"r": 2}},
    {"loss": {"name": "dpo", "beta": 0.1}, "adapter": {"r": 4, "kind": "dora"}},
    {"loss": {"name": "orpo"}, "adapter": {"r": 4, "train_embeddings": True, "train_head": True}},
    {"loss": {"name": "ipo"}, "adapter": {"r": 4, "dropout": 0.1}},
]


def given(folder: Path, case: dict[str, Any], run: str) -> list[str]:
    settings = [f"{name}={value}".replace("'", "") for name, value in case.items()]
    return [*settings, f"train.output={folder / 'runs'}", f"train.run={run}"]


def untimed(metrics: dict[str, float]) -> dict[str, str]:
    """As words, for NaN is not itself."""
    return {name: repr(value) for name, value in metrics.items() if not name.endswith("/s")}


def test_shared_weights_and_rows_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_project(tmp_path) / "fairlead.yaml"
    reads: list[str] = []
    for name in ("load", "read_training_rows"):
        inner = getattr(sweep_sharing, name)
        monkeypatch.setattr(sweep_sharing, name, lambda *a, n=name, f=inner, **k: reads.append(n) or f(*a, **k))
    shared = Shared()
    for number, case in enumerate(CASES):
        settled = settle(config, overrides=given(tmp_path, case, f"shared-{number}"))
        together = train_settled(settled, resume=False, loading=shared.loading)
        alone = train(config, overrides=given(tmp_path, case, f"alone-{number}"))
        assert hashes(together.artifact) == hashes(alone.artifact), case
        assert untimed(together.metrics) == untimed(alone.metrics)
    assert sorted(reads) == ["load", "read_training_rows", "read_training_rows"]  # of orpo rows may carry no margin
    (base,) = shared._bases.values()
    assert digest_weights(base.model) == base.weights_digest


def test_weights_that_are_trained_are_not_shared(tmp_path: Path) -> None:
    config = make_project(tmp_path) / "fairlead.yaml"
    shared = Shared()
    for number in range(2):
        case = {"adapter": "null", "train.learning_rate": 1e-3}
        settled = settle(config, overrides=given(tmp_path, case, f"full-{number}"))
        train_settled(settled, resume=False, loading=shared.loading)
    assert not shared._bases
    first, second = (hashes(tmp_path / "runs" / f"full-{number}" / "artifacts" / "model") for number in range(2))
    assert first == second
