"""`sweep`: every point of a grid trained and measured, drawn as accuracy or win rate against KL, and one picked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fairlead.errors import ModelError, RunError, Stopped
from fairlead.evaluation.frontier import Frontier, make_frontier
from fairlead.evaluation.metrics import Check
from fairlead.identity import digest, digest_file
from fairlead.progress import SILENT, Progress
from fairlead.reports.sweep_report import FRONTIER, sweep_report
from fairlead.runs.artifact import find_artifact
from fairlead.runs.atomic import write_bytes, write_json
from fairlead.runs.directory import REPORT, RunDirectory
from fairlead.stages.evaluate import Evaluation, evaluate
from fairlead.stages.interrupting import status_kept
from fairlead.stages.judge import judge as judge_answers
from fairlead.stages.report import report
from fairlead.stages.sweep_checks import Asked, Request, prepare
from fairlead.stages.sweep_evidence import Evidences, PointRuns
from fairlead.stages.sweep_grid import BASE, PROMPTING, GridPoint, changes_of
from fairlead.stages.sweep_places import POINTS, Part, Place, check_free, open_sweep, training_key
from fairlead.stages.sweep_prompting import Prompted, as_base_was_asked, prompted_of
from fairlead.stages.sweep_sharing import Shared
from fairlead.stages.sweep_written import described, frontier_json, inputs_of
from fairlead.stages.train import train_settled


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a sweep found: the frontier with its pick, points that could not be made and why, and the run directory.

    prompting: where the suite has a prompting baseline, what it reaches of the gain of the best point, a sentence each.
    """

    frontier: Frontier
    failed: Mapping[str, str]
    prompting: tuple[str, ...]
    run: Path


@dataclass(frozen=True, kw_only=True)
class PlannedPoint:
    """A point of the grid before it is trained: its settings, and what they change in the configuration (old, new)."""

    name: str
    settings: Mapping[str, Any]
    changes: Mapping[str, tuple[Any, Any]]


