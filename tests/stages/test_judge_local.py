"""Models on this machine as judges: read as strictly as servers, and their answers kept as theirs are."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from fairlead.models.loading import load
from fairlead.models.reward_model import add_reward_head
from fairlead.models.weights import save_model
from fairlead.runs.directory import RunDirectory
from fairlead.stages import generate
from fairlead.stages.judge import Judging, judge
from tests.stages.test_judge import GOOD, PLAIN, N, candidates, config, value
from tests.tiny import save_tiny

BATCH = 16
ASKED = 2 * N + 2 * 4
"""Both orders, and two canaries of both sorts in both orders."""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    ours = candidates(tmp_path / "ours.jsonl", [GOOD] * 9 + [PLAIN] * 3, "tuned")
    return ours, candidates(tmp_path / "base.jsonl", [PLAIN] * 9 + [GOOD] * 3, "base")


def run(files: tuple[Path, Path], panel: Path, name: str = "run") -> Judging:
    return judge(files[0], against=files[1], judge=panel, out=files[0].parent / name)


def test_a_local_model_and_a_reward_model_judge(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiny random models: one writes nothing that can be read, the other has rewards for everything."""
    base = save_tiny(tmp_path / "base", max_position_embeddings=2048)
    lm = add_reward_head(load(str(base), dtype=torch.float32), endings={2})
    torch.nn.init.normal_(lm.model.score.weight, generator=torch.Generator().manual_seed(1))
    save_model(lm, tmp_path / "reward")
    judges = [
        {"name": "local", "model": {"path": str(base), "max_new_tokens": 4}},
        {"name": "reward", "reward": {"path": str(tmp_path / "reward")}},
    ]
    panel = config(tmp_path, judges, canaries=1, sycophancy=0, self_preference=2)
    result = run(files, panel)
    assert value(result, "judge/unparsed", judge="local") == 1
    assert value(result, "judge/inconsistent", judge="reward") == 0
    assert all(verdict.votes.keys() <= {"candidate", "baseline"} for verdict in result.verdicts)
    assert any(sentence.startswith("judge 'local'") for sentence in result.void)
    account = RunDirectory.open(result.run).record["extra"]["account"]
    assert account["faults"] == {"truncated": 2 * N}
    assert (account["own_answers"], account["own_answers_left_out"]) == (2, {"truncated": 2})

    def never(*_: object, **__: object) -> None:
        raise AssertionError("what a local model said is kept")

    monkeypatch.setattr("fairlead.stages.generate.complete", never)
    again = run(files, panel, "again")
    assert again.cached == 2 * N + 2 * 2 + 2
    assert again.measures == result.measures


def test_another_local_model_is_asked_anew(files: tuple[Path, Path], tmp_path: Path) -> None:
    """The cache tells models apart by their weights, not by the name of their folder."""
    path = tmp_path / "model"
    save_tiny(path, max_position_embeddings=2048)
    panel = config(tmp_path, [{"name": "local", "model": {"path": str(path), "max_new_tokens": 2}}], sycophancy=0)
    assert run(files, panel, "first").cached == 0
    assert run(files, panel, "second").cached == ASKED
    shutil.rmtree(path)
    save_tiny(path, seed=7, max_position_embeddings=2048)
    assert run(files, panel, "third").cached == 0


def test_a_local_judge_that_was_stopped_goes_on_after_its_last_batch(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = save_tiny(tmp_path / "base", max_position_embeddings=2048)
    panel = config(tmp_path, [{"name": "local", "model": {"path": str(base), "max_new_tokens": 2}}], sycophancy=0)
    complete, asked = generate.complete, [0]

    def counted(lm: Any, rows: Sequence[Any], *given: Any, **named: Any) -> Any:
        if asked[0] == BATCH:
            raise KeyboardInterrupt
        asked[0] += len(rows)
        return complete(lm, rows, *given, **named)

    monkeypatch.setattr(generate, "complete", counted)
    with pytest.raises(KeyboardInterrupt):
        run(files, panel)
    assert asked == [BATCH]
    asked[0] = -ASKED  # no further stop
    result = run(files, panel)
    assert asked == [-ASKED + ASKED - BATCH]
    assert (result.showings, result.cached) == (ASKED, BATCH)
