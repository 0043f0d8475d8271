from __future__ import annotations

from pathlib import Path

import pytest

from bench import scaling
from bench.against_trl.floor import Dimensions, count
from bench.against_trl.rows import make_groups


def test_one_thing_grows_at_a_time() -> None:
    grown: dict[str, list[scaling.Point]] = {}
    for point in scaling.points():
        grown.setdefault(point.what, []).append(point)
    assert list(grown) == ["rows a step", "tokens of a prompt", "vocabulary", "weights in the layers"]
    for points in grown.values():
        values = [point.value for point in points]
        assert values == sorted(set(values))
        assert sum(point.shape == scaling.SHAPES["30M"] for point in points) >= 1


def test_every_point_is_a_job_that_can_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def written(folder: Path, shape: dict[str, int], *, reward: bool) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(f'{{"vocab_size": {shape["vocab_size"]}}}')
        return folder

    monkeypatch.setattr(scaling, "SCRATCH", tmp_path)
    monkeypatch.setattr(scaling, "write_model", written)
    for point in scaling.points():
        assert point.shape["hidden_size"] % point.shape["num_attention_heads"] == 0
        assert point.shape["num_attention_heads"] % point.shape["num_key_value_heads"] == 0
        assert Dimensions.of(point.shape).linear > 0
        groups = make_groups(scaling.job_of(point, threads=1))
        assert len(groups) == point.batch * scaling.BATCHES
        assert count(groups).trained > 0