def sweep(
    config: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    suite: str | Path,
    out: str | Path,
    judge: str | Path | None = None,
    rubric: str | Path | None = None,
    constraints: str | Path | None = None,
    max_kl: float | None = None,
    checks: Mapping[str, Check] | None = None,
    allow_leakage: bool = False,
    precision: str = "auto",
    batch_size: int = 32,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Sweep:
    """Train a configuration at every point of a grid, measure each, and pick one by a rule (docs/sweep.md).

    overrides: such as `loss.beta=0.1,0.3`; the points are all combinations of their values. suite: what every point and
    the untouched base are measured by; it has a `kl` section. judge: judges to compare the answers of each point with
    those of the base by; the frontier is then drawn with the win rate, else with the ranking accuracy. constraints: a
    gate's rules over measures, which the pick has to meet; max_kl: its greatest KL, in nats. checks: the user's own, as
    `fairlead.evaluate` takes them. precision, batch_size, seed: of the measuring.

    A sweep that was broken off goes on with the same call: complete runs of points that have not changed are kept,
    training resumes. A point whose training or measuring fails is told in `failed`. Raises one ConfigError with the
    faults of all points and files, DataError for rows that cannot be used or stand in the suite too, RunError where
    `out` holds something else or no point could be made, Stopped after SIGTERM or Ctrl-C.
    """
    request = Request(
        config=config,
        overrides=tuple(overrides),
        suite=suite,
        judge=judge,
        rubric=rubric,
        constraints=constraints,
        max_kl=max_kl,
        checks=checks,
        allow_leakage=allow_leakage,
        precision=precision,
        batch_size=batch_size,
        seed=seed,
    )
    check_free(Path(out))
    shared = Shared()
    asked = prepare(request, shared)
    run = open_sweep(
        Path(out),
        config=described(asked),
        user_set=sorted(name for name, value in asdict(request).items() if value not in (None, (), False)),
        inputs=inputs_of(asked),
        seed=seed,
        config_path=None if isinstance(config, Mapping) else Path(config),
    )
    with run.held(), status_kept(run):
        return _Job(asked, run, progress).work(shared)


def plan_sweep(
    config: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    suite: str | Path,
    judge: str | Path | None = None,
    rubric: str | Path | None = None,
    constraints: str | Path | None = None,
    max_kl: float | None = None,
    checks: Mapping[str, Check] | None = None,
    allow_leakage: bool = False,
) -> list[PlannedPoint]:
    """The points of a grid, and what each would change. Checks and raises all that `sweep` does before it trains."""
    request = Request(
        config=config,
        overrides=tuple(overrides),
        suite=suite,
        judge=judge,
        rubric=rubric,
        constraints=constraints,
        max_kl=max_kl,
        checks=checks,
        allow_leakage=allow_leakage,
    )
    asked = prepare(request, Shared())
    return [
        PlannedPoint(name=point.name, settings=point.settings, changes=changes_of(point, config))
        for point in asked.points
    ]


@dataclass
class _Job:
    """A sweep at work: the base is measured, then all points are trained, measured and judged, one kind of work after
    the other, so that the weights that training shares need no room beside what measuring loads."""

    asked: Asked
    run: RunDirectory
    progress: Progress
    failed: dict[str, str] = field(default_factory=dict)

    def work(self, shared: Shared) -> Sweep:
        """From the request to the sealed run."""
        base = self._measure_base()
        trained = self._train(shared)
        shared.clear()
        measured = self._each("measure", trained, "eval", self._eval_key, self._measure)
        judged: dict[str, Path] = {}
        if self.asked.judged:
            judged = self._each("judge", measured, "judge", self._judge_key, self._judge)
            measured = {name: place for name, place in measured.items() if name in judged}
        if not measured:
            told = "; ".join(f"{name}: {why}" for name, why in self.failed.items())
            raise RunError(f"{self.run.path}: no point could be made. {told}")
        settings = {point.name: point.settings for point in self.asked.points}
        runs = [PointRuns(name=BASE, train=None, eval=base)]
        runs += [
            PointRuns(
                name=name, settings=settings[name], train=trained[name], eval=measured[name], judge=judged.get(name)
            )
            for name in measured
        ]
        prompted = self._prompting(runs)
        if prompted is not None:
            runs.append(PointRuns(name=PROMPTING, train=None, eval=prompted.eval, judge=prompted.judge))
        return self._finish(runs, () if prompted is None else prompted.says)

    # Training

    def _train(self, shared: Shared) -> dict[str, Path]:
        """The training run of each point that could be trained."""
        keys = {
            point.name: training_key(point.config, self.asked.rows, self.asked.start) for point in self.asked.points
        }
        points = {point.name: point for point in self.asked.points}

        def run(name: str, place: Path, *, resume: bool) -> None:
            settled = points[name].at(place)
            with self._telling_how_to_go_on(points[name]):
                train_settled(settled, resume=resume, loading=shared.loading, progress=self.progress)

        return self._each("train", dict.fromkeys(points, Path()), "train", lambda name, _: keys[name], run)

    @contextmanager
    def _telling_how_to_go_on(self, point: GridPoint) -> Iterator[None]:
        try:
            yield
        except Stopped as stopped:
            what = f"stopped as asked while {point.name} was trained; what is there is kept"
            stopped.args = (f"{what}. The same command goes on from there.",)
            raise

    # Measuring

    def _measure_base(self) -> Path:
        """The evaluation of the model that training starts from."""
        place = Place(folder=self.run.path / POINTS / BASE)
        model, adapter = self.asked.base
        key = self._measuring_key([model, adapter, self.asked.start])
        if not place.is_kept("eval", key):
            self.progress.say("the base is measured first")
            place.begin("eval", key)
            self._evaluate(model, place.run("eval"), adapter=adapter)
        return place.run("eval")

    def _eval_key(self, name: str, trained: Path) -> str:
        return self._measuring_key([str(trained), find_artifact(trained).digest])

    def _measuring_key(self, model: Sequence[str | None]) -> str:
        material, request = self.asked.material, self.asked.request
        files = [item.sha256 for item in material.inputs]
        how = [request.precision, request.allow_leakage, request.seed, *sorted(request.checks or ())]
        return digest([*model, material.suite.model_dump(mode="json"), files, how])

    def _measure(self, name: str, place: Path, *, resume: bool) -> None:
        self._evaluate(str(place.with_name("train")), place)

    def _evaluate(
        self, model: str, place: Path, *, adapter: str | None = None, baseline: str | None = None
    ) -> Evaluation:
        request = self.asked.request
        return evaluate(
            model,
            request.suite,
            out=place,
            baseline=baseline,
            adapter=adapter,
            checks=request.checks,
            allow_leakage=request.allow_leakage,
            precision=request.precision,
            batch_size=request.batch_size,
            seed=request.seed,
            progress=self.progress,
        )

    # Judging

    def _judge_key(self, name: str, measured: Path) -> str:
        return self._judging_key(_answers(measured))

    def _judging_key(self, answers: Path) -> str:
        request = self.asked.request
        files = [request.judge, *([] if request.rubric is None else [request.rubric]), answers, self._answers_of_base]
        return digest([digest_file(str(file)) for file in files])

    def _judge(self, name: str, place: Path, *, resume: bool) -> None:
        self._judge_file(_answers(place.with_name("eval")), place)

    def _judge_file(self, answers: Path, place: Path) -> None:
        request = self.asked.request
        assert request.judge is not None
        judge_answers(
            answers,
            against=self._answers_of_base,
            judge=request.judge,
            rubric=request.rubric,
            out=place,
            progress=self.progress,
        )

    @property
    def _answers_of_base(self) -> Path:
        return _answers(self.run.path / POINTS / BASE / "eval")

    # Prompting

    def _prompting(self, runs: Sequence[PointRuns]) -> Prompted | None:
        """The base asked with the suite's prompting, and judged, beside the best point; None where it is not asked
        for, or fails, which is told."""
        material = self.asked.material
        if material.suite.baseline is None or not material.suite.wants("generation"):
            return None
        trained = {each.name: each.train for each in runs if each.train is not None}
        best = self._frontier(runs).best_trained
        self.progress.say(f"prompting the base is measured beside {best}")
        model, adapter = self.asked.base
        place, run = Place(folder=self.run.path), trained[best]
        key = self._measuring_key([str(run), find_artifact(run).digest, model, adapter, self.asked.start])
        try:
            if not place.is_kept("prompting", key):
                place.begin("prompting", key)
            # Beside points/, so that the answers of the base and of the point are found there and taken.
            found = self._evaluate(str(run), place.run("prompting"), baseline=adapter or model)
            prompted = prompted_of(found)
            return prompted if not self.asked.judged else replace(prompted, judge=self._judge_prompted(prompted))
        except Stopped:
            raise
        except (RunError, ModelError) as error:
            self.failed[PROMPTING] = str(error)
            self.progress.say(f"prompting is left out: {error}")
            return None

    def _judge_prompted(self, prompted: Prompted) -> Path:
        """The judges' run about the answers of the prompted base, under the prompts that were put to the base."""
        place = Place(folder=self.run.path / POINTS / PROMPTING)
        place.folder.mkdir(parents=True, exist_ok=True)
        answers = as_base_was_asked(_answers(prompted.eval), self.asked.material.prompts, place.folder)
        key = self._judging_key(answers)
        if not place.is_kept("judge", key):
            place.begin("judge", key)
            self._judge_file(answers, place.run("judge"))
        return place.run("judge")

    # All of them

    def _each(
        self,
        verb: str,
        given: Mapping[str, Path],
        part: Part,
        key_of: Callable[[str, Path], str],
        run: Callable[..., None],
    ) -> dict[str, Path]:
        """Do one kind of work for each point, but for what is kept; the runs of those for which it succeeded.

        given: the points with the run that the work stands on. Time left is told by how long the others took.
        """
        keys = {name: key_of(name, stands_on) for name, stands_on in given.items()}
        places = {name: Place(folder=self.run.path / POINTS / name) for name in given}
        todo = [name for name in given if not places[name].is_kept(part, keys[name])]
        done = len(given) - len(todo)
        if done:
            self.progress.say(f"{verb}: {done} of {len(given)} points are kept as they are")
        with self.progress.task(f"{verb} points", total=len(given), unit="points", done=done) as task:
            for number, name in enumerate(todo, start=done + 1):
                self.progress.say(f"{verb}: point {number} of {len(given)}, {name}")
                place = places[name].run(part)
                try:
                    run(name, place, resume=places[name].begin(part, keys[name]))
                except Stopped:
                    raise
                except (RunError, ModelError) as error:
                    self.failed[name] = str(error)
                    self.progress.say(f"{name} is left out: {error}")
                task.advance()
        return {name: places[name].run(part) for name in given if name not in self.failed}

    def _frontier(self, runs: Sequence[PointRuns]) -> Frontier:
        asked = self.asked
        evidences = Evidences(base=runs[0].eval, policy=asked.policy, judged=asked.judged, seed=asked.request.seed)
        return make_frontier(
            [evidences.point(each) for each in runs],
            x=asked.x,
            y=asked.y,
            max_kl=asked.request.max_kl,
            guarded=evidences.guarded,
        )

    def _finish(self, runs: Sequence[PointRuns], says: Sequence[str]) -> Sweep:
        """The frontier, the page, and the seal."""
        frontier = self._frontier(runs)
        for each in runs:  # those of measuring and judging have their pages already
            if each.train is not None and not (each.train / REPORT).is_file():
                report([each.train])
        write_json(self.run.path / FRONTIER, frontier_json(frontier, runs, self.run.path))
        self.run.update_extra(picked=frontier.picked, failed=self.failed, prompting=list(says))
        write_bytes(self.run.path / REPORT, sweep_report(self.run.path).encode())
        self.run.seal()
        return Sweep(frontier=frontier, failed=dict(self.failed), prompting=tuple(says), run=self.run.path)


def _answers(evaluated: Path) -> Path:
    """The answers to the suite's prompts. Raises RunError where the run has none."""
    found = sorted((evaluated / "artifacts").glob("answers-prompts-*.jsonl"))
    if not found:
        raise RunError(f"{evaluated}: holds no answers to the suite's prompts. Remove it, and sweep again.")
    return found[0]
