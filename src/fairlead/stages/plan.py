"""`plan`: what a training run takes and what it can show, before any weights are loaded."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fairlead.config import Config, read_config
from fairlead.engine.attention import UnsupportedAttention
from fairlead.engine.memory import Phase
from fairlead.engine.rendering import Renderer
from fairlead.errors import ConfigError, Fault, ModelError
from fairlead.losses.binding import BoundLoss, bind
from fairlead.losses.scores import RewardPairs
from fairlead.models.language_model import LanguageModel
from fairlead.models.loading import _check_vocabulary, load_tokenizer
from fairlead.models.outline import read_architecture
from fairlead.models.sources import locate
from fairlead.progress import SILENT, Progress
from fairlead.stages.evidence import Evidence, weigh
from fairlead.stages.footprint import HERE, Batches, Way, other_ways
from fairlead.stages.machines import Machine, available_memory, find_gpu, own_memory, usable
from fairlead.stages.pace import Duration, Pace, find_pace
from fairlead.stages.policy import _refuse_quantized, of_kind
from fairlead.stages.rows import TrainingRows, read_training_rows
from fairlead.stages.workload import Batching, Workload, batching, count_work

GIB = 1 << 30
CACHE_ENTRY = 64
"""Bytes of a completion's key and length in the reference cache, beside its log-probs."""
DETECT, ANSWERS = 0.05, 100


