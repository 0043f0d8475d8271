"""`merge`: adapters into full weights or into one another, with proof that what comes out says the same."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from fairlead.errors import ConfigError, Fault, ModelError
from fairlead.identity import digest_file
from fairlead.models.adapter_files import FILE
from fairlead.models.adapter_sum import Lost, save_sum
from fairlead.models.language_model import LanguageModel
from fairlead.models.loading import load, load_dequantized, stored_dtype
from fairlead.models.quantization import is_quantized
from fairlead.models.sources import Source, locate
from fairlead.models.stack_record import PlacedAdapter
from fairlead.models.weights import merged, refuse_taken, save_model
from fairlead.progress import SILENT, Progress
from fairlead.runs.atomic import disk_errors, sync_folder, write_json
from fairlead.stages.likeness import PROMPTS, Likeness

BOUNDS = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.25}
"""Largest difference of a token's log-probability, in nats, by the type the merged weights are rounded to."""
CUT_BOUND = 0.1
"""The same where ranks are cut, unless another is asked for: what is lost then is not rounding but a choice."""
AS_STORED, IN_4_BITS, DEQUANTIZED = "as stored", "in 4 bits", "dequantised from 4 bits"


@dataclass(frozen=True, kw_only=True)
class MergeReport:
    """What was merged, and how far it is from the base under its adapters, both computed in float32.

    `order` names the adapters that were merged, the first next to the base; `base_weights` says which weights they were
    merged into (of a base that was trained over in 4 bits these are the ones it had then). `max_logp_difference` is the
    largest difference, in nats, of a token's log-probability in the greedy answers to `prompts` built-in prompts, and
    of a reward model the largest difference of a reward; `greedy_equal` counts the answers that came out token for
    token the same. `lost`, where ranks were cut to `rank`, is what that left out of the adapters' update, relative, by
    Frobenius norm.
    """

    path: str
    base: str
    base_weights: str
    order: tuple[PlacedAdapter, ...]
    into: str | None
    weights_digest: str
    adapter_digest: str
    dtype: str
    max_logp_difference: float
    bound: float
    greedy_equal: int | None
    prompts: int
    rank: int | None = None
    lost: Lost | None = None


def merge(
    run_or_adapter: str | Path,
    *,
    to: str | Path,
    into: str | Path | None = None,
    rank: int | None = None,
    bound: float | None = None,
    progress: Progress = SILENT,
) -> MergeReport:
    """Merge an adapter, and those it was trained over, into their base; the full model goes to the folder `to`.

    The sum is taken in float32, in the order of the stack, and kept in the type of the base's own weights. With `into`,
    the adapter beneath the uppermost one, the two become one adapter instead: exactly, their ranks added, or cut to
    `rank` by SVD. What was written is loaded again and compared with the stack; merge.json in the folder keeps the
    result. The folder appears whole or not at all.

    Raises ModelError when there is no adapter, when it was not trained over `into`, when `to` is taken, or when the two
    differ beyond the bound (`bound`, in nats, where ranks are cut); ConfigError for settings that do not go together,
    MachineError when the disk will not take it.
    """
    _check(into, rank, bound)
    given, target = str(run_or_adapter), Path(to)
    source = locate(given)
    if source.adapter is None and not Path(given).exists():
        raise ModelError(f"There is no folder {given}. Give the directory of a run, or the folder of an adapter.")
    if source.adapter is None:
        raise ModelError(f"{given} holds full weights: there is no adapter to merge. It can be used as it is.")
    if into is not None:
        _refuse_other(source, into)
    refuse_taken(target)
    aside = target.with_name(f".{target.name}.unchecked")
    with progress.task("merge", total=3, unit="steps") as task:
        lm = load(given, dtype=torch.float32)
        before = Likeness.of(lm)
        task.advance()
        try:
            shutil.rmtree(aside, ignore_errors=True)
            found: dict[str, Any] = {"path": str(target), "base": lm.source, "order": lm.adapters}
            if into is None:
                found |= _into_base(given, lm, aside)
            else:
                found |= {"into": str(into), "rank": rank} | _into_adapter(lm, aside, rank, bound)
            del lm
            task.advance()
            report = _compare(before, load(str(aside), dtype=torch.float32), found)
            _accept(report, aside, target)
            task.advance()
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return report


