"""`merge`: an adapter into full weights, with proof that the merged model says the same."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fairlead.data.records import Message
from fairlead.engine.rendering import Renderer
from fairlead.engine.sampling import Sampling, sample
from fairlead.errors import ModelError
from fairlead.models.language_model import LanguageModel
from fairlead.models.loading import load, stored_dtype
from fairlead.models.sources import locate
from fairlead.models.weights import merged, refuse_taken, save_model
from fairlead.progress import SILENT, Progress
from fairlead.runs.atomic import disk_errors, sync_folder, write_json

PROMPTS = (
    "Hello, who are you and what can you do?",
    "Where is my order? It should have arrived on Monday.",
    "Write a short note to a colleague who is ill.",
    "What is 17 plus 25? Explain it in one sentence.",
)
GREEDY = Sampling(temperature=0.0, max_new_tokens=32, batch_size=len(PROMPTS))
BOUNDS = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.25}
"""Largest difference of a token's log-probability, in nats, by the type the merged weights are rounded to."""


@dataclass(frozen=True, kw_only=True)
class MergeReport:
    """A merged model and how far it is from the base with its adapter, both computed in float32.

    `max_logp_difference` is the largest difference, in nats, of a token's log-probability in the greedy answers to
    `prompts` built-in prompts; `greedy_equal` counts the answers that came out token for token the same.
    """

    path: str
    base: str
    weights_digest: str
    adapter_digest: str
    dtype: str
    max_logp_difference: float
    bound: float
    greedy_equal: int
    prompts: int


@dataclass(frozen=True)
class _Answers:
    """What a model says to the built-in prompts: its greedy answers, and how likely it finds a given set of answers."""

    ids: list[tuple[int, ...]]
    logps: list[Tensor]

    @classmethod
    def of(cls, lm: LanguageModel, scored: Sequence[tuple[int, ...]] | None = None) -> _Answers:
        """Answer the prompts, and score `scored` (by default the answers themselves)."""
        renderer = Renderer(lm.tokenizer)
        prompts = [renderer.prompt_ids([Message(role="user", content=text)]) for text in PROMPTS]
        ids = [row[0].ids for row in sample(lm.model, prompts, GREEDY, stop_ids=renderer.stop_ids)]
        pairs = zip(prompts, ids if scored is None else scored, strict=True)
        return cls(ids, [_logps(lm.model, prompt, answer) for prompt, answer in pairs])


def merge(run_or_adapter: str | Path, *, to: str | Path, progress: Progress = SILENT) -> MergeReport:
    """Merge an adapter into its base and write the full model, tokenizer and template to the folder `to`.

    The sum is taken in float32 and kept in the type of the base's own weights. What was written is loaded again and
    compared with the base under its adapter; merge.json in the folder keeps the result. The folder appears whole or not
    at all. Raises ModelError when there is no adapter, when `to` is taken, or when the two differ beyond the bound;
    MachineError when the disk will not take it.
    """
    given, target = str(run_or_adapter), Path(to)
    if locate(given).adapter is None:
        raise ModelError(f"{given} holds full weights: there is no adapter to merge. It can be used as it is.")
    refuse_taken(target)
    dtype = stored_dtype(given)
    aside = target.with_name(f".{target.name}.unchecked")
    with progress.task("merge", total=3, unit="steps") as task:
        lm = load(given, dtype=torch.float32)
        before = _Answers.of(lm)
        task.advance()
        try:
            shutil.rmtree(aside, ignore_errors=True)
            whole = merged(lm, dtype=dtype)
            save_model(whole, aside)
            digests = whole.weights_digest, lm.adapter_digest
            base = lm.source
            del lm, whole
            task.advance()
            after = _Answers.of(load(str(aside), dtype=torch.float32), before.ids)
            report = _compare(before, after, target, base, digests, dtype)
            _accept(report, aside, target)
            task.advance()
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return report


def _compare(
    before: _Answers, after: _Answers, target: Path, base: str, digests: tuple[str, str], dtype: torch.dtype
) -> MergeReport:
    differences = [(a - b).abs().max() for a, b in zip(before.logps, after.logps, strict=True)]
    return MergeReport(
        path=str(target),
        base=base,
        weights_digest=digests[0],
        adapter_digest=digests[1],
        dtype=str(dtype).removeprefix("torch."),
        max_logp_difference=float(max(differences)),
        bound=BOUNDS[dtype],
        greedy_equal=sum(a == b for a, b in zip(before.ids, after.ids, strict=True)),
        prompts=len(PROMPTS),
    )


def _accept(report: MergeReport, aside: Path, target: Path) -> None:
    """Put the checked folder in its place, or refuse it."""
    if not report.max_logp_difference <= report.bound:
        raise ModelError(
            f"The merged model is not the model under its adapter: log-probabilities differ by up to "
            f"{report.max_logp_difference:.3g} nats per token, more than the {report.bound:g} that rounding to "
            f"{report.dtype} explains. Nothing was written. Serve the base with its adapter instead."
        )
    write_json(aside / "merge.json", asdict(report))
    with disk_errors(target):
        if target.exists():
            target.rmdir()
        aside.rename(target)
        sync_folder(target.parent)


@torch.no_grad()
def _logps(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
    """Log-probability of each token of the answer, in nats."""
    ids = torch.tensor([[*prompt, *answer]], device=model.device)
    logits: Tensor = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
    return logits.log_softmax(dim=-1).gather(1, ids[0, len(prompt) :, None]).squeeze(1).cpu()
