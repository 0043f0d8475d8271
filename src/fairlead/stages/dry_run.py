"""`dry_run`: what a training run would be, with every value and where it is from. No weights are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel

from fairlead.config import Config
from fairlead.engine.rendering import Renderer
from fairlead.losses.contract import Loss
from fairlead.losses.table import NLL_WEIGHT, WPO, defaults
from fairlead.models.loading import load_tokenizer, resolve_dtype
from fairlead.progress import SILENT, Progress
from fairlead.stages.advice import advise
from fairlead.stages.rows import read_training_rows
from fairlead.stages.settling import Settled, settle, trains_everything
from fairlead.training.loop import Settings
from fairlead.training.measuring import Measure
from fairlead.training.sources import OfflineRows

Origin = Literal["user", "method", "default"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One value of a run: set by the `user`, given by the `method` (`source` says by whose paper), or a `default`.

    Of a default that was left open (null, auto), `source` says what settled it.
    """

    field: str
    value: Any
    origin: Origin
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a run would be.

    `rows` and `held_out` count what is left of the rows in `ledger`. `tokens` go through the model in an epoch (a
    prompt once for all its completions), `trained_tokens` of them are trained on, `held_out_tokens` go through it in an
    evaluation. Evaluations count the one before the first step. `advice` says what is unusual.
    """

    settings: tuple[Setting, ...]
    ledger: Mapping[str, Any]
    rows: int
    held_out: int
    probes: int
    tokens: int
    trained_tokens: int
    held_out_tokens: int
    steps_per_epoch: int
    steps: int
    warmup_steps: int
    evaluations: int
    advice: tuple[str, ...]


def dry_run(
    config: Config | Mapping[str, Any] | str | Path,
    *,
    overrides: Sequence[str] = (),
    losses: Mapping[str, Loss] | None = None,
    metrics: Mapping[str, Measure] | None = None,
    progress: Progress = SILENT,
) -> DryRun:
    """Resolve a configuration, read, render and check its rows, and count; takes and raises what `train` does."""
    settled = settle(config, overrides=overrides, losses=losses, measures=metrics)
    chosen = settled.config
    renderer = Renderer(load_tokenizer(chosen.model.path, chosen.model.chat_template))
    rows = read_training_rows(chosen, settled.loss, renderer)
    for ledger in rows.ledgers:
        progress.say(str(ledger))
    source = OfflineRows(rows.train, chosen.train.batch_size, chosen.train.seed)
    times = settled.times(source.steps_per_epoch)
    measured = bool(rows.held_out or rows.samples or settled.measures)
    advice = advise(
        settled.loss,
        rows.train,
        learning_rate=times.learning_rate,
        epochs=times.steps / source.steps_per_epoch,
        is_full=trains_everything(chosen),
    )
    return DryRun(
        settings=tuple(_settings(settled, times)),
        ledger=rows.summary(),
        rows=len(rows.train),
        held_out=len(rows.held_out),
        probes=len(rows.samples),
        tokens=sum(group.tokens for group in rows.train),
        trained_tokens=sum(sum(each.trained) for group in rows.train for each in group.completions),
        held_out_tokens=sum(group.tokens for group in rows.held_out),
        steps_per_epoch=source.steps_per_epoch,
        steps=times.steps,
        warmup_steps=times.warmup,
        evaluations=1 + -(-times.steps // times.eval_steps) if measured else 0,
        advice=tuple(finding.text for finding in advice),
    )


def _settings(settled: Settled, times: Settings) -> Iterator[Setting]:
    """Every field in the order of the schema; what was left open is settled, and losses show all their parameters."""
    config, open_values = settled.config, _open_values(settled, times)
    chosen = set(config.user_set())
    for name, value in _flatten(config):
        if name == "loss" or name.startswith("loss."):
            continue
        is_open = value is None or value == "auto"
        if is_open and name in open_values:
            yield open_values[name]
        elif name in chosen:
            yield Setting(field=name, value=value, origin="user")
        else:
            yield Setting(field=name, value=value, origin="default")
    for index, each in enumerate(config.losses):
        prefix = f"loss.{index}" if isinstance(config.loss, list) else "loss"
        yield _by_user(prefix, "name", each.name, each.model_fields_set)
        yield _by_user(prefix, "weight", each.weight, each.model_fields_set)
        loss = settled.loss.summands[index].loss
        for name, default in defaults(loss).items():
            if name in each.parameters:
                yield Setting(field=f"{prefix}.{name}", value=each.parameters[name], origin="user")
            elif name in (NLL_WEIGHT, WPO):  # of every loss over pairs, not of this one's paper
                yield Setting(field=f"{prefix}.{name}", value=default, origin="default")
            else:
                yield Setting(field=f"{prefix}.{name}", value=default, origin="method", source=loss.source)


def _by_user(prefix: str, name: str, value: Any, chosen: set[str]) -> Setting:
    return Setting(field=f"{prefix}.{name}", value=value, origin="user" if name in chosen else "default")


def _open_values(settled: Settled, times: Settings) -> dict[str, Setting]:
    """What null and auto stand for in this run."""
    config, leading = settled.config, settled.loss.leading
    how = "full fine-tuning" if trains_everything(config) else "an adapter"
    found = [
        Setting(
            field="train.learning_rate", value=times.learning_rate, origin="method", source=f"{leading.name}, {how}"
        ),
        Setting(field="train.metric_for_best", value=times.metric_for_best, origin="method", source=leading.name),
        Setting(field="train.eval_steps", value=times.eval_steps, origin="default", source="an epoch"),
        Setting(field="train.save_steps", value=times.save_steps, origin="default", source="each evaluation"),
    ]
    if times.metric_for_best is None:
        found[1] = Setting(field="train.metric_for_best", value=None, origin="default", source="no rows are held out")
    if config.train.precision == "auto":
        kind = "bf16" if resolve_dtype("auto") is torch.bfloat16 else "fp32"
        found.append(Setting(field="train.precision", value=kind, origin="default", source="this machine"))
    if config.train.threads is None:
        threads = torch.get_num_threads()
        found.append(Setting(field="train.threads", value=threads, origin="default", source="this machine"))
    if config.adapter is not None and config.adapter.alpha is None:
        alpha = 2 * config.adapter.r
        found.append(Setting(field="adapter.alpha", value=alpha, origin="default", source="twice the rank"))
    return {setting.field: setting for setting in found}


def _flatten(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list) and any(isinstance(item, BaseModel) for item in value):
            for index, item in enumerate(value):
                yield from _flatten(item, f"{prefix}{name}.{index}.")
        else:
            yield prefix + name, value
