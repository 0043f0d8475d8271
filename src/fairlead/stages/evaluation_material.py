"""What a suite names, read and checked: rows, prompts, phrases, questions, and none that a model was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from fairlead.data.audit.leakage import leakage_between
from fairlead.data.audit.phrases import Phrase, read_phrases
from fairlead.data.reading import read
from fairlead.data.records import Candidates, Preference, Row
from fairlead.data.split import prompt_key, split
from fairlead.errors import ConfigError, DataError, FairleadError, Fault, RunError
from fairlead.evaluation.baseline import Passage, passage_files, read_passages
from fairlead.evaluation.factual import Question, read_questions
from fairlead.evaluation.metrics import Check
from fairlead.evaluation.probes import Probe, builtin_probes, read_probes
from fairlead.evaluation.suite import BUILTIN, Suite, read_suite
from fairlead.evaluation.table import CHECK
from fairlead.identity import digest, digest_file
from fairlead.runs.directory import Input, RunDirectory
from fairlead.stages.generate import MAX_QUARANTINED, prompt_of

NAMED = 10
"""Rows that a message names."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """All that models are measured on, and the files that it was read from. notes: what is worth knowing of them."""

    suite: Suite
    path: str
    sha256: str
    held_out: tuple[Preference, ...]
    prompts: tuple[Candidates, ...]
    required: tuple[Phrase, ...]
    checks: Mapping[str, Check]
    questions: tuple[Question, ...]
    kl_prompts: tuple[Candidates, ...]
    probes: tuple[Probe, ...]
    passages: tuple[Passage, ...]
    inputs: tuple[Input, ...]
    notes: tuple[str, ...]

    @property
    def identity(self) -> Mapping[str, str]:
        """What tells suites apart: `sha256` of the suite, `files` over it and all that it names; its `path`."""
        files = digest(sorted(each.sha256 for each in self.inputs))
        return {"path": self.path, "sha256": self.sha256, "files": files}

    @property
    def judged(self) -> Mapping[str, Sequence[Row]]:
        """The rows by which a model is judged, by section: none of them may be trained on."""
        asked = tuple(question.row for question in self.questions)
        return {"held_out": self.held_out, "generation": self.prompts, "factual": asked}


NOTHING = Material(
    suite=Suite(),
    path="",
    sha256="",
    held_out=(),
    prompts=(),
    required=(),
    checks={},
    questions=(),
    kl_prompts=(),
    probes=(),
    passages=(),
    inputs=(),
    notes=(),
)
"""Without a suite."""


def read_material(path: str | Path, checks: Mapping[str, Check]) -> Material:
    """Read a suite and all that it names, beside the user's own checks of answers.

    Raises ConfigError and DataError for what cannot be used.
    """
    suite = read_suite(path)
    if faults := [*_check_faults(suite, checks)]:
        raise ConfigError(faults, source=str(path))
    inputs = {str(path): Input(path=str(path), sha256=digest_file(path))}
    held_out = _read(suite.held_out.rows, inputs, "preference") if suite.held_out and suite.wants("held_out") else ()
    prompts = _read(suite.generation.prompts, inputs) if suite.generation and suite.wants("generation") else ()
    kl_prompts = _read(suite.kl.prompts, inputs) if suite.kl and suite.wants("kl") else ()
    required: tuple[Phrase, ...] = ()
    if suite.generation and suite.generation.required and prompts:
        required = read_phrases(suite.generation.required)
        _note(suite.generation.required, inputs)
    questions: tuple[Question, ...] = ()
    if suite.factual and suite.wants("factual"):
        found = read_questions(suite.factual.questions)
        questions, name = found.questions, suite.factual.questions
        inputs[name] = Input(path=name, sha256=found.sha256, rows=len(questions))
    probes: tuple[Probe, ...] = ()
    if suite.probes and suite.wants("probes"):
        probes = builtin_probes() if suite.probes.set == BUILTIN else read_probes(suite.probes.set)
        if suite.probes.set != BUILTIN:
            _note(suite.probes.set, inputs)
    if suite.lm_eval and suite.lm_eval.include:
        for file in sorted(each for each in Path(suite.lm_eval.include).rglob("*") if each.is_file()):
            _note(str(file), inputs)
    passages: tuple[Passage, ...] = ()
    if suite.baseline and suite.baseline.documents:
        passages = read_passages(suite.baseline.documents)
        for file in passage_files(suite.baseline.documents):
            _note(str(file), inputs)
    asked = {
        "generation": prompts,
        "kl": kl_prompts,
        "factual": [question.row for question in questions if question.kind != "likelihood"],
    }
    return Material(
        suite=suite,
        path=str(path),
        sha256=inputs[str(path)].sha256,
        held_out=cast(tuple[Preference, ...], held_out),
        prompts=tuple(map(_as_prompt, prompts)),
        required=required,
        checks=checks,
        questions=questions,
        kl_prompts=tuple(map(_as_prompt, kl_prompts)),
        probes=probes,
        passages=passages,
        inputs=tuple(inputs.values()),
        notes=tuple(_repeated(asked)),
    )


def _check_faults(suite: Suite, checks: Mapping[str, Check]) -> Iterator[Fault]:
    """Checks without answers to look at, and measures that name a check which is not given."""
    if checks and suite.generation is None:
        remedy = "Add the section generation, whose answers they look at."
        yield Fault(field="checks", problem="have no answers to look at.", remedy=remedy)
    for place, name in enumerate(suite.measures or ()):
        own = name.removeprefix(CHECK)
        if name.startswith(CHECK) and own and own not in checks:
            remedy = f"Given are: {', '.join(checks) or 'none'}. Checks are given by `fairlead.evaluate(checks=…)`."
            yield Fault(field=f"measures.{place}", problem=f"{name} needs the check {own!r}.", remedy=remedy)


def _read(paths: Sequence[str], inputs: dict[str, Input], kind: str | None = None) -> tuple[Row, ...]:
    dataset = read(paths, kind=kind)
    dataset.ledger.check(max_quarantined=MAX_QUARANTINED)
    for path, sha256 in dataset.sha256.items():
        inputs[path] = Input(path=path, sha256=sha256, rows=dataset.ledger.paths[path])
    return dataset.rows


def _repeated(asked: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """How many rows of a section ask what another one asks: in intervals they count as one prompt."""
    for section, rows in asked.items():
        same: dict[str, list[str]] = {}
        for row in rows:
            same.setdefault(prompt_key(row), []).append(row.id)
        ids = sorted(name for names in same.values() if len(names) > 1 for name in names)
        if ids:
            told = f"{len(ids):,} of {len(rows):,} rows of {section} share their prompt with another row"
            yield f"{told} ({_named(ids)}): intervals take such rows for one prompt."


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:NAMED]) + (", …" if len(ids) > NAMED else "")


def _note(path: str, inputs: dict[str, Input]) -> None:
    inputs[path] = Input(path=path, sha256=digest_file(path))


def _as_prompt(row: Row) -> Candidates:
    """The row's prompt alone, to be answered anew."""
    return Candidates(
        id=row.id, prompt=prompt_of(row), tools=row.tools, template_kwargs=row.template_kwargs, meta=row.meta
    )


