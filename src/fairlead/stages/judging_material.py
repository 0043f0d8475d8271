"""What is judged: files of answers matched by prompt, every two models of them, and what people said of some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import msgspec

from fairlead.config.rubric import Rubric
from fairlead.data.reading import Dataset, read
from fairlead.data.records import Candidates, Judgement
from fairlead.data.split import prompt_key, segment_of
from fairlead.errors import DataError
from fairlead.evaluation.judging.contract import Comparison, Side
from fairlead.evaluation.judging.people import content, most, with_people
from fairlead.identity import digest_file
from fairlead.runs.directory import Input

MAX_QUARANTINED = 0.02
SIDE_OF: Mapping[str, Side] = {"a": "candidate", "b": "baseline", "tie": "tie", "both_bad": "tie"}
SHOWN = 3  # rows that a message names


@dataclass(frozen=True, kw_only=True)
class Material:
    """Comparisons with the row of each, to be measured; others that only people's judgements make worth asking.

    sides: of each comparison, whose answers its candidate's and its baseline's are. models: their names, the candidate
    first. left_out: prompts and answers without a counterpart, by file.
    """

    rows: tuple[Judgement, ...]
    comparisons: tuple[Comparison, ...]
    sides: tuple[tuple[str, str], ...]
    human: tuple[Comparison, ...]
    left_out: Mapping[str, int]
    inputs: tuple[Input, ...]
    models: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """One model's answers: its rows by the key of their prompt."""

    model: str
    path: str
    rows: Mapping[str, Candidates]


def read_material(
    models: Sequence[str | Path],
    human: str | Path | None,
    rubric: Rubric | None,
    *,
    files: Sequence[str | Path],
) -> Material:
    """Read one file of judgements, or the answers of two or more models, and people's judgements.

    files: whatever else decides the outcome, to be named among the inputs. Raises DataError for rows of another kind,
    a prompt that a file holds twice, models that cannot be told apart or that answered no prompt in common, and
    judgements that people made by another version of `rubric`.
    """
    sets = [_rows(path) for path in models]
    left_out: dict[str, int] = {}
    if len(models) == 1:
        rows, sides, names = _judgements(sets[0], models[0])
    else:
        rows, sides, names, left_out = _paired(sets, models)
    comparisons = tuple(_comparison(row, row.id) for row in rows)
    people: tuple[Comparison, ...] = ()
    if human is not None:
        judged = _rows(human)
        sets.append(judged)
        people, unsettled = _people(judged, human)
        left_out |= {str(human): unsettled} if unsettled else {}
    for path, dataset in zip([*models, *([] if human is None else [human])], sets, strict=True):
        _check_rubric(dataset, path, rubric)
    comparisons, people = with_people(comparisons, people)
    inputs = [
        Input(path=path, sha256=sha256, rows=each.ledger.paths[path])
        for each in sets
        for path, sha256 in each.sha256.items()
    ]
    return Material(
        rows=rows,
        comparisons=comparisons,
        sides=sides,
        human=people,
        left_out=left_out,
        inputs=(*inputs, *(Input(path=str(path), sha256=digest_file(path)) for path in files)),
        models=names,
    )


def _rows(path: str | Path) -> Dataset:
    dataset = read(path)
    dataset.ledger.check(max_quarantined=MAX_QUARANTINED)
    return dataset


def _judgements(
    dataset: Dataset, path: str | Path
) -> tuple[tuple[Judgement, ...], tuple[tuple[str, str], ...], tuple[str, ...]]:
    if dataset.kind != "judgement":
        problem = f"these are {dataset.kind} rows; one file alone is to hold judgements."
        raise DataError(f"{problem} Name the other model's answers (--against).", path=path, code="wrong_kind")
    rows = tuple(sorted((row for row in dataset.rows if isinstance(row, Judgement)), key=lambda row: row.id))
    found: dict[tuple[str, frozenset[str]], str] = {}
    for row in rows:
        prompt, *answers = content(_comparison(row, row.id))
        first = found.setdefault((prompt, frozenset(answers)), row.id)
        if first != row.id:
            problem = f"rows {first!r} and {row.id!r} have the same prompt and the same two answers."
            raise DataError(f"{problem} They would count twice: leave one of them out.", path=path, field="prompt")
    return rows, (("response_a", "response_b"),) * len(rows), (Path(path).name,)


def _paired(
    sets: Sequence[Dataset], paths: Sequence[str | Path]
) -> tuple[tuple[Judgement, ...], tuple[tuple[str, str], ...], tuple[str, ...], dict[str, int]]:
    """A row for every two answers in the same place of the same prompt, of every two models."""
    if repeated := [str(path) for path, number in Counter(map(str, paths)).items() if number > 1]:
        problem = "is named twice. A model is compared with others."
        raise DataError(f"{problem} Name each file once.", path=repeated[0])
    names = _names(sets, paths)
    answers = [
        _Answers(model=name, path=str(path), rows=_by_prompt(dataset, path))
        for name, path, dataset in zip(names, paths, sets, strict=True)
    ]
    # The candidate is the one that is named first; among the others their order decides nothing.
    ordered = [answers[0], *sorted(answers[1:], key=lambda each: each.model)]
    left_out: Counter[str] = Counter()
    found: list[tuple[Judgement, tuple[str, str]]] = []
    for ours, theirs in combinations(ordered, 2):
        for row in _matched(ours, theirs, left_out):
            if len(answers) > 2:
                row = msgspec.structs.replace(row, id=f"{row.id}|{ours.model}|{theirs.model}")
            found.append((row, (ours.model, theirs.model)))
    found.sort(key=lambda pair: pair[0].id)
    counts = {path: number for path, number in left_out.items() if number}
    return tuple(row for row, _ in found), tuple(sides for _, sides in found), tuple(names), counts