def _check(into: str | Path | None, rank: int | None, bound: float | None) -> None:
    faults = []
    if into is None and rank is not None:
        remedy = "Add into, or leave out rank."
        faults.append(Fault(field="rank", problem="full weights have no rank to be cut to.", remedy=remedy))
    if rank is not None and rank < 1:
        faults.append(Fault(field="rank", problem="must be at least 1."))
    if rank is None and bound is not None:
        problem = "a merge that cuts no rank is exact but for rounding, whose bound is fixed."
        faults.append(Fault(field="bound", problem=problem, remedy="Add rank, or leave out bound."))
    if bound is not None and not bound > 0:
        faults.append(Fault(field="bound", problem="must be greater than 0."))
    if faults:
        raise ConfigError(faults, source="merge")


def _refuse_other(source: Source, into: str | Path) -> None:
    """Raises ModelError unless `into` is what the uppermost adapter was trained over: only their sum was ever tried."""
    other = locate(source.base, adapter=str(into)).adapter
    assert other is not None
    if len(source.adapters) < 2:
        raise ModelError(
            f"The adapter {source.adapter} lies straight on its base: it was not trained over {other}, so the sum of "
            f"the two is a model that nobody has tried. Train it with `model.adapter: {other}`, or merge it into full "
            f"weights."
        )
    beneath = Path(source.adapters[-2].path)
    if beneath != other and digest_file(beneath / FILE) != digest_file(other / FILE):
        raise ModelError(
            f"The adapter {source.adapter} was trained over {beneath}, not over {other}, so the sum of the two is a "
            f"model that nobody has tried. Give the one it was trained over."
        )


def _into_base(given: str, lm: LanguageModel, aside: Path) -> dict[str, Any]:
    dtype = stored_dtype(given)
    digest, was_quantized = lm.adapter_digest, is_quantized(lm.model)
    if was_quantized:
        lm = load_dequantized(given, dtype=torch.float32)
    whole = merged(lm, dtype=dtype)
    save_model(whole, aside)
    return {
        "base_weights": DEQUANTIZED if was_quantized else AS_STORED,
        "weights_digest": whole.weights_digest,
        "adapter_digest": digest,
        "dtype": str(dtype).removeprefix("torch."),
        "bound": BOUNDS[dtype],
    }


def _into_adapter(lm: LanguageModel, aside: Path, rank: int | None, bound: float | None) -> dict[str, Any]:
    lost = save_sum(lm, aside, rank=rank)
    exact = BOUNDS[torch.float32]
    return {
        "base_weights": IN_4_BITS if is_quantized(lm.model) else AS_STORED,
        "weights_digest": lm.weights_digest,
        "adapter_digest": "",
        "dtype": "float32",
        "bound": exact if rank is None else CUT_BOUND if bound is None else bound,
        "lost": lost,
    }


def _compare(before: Likeness, lm: LanguageModel, found: dict[str, Any]) -> MergeReport:
    after = Likeness.of(lm, before.answers)
    return MergeReport(
        **{"into": None} | found | ({"adapter_digest": lm.adapter_digest} if lm.adapters else {}),
        max_logp_difference=before.difference(after),
        greedy_equal=before.equal_answers(after),
        prompts=len(PROMPTS),
    )


def _accept(report: MergeReport, aside: Path, target: Path) -> None:
    """Put the checked folder in its place, or refuse it."""
    if not report.max_logp_difference <= report.bound:
        what, remedy = f"rounding to {report.dtype} explains", "Serve the base with its adapters instead."
        if report.rank is not None:
            what = f"is tolerated where ranks are cut to {report.rank}"
            remedy = "Take a larger rank, leave it out to merge exactly, or tolerate more with bound."
        raise ModelError(
            f"What was merged is not the model under its adapters: log-probabilities differ by up to "
            f"{report.max_logp_difference:.3g} nats per token, more than the {report.bound:g} that {what}. Nothing was "
            f"written. {remedy}"
        )
    write_json(aside / "merge.json", asdict(report))
    with disk_errors(target):
        if target.exists():
            target.rmdir()
        aside.rename(target)
        sync_folder(target.parent)
