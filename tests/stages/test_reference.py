"""The reference that follows the policy (TR-DPO): its values by hand, its proof, its checkpoints, its limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fairlead.config import Config
from fairlead.engine.groups import PromptGroup
from fairlead.engine.reference import SyncedReference, prove_reference
from fairlead.engine.rendering import Renderer
from fairlead.engine.scoring import Scorer
from fairlead.errors import ConfigError, RunError
from fairlead.losses.binding import bind
from fairlead.losses.scores import TokenScores
from fairlead.progress import SILENT
from fairlead.runs.directory import RunDirectory
from fairlead.stages.policy import Policy, load_policy
from fairlead.stages.reference import Proven, make_reference
from fairlead.stages.rows import read_training_rows
from fairlead.stages.train import train
from tests.stages.running import StopsAfter, resume, stopped
from tests.tiny import save_tiny
from tests.training.small import make_config

SYNCED = {"reference": "live", "reference_sync_steps": 2, "reference_mixup_alpha": 0.6}
TRAINED: dict[str, dict[str, Any] | None] = {
    "full": None,
    "lora": {"r": 2},
    "lora with dropout": {"r": 2, "dropout": 0.2},
    "dora": {"r": 2, "kind": "dora"},
    "full, tied": None,
    "lora, embeddings and head": {"r": 2, "train_embeddings": True, "train_head": True},
    "lora, embeddings and head, tied": {"r": 2, "train_embeddings": True, "train_head": True},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and one whose embeddings are its output head in the folder `tied` within."""
    folder = tmp_path_factory.mktemp("model")
    save_tiny(folder / "tied", tie_word_embeddings=True)
    return save_tiny(folder)


