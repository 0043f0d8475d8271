"""What a sweep is asked for, read and checked before anything is trained: all faults of configurations at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from fairlead.config.gate_policy import GatePolicy, read_policy
from fairlead.config.judge import JudgeConfig, read_judge
from fairlead.config.rubric import read_rubric
from fairlead.data.reading import read
from fairlead.data.records import Row
from fairlead.data.split import prompt_key, split
from fairlead.engine.rendering import Renderer
from fairlead.errors import ConfigError, DataError, Fault
from fairlead.evaluation.frontier import ACCURACY, NO_KL, WIN_RATE
from fairlead.evaluation.judging.endpoint import key_from_environment
from fairlead.evaluation.metrics import Check
from fairlead.evaluation.suite import Suite, read_suite
from fairlead.models.loading import load_tokenizer
from fairlead.stages.evaluation_material import NAMED, Material, Trained, find_leaks, read_material, refuse, trained_on
from fairlead.stages.sweep_grid import GridPoint, make_grid
from fairlead.stages.sweep_places import identity_of
from fairlead.stages.sweep_sharing import Shared

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A sweep as it is asked for (see `fairlead.sweep`)."""

    config: str | Path | Mapping[str, Any]
    overrides: Sequence[str] = ()
    suite: str | Path
    judge: str | Path | None = None
    rubric: str | Path | None = None
    constraints: str | Path | None = None
    max_kl: float | None = None
    checks: Mapping[str, Check] | None = None
    allow_leakage: bool = False
    precision: str = "auto"
    batch_size: int = 32
    seed: int = 0

    @property
    def source(self) -> str:
        """What the configuration is called."""
        return "configuration" if isinstance(self.config, Mapping) else str(self.config)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A sweep that has no fault: its points, what they are measured by, and what they start from.

    x, y: the measures of the frontier. rows: sha256 of each file of training rows. base: model and adapter that
    training starts from, and `start`, what stands for their weights.
    """

    request: Request
    points: tuple[GridPoint, ...]
    material: Material
    policy: GatePolicy | None
    x: str
    y: str
    rows: Mapping[str, str]
    base: tuple[str, str | None]
    start: str

    @property
    def judged(self) -> bool:
        """Whether answers are put to judges."""
        return self.request.judge is not None


def prepare(request: Request, shared: Shared) -> Asked:
    """Read all that is named, tokenise the rows of every point, and look for what must not be.

    Raises one ConfigError with the faults of every point, the suite, the judges and the constraints; DataError for rows
    that cannot be trained on or that stand in the suite as well.
    """
    faults: list[Fault] = []
    points = _gather(faults, request.source, lambda: make_grid(request.config, request.overrides))
    suite = _gather(faults, str(request.suite), lambda: read_suite(request.suite))
    policy = judges = None
    if request.constraints is not None:
        named = request.constraints
        policy = _gather(faults, str(named), lambda: read_policy(named))
    if request.judge is not None:
        panel = request.judge
        judges = _gather(faults, str(panel), lambda: _read_judge(panel))
    if request.rubric is not None:
        rubric = request.rubric
        _gather(faults, str(rubric), lambda: read_rubric(rubric))
    faults += _faults(request, suite, policy)
    if faults or points is None or suite is None:
        raise ConfigError(faults, source="sweep")
    material = read_material(request.suite, request.checks or {})
    if judges is not None:
        _refuse_shared_prompts(material)
    first = points[0].config.model
    rows = {name: sha for point in points for name, sha in _rows_of(point, request, material, shared).items()}
    if not request.allow_leakage:
        trained = trained_on([place for place in (first.path, first.adapter) if place is not None])
        refuse(find_leaks(first.path, trained, material), material.path)
    return Asked(
        request=request,
        points=tuple(points),
        material=material,
        policy=policy,
        x=_x(suite),
        y=ACCURACY if request.judge is None else WIN_RATE,
        rows=rows,
        base=(first.path, first.adapter),
        start=identity_of(first.path, first.adapter),
    )


def _gather(faults: list[Fault], where: str, make: Callable[[], T]) -> T | None:
    """What `make` gives, or None and its faults under the name of the file that they are in."""
    try:
        return make()
    except ConfigError as error:
        faults += [replace(fault, field=f"{where}: {fault.field}") for fault in error.faults]
        return None


def _read_judge(path: str | Path) -> JudgeConfig:
    config = read_judge(path)
    for section in config.judges:
        if section.endpoint is not None:
            key_from_environment(section.endpoint, name=section.name)
    return config


def _faults(request: Request, suite: Suite | None, policy: GatePolicy | None) -> Iterator[Fault]:
    """What the parts lack for a frontier to be drawn."""
    if request.max_kl is not None and not request.max_kl > 0:
        yield Fault(field="--max-kl", problem=f"must be greater than 0, not {request.max_kl:g}.")
    if policy is not None and not (policy.bounds or policy.non_regression):
        problem = "has no rule over measures, and rules over data are not asked in a sweep."
        remedy = "Give it measures, required_phrases or non_regression."
        yield Fault(field=f"{request.constraints}: gate", problem=problem, remedy=remedy)
    if suite is None:
        return
    if not _x(suite):
        problem = "is not measured, and the frontier is drawn against the KL."
        remedy = "Add the section, with the model that training starts from as its reference."
        yield Fault(field=f"{request.suite}: kl", problem=problem, remedy=remedy)
    if request.judge is None and not (suite.held_out is not None and suite.keeps(ACCURACY)):
        problem = f"{ACCURACY} is not measured, so nothing says which point is better."
        yield Fault(field=f"{request.suite}: held_out", problem=problem, remedy="Add the section, or give --judge.")
    if request.judge is not None and not suite.wants("generation"):
        problem = "no prompts are answered, so there is nothing to judge."
        yield Fault(field=f"{request.suite}: generation", problem=problem, remedy="Add the section.")
    if request.rubric is not None and request.judge is None:
        yield Fault(field="--rubric", problem="is for judges.", remedy="Give --judge too.")


def _x(suite: Suite) -> str:
    """The measure of KL that the suite keeps; empty where it has none."""
    return next((name for name in NO_KL if suite.kl is not None and suite.keeps(name)), "")


def _refuse_shared_prompts(material: Material) -> None:
    """Judges compare answers prompt by prompt. Raises DataError where two rows have one."""
    seen: dict[str, str] = {}
    for row in material.prompts:
        other = seen.setdefault(prompt_key(row), row.id)
        if other != row.id:
            problem = f"rows {other!r} and {row.id!r} of generation.prompts have the same prompt, and judges are asked "
            raise DataError(f"{problem}once for each. Remove one of them.", path=material.path, field="prompt")


def _rows_of(point: GridPoint, request: Request, material: Material, shared: Shared) -> dict[str, str]:
    """The files of a point's rows with their sha256; the rows are tokenised and looked for in the suite."""
    config = point.config
    tokenised = shared.rows(
        config, point.settled.loss, Renderer(load_tokenizer(config.model.path, config.model.chat_template))
    )
    if not request.allow_leakage:
        given: tuple[Row, ...] = read(config.data.train, format=config.data.format).rows
        if config.data.eval_fraction and not config.data.eval:
            given = tuple(split(given, fraction=config.data.eval_fraction).train)
        for leak in find_leaks(point.name, Trained(rows=given, notes=()), material):
            named = ", ".join(leak.rows[:NAMED]) + (", …" if len(leak.rows) > NAMED else "")
            raise DataError(
                f"{leak.section}: the prompts of {len(leak.rows):,} of {leak.of:,} rows stand in the training rows of "
                f"{point.name} too ({named}). Figures on these rows would say what was memorised. Leave them out of "
                "the suite, split the data anew with `fairlead split`, or allow them (--allow-leakage).",
                path=material.path,
                field="prompt",
            )
    return {path: sha256 for path, (sha256, _) in tokenised.files.items()}
