from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairlead.config import Config
from fairlead.engine.groups import Completion, PromptGroup
from fairlead.engine.packing import micro_batches, pack, pad
from fairlead.stages import workload
from fairlead.stages.rows import TrainingRows
from fairlead.stages.workload import batching, count_work
from tests.training.small import make_groups


def rows_of(train: list[PromptGroup], held_out: list[PromptGroup] | None = None) -> TrainingRows:
    return TrainingRows(train, held_out or [], (), {}, [])


def config(tmp_path: Path, **train: Any) -> Config:
    return Config(
        model={"path": "m"}, data={"train": str(tmp_path / "rows.jsonl")}, train={"batch_size": 4, "epochs": 2, **train}
    )


def test_the_work_of_a_run(tmp_path: Path) -> None:
    train, held_out = make_groups("dpo", 18), make_groups("dpo", 5, seed=9)
    found = count_work(config(tmp_path), rows_of(train, held_out), packed=True, which=None)
    assert (found.groups, found.held_out, found.steps, found.steps_per_epoch, found.evaluations) == (18, 5, 10, 5, 2)
    alone = sum(2 * len(g.prompt) + sum(len(c.ids) for c in g.completions) for g in train)
    assert found.tokens_unshared == alone
    assert found.tokens == sum(group.tokens for group in train), "no two prompts begin alike for long"
    assert found.saved == pytest.approx(1 - found.tokens / alone)
    assert found.trained_tokens == sum(sum(c.trained) for g in train for c in g.completions)
    assert found.micro_batches == 5
    assert found.longest_row == max(group.tokens for group in train)
    assert found.is_counted


def test_openings_that_rows_share_are_counted_once(tmp_path: Path) -> None:
    opening = tuple(range(100))
    groups = [
        PromptGroup(
            row_id=str(i),
            prompt=(*opening, 200 + i),
            completions=(Completion(ids=(7,), trained=(True,)),) * 2,
            opening="shared",
        )
        for i in range(4)
    ]
    found = count_work(config(tmp_path), rows_of(groups), packed=True, which=None)
    assert found.tokens < 150 < sum(group.tokens for group in groups)


def test_padding_is_counted_where_batches_are_padded(tmp_path: Path) -> None:
    train = make_groups("dpo", 4)
    found = count_work(config(tmp_path), rows_of(train), packed=False, which=None)
    assert found.tokens == pad(train).tokens > found.tokens_unshared
    assert found.saved < 0


def test_only_what_is_trained_on_counts(tmp_path: Path) -> None:
    train = make_groups("kto", 8)
    found = count_work(config(tmp_path), rows_of(train), packed=True, which=(0,))
    assert found.tokens_unshared == sum(len(g.prompt) + len(g.completions[0].ids) for g in train)


def test_limits_on_steps(tmp_path: Path) -> None:
    rows = rows_of(make_groups("dpo", 18), make_groups("dpo", 2))
    capped = count_work(config(tmp_path, max_steps=7, eval_steps=3), rows, packed=True, which=None)
    assert (capped.steps, capped.evaluations) == (7, 3)


def test_a_long_epoch_is_counted_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(make_groups("dpo", 80))
    whole = count_work(config(tmp_path), rows, packed=True, which=None)
    monkeypatch.setattr(workload, "COUNTED", 10)
    part = count_work(config(tmp_path), rows, packed=True, which=None)
    assert whole.is_counted
    assert not part.is_counted
    assert part.tokens == pytest.approx(whole.tokens, rel=0.1)
    assert part.steps == whole.steps


def test_the_largest_micro_batch_and_whether_there_are_several(tmp_path: Path) -> None:
    groups = make_groups("dpo", 20)
    one = batching(config(tmp_path), rows_of(groups))
    assert not one.accumulates
    several = batching(config(tmp_path, micro_batch_tokens=40), rows_of(groups))
    assert several.accumulates
    sizes = [pack([groups[i] for i in batch]).tokens for batch in micro_batches(groups, 40)]
    assert pack(several.largest).tokens >= max(sizes) - 10
    assert pack(several.ordinary).tokens <= pack(several.largest).tokens
