"""`eval`: what models can do, by one suite, each figure with its interval; several models on the same items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from fairlead.config.endpoint import read_endpoint
from fairlead.errors import ConfigError, Fault, RunError
from fairlead.evaluation.comparison import AgainstBaseline
from fairlead.evaluation.estimates import as_items, estimate
from fairlead.evaluation.garak import ATTACK_SUCCESS, GarakReport, measure_garak, notes_on, read_garak
from fairlead.evaluation.judging.endpoint import key_from_environment
from fairlead.evaluation.lm_eval_tasks import find_tasks
from fairlead.evaluation.metrics import Check
from fairlead.evaluation.results import Evaluated, write_measures
from fairlead.identity import digest_file
from fairlead.models.sources import locate
from fairlead.progress import SILENT, Progress
from fairlead.reports.evaluation_report import evaluation_report
from fairlead.runs.artifact import find_artifact
from fairlead.runs.atomic import write_bytes, write_json
from fairlead.runs.directory import REPORT, Input, RunDirectory
from fairlead.stages.compare import against_baseline, different_bases, write_comparison
from fairlead.stages.evaluation_local import LocalModels
from fairlead.stages.evaluation_material import NOTHING, Leak, Material, find_leaks, read_material, refuse, trained_on
from fairlead.stages.evaluation_prompting import PROMPTING, shares
from fairlead.stages.evaluation_resuming import Measured, begin_or_go_on, kept, telling_how_to_go_on
from fairlead.stages.evaluation_sections import Found
from fairlead.stages.evaluation_server import CACHE, ServedModels, check_servable
from fairlead.stages.evaluation_subjects import Subject, subjects_of, with_prompting
from fairlead.stages.interrupting import status_kept

FEW_REASONS = 3


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A report of garak, and the file that it was read from."""

    report: GarakReport
    input: Input


