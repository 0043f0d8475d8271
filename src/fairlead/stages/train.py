"""`train`: from a configuration to a run directory with a trained model or adapter in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fairlead.config import Config
from fairlead.engine.reference import LiveReference
from fairlead.engine.rendering import Renderer
from fairlead.engine.scoring import make_scorer
from fairlead.errors import FairleadError, RunError
from fairlead.losses.binding import BoundLoss
from fairlead.losses.contract import Loss
from fairlead.losses.scores import Demonstrations, RewardPairs
from fairlead.models.loading import load_tokenizer, resolve_dtype
from fairlead.models.tokenizers import has_own_template
from fairlead.progress import SILENT, Progress
from fairlead.runs.atomic import write_json
from fairlead.runs.diagnosis import Finding, Recorded, diagnose
from fairlead.runs.directory import Input, RunDirectory, run_name
from fairlead.runs.metrics import EVAL_PREFIX, PROBE_PREFIX
from fairlead.stages.advice import advise, advise_tuning_first, chosen_nats
from fairlead.stages.interrupting import status_kept, stop_on_signals
from fairlead.stages.policy import Policy, load_policy
from fairlead.stages.reference import make_reference, name_reference
from fairlead.stages.resuming import find_run, refuse_changed_inputs
from fairlead.stages.rows import TrainingRows, read_training_rows
from fairlead.stages.samples import Probe
from fairlead.stages.settling import Settled, settle
from fairlead.training.checkpoint import Checkpoints, LoopState, load_weights, verify
from fairlead.training.checkpoint import load as load_checkpoint
from fairlead.training.guards import Callback, watch_by, watch_health, watch_rules
from fairlead.training.loop import Fit, Settings
from fairlead.training.measuring import Evaluator, Measure
from fairlead.training.objective import Objective
from fairlead.training.optimizer import make_optimizer
from fairlead.training.recording import RunRecorder
from fairlead.training.sources import OfflineRows


@dataclass(frozen=True)
class TrainResult:
    """What a training run left: its directory, the steps done, the best one, its held-out metrics, the artifact.

    `stop_reason` says why a rule, a callback or lost patience ended training; `diagnosis` what is unusual or went
    wrong, a sentence each.
    """

    run: Path
    steps: int
    best_step: int | None
    metrics: dict[str, float]
    artifact: Path
    ledger: dict[str, Any]
    stopped_early: bool
    stop_reason: str | None
    diagnosis: tuple[str, ...]


def train(
    config: Config | Mapping[str, Any] | str | Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    losses: Mapping[str, Loss] | None = None,
    metrics: Mapping[str, Measure] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: Progress = SILENT,
) -> TrainResult:
    """Train by a configuration: its sections as mappings, a `Config`, or a YAML file with `overrides` laid over it.

    With `resume` the newest unfinished run of this configuration (or the one that `train.run` names) goes on from its
    newest checkpoint that verifies, bit for bit as if it had never stopped.

    `losses` and `metrics` are the user's own by name; a configuration that names them is given as sections or as a
    file. `callbacks` are called with the step and its metrics after each step and each evaluation; a text that one
    returns ends training, as early stopping does, for that reason (docs/python.md).

    Raises ConfigError, DataError, ModelError or RunError for what the user can mend, Stopped (a RunError) after SIGTERM
    or Ctrl-C once the state is saved, MachineError for a full disk.
    """
    settled = settle(config, overrides=overrides, losses=losses, measures=metrics)
    return train_settled(settled, resume=resume, callbacks=callbacks, progress=progress)


@dataclass(frozen=True, kw_only=True)
class Loading:
    """Where a run takes its tokenised rows and its policy from: runs of one process may share what they read."""

    rows: Callable[[Config, BoundLoss, Renderer], TrainingRows] = read_training_rows
    policy: Callable[..., Policy] = load_policy


def train_settled(
    settled: Settled,
    *,
    resume: bool,
    callbacks: Sequence[Callback] = (),
    loading: Loading = Loading(),
    progress: Progress = SILENT,
) -> TrainResult:
    """As `train`, of a configuration that was settled."""
    chosen = settled.config
    found = find_run(chosen, settled.path) if resume else None
    # As many threads as before: with another number sums are taken in another order.
    threads = chosen.train.threads if found is None else found.record["extra"]["threads"]
    if threads is not None:
        torch.set_num_threads(threads)
    # The cheap and fallible comes first: rows are read and checked before any weights are.
    renderer = Renderer(load_tokenizer(chosen.model.path, chosen.model.chat_template))
    rows = loading.rows(chosen, settled.loss, renderer)
    for ledger in rows.ledgers:
        progress.say(str(ledger))
    policy = loading.policy(chosen, rewards=settled.loss.examples is RewardPairs)
    for note in policy.lm.notes:
        progress.say(note)
    job = _Job(settled, policy, renderer, rows, callbacks, progress)
    if found is not None:
        refuse_changed_inputs(found, job.inputs(), rows.tokens_digest)
    run = found or job.create()
    with run.held(), status_kept(run):
        return job.run(run)


@dataclass(frozen=True)
class _Job:
    """Everything a run needs, settled and loaded."""

    settled: Settled
    policy: Policy
    renderer: Renderer
    rows: TrainingRows
    callbacks: Sequence[Callback]
    progress: Progress

    @property
    def config(self) -> Config:
        return self.settled.config

    def create(self) -> RunDirectory:
        """The new run directory."""
        config, best = self.config.train, self.settled.best
        method = "-".join(each.name for each in self.config.losses)
        return RunDirectory.create(
            Path(config.output) / (config.run or run_name(method)),
            stage="train",
            config=self.config.model_dump(mode="json"),
            user_set=self.config.user_set(),
            inputs=self.inputs(),
            seed=config.seed,
            config_path=self.settled.path,
            extra={
                "reference": name_reference(self.policy) if self.settled.loss.needs_reference else None,
                "metric_for_best": None if best is None else best.metric,
                "own_metrics": {name: each.described for name, each in self.settled.measures.items()},
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
        for path, (sha256, count) in self.rows.files.items():
            version = self.rows.versions.get(path)
            named = None if version is None else asdict(version)
            inputs.append(replace(_input(path, sha256, count), data_set=named))
        return inputs

    def run(self, run: RunDirectory) -> TrainResult:
        """Train to the end, write the artifact and seal the run."""
        config = self.config.train
        self._write_ledgers(run)
        objective = self._objective(run)
        source = OfflineRows(self.rows.train, config.batch_size, config.seed)
        settings = self.settled.times(source.steps_per_epoch)
        parameters = self.policy.parameters
        optimizer = make_optimizer(
            parameters,
            learning_rate=settings.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            epsilon=config.adam_epsilon,
            weight_decay=config.weight_decay,
        )
        checkpoints = Checkpoints(run.checkpoints, config.keep_checkpoints)
        kept = {**parameters, **objective.reference_parameters}
        state = self._start(run, checkpoints, kept, optimizer)
        if state.step == 0:
            self._point_out(run, objective, settings, source)
            torch.manual_seed(config.seed)
        probe = Probe(run, self.policy.lm, self.renderer, self.rows.samples, config.sample_tokens, self.progress)
        with (
            closing(RunRecorder(run, tensorboard=config.tensorboard, step=state.step)) as recorder,
            stop_on_signals(self.progress) as asked_to_stop,
            self._diagnosed(run, recorder.recorded),
        ):
            state = Fit(
                objective=objective,
                source=source,
                evaluate=self._evaluator(objective, probe, recorder.recorded),
                parameters=parameters,
                optimizer=optimizer,
                settings=settings,
                checkpoints=checkpoints,
                recorder=recorder,
                asked_to_stop=asked_to_stop,
                watchers=[
                    watch_rules(self.settled.rules, recorder.recorded),
                    watch_health(recorder.recorded, self.progress.say),
                    *map(watch_by, self.callbacks),
                ],
                progress=self.progress,
            ).run(state)
        if state.stopped:
            self.progress.say(f"training stopped after step {state.step}: {state.stopped}")
        if state.best_step not in (None, state.step):
            self._load_best(checkpoints.path(state.best_step), kept)
        probe.settle(state.best_step or state.step)
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
        if self.settled.loss.needs_reference:
            proven = make_reference(self.policy, scorer, self.rows, config, self.progress)
            run.update_extra(reference_gap=proven.gap)
            reference = proven.reference
        return Objective(scorer=scorer, loss=self.settled.loss, reference=reference, budget=config.micro_batch_tokens)

    def _evaluator(self, objective: Objective, probe: Probe, recorded: Recorded) -> Evaluator:
        """What is measured before the first step and at each evaluation."""
        if self.rows.samples:
            whose = "held-out" if self.rows.held_out else "training"
            why = "" if self.rows.held_out else " (no rows are held out)"
            count, tokens = len(self.rows.samples), self.config.train.sample_tokens
            self.progress.say(f"probes: {count} {whose} prompts{why}, answered with at most {tokens} tokens")
        for name, each in self.settled.measures.items():
            self.progress.say(f"metric of your own: {name}{each.said}")
        return Evaluator(
            objective=objective,
            held_out=self.rows.held_out,
            answer=probe.answer,
            reference=None if self.policy.is_full else LiveReference(self.policy.lm, objective.scorer),
            measures=self.settled.measures,
            recorded=recorded,
        )

    def _point_out(self, run: RunDirectory, objective: Objective, settings: Settings, source: OfflineRows) -> None:
        """Say what is unusual before the first step, and keep it with the run."""
        model, loss = self.config.model, self.settled.loss
        found = advise(
            loss,
            self.rows.train,
            learning_rate=settings.learning_rate,
            epochs=settings.steps / source.steps_per_epoch,
            is_full=self.policy.is_full,
        )
        if loss.examples not in (Demonstrations, RewardPairs):
            found += advise_tuning_first(
                loss,
                # Without a template of the user's, the tokenizer has one: else it could not have been loaded.
                has_template=model.chat_template is None or has_own_template(model.path, adapter=model.adapter),
                nats=chosen_nats(objective.scorer, self.rows.train, objective.budget),
            )
        run.update_extra(advice=[asdict(finding) for finding in found])
        for finding in found:
            self.progress.say(f"note: {finding.text}")

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
        state = LoopState()
        if newest.path is not None:
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
        """The artifact is the best checkpoint where something could pick one, else the last."""
        if (fault := verify(path)) is not None:
            raise RunError(f"{path}, the best checkpoint, cannot be used: {fault}. Go back on it with --resume.")
        load_weights(path, parameters)
        self.progress.say(f"the best checkpoint is {path.name}")

    @contextmanager
    def _diagnosed(self, run: RunDirectory, recorded: Recorded) -> Iterator[None]:
        """Keep with the run what its metrics show to be wrong, however the block ends."""
        try:
            yield
        finally:
            advice = [Finding(**finding) for finding in run.record["extra"].get("advice", [])]
            found = [*advice, *diagnose(recorded, best=self.settled.best)]
            with suppress(FairleadError):  # a disk that is full says so by itself
                run.update_extra(diagnosis=[asdict(finding) for finding in found])

    def _finish(self, run: RunDirectory, state: LoopState, *, stopped_early: bool) -> TrainResult:
        self.policy.lm.model.eval()
        artifact = run.artifact(self.policy.save(run))
        shown = state.best_step or state.step
        values = {event.name: event.value for event in run.events() if event.step == shown}
        if self.rows.held_out:
            values = {name: value for name, value in values.items() if self._is_evaluated(name)}
        reason = state.stopped or None
        run.update_extra(best_step=state.best_step, steps=state.step, metrics=_finite(values), stop_reason=reason)
        run.seal()
        return TrainResult(
            run=run.path,
            steps=state.step,
            best_step=state.best_step,
            metrics=values,
            artifact=artifact,
            ledger=self.rows.summary(),
            stopped_early=stopped_early,
            stop_reason=reason,
            diagnosis=tuple(finding["text"] for finding in run.record["extra"]["diagnosis"]),
        )

    def _is_evaluated(self, name: str) -> bool:
        return name.startswith((EVAL_PREFIX, PROBE_PREFIX)) or name in self.settled.measures


def _input(path: str, sha256: str, rows: int | None = None) -> Input:
    """An input, with the run directory that it lies in, if it lies in one."""
    runs = (folder for folder in [Path(path).absolute(), *Path(path).absolute().parents])
    made_by = next((str(folder) for folder in runs if (folder / "run.json").is_file()), None)
    return Input(path=path, sha256=sha256, rows=rows, parent_run=made_by)


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """As JSON can hold them: what is no number is null, never 0."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