@dataclass(frozen=True, kw_only=True)
class Change:
    """Settings that take less memory, as `--set` takes them: the peak with them, in bytes, and whether it fits."""

    settings: str
    total: int
    fits: bool


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory in bytes: what may be taken, what the process takes without the model, and the phases of the run.

    `total` is the worst phase with the process. `largest_micro_batch_tokens` is the most that fits, None where nothing
    does; `changes` are proposed where the run does not fit. `is_rough`: by the shapes of layers alone, since the model
    family cannot be run without values.
    """

    capacity: int
    process: int
    phases: tuple[Phase, ...]
    total: int
    fits: bool
    largest_micro_batch_tokens: int | None
    changes: tuple[Change, ...]
    is_rough: bool


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Space on disk in bytes: checkpoints at their most, reference cache, artifact; and what is free, if known."""

    checkpoints: int
    cache: int
    artifact: int
    free: int | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training run seen from before it.

    `machine` names what it is planned for; `parameters` and `trained` are numbers of weights; `precision` is that of
    the products, `layout` packed or padded; `rows` are the ledgers of all files as one. `time` is None where the model
    is too large for a calibration here.
    """

    machine: str
    parameters: int
    trained: int
    precision: str
    layout: str
    rows: dict[str, Any]
    work: Workload
    memory: Memory
    time: Duration | None
    disk: Disk
    evidence: Evidence


def plan(
    config: Config | str | Path,
    *,
    overrides: Sequence[str] = (),
    gpu: str | None = None,
    memory: float | None = None,
    detect: float = DETECT,
    answers: int = ANSWERS,
    progress: Progress = SILENT,
) -> Plan:
    """Plan a training run by its configuration, as `train` takes it; loads no weights.

    Rows are read and rendered, the model's shapes are taken from its configuration. The plan is for this machine, for a
    GPU of that name, or for `memory` GiB of this machine's kind. `detect` is the difference in accuracy that held-out
    pairs should show, `answers` a number of factual questions.

    Raises as `train` does, for what can be known without weights, and ConfigError for arguments out of range.
    """
    settled = config if isinstance(config, Config) else read_config(config, overrides)
    machine = _machine(gpu, memory, detect, answers)
    loss = bind([(each.name, each.parameters, each.weight) for each in settled.losses])
    renderer = Renderer(load_tokenizer(settled.model.path, settled.model.chat_template))
    rows = read_training_rows(settled, loss, renderer)
    for ledger in rows.ledgers:
        progress.say(str(ledger))
    process = own_memory() if machine.kind == "cpu" else 0
    way, batches = _way(settled, loss, rows, machine)
    _refuse_what_cannot_be_trained(way, renderer)
    try:
        work = count_work(settled, rows, packed=way.largest.packed, which=way.which)
    except UnsupportedAttention as refusal:
        raise ModelError(
            f"The model cannot be scored with `engine: packed`: {refusal}. Set `model.engine: padded`."
        ) from refusal
    pace = find_pace(way, batches.ordinary, machine)
    weights = list(way.whole.parameters())
    trained = sum(each.numel() for each in weights if each.requires_grad)
    return Plan(
        machine=machine.name,
        parameters=way.parameters,
        trained=trained,
        precision=str(way.compute).removeprefix("torch."),
        layout="packed" if way.largest.packed else "padded",
        rows=rows.summary(),
        work=work,
        memory=_memory(way, machine, process),
        time=None if pace is None else _duration(pace, way, work),
        disk=_disk(way, work, rows, trained),
        evidence=weigh(work.held_out, detect=detect, answers=answers),
    )


def _machine(gpu: str | None, memory: float | None, detect: float, answers: int) -> Machine:
    """What the plan is for. Raises ConfigError with everything wrong with the arguments."""
    faults = []
    if gpu is not None and memory is not None:
        problem = "a GPU's memory is in its data sheet."
        faults.append(Fault(field="--memory", problem=problem, remedy="Give --gpu or --memory."))
    if memory is not None and not 0 < memory < 1e6:
        problem = f"{memory:g} is no size of memory in GiB."
        faults.append(Fault(field="--memory", problem=problem, remedy="Write one such as 24."))
    if not 0 < detect < 1:
        problem = f"{detect:g} is no difference between two accuracies."
        faults.append(Fault(field="--detect", problem=problem, remedy="Write one between 0 and 1, such as 0.05."))
    if answers < 0:
        faults.append(
            Fault(field="--answers", problem=f"{answers} is no number of answers.", remedy="Write 0 or more.")
        )
    found = None
    if gpu is not None:
        try:
            found = find_gpu(gpu)
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults, source="plan")
    return found or _this_machine(memory)


def _this_machine(memory: float | None) -> Machine:
    """This machine as it is now, or with `memory` GiB in place of its own."""
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        capacity = usable(free) if memory is None else usable(int(memory * GIB))
        return Machine(name=torch.cuda.get_device_name(), capacity=capacity, kind="cuda")
    name = "this machine" if memory is None else f"this machine with {memory:g} GiB"
    available = available_memory()
    capacity = int(memory * GIB) if memory is not None else (available or 0) + own_memory()
    return Machine(name=name, capacity=capacity, kind="cpu")


def _way(config: Config, loss: BoundLoss, rows: TrainingRows, machine: Machine) -> tuple[Way, Batching]:
    source = locate(config.model.path, adapter=config.model.adapter)
    architecture = read_architecture(source)
    batches = batching(config, rows)
    way = Way(
        config=config,
        loss=loss,
        source=source,
        architecture=architecture,
        batches=Batches(
            largest=batches.largest,
            part=batches.largest[: len(batches.largest) // 2],
            ordinary=batches.ordinary,
            accumulates=batches.accumulates,
            step_tokens=batches.step_tokens,
            sampled=max((len(sample.ids) for sample in rows.samples), default=0),
            samples=len(rows.samples),
        ),
        device=HERE if machine.gpu is None else machine.name,
    )
    return (way.rehearsed() if machine.kind == "cpu" else way), batches


def _refuse_what_cannot_be_trained(way: Way, renderer: Renderer) -> None:
    """Raise as `train` does once it has the weights, for what does not take weights to know."""
    if way.is_full:
        _refuse_quantized(way.config)
    if way.architecture.is_reward:
        lm = LanguageModel(model=way.whole, tokenizer=renderer.tokenizer, source=way.source.base, weights_digest="")
        of_kind(lm, way.config, rewards=way.loss.examples is RewardPairs)
    _check_vocabulary(way.whole, renderer.tokenizer, way.source)


def _memory(way: Way, machine: Machine, process: int) -> Memory:
    phases = way.phases()
    total = process + max(phase.total for phase in phases)
    room = machine.capacity - process
    changes = []
    if total > machine.capacity:
        for settings, other in other_ways(way):
            peak = process + other.peak().total
            changes.append(Change(settings=settings, total=peak, fits=peak <= machine.capacity))
    return Memory(
        capacity=machine.capacity,
        process=process,
        phases=tuple(phases),
        total=total,
        fits=total <= machine.capacity,
        largest_micro_batch_tokens=way.largest_micro_batch(room),
        changes=tuple(changes),
        is_rough=way.largest.is_rough,
    )


def _duration(pace: Pace, way: Way, work: Workload) -> Duration:
    """The passes of the run at this pace."""
    config, loss = way.config.train, way.loss
    step_tokens = work.tokens / work.steps_per_epoch
    scored = step_tokens * len(loss.statistics)
    live = loss.needs_reference and (config.reference == "live" or config.reference_sync_steps is not None)
    if live:
        scored += step_tokens
    evaluated = work.evaluations * work.held_out_tokens * (2 if live else 1)
    cached = work.tokens + work.held_out_tokens if loss.needs_reference and not live else 0
    return Duration(
        train=work.steps * (step_tokens * pace.trained + scored * pace.scored + pace.step),
        reference=cached * pace.scored,
        evaluation=evaluated * pace.scored,
        is_measured=pace.is_measured,
    )


def _disk(way: Way, work: Workload, rows: TrainingRows, trained: int) -> Disk:
    """Checkpoints hold weights and two moments of each, in float32; one more is there while the newest is written."""
    config = way.config.train
    per_weight = 3 + (1 if config.reference_sync_steps is not None else 0)
    kept = config.keep_checkpoints + 1 + (1 if work.held_out else 0)
    every = config.save_steps or config.eval_steps or work.steps_per_epoch
    count = min(kept, math.ceil(work.steps / every))
    completions = [each for group in (*rows.train, *rows.held_out) for each in group.completions]
    cached = way.loss.needs_reference and config.reference == "cache" and config.reference_sync_steps is None
    cache = sum(4 * sum(each.trained) + CACHE_ENTRY for each in completions) if cached else 0
    return Disk(
        checkpoints=count * 4 * per_weight * trained,
        cache=cache,
        artifact=4 * trained,
        free=_free_space(Path(config.output)),
    )


def _free_space(folder: Path) -> int | None:
    for place in (folder, *folder.absolute().parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return None