def _names(sets: Sequence[Dataset], paths: Sequence[str | Path]) -> list[str]:
    """What models are called: as their answers say, else after their file, as are several that are called the same."""
    named = []
    for dataset, path in zip(sets, paths, strict=True):
        answers = [one for row in dataset.rows if isinstance(row, Candidates) for one in row.candidates]
        named.append(", ".join(sorted({one.model for one in answers if one.model})) or Path(path).name)
    if len(paths) > 2:
        times = Counter(named)
        named = [Path(path).name if times[name] > 1 else name for name, path in zip(named, paths, strict=True)]
        if repeated := [name for name, number in Counter(named).items() if number > 1]:
            problem = f"another file holds answers of the same model, and is called {repeated[0]!r} too."
            remedy = "Rename one of them, so that the models can be told apart."
            raise DataError(f"{problem} {remedy}", path=paths[named.index(repeated[0])])
    return named


def _by_prompt(dataset: Dataset, path: str | Path) -> dict[str, Candidates]:
    """The rows by prompt. Raises DataError for another kind of rows, and for two rows with one prompt."""
    found: dict[str, Candidates] = {}
    for row in dataset.rows:
        if not isinstance(row, Candidates):
            problem = f"these are {dataset.kind} rows; candidates are meant, as `fairlead generate` writes them."
            raise DataError(problem, path=path, code="wrong_kind")
        key = prompt_key(row)
        if key in found:
            problem = f"rows {found[key].id!r} and {row.id!r} have the same prompt. Put their candidates into one row."
            raise DataError(problem, path=path, field="prompt")
        found[key] = row
    return found


def _matched(ours: _Answers, theirs: _Answers, left_out: Counter[str]) -> Iterator[Judgement]:
    """A row for each two answers; how many of either file have no other is added to `left_out`."""
    for side, other in ((ours, theirs), (theirs, ours)):
        for key, row in side.rows.items():
            counterpart = len(other.rows[key].candidates) if key in other.rows else 0
            left_out[side.path] += max(0, len(row.candidates) - counterpart)
    common = sorted(ours.rows.keys() & theirs.rows.keys())
    if not any(ours.rows[key].candidates and theirs.rows[key].candidates for key in common):
        problem = f"no prompt of it has an answer in {theirs.path} too. Answer the same prompts with both models."
        raise DataError(problem, path=ours.path)
    for key in common:
        row, pairs = ours.rows[key], zip(ours.rows[key].candidates, theirs.rows[key].candidates, strict=False)
        for place, (mine, other_answer) in enumerate(pairs):
            yield Judgement(
                id=row.id if place == 0 else f"{row.id}#{place}",
                prompt=row.prompt,
                response_a=mine.messages,
                response_b=other_answer.messages,
                tools=row.tools,
                template_kwargs=row.template_kwargs,
                weight=row.weight,
                meta=row.meta,
            )


def _people(dataset: Dataset, path: str | Path) -> tuple[tuple[Comparison, ...], int]:
    """What people settled, and how many rows they did not."""
    judged = [_comparison(row, f"human/{row.id}") for row in dataset.rows if isinstance(row, Judgement)]
    settled = tuple(sorted((each for each in judged if each.human is not None), key=lambda each: each.id))
    if not settled:
        problem = "holds no judgement that people settled. Give rows with a label, or with annotations."
        raise DataError(problem, path=path, code="wrong_kind")
    return settled, len(judged) - len(settled)


def _check_rubric(dataset: Dataset, path: str | Path, rubric: Rubric | None) -> None:
    """Raise DataError where people judged by another version than the judges are to: they answer other questions."""
    if rubric is None:
        return
    others: dict[str, list[str]] = {}
    for row in dataset.rows:
        if isinstance(row, Judgement):
            named = [row.meta.get("rubric"), *(each.rubric for each in row.annotations)]
            for version in {str(each) for each in named if each is not None} - {rubric.version}:
                others.setdefault(version, []).append(row.id)
    if others:
        version, rows = min(others.items())
        listed = ", ".join(sorted(rows)[:SHOWN]) + (" …" if len(rows) > SHOWN else "")
        problem = f"{len(rows)} rows were judged by rubric version {version!r} ({listed})"
        remedy = "Leave these rows out, or give the rubric that people judged by."
        raise DataError(f"{problem}, and the judges are asked by version {rubric.version!r}. {remedy}", path=path)


def _comparison(row: Judgement, name: str) -> Comparison:
    return Comparison(
        id=name,
        prompt=row.prompt,
        candidate=row.response_a,
        baseline=row.response_b,
        segment=segment_of(row),
        human=_people_say(row),
    )


def _people_say(row: Judgement) -> Side | None:
    """The settled label, else the side with more than half of the annotations; a tie where none has."""
    return most(SIDE_OF[each.label] for each in row.annotations) if row.label is None else SIDE_OF[row.label]
