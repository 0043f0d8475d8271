"""`train`: from a configuration to a run directory with a trained model or adapter in it."""

from __future__ import annotations

import difflib
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fairlead.config import Config, read_config
from fairlead.engine.rendering import Renderer
from fairlead.engine.scoring import make_scorer
from fairlead.errors import ConfigError, FairleadError, Fault, RunError, Stopped
from fairlead.losses.binding import BoundLoss, bind
from fairlead.models.loading import load_tokenizer, resolve_dtype
from fairlead.progress import SILENT, Progress
from fairlead.runs.atomic import write_json
from fairlead.runs.directory import Input, RunDirectory, Status, run_name
from fairlead.runs.metrics import EVAL_PREFIX, METRICS
from fairlead.stages.advice import advise
from fairlead.stages.policy import Policy, load_policy
from fairlead.stages.reference import make_reference, name_reference
from fairlead.stages.resuming import find_run, refuse_changed_inputs
from fairlead.stages.rows import TrainingRows, read_training_rows
from fairlead.stages.samples import write_samples
from fairlead.training.checkpoint import Checkpoints, LoopState, load_weights, verify
from fairlead.training.checkpoint import load as load_checkpoint
from fairlead.training.loop import Fit, Settings
from fairlead.training.objective import Objective, metric_names
from fairlead.training.optimizer import make_optimizer
from fairlead.training.recording import RunRecorder
from fairlead.training.sources import OfflineRows


@dataclass(frozen=True)
class TrainResult:
    """What a training run left: its directory, the steps done, the best one, its held-out metrics, the artifact."""

    run: Path
    steps: int
    best_step: int | None
    metrics: dict[str, float]
    artifact: Path
    ledger: dict[str, Any]
    stopped_early: bool


def train(
    config: Config | str | Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    progress: Progress = SILENT,
) -> TrainResult:
    """Train by a configuration (a `Config`, or the path of a YAML file with `overrides` such as `loss.beta=0.3`).

    With `resume` the newest unfinished run of this configuration (or the one that `train.run` names) goes on from its
    newest checkpoint that verifies, bit for bit as if it had never stopped. Raises ConfigError, DataError, ModelError
    or RunError for what the user can mend, Stopped (a RunError) after SIGTERM or Ctrl-C once the state is saved,
    MachineError for a full disk.
    """
    path = None if isinstance(config, Config) else Path(config)
    settled = config if isinstance(config, Config) else read_config(config, overrides)
    loss = bind([(each.name, each.parameters, each.weight) for each in settled.losses])
    metric = _metric_for_best(settled, loss, source="configuration" if path is None else str(path))
    found = find_run(settled, path) if resume else None
    # As many threads as before: with another number sums are taken in another order.
    threads = settled.train.threads if found is None else found.record["extra"]["threads"]
    if threads is not None:
        torch.set_num_threads(threads)
    # The cheap and fallible comes first: rows are read and checked before any weights are.
    renderer = Renderer(load_tokenizer(settled.model.path, settled.model.chat_template))
    rows = read_training_rows(settled, loss, renderer)
    for ledger in rows.ledgers:
        progress.say(str(ledger))
    policy = load_policy(settled)
    for note in policy.lm.notes:
        progress.say(note)
    job = _Job(settled, path, loss, metric, policy, renderer, rows, progress)
    if found is not None:
        refuse_changed_inputs(found, job.inputs(), rows.tokens_digest)
    run = found or job.create()
    with run.held(), _status_kept(run):
        return job.run(run)