@dataclass
class Job:
    """A policy, and its reference before the first step."""

    policy: Policy
    scorer: Scorer
    rows: list[PromptGroup]
    proven: Proven
    said: list[str]

    @property
    def reference(self) -> SyncedReference:
        assert isinstance(self.proven.reference, SyncedReference)
        return self.proven.reference

    def train(self, seed: int) -> dict[str, Tensor]:
        """Change all trained weights at random; gives what they are then."""
        dice = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in self.policy.parameters.values():
                weight.add_(0.05 * torch.randn(weight.shape, generator=dice))
        return self.weights()

    def weights(self) -> dict[str, Tensor]:
        return {name: weight.detach().clone() for name, weight in self.policy.parameters.items()}

    def put(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self.policy.parameters.items():
                weight.copy_(weights[name])

    def policy_scores(self) -> Tensor:
        self.policy.lm.model.eval()
        with self.scorer.attention(), torch.no_grad():
            return self.scorer.score(self.scorer.batch(self.rows)).logp_N

    def reference_scores(self) -> Tensor:
        with self.scorer.attention():
            scores: TokenScores = self.reference.scores(self.rows)
        assert not scores.logp_N.requires_grad
        return scores.logp_N


def make_job(folder: Path, model: Path, trained: str, **settings: Any) -> Job:
    path = model / "tied" if "tied" in trained else model
    config = make_config(folder, path, adapter=TRAINED[trained], **{**SYNCED, **settings})
    policy = load_policy(config)
    renderer = Renderer(policy.lm.tokenizer)
    rows = read_training_rows(config, bind([("dpo", {}, 1.0)]), renderer)
    scorer = Scorer(model=policy.lm.model, packed=True, compute=torch.float32)
    progress = StopsAfter(-1)
    proven = make_reference(policy, scorer, rows, config.train, progress)
    return Job(policy, scorer, rows.train[:4], proven, progress.said)


@pytest.mark.parametrize("trained", TRAINED)
def test_it_is_the_mean_of_weights_that_is_made_by_hand(tmp_path: Path, model: Path, trained: str) -> None:
    job = make_job(tmp_path, model, trained)
    assert job.proven.gap < 1e-5
    start, expected = job.weights(), job.policy_scores()
    job.reference.after_step(1)  # not due
    first = job.train(1)
    assert torch.equal(job.reference_scores(), expected)
    job.reference.after_step(2)
    moved = job.reference_scores()
    second = job.train(2)
    assert torch.equal(job.reference_scores(), moved)
    job.reference.after_step(3)
    job.reference.after_step(4)
    again = job.reference_scores()
    policy = job.policy_scores()
    by_hand = {name: 0.6 * first[name] + 0.4 * start[name] for name in start}
    for found, weights in (
        (moved, by_hand),
        (again, {name: 0.6 * second[name] + 0.4 * by_hand[name] for name in start}),
    ):
        job.put(weights)
        torch.testing.assert_close(found, job.policy_scores(), rtol=1e-4, atol=1e-4)
    apart = [(a - b).abs().max().item() for a, b in ((moved, expected), (again, moved), (policy, again))]
    assert min(apart) > 0.01


@pytest.mark.parametrize("trained", TRAINED)
def test_with_a_share_of_one_the_policy_takes_its_place(tmp_path: Path, model: Path, trained: str) -> None:
    job = make_job(tmp_path, model, trained, reference_mixup_alpha=1.0)
    before = job.reference_scores()
    job.train(1)
    job.reference.after_step(2)
    torch.testing.assert_close(job.reference_scores(), job.policy_scores(), rtol=1e-6, atol=1e-6)
    assert (job.reference_scores() - before).abs().max() > 0.01
    for name, weight in job.reference.weights.items():
        assert torch.equal(weight.own, weight.policy), name


@pytest.mark.parametrize("trained", TRAINED)
def test_it_has_no_part_in_what_is_trained(tmp_path: Path, model: Path, trained: str) -> None:
    job = make_job(tmp_path, model, trained)
    names, own = set(job.policy.parameters), job.reference.parameters
    assert not any(weight.requires_grad for weight in own.values())
    assert not names & own.keys()
    assert len(own) == len(names)
    job.policy.lm.model.train()
    job.reference_scores()
    assert job.policy.lm.model.training
    assert set(job.policy.parameters) == names


def test_it_says_what_it_does_and_what_it_takes(tmp_path: Path, model: Path) -> None:
    job = make_job(tmp_path, model, "full")
    size = sum(weight.numel() * 4 for weight in job.policy.parameters.values()) / 1e6
    assert f"a second copy of all weights is kept as the reference: {size:,.0f} MB" in job.said
    assert "the reference moves: every 2 steps 0.6 of the policy is mixed into it" in job.said
    hard = make_job(tmp_path, model, "lora", reference_mixup_alpha=1)
    assert "the reference moves: every 2 steps the policy takes its place" in hard.said
    assert not any("second copy" in said for said in hard.said)


def test_an_adapter_whose_training_goes_on_has_its_copy_already(tmp_path: Path, model: Path) -> None:
    first = train(make_config(tmp_path, model, adapter={"r": 2}, max_steps=2, learning_rate=0.01))
    policy = load_policy(make_config(tmp_path, model, model_adapter=first.artifact, **SYNCED))
    scorer = Scorer(model=policy.lm.model, packed=True, compute=torch.float32)
    config = make_config(tmp_path, model, model_adapter=first.artifact, **SYNCED)
    rows = read_training_rows(config, bind([("dpo", {}, 1.0)]), Renderer(policy.lm.tokenizer))
    proven = make_reference(policy, scorer, rows, config.train, SILENT)
    job = Job(policy, scorer, rows.train[:4], proven, [])
    start, first_weights = job.weights(), job.train(1)
    job.reference.after_step(2)
    found = job.reference_scores()
    job.put({name: 0.6 * first_weights[name] + 0.4 * start[name] for name in start})
    torch.testing.assert_close(found, job.policy_scores(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("trained", ["full", "lora with dropout"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path, model: Path, trained: str) -> None:
    settings = {**SYNCED, "adapter": TRAINED[trained], "max_steps": 5, "epochs": 3, "learning_rate": 1e-2}
    whole = train(make_config(tmp_path, model, **settings, run="whole"))
    parts = make_config(tmp_path, model, **settings, run="parts")
    run = stopped(parts, steps=3)
    resume(parts)
    last = [RunDirectory.open(path).checkpoints / "step-000005" for path in (whole.run, run.path)]
    for name in ("weights.safetensors", "optimizer.safetensors"):
        assert (last[0] / name).read_bytes() == (last[1] / name).read_bytes()
    events = [
        [(e.step, e.name, e.value) for e in RunDirectory.open(path).events() if "/s" not in e.name]
        for path in (whole.run, run.path)
    ]
    assert events[0] == events[1]
    tensors = load_file(last[0] / "weights.safetensors")
    own = {name for name in tensors if "reference" in name.split(".")}
    assert len(own) == len(tensors) / 2
    fixed = train(make_config(tmp_path, model, **{**settings, **FIXED}, run="fixed"))
    assert whole.metrics != fixed.metrics


def test_a_loss_without_reference_has_none_to_move(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.reference_sync_steps: this loss compares with no reference"):
        make_config(tmp_path, tmp_path / "model", "simpo", adapter={"r": 2}, **SYNCED)


FIXED = {"reference": "cache", "reference_sync_steps": None}


def test_the_cache_cannot_follow(tmp_path: Path, model: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"train\.reference:.*train\.reference_sync_steps moves it.*Write live"
    ) as caught:
        make_config(tmp_path, model, adapter={"r": 2}, reference_sync_steps=4)
    assert [fault.field for fault in caught.value.faults] == ["train.reference"]


def test_full_fine_tuning_takes_a_live_reference_only_where_it_moves(tmp_path: Path, model: Path) -> None:
    assert isinstance(make_config(tmp_path, model, **SYNCED), Config)
    with pytest.raises(ConfigError, match="full fine-tuning has no adapter"):
        make_config(tmp_path, model, reference="live")


def test_a_reference_of_another_model_is_still_found_out(tmp_path: Path, model: Path) -> None:
    job = make_job(tmp_path, model, "full")
    with torch.no_grad():
        next(iter(job.policy.parameters.values())).add_(1)
    with pytest.raises(RunError, match="policy and reference differ by"):
        prove_reference(job.scorer, job.reference, job.rows)