class Measuring(Protocol):
    """How models are measured: on this machine, or behind a server."""

    def measure(self, subject: Subject, run: RunDirectory) -> Found:
        """What one model gives; its answers are written to its run."""
        ...


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What `evaluate` found: models in the order given, the baseline last; leaks that were allowed; notes on all.

    shares: of each gain over the untuned model, what prompting reaches, as in prompting.json.
    """

    models: tuple[Evaluated, ...]
    comparisons: tuple[AgainstBaseline, ...]
    leaks: tuple[Leak, ...]
    notes: tuple[str, ...]
    shares: tuple[Mapping[str, Any], ...] = ()

    @property
    def run(self) -> Path:
        """The run directory of the first model, which holds the comparison and the page too."""
        return self.models[0].run


def evaluate(
    models: str | Sequence[str],
    suite: str | Path | None,
    *,
    out: str | Path,
    baseline: str | None = None,
    adapter: str | None = None,
    endpoint: str | None = None,
    api_key_env: str | None = None,
    garak: str | Path | None = None,
    checks: Mapping[str, Check] | None = None,
    allow_leakage: bool = False,
    precision: str = "auto",
    batch_size: int = 32,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Evaluation:
    """Measure models by a suite (docs/evaluation.md) and, where there are several, compare them on the same items.

    A model is anything that `fairlead.models.loading.load` takes: a run directory, a transformers or PEFT folder
    whichever trainer made it. The first one's run is the folder `out`; those of the others lie in compared/ in it.
    They are compared with the `baseline`, without one with the first. adapter: is put on the one model.
    endpoint: a server of chat completions, by its address or a YAML file that says more; models are then the names
    that it knows, and what needs log-probabilities is left out and counted. api_key_env: the environment variable of
    its key. garak: a report of garak about the one model, whose shares are taken in; then `suite` may be None, and
    nothing is loaded. checks: yes-or-no checks of the user's own, by name, that look at each answer to the suite's
    prompts and give the measures check/NAME; the run knows them by their names alone. allow_leakage: rows that a
    model's run was trained on are measured too, and named in the run. seed: of the bootstrap; that of sampling is the
    suite's.

    A call that was broken off goes on with the same `out`: models that were measured, and answers, are kept. One that
    is complete there is given back as it is. Raises ConfigError for a suite at fault, DataError for rows that cannot
    be read, rendered or answered and for those that were trained on, ModelError and MachineError as `load` does and
    as a server's faults are, RunError where `out` holds something else.
    """
    named = [models] if isinstance(models, str) else list(models)
    subjects = subjects_of(named, baseline, adapter, Path(out))
    scan = _read_scan(garak, named)
    if suite is None and scan is None:
        remedy = "Name a suite (docs/evaluation.md), or a report of garak."
        raise ConfigError([Fault(field="suite", problem="is missing.", remedy=remedy)], source="eval")
    if endpoint is None:
        for subject in subjects:  # before a run is made that would then be left behind
            locate(subject.model, adapter=subject.adapter)
    material = NOTHING if suite is None else read_material(suite, checks or {})
    measuring: Measuring
    leaks: list[Leak] = []
    notes: list[str] = []
    if suite is None:
        measuring = _Unmeasured()
    elif endpoint is None:
        section = material.suite.lm_eval
        tasks = find_tasks(section) if section is not None and material.suite.wants("lm_eval") else None
        measuring = LocalModels(material, tasks, precision, batch_size, Path(out).absolute().parent, progress)
        leaks, notes = _check_leaks(subjects, material, allow_leakage)
        if material.suite.baseline is not None:
            subjects = with_prompting(subjects, baseline, notes)
    else:
        measuring = _served(endpoint, api_key_env, subjects, material, progress)
        notes = _notes_on_server(endpoint, material)
    notes += material.notes
    for note in [*notes, *map(str, leaks)]:
        progress.say(f"note: {note}")
    settings = {
        "endpoint": endpoint,
        "checks": sorted(checks or ()),
        "precision": precision,
        "batch_size": batch_size,
        "allow_leakage": allow_leakage,
    }
    job = _Job(material, measuring, scan, settings, seed, leaks, progress)
    first = job.open(subjects[0])
    if first.is_complete():
        progress.say(f"{first.path} holds this evaluation, complete: nothing is measured anew.")
        return job.result(subjects, [job.found_again(each) for each in subjects], baseline, notes)
    with first.held(), status_kept(first), telling_how_to_go_on(first, progress):
        measured = [job.measured(each, first) for each in subjects]
        result = job.result(subjects, measured, baseline, notes)
        job.finish(first, result)
    return result


class _Unmeasured:
    """Of a model that nothing is asked of, nothing is found."""

    def measure(self, subject: Subject, run: RunDirectory) -> Found:
        return Found(model={"name": subject.model}, base=None)


def _read_scan(garak: str | Path | None, models: Sequence[str]) -> Scan | None:
    """The report of garak. Raises ConfigError where several models could be meant, and what `read_garak` does."""
    if garak is None:
        return None
    if len(models) != 1:
        problem = f"is about one model, and {len(models)} are given."
        raise ConfigError([Fault(field="garak", problem=problem, remedy="Give that model alone.")], source="eval")
    return Scan(report=read_garak(garak), input=Input(path=str(garak), sha256=digest_file(garak)))


def _served(
    endpoint: str, api_key_env: str | None, subjects: Sequence[Subject], material: Material, progress: Progress
) -> ServedModels:
    """The models of a server. Raises ConfigError for what cannot be asked of one, and for a key that is not set."""
    if subjects[0].adapter is not None:
        remedy = "Name the adapter as the server knows it, in the place of the model."
        fault = Fault(field="adapter", problem="is put on models of this machine only.", remedy=remedy)
        raise ConfigError([fault], source="eval")
    settings = read_endpoint(endpoint, model=subjects[0].model, api_key_env=api_key_env)
    check_servable(material)
    key = key_from_environment(settings, name=settings.model, kind="model")
    return ServedModels(material=material, settings=settings, key=key, progress=progress)


def _notes_on_server(endpoint: str, material: Material) -> list[str]:
    """What cannot be known of models behind a server."""
    notes = [
        f"what models of {endpoint} were trained on is not known here: rows of the suite were not looked for in it."
    ]
    if material.suite.baseline is not None:
        notes.append("prompting is not measured: passages are counted by the tokenizer of a model on this machine.")
    return notes


def _check_leaks(subjects: Sequence[Subject], material: Material, allowed: bool) -> tuple[list[Leak], list[str]]:
    """Rows that a model was trained on, and what could not be found out. Raises DataError unless they are allowed."""
    leaks: list[Leak] = []
    notes: list[str] = []
    for subject in subjects:
        trained = trained_on([place for place in (subject.model, subject.adapter) if place is not None])
        leaks += find_leaks(subject.name, trained, material)
        notes += trained.notes
    if not allowed:
        refuse(leaks, material.path)
    return leaks, list(dict.fromkeys(notes))


@dataclass(frozen=True)
class _Job:
    """What is measured and how, and the runs that hold it."""

    material: Material
    measuring: Measuring
    scan: Scan | None
    settings: Mapping[str, Any]
    seed: int
    leaks: Sequence[Leak]
    progress: Progress

    def open(self, subject: Subject) -> RunDirectory:
        """The run of a model, new or gone on with."""
        local = self.settings["endpoint"] is None
        scanned = [self.scan.input] if self.scan is not None and subject.first else []
        return begin_or_go_on(
            subject.folder,
            config={
                "model": subject.model,
                "adapter": subject.adapter,
                "prompted": subject.prompted,
                "suite": self.material.suite.model_dump(mode="json"),
                **self.settings,
            },
            inputs=[*(_artifact_of(subject) if local else ()), *self.material.inputs, *scanned],
            seed=self.seed,
            extra={
                "name": subject.name,
                "leaks": [asdict(leak) for leak in self.leaks if leak.model == subject.name],
            },
        )

    def measured(self, subject: Subject, first: RunDirectory) -> Measured:
        """The figures of a model, from its run where that has them; runs of all but the first are sealed."""
        run = first if subject.first else self.open(subject)
        found = kept(run, subject)
        if found is None:
            found = self._measure(subject, run)
        else:
            self.progress.say(f"{subject.name} was measured before: its figures are those in {run.path}")
        if run is not first and not run.is_complete():
            _seal(run)
        return found

    def found_again(self, subject: Subject) -> Measured:
        """The figures of a model of a complete evaluation. Raises RunError where they are gone."""
        found = kept(RunDirectory.open(subject.folder), subject)
        if found is None:
            raise RunError(f"{subject.folder}: holds no figures. The run was damaged: remove it and evaluate anew.")
        return found

    def _measure(self, subject: Subject, run: RunDirectory) -> Measured:
        """All figures of one model, written to its run."""
        found = self.measuring.measure(subject, run)
        if self.scan is not None and subject.first:
            found.measured += measure_garak(self.scan.report)
            found.notes += notes_on(self.scan.report)
        keeps = self.material.suite.keeps
        observed = [each for each in found.observed if keeps(each.measure)]
        measured = [each for each in found.measured if keeps(each.name) or each.name == ATTACK_SUCCESS]
        measures = (*estimate(observed, seed=self.seed), *measured)
        items = (*as_items(observed), *(each for each in found.items if keeps(each.measure)))
        found.notes += [_left_out(section, subject.name, rows) for section, rows in found.left_out.items()]
        for note in found.notes:
            self.progress.say(f"note: {note}")
        write_measures(
            run,
            measures,
            model=_called(subject, self.settings["endpoint"]),
            adapter=subject.adapter,
            suite=self.material.identity,
            items=items,
        )
        if found.left_out:
            write_json(run.path / "left_out.json", found.left_out)
        run.update_extra(answers_of=found.reused, notes=found.notes, model=found.model)
        evaluated = Evaluated(name=subject.name, run=run.path, measures=measures, notes=tuple(found.notes))
        return Measured(evaluated=evaluated, items=items, base=found.base)

    def result(
        self, subjects: Sequence[Subject], measured: Sequence[Measured], baseline: str | None, notes: Sequence[str]
    ) -> Evaluation:
        """The models held against the baseline, and what there is to say about all of them."""
        items = {subject.name: each.items for subject, each in zip(subjects, measured, strict=True)}
        bases = [(subject.name, each.base) for subject, each in zip(subjects, measured, strict=True)]
        against = subjects[-1] if baseline is not None else subjects[0]
        others = [each for each in subjects if each is not against]
        notes = [*notes, *different_bases(bases, against.name)]
        prompted = [each.name for each in others if each.prompted]
        found: list[dict[str, Any]] = []
        if prompted:
            tuned = [each.name for each in others if not each.prompted]
            found, told = shares(items, tuned=tuned, prompted=prompted[0], untuned=against.name, seed=self.seed)
            notes += told
        pairs = [(each.name, items[each.name]) for each in others]
        return Evaluation(
            models=tuple(each.evaluated for each in measured),
            comparisons=against_baseline(pairs, (against.name, items[against.name]), self.seed),
            leaks=tuple(self.leaks),
            notes=tuple(notes),
            shares=tuple(found),
        )

    def finish(self, first: RunDirectory, result: Evaluation) -> None:
        """Write down what is of all models, with the page, and seal the run of the first."""
        if result.comparisons:
            models = [(each.name, each.run) for each in result.models]
            write_comparison(first, models, result.comparisons, result.notes)
        if result.shares:
            untuned = result.comparisons[0].baseline
            write_json(first.path / PROMPTING, {"untuned": untuned, "shares": list(result.shares)})
        first.update_extra(notes_on_all=list(result.notes))
        write_bytes(first.path / REPORT, evaluation_report(first.path).encode())
        _seal(first)


def _seal(run: RunDirectory) -> None:
    (run.path / CACHE).unlink(missing_ok=True)  # the answers are among the artifacts now
    run.seal()


def _called(subject: Subject, endpoint: str | None) -> str:
    """What measures.json calls a model."""
    where = "" if endpoint is None else f" at {endpoint}"
    return f"{subject.model} + prompting" if subject.prompted else subject.model + where


def _left_out(section: str, name: str, rows: Mapping[str, str]) -> str:
    """How many rows of a section are not measured, and why, where few reasons say it."""
    reasons = Counter(reason.partition(": ")[2] or reason for reason in rows.values())
    told = "; ".join(f"{count:,} × {reason}" if len(reasons) > 1 else reason for reason, count in reasons.items())
    why = f" ({told})" if len(reasons) <= FEW_REASONS else ""
    return f"{len(rows):,} rows of {section} cannot be put to {name}, and are left out{why}."


def _artifact_of(subject: Subject) -> list[Input]:
    """The folder that is measured, by its digest: a gate asks whether this is what may ship. None of a hub id."""
    place = subject.adapter or subject.model
    if not Path(place).is_dir():
        return []
    artifact = find_artifact(place)
    made_by = None if artifact.run is None else str(artifact.run.path)
    return [Input(path=place, sha256=artifact.digest, parent_run=made_by)]