@dataclass(frozen=True)
class _Job:
    """Everything a run needs, settled and loaded."""

    config: Config
    config_path: Path | None
    loss: BoundLoss
    metric_for_best: str
    policy: Policy
    renderer: Renderer
    rows: TrainingRows
    progress: Progress

    def create(self) -> RunDirectory:
        """The new run directory."""
        config = self.config.train
        method = "-".join(each.name for each in self.config.losses)
        return RunDirectory.create(
            Path(config.output) / (config.run or run_name(method)),
            stage="train",
            config=self.config.model_dump(mode="json"),
            user_set=self.config.user_set(),
            inputs=self.inputs(),
            seed=config.seed,
            config_path=self.config_path,
            extra={
                "reference": name_reference(self.policy) if self.loss.needs_reference else None,
                "metric_for_best": self.metric_for_best,
                "tokens_sha256": self.rows.tokens_digest,
                "threads": torch.get_num_threads(),
            },
        )

    def inputs(self) -> list[Input]:
        """The weights, the adapter if training goes on from one, and the files of rows."""
        lm, adapter = self.policy.lm, self.config.model.adapter or self.config.model.path
        inputs = [_input(lm.source, lm.weights_digest)]
        if self.policy.start_adapter:
            inputs.append(_input(adapter, self.policy.start_adapter))
        return [*inputs, *(_input(path, sha256, count) for path, (sha256, count) in self.rows.files.items())]

    def run(self, run: RunDirectory) -> TrainResult:
        """Train to the end, write the artifact and seal the run."""
        config = self.config.train
        self._write_ledgers(run)
        objective = self._objective(run)
        source = OfflineRows(self.rows.train, config.batch_size, config.seed)
        settings = self._settings(source)
        self._point_out(settings, source)
        parameters = self.policy.parameters
        optimizer = make_optimizer(
            parameters,
            learning_rate=settings.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            epsilon=config.adam_epsilon,
            weight_decay=config.weight_decay,
        )
        checkpoints = Checkpoints(run.checkpoints, config.keep_checkpoints)
        state = self._start(run, checkpoints, parameters, optimizer)
        with (
            closing(RunRecorder(run, tensorboard=config.tensorboard, step=state.step)) as recorder,
            _stop_on_signals(self.progress) as asked_to_stop,
        ):
            state = Fit(
                objective=objective,
                source=source,
                held_out=self.rows.held_out,
                parameters=parameters,
                optimizer=optimizer,
                settings=settings,
                checkpoints=checkpoints,
                recorder=recorder,
                asked_to_stop=asked_to_stop,
                progress=self.progress,
            ).run(state)
        if state.best_step not in (None, state.step):
            self._load_best(checkpoints.path(state.best_step), parameters)
        return self._finish(run, state, stopped_early=state.step < settings.steps)

    def _objective(self, run: RunDirectory) -> Objective:
        """How the model is scored, and its reference, while it is still what training starts from."""
        config, model = self.config.train, self.policy.lm.model
        scorer = make_scorer(model, engine=self.config.model.engine, compute=resolve_dtype(config.precision))
        if scorer.note:
            self.progress.say(f"scored padded: {scorer.note}")
        if config.gradient_checkpointing:
            self.policy.checkpoint_activations()
        reference = None
        if self.loss.needs_reference:
            proven = make_reference(self.policy, scorer, self.rows, config, self.progress)
            run.update_extra(reference_gap=proven.gap)
            reference = proven.reference
        return Objective(scorer=scorer, loss=self.loss, reference=reference, budget=config.micro_batch_tokens)

    def _point_out(self, settings: Settings, source: OfflineRows) -> None:
        advice = advise(
            self.loss,
            self.rows.train,
            learning_rate=settings.learning_rate,
            epochs=settings.steps / source.steps_per_epoch,
            is_full=self.policy.is_full,
        )
        for sentence in advice:
            self.progress.say(f"note: {sentence}")

    def _start(
        self,
        run: RunDirectory,
        checkpoints: Checkpoints,
        parameters: Mapping[str, torch.nn.Parameter],
        optimizer: torch.optim.AdamW,
    ) -> LoopState:
        """The newest checkpoint that can be gone on from, put back; else the beginning. Later events are forgotten."""
        newest = checkpoints.newest()
        for skipped in newest.skipped:
            self.progress.say(f"passed over a checkpoint: {skipped}")
        if newest.path is None:
            self._write_samples(run, "before")
            torch.manual_seed(self.config.train.seed)
            state = LoopState()
        else:
            state = load_checkpoint(newest.path, parameters, optimizer)
            self.progress.say(f"resumed after step {state.step}")
        run.truncate_events(state.events_size)
        return state

    def _write_ledgers(self, run: RunDirectory) -> None:
        """What became of every row, in numbers and one by one."""
        write_json(run.path / "ledger.json", self.rows.summary())
        for name, ledger in zip(("ledger.jsonl", "ledger-eval.jsonl"), self.rows.ledgers, strict=False):
            ledger.write(run.path / name)

    def _load_best(self, path: Path, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        """The artifact is the best checkpoint where rows were held out, else the last."""
        if (fault := verify(path)) is not None:
            raise RunError(f"{path}, the best checkpoint, cannot be used: {fault}. Go back on it with --resume.")
        load_weights(path, parameters)
        self.progress.say(f"the best checkpoint is {path.name}")

    def _finish(self, run: RunDirectory, state: LoopState, *, stopped_early: bool) -> TrainResult:
        self.policy.lm.model.eval()
        artifact = run.artifact(self.policy.save(run))
        self._write_samples(run, "after")
        shown = state.best_step or state.step
        values = {event.name: event.value for event in run.events() if event.step == shown}
        metrics = {name: value for name, value in values.items() if name.startswith(EVAL_PREFIX)} or values
        run.update_extra(best_step=state.best_step, steps=state.step, metrics=_finite(metrics))
        run.seal()
        return TrainResult(
            run=run.path,
            steps=state.step,
            best_step=state.best_step,
            metrics=metrics,
            artifact=artifact,
            ledger=self.rows.summary(),
            stopped_early=stopped_early,
        )

    def _write_samples(self, run: RunDirectory, when: str) -> None:
        write_samples(run, self.policy.lm, self.renderer, self.rows.samples, when, self.config.train, self.progress)

    def _settings(self, source: OfflineRows) -> Settings:
        config, rates = self.config.train, self.loss.leading.loss.learning_rates
        steps = _ceil(config.epochs * source.steps_per_epoch)
        steps = steps if config.max_steps is None else min(steps, config.max_steps)
        eval_steps = config.eval_steps or source.steps_per_epoch
        direction = METRICS[self.metric_for_best].direction if self.metric_for_best in METRICS else "down"
        return Settings(
            steps=steps,
            learning_rate=config.learning_rate or (rates.full if self.policy.is_full else rates.lora),
            warmup=_ceil(config.warmup_ratio * steps),
            schedule=config.schedule,
            max_grad_norm=config.max_grad_norm,
            eval_steps=eval_steps,
            save_steps=config.save_steps or eval_steps,
            metric_for_best=self.metric_for_best,
            best_is="up" if direction == "up" else "down",
            patience=config.early_stopping_patience,
        )


def _metric_for_best(config: Config, loss: BoundLoss, *, source: str) -> str:
    """The held-out metric that picks the best checkpoint, as the loss names it."""
    named = config.train.metric_for_best
    metric = loss.leading.loss.best_metric if named is None else named.removeprefix(EVAL_PREFIX)
    known = metric_names(loss)
    if metric not in known:
        near = difflib.get_close_matches(metric, known, n=1)
        remedy = f"Did you mean {near[0]}? " if near else ""
        fault = Fault(
            field="train.metric_for_best",
            problem=f"this loss gives no metric {metric!r}.",
            remedy=f"{remedy}It gives {', '.join(known)}.",
        )
        raise ConfigError([fault], source=source)
    return metric


@contextmanager
def _status_kept(run: RunDirectory) -> Iterator[None]:
    """Write down how the run stands while the block runs and after it broke off."""

    def note(status: Status) -> None:
        with suppress(FairleadError):  # what broke the run off says more than that this cannot be written either
            run.set_status(status)

    run.set_status("running")
    try:
        yield
    except (Stopped, KeyboardInterrupt):
        note("stopped")
        raise
    except Exception:
        note("failed")
        raise


@contextmanager
def _stop_on_signals(progress: Progress) -> Iterator[Callable[[], int | None]]:
    """SIGTERM and Ctrl-C ask the loop to save and stop at the end of the step; a second Ctrl-C stops at once."""
    asked: list[int] = []

    def note(number: int, frame: object) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)
        with suppress(RuntimeError):  # the signal may have come amid another print
            progress.say("stopping after this step; Ctrl-C (again) stops at once")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: asked[0] if asked else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _input(path: str, sha256: str, rows: int | None = None) -> Input:
    """An input, with the run directory that it lies in, if it lies in one."""
    runs = (folder for folder in [Path(path).absolute(), *Path(path).absolute().parents])
    made_by = next((str(folder) for folder in runs if (folder / "run.json").is_file()), None)
    return Input(path=path, sha256=sha256, rows=rows, parent_run=made_by)


def _ceil(value: float) -> int:
    """The next whole number, but for what rounding added: 1.1 · 10 is 11."""
    return math.ceil(round(value, 9))


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
