"""Every loss that TRL has too, from the same token ids: TRL's own trainers against ours, for loss and gradients.

Ours is a plain log-softmax, gathered at the trained tokens. `pytest tests/losses/test_trl_agreement.py -s` prints the
largest differences as the table of docs/losses.md, which `python -m tests.losses.test_trl_agreement` writes anew.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaForSequenceClassification

from fairlead.losses.binding import bind
from fairlead.losses.checking import NamedLoss
from fairlead.losses.scores import Demonstrations, Examples, Pairs, RewardPairs, Thumbs, TokenScores
from fairlead.losses.table import LOSSES
from fairlead.losses.weighting import policy_weight
from tests.losses.batches import imitated_tokens, reduced
from tests.losses.pages import between_marks, replace_between_marks
from tests.tiny import tiny_llama

pytest.importorskip("trl", reason="TRL is not installed (extra `dev`): its losses are not compared with ours")

from tests.losses.trl_oracle import (
    CHOSEN,
    LABELS,
    MARGINS,
    PROMPTS,
    REJECTED,
    Oracle,
    gradients,
    mismatched,
    trl_cpo,
    trl_dpo,
    trl_kto,
    trl_orpo,
    trl_reward,
)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

TOLERANCE = 1e-5
RECORDED = "differences from TRL"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One loss in both houses: ours by name and parameters, TRL's by trainer and options."""

    ours: list[NamedLoss]
    oracle: Oracle
    options: Mapping[str, Any] = field(default_factory=dict)
    margin: bool = False


def one(name: str, **given: float | str) -> list[NamedLoss]:
    return [(name, given, 1.0)]


def in_dpo_trainer(ours: list[NamedLoss], loss_type: str, **options: Any) -> Case:
    return Case(ours=ours, oracle=trl_dpo, options={"loss_type": [loss_type], **options})


