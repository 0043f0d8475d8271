"""`eval --compare`: finished evaluations held against one another on the items that they share, without any model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fairlead.errors import ConfigError, Fault, RunError
from fairlead.evaluation.comparison import AgainstBaseline
from fairlead.evaluation.comparison import compare as compare_items
from fairlead.evaluation.results import ITEMS, MEASURES, Item, read_item_list, read_measures
from fairlead.identity import digest_file
from fairlead.reports.evaluation_report import COMPARISON, evaluation_report
from fairlead.runs.atomic import write_bytes, write_json
from fairlead.runs.directory import MANIFEST, REPORT, Input, RunDirectory

STAGE = "compare"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare` found: each run against the baseline, in the order given, and what keeps them apart."""

    baseline: str
    comparisons: tuple[AgainstBaseline, ...]
    notes: tuple[str, ...]
    run: Path


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A complete evaluation of one model, under the name that it is shown by."""

    name: str
    run: RunDirectory
    items: tuple[Item, ...]
    suite: Mapping[str, str]

    @property
    def base(self) -> str | None:
        """Digest of the base weights; None where the model was behind a server."""
        known = self.run.record["extra"].get("model") or {}
        return None if known.get("sha256") is None else str(known["sha256"])


def compare(
    runs: Sequence[str | Path], *, out: str | Path, baseline: str | Path | None = None, seed: int = 0
) -> Comparison:
    """Compare complete evaluations on the items that they share, and write a run with comparison.json and a page.

    runs: run directories of `evaluate`, or those of further models in their compared/. baseline: the one that the
    others are compared with, without it the first. seed: of the bootstrap. A note says where models stand on
    different base weights and where suites differ: then only items of one measure and id are compared.

    Raises ConfigError for fewer than two runs and for one given twice, RunError for a folder that is no complete
    evaluation, for runs that share no item, and where `out` is taken.
    """
    places = [Path(run) for run in runs]
    if baseline is not None and Path(baseline).resolve() not in [place.resolve() for place in places]:
        places.append(Path(baseline))
    faults = []
    if len(places) < 2:
        remedy = "Name two runs or more, or one and a baseline."
        faults.append(Fault(field="runs", problem="nothing is given to compare with.", remedy=remedy))
    if len({place.resolve() for place in places}) < len(places):
        faults.append(Fault(field="runs", problem="one is given twice.", remedy="Name each once."))
    if faults:
        raise ConfigError(faults, source="eval --compare")
    finished = [_finished(place, name) for place, name in zip(places, _names(places), strict=True)]
    wanted = places[0] if baseline is None else Path(baseline)
    against = next(each for each in finished if each.run.path.resolve() == wanted.resolve())
    others = [each for each in finished if each is not against]
    comparisons = against_baseline([(each.name, each.items) for each in others], (against.name, against.items), seed)
    for each in comparisons:
        if not any(row.n for row in each.compared):
            problem = f"{each.model} and {each.baseline} share no item: they measured nothing in common."
            raise RunError(f"{problem} Evaluate both by one suite.")
    notes = [*different_bases([(each.name, each.base) for each in finished], against.name), *_suites(finished, against)]
    run = RunDirectory.create(
        out,
        stage=STAGE,
        config={"runs": [str(place) for place in places], "baseline": str(wanted)},
        inputs=[_input(each.run) for each in finished],
        seed=seed,
    )
    write_comparison(run, [(each.name, each.run.path) for each in finished], comparisons, notes)
    write_bytes(run.path / REPORT, evaluation_report(run.path).encode())
    run.seal()
    return Comparison(baseline=against.name, comparisons=comparisons, notes=tuple(notes), run=run.path)


def against_baseline(
    models: Sequence[tuple[str, Sequence[Item]]], baseline: tuple[str, Sequence[Item]], seed: int
) -> tuple[AgainstBaseline, ...]:
    """Each model with its items held against the baseline."""
    name, items = baseline
    return tuple(
        AgainstBaseline(model=model, baseline=name, compared=tuple(compare_items(items, own, seed=seed)))
        for model, own in models
    )


def different_bases(bases: Sequence[tuple[str, str | None]], baseline: str) -> list[str]:
    """A note on models, each with the digest of its base weights, that stand on others than the baseline's."""
    own = dict(bases)[baseline]
    other = [name for name, base in bases if base is not None and own is not None and base != own]
    if not other:
        return []
    return [
        f"{', '.join(other)} and {baseline} stand on different base weights: they differ in more than their training."
    ]


def write_comparison(
    run: RunDirectory,
    models: Sequence[tuple[str, Path]],
    comparisons: Sequence[AgainstBaseline],
    notes: Sequence[str],
) -> None:
    """comparison.json: the models with their runs as seen from this one, and every measure beside the baseline's."""
    content: Mapping[str, Any] = {
        "baseline": comparisons[0].baseline,
        "models": [{"name": name, "run": os.path.relpath(path, run.path)} for name, path in models],
        "notes": list(notes),
        "comparisons": [
            {"model": each.model, "measures": [asdict(compared) for compared in each.compared]} for each in comparisons
        ],
    }
    write_json(run.path / COMPARISON, content)


def _names(places: Sequence[Path]) -> list[str]:
    ends = [place.resolve().name for place in places]
    return [end if ends.count(end) == 1 else str(place) for end, place in zip(ends, places, strict=True)]


def _finished(place: Path, name: str) -> Finished:
    run = RunDirectory.open(place)
    if run.stage != "eval":
        raise RunError(f"{place}: is a run of `{run.stage}`. Name runs of `fairlead eval`.")
    if not run.is_complete():
        raise RunError(f"{place}: this evaluation is not complete. Go on with it: the same `fairlead eval` command.")
    for file in (MEASURES, ITEMS):
        if any(fault.startswith(file) for fault in run.verify()):
            raise RunError(f"{place}: {file} was changed since the evaluation was complete. Evaluate anew.")
    return Finished(name=name, run=run, items=tuple(read_item_list(place)), suite=read_measures(place).suite)


def _suites(finished: Sequence[Finished], against: Finished) -> list[str]:
    own = against.suite
    other = [each.name for each in finished if any(each.suite.get(key) != own.get(key) for key in ("sha256", "files"))]
    if not other:
        return []
    told = f"{', '.join(other)} and {against.name} were measured by suites or files that differ"
    return [f"{told}: only items of one measure and id are compared, and they may not be the same questions."]


def _input(run: RunDirectory) -> Input:
    return Input(path=str(run.path), sha256=digest_file(run.path / MANIFEST), parent_run=str(run.path))