# Rows that a model was trained on


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The rows that a model was trained on as far as its runs tell, and why they may not be all."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def trained_on(places: Sequence[str]) -> Trained:
    """The training rows of the runs that models or adapters come from, and of the runs that these started from.

    Files that are gone are named in the notes; so are those that were changed since, which are read as they are.
    """
    rows: list[Row] = []
    notes: list[str] = []
    seen: set[Path] = set()
    waiting = [run for place in places for run in _runs_above(Path(place))]
    while waiting:
        folder = waiting.pop(0)
        if folder in seen:
            continue
        seen.add(folder)
        try:
            run = RunDirectory.open(folder)
            waiting += [Path(item.parent_run).resolve() for item in run.inputs if item.parent_run is not None]
            for item, found in _training_files(run):
                if isinstance(found, str):
                    notes.append(f"{folder.name} was trained on {item.path}, which {found}.")
                else:
                    rows += found
        except RunError as error:
            notes.append(str(error))
    return Trained(rows=tuple(rows), notes=tuple(notes))


def _runs_above(place: Path) -> list[Path]:
    """The run directory that a path is or lies in, if any."""
    if not place.exists():
        return []
    folders = [place.resolve(), *place.resolve().parents]
    return [folder for folder in folders if (folder / "run.json").is_file()][:1]


def _training_files(run: RunDirectory) -> Iterator[tuple[Input, Sequence[Row] | str]]:
    """Each file that a run trained on with its rows, or with what keeps them from being known."""
    data = run.config.get("data")
    if run.stage != "train" or not isinstance(data, dict):
        return
    files = [item for item in run.inputs if item.rows is not None]
    # The files of training stand first, as they were named, and behind them those that were held out.
    for item in files[: len(dict.fromkeys(data["train"]))]:
        try:
            found = read(item.path, format=data.get("format", "auto"))
        except FairleadError:
            yield item, "cannot be read: whether rows of the suite are among its rows is not known"
            continue
        if found.sha256 and next(iter(found.sha256.values())) != item.sha256:
            yield item, "was changed since: rows of the suite may have been among its rows"
        fraction = 0 if data.get("eval") else data.get("eval_fraction") or 0
        yield item, split(found.rows, fraction=fraction).train if fraction else found.rows


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Rows of one section whose prompt a model was trained on word for word."""

    model: str
    section: str
    rows: tuple[str, ...]
    of: int

    def __str__(self) -> str:
        told = f"{self.model} was trained on the prompts of {len(self.rows):,} of {self.of:,} rows"
        return f"{told} ({_named(self.rows)})"


def find_leaks(model: str, trained: Trained, material: Material) -> list[Leak]:
    """The rows of each section that stand among a model's training rows, by their prompt."""
    leaks = []
    for section, rows in material.judged.items():
        if rows and trained.rows:
            matches = leakage_between(trained.rows, rows, near=False).prompts
            if matches:
                ids = tuple(sorted(match.held_out for match in matches))
                leaks.append(Leak(model=model, section=section, rows=ids, of=len(rows)))
    return leaks


def refuse(leaks: Sequence[Leak], path: str) -> None:
    """Raises DataError where there are leaks."""
    if leaks:
        told = "; ".join(f"{leak.section}: {leak}" for leak in leaks)
        remedy = (
            "Figures on these rows say what was memorised. Leave them out of the suite, split the data anew with "
            "`fairlead split`, or allow them (--allow-leakage)."
        )
        raise DataError(f"{told}. {remedy}", path=path, field="prompt", code=None)