CASES = {
    "sft": in_dpo_trainer(one("sft"), "sft"),
    "dpo": in_dpo_trainer(one("dpo"), "sigmoid"),
    # TRL has no label smoothing in its sigmoid loss; its aot loss has, and is DPO where the batch is a single pair.
    "dpo, label smoothing": in_dpo_trainer(
        one("dpo", label_smoothing=0.2), "aot", label_smoothing=0.2, one_by_one=True
    ),
    "dpo + 0.5 sft": Case(
        ours=[("dpo", {}, 1.0), ("sft", {}, 0.5)],
        oracle=trl_dpo,
        options={"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]},
    ),
    "dpo, WPO": in_dpo_trainer(one("dpo", wpo=True), "sigmoid", use_weighting=True),
    "dpo, forward KL": in_dpo_trainer(one("dpo", f_divergence="forward_kl"), "sigmoid", f_divergence_type="forward_kl"),
    "dpo, JS": in_dpo_trainer(one("dpo", f_divergence="js"), "sigmoid", f_divergence_type="js_divergence"),
    "dpo, alpha 0.3": in_dpo_trainer(
        one("dpo", f_divergence="alpha", divergence_alpha=0.3),
        "sigmoid",
        f_divergence_type="alpha_divergence",
        f_alpha_divergence_coef=0.7,  # TRL's parameter is 1 − α
    ),
    "dpo_robust": in_dpo_trainer(one("dpo_robust"), "robust", label_smoothing=0.1),
    "dpo_robust, JS": in_dpo_trainer(
        one("dpo_robust", f_divergence="js"), "robust", label_smoothing=0.1, f_divergence_type="js_divergence"
    ),
    "ipo": in_dpo_trainer(one("ipo"), "ipo"),
    "hinge": in_dpo_trainer(one("hinge", beta=0.5), "hinge", beta=0.5),
    "hinge, JS": in_dpo_trainer(
        one("hinge", beta=0.5, f_divergence="js"), "hinge", beta=0.5, f_divergence_type="js_divergence"
    ),
    "exo": in_dpo_trainer(one("exo"), "exo_pair", label_smoothing=1e-3),
    "exo, WPO": in_dpo_trainer(one("exo", wpo=True), "exo_pair", label_smoothing=1e-3, use_weighting=True),
    "exo, forward KL": in_dpo_trainer(
        one("exo", f_divergence="forward_kl"), "exo_pair", label_smoothing=1e-3, f_divergence_type="forward_kl"
    ),
    "discopop": in_dpo_trainer(one("discopop"), "discopop", beta=0.05),
    "discopop, JS": in_dpo_trainer(
        one("discopop", f_divergence="js"), "discopop", beta=0.05, f_divergence_type="js_divergence"
    ),
    "dpo_norm": in_dpo_trainer(one("dpo_norm"), "sigmoid_norm", beta=2.0),
    "ld_dpo": in_dpo_trainer(one("ld_dpo"), "sigmoid", ld_alpha=0.5),
    "nca": in_dpo_trainer(one("nca"), "nca_pair"),
    "bco_pair": in_dpo_trainer(one("bco_pair"), "bco_pair"),
    "sppo": in_dpo_trainer(one("sppo"), "sppo_hard", beta=1e-3),
    "sppo, WPO": in_dpo_trainer(one("sppo", wpo=True), "sppo_hard", beta=1e-3, use_weighting=True),
    "apo_zero": in_dpo_trainer(one("apo_zero"), "apo_zero"),
    "apo_down": in_dpo_trainer(one("apo_down"), "apo_down"),
    "aot": in_dpo_trainer(one("aot"), "aot"),
    "aot_unpaired": in_dpo_trainer(one("aot_unpaired"), "aot_unpaired"),
    "simpo": Case(
        ours=one("simpo"),
        oracle=trl_cpo,
        options={"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 1.0},
    ),
    "simpo, label smoothing": Case(
        ours=one("simpo", label_smoothing=0.2),
        oracle=trl_cpo,
        options={"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 1.0, "label_smoothing": 0.2},
    ),
    "alpha_po": Case(
        ours=one("alpha_po"),
        oracle=trl_cpo,
        options={"loss_type": "alphapo", "beta": 2.0, "simpo_gamma": 1.0, "alpha": 0.25},
    ),
    "cpo": Case(ours=one("cpo"), oracle=trl_cpo, options={"beta": 0.1}),
    "cpo, label smoothing": Case(
        ours=one("cpo", label_smoothing=0.2, cpo_alpha=0.5),
        oracle=trl_cpo,
        options={"beta": 0.1, "label_smoothing": 0.2, "cpo_alpha": 0.5},
    ),
    "orpo": Case(ours=one("orpo"), oracle=trl_orpo, options={"beta": 0.1}),
    "kto": Case(ours=one("kto"), oracle=trl_kto, options={"beta": 0.1}),
    "kto, weights": Case(
        ours=one("kto", beta=0.5, desirable_weight=1.5, undesirable_weight=0.8),
        oracle=trl_kto,
        options={"beta": 0.5, "desirable_weight": 1.5, "undesirable_weight": 0.8},
    ),
    "apo_zero_unpaired": Case(
        ours=one("apo_zero_unpaired", desirable_weight=1.5, undesirable_weight=0.8),
        oracle=trl_kto,
        options={"loss_type": "apo_zero_unpaired", "desirable_weight": 1.5, "undesirable_weight": 0.8},
    ),
    "reward": Case(ours=one("reward"), oracle=trl_reward),
    "reward, margin and centring": Case(
        ours=one("reward", center_coefficient=0.01),
        oracle=trl_reward,
        options={"center_rewards_coefficient": 0.01, "margin": True},
        margin=True,
    ),
}

NOT_IN_TRL = {"dpop", "r_dpo", "cal_dpo", "bco"}


def models(case: Case) -> tuple[nn.Module, nn.Module]:
    """Policy and reference of a case: language models, or the model of a reward."""
    reference = tiny_llama(seed=1).float()
    if case.ours[0][0] != "reward":
        return tiny_llama(seed=0).float(), reference
    torch.manual_seed(0)
    config = copy.deepcopy(reference.config)
    config.num_labels, config.pad_token_id = 1, 0
    return LlamaForSequenceClassification(config).float().eval(), reference


def score(model: nn.Module, completions: list[list[int]]) -> TokenScores:
    """Log-probabilities of completions after their prompts, one sequence at a time, by log-softmax."""
    logps, columns = [], []
    for prompt, completion in zip(PROMPTS, completions, strict=True):
        ids = torch.tensor(prompt + completion)
        logp_SV = model(ids[None]).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        logps.append(logp_SV.gather(1, ids[len(prompt) :, None])[:, 0])
        columns.append(logp_SV.detach().mul(2).logsumexp(-1))
    counts = torch.tensor([len(completion) for completion in completions])
    return TokenScores(torch.cat(logps), counts, torch.cat(columns))


def reward_of(model: nn.Module, completions: list[list[int]]) -> Tensor:
    """The score of each prompt with its completion, one sequence at a time."""
    rows = zip(PROMPTS, completions, strict=True)
    return torch.stack([model(torch.tensor([prompt + completion])).logits[0, 0] for prompt, completion in rows])


def examples_of(case: Case, model: nn.Module, reference: nn.Module) -> Examples:
    loss = bind(case.ours)
    if loss.examples is RewardPairs:
        margin = torch.tensor(MARGINS) if case.margin else None
        return RewardPairs(reward_of(model, CHOSEN), reward_of(model, REJECTED), margin)
    with torch.no_grad():
        reference_chosen, reference_rejected = score(reference, CHOSEN), score(reference, REJECTED)
    chosen = score(model, CHOSEN)
    if loss.examples is Pairs:
        return Pairs(chosen, score(model, REJECTED), reference_chosen, reference_rejected)
    if loss.examples is Thumbs:
        return Thumbs(chosen, torch.tensor(LABELS), reference_chosen)
    return Demonstrations(chosen)


@torch.no_grad()
def statistics_of(case: Case, examples: Examples, model: nn.Module, reference: nn.Module) -> dict[str, Tensor]:
    found = {}
    for name, statistic in bind(case.ours).statistics.items():
        if statistic.completions == "own":
            found[name] = statistic.compute(examples)
        else:
            found[name] = statistic.compute(*(score(each, mismatched(CHOSEN)) for each in (model, reference)))
            assert found[name] > 0, "a reference point at its bound tests nothing"
    return found


def our_loss(case: Case, model: nn.Module, reference: nn.Module) -> Tensor:
    examples = examples_of(case, model, reference)
    loss = bind(case.ours)
    if loss.columns:
        assert isinstance(examples, Pairs)
        assert (policy_weight(examples) < 1).all(), "TRL does not clamp weights at 1"
    output = loss(examples, statistics_of(case, examples, model, reference))
    return reduced(output, rows=len(PROMPTS), tokens=imitated_tokens(examples))


def relative(ours: Tensor, theirs: Tensor) -> float:
    """The norm of the difference over that of TRL's; where TRL's is 0, so must ours be."""
    difference = (ours - theirs).norm().item()
    return difference / theirs.norm().item() if difference else 0.0


def differences_of(name: str, folder: Path) -> tuple[float, float]:
    """The largest relative difference of the loss, and of the gradient of any parameter."""
    case = CASES[name]
    model, reference = models(case)
    theirs = copy.deepcopy(model), copy.deepcopy(reference)
    expected, expected_gradients = case.oracle(case.options, *theirs, folder)
    loss = our_loss(case, model, reference)
    pairs = zip(gradients(loss, model), expected_gradients, strict=True)
    return relative(loss.detach(), expected.detach()), max(relative(ours, other) for ours, other in pairs)


def written(measured: Mapping[str, tuple[float, float]]) -> str:
    """The differences as a Markdown table."""
    lines = ["| loss | loss differs by | gradient differs by |", "| --- | --- | --- |"]
    lines += [f"| {name} | {loss:.1e} | {gradient:.1e} |" for name, (loss, gradient) in measured.items()]
    return "".join(f"{line}\n" for line in lines)


@pytest.fixture(scope="module")
def differences() -> Iterator[dict[str, tuple[float, float]]]:
    measured: dict[str, tuple[float, float]] = {}
    yield measured
    print(f"\n\nLargest relative differences from TRL:\n\n{written(measured)}")


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_agree_with_trl(
    name: str, differences: dict[str, tuple[float, float]], tmp_path: Path
) -> None:
    loss_differs, gradient_differs = differences[name] = differences_of(name, tmp_path)
    assert loss_differs <= TOLERANCE
    assert gradient_differs <= TOLERANCE


def test_every_loss_is_compared_or_known_to_be_absent_from_trl() -> None:
    assert {name.split(",")[0].split(" ")[0] for name in CASES} | NOT_IN_TRL == set(LOSSES)
    assert not {name for name in CASES if name in NOT_IN_TRL}


def test_the_recorded_table_is_of_these_cases_and_within_the_tolerance() -> None:
    rows = [line.strip("| ").split(" | ") for line in between_marks(RECORDED).splitlines()[2:]]
    assert [name for name, *_ in rows] == list(CASES)
    assert all(float(number) <= TOLERANCE for _, *numbers in rows for number in numbers)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        replace_between_marks(RECORDED, written({name: differences_of(name, Path(scratch)) for name in CASES}))
