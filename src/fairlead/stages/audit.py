"""`audit`: what is wrong with preference data, found before anything is trained on it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fairlead.data.audit.findings import MOST_EXAMPLES, Finding, ordered, worst
from fairlead.data.audit.items import completions_of
from fairlead.data.audit.length import much_longer_rows
from fairlead.data.audit.material import Material
from fairlead.data.audit.phrases import read_phrases
from fairlead.data.audit.settings import AuditSettings
from fairlead.data.audit.slice import audit_slice
from fairlead.data.audit.table import CHECKS, KINDS, run_checks
from fairlead.data.files import open_records
from fairlead.data.ledger import Ledger, Rejected
from fairlead.data.reading import read
from fairlead.data.records import Demonstration, Feedback, Judgement, Preference, Row
from fairlead.data.split import prompt_of
from fairlead.data.texts import text_of
from fairlead.data.writing import write
from fairlead.errors import ConfigError, DataError, Fault, ModelError
from fairlead.identity import digest_file
from fairlead.progress import SILENT, Progress
from fairlead.reports.audit_report import audit_report
from fairlead.runs.atomic import disk_errors, write_bytes, write_json
from fairlead.runs.directory import REPORT, Input, RunDirectory

Files = str | Path | Sequence[str | Path]

MAX_QUARANTINED = 0.02
EXAMPLES_SHOWN = 3
"""Rows that the page shows in full for each finding that is not a note."""
MOST_SHOWN = 1500  # characters of a text on the page


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What an audit found, errors first; each finding with all of its rows, the worst first.

    kind and rows: what was audited. ledger: its account of rows, None where rows were given and not files. filtered:
    the rows left by `filter_length_ratio`. run: the run directory, where one was asked for. seconds: wall clock.
    """

    findings: tuple[Finding, ...]
    kind: str
    rows: int
    ledger: Ledger | None
    filtered: tuple[Row, ...] | None
    run: Path | None
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether no finding is an error."""
        return worst(self.findings) != "error"


def audit(
    rows: Files | Sequence[Row],
    *,
    eval: Files | Sequence[Row] = (),
    production: Files | Sequence[Row] = (),
    annotations: Files | Sequence[Row] = (),
    required: str | Path | None = None,
    against: Files = (),
    margins: str | Path | Mapping[str, float] | None = None,
    count_tokens: Callable[[str], int] | None = None,
    settings: AuditSettings | None = None,
    filter_length_ratio: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    kind: str | None = None,
    format: str = "auto",
    max_quarantined: float = MAX_QUARANTINED,
    progress: Progress = SILENT,
) -> Audit:
    """Audit rows of any kind: preferences, judgements, rankings, edits, thumbs; others for what is in their texts.

    rows: files, or rows. eval: those held out; production: live prompts. annotations: judgements with second labels
    for some of the comparisons, as the slice is once it was labelled. required: a YAML file of phrases that hard
    constraints demand (`fairlead.data.audit.phrases`). against: files of test sets, whose texts should not be in the
    rows. margins: a model's implicit reward margins, by row id or as a JSONL file with lines {"id", "margin"}, or with
    the rewards of `fairlead.score`. count_tokens: tokens in a text, for lengths in tokens. settings: thresholds.
    filter_length_ratio: leave out rows whose chosen side is longer than so many times the rejected; written to
    artifacts/filtered.jsonl of the run. out: new run directory; without it nothing is written.

    The findings do not depend on the order of the rows. Raises DataError for rows that cannot be read, ConfigError for
    settings out of range or at odds, RunError where `out` is taken.
    """
    begun = time.perf_counter()
    settings = _settled(settings or AuditSettings(), filter_length_ratio)
    source = _Source(kind=kind, format=format, max_quarantined=max_quarantined)
    given = source.read(rows)
    material = Material(
        rows=given,
        eval_rows=source.read(eval, kind=None),
        production=source.read(production, kind="candidates"),
        annotations=source.read(annotations, kind=None),
        against=tuple(_texts(against, source.inputs)),
        required=() if required is None else read_phrases(required),
        margins=margins if isinstance(margins, Mapping) else {} if margins is None else _read_margins(margins),
        count_tokens=count_tokens,
        seed=seed,
    )
    source.note(*[path for path in (required, margins) if isinstance(path, str | Path)])
    with progress.task("audit", total=len(CHECKS), unit="checks") as task:
        found = tuple(ordered(run_checks(material, settings, made=lambda check: task.advance())))
    filtered = None
    if filter_length_ratio is not None:
        long = much_longer_rows(material, filter_length_ratio)
        filtered = tuple(row for row in given if row.id not in long)
    result = Audit(
        findings=found,
        kind=type(given[0]).__name__.lower() if given else "",
        rows=len(given),
        ledger=source.ledgers[0] if source.ledgers else None,
        filtered=filtered,
        run=None if out is None else Path(out),
        seconds=time.perf_counter() - begun,
    )
    if out is not None:
        _write_run(Path(out), result, material, settings, source)
    return result


def listed(finding: Finding) -> dict[str, Any]:
    """A finding as JSON has it: at most `MOST_EXAMPLES` rows, of `count`."""
    fields = asdict(replace(finding, rows=finding.rows[:MOST_EXAMPLES]))
    return {name: value for name, value in fields.items() if name != "data"}


def token_counter(path: str | Path) -> Callable[[str], int]:
    """A function that counts the tokens of a text, from a tokenizer.json or a folder with one. Raises ModelError."""
    from tokenizers import Tokenizer

    file = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise ModelError(f"{path}: there is no tokenizer.json. Name the folder of a model, or the file itself.")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare exceptions
        raise ModelError(f"{file}: is not a tokenizer that can be read ({error}).") from None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _settled(settings: AuditSettings, ratio: float | None) -> AuditSettings:
    if ratio is None:
        return settings
    faults = []
    if not ratio > 1:
        problem = f"{ratio:g} is not above 1: nearly every pair would be left out."
        faults.append(Fault(field="filter_length_ratio", problem=problem, remedy="2 is usual."))
    if settings.length_is_the_label:
        problem = "and length_is_the_label are at odds: where length is what is judged, it is not to be filtered."
        faults.append(Fault(field="filter_length_ratio", problem=problem, remedy="Give one of them."))
    if faults:
        raise ConfigError(faults, source="audit")
    return replace(settings, length_ratio=ratio)


class _Source:
    """Reads what an audit is given, and remembers each file for the run's inputs and its ledger."""

    def __init__(self, *, kind: str | None, format: str, max_quarantined: float) -> None:
        self.kind, self.format, self.max_quarantined = kind, format, max_quarantined
        self.inputs: dict[str, Input] = {}
        self.ledgers: list[Ledger] = []

    def read(self, given: Files | Sequence[Row], kind: str | None = "") -> tuple[Row, ...]:
        """The rows of files, or the rows that were given; `kind` "" is that of the audit. Raises DataError."""
        paths = [given] if isinstance(given, str | Path) else list(given)
        rows = tuple(row for row in paths if not isinstance(row, str | Path))
        if not paths or rows:
            return rows
        dataset = read(
            [path for path in paths if isinstance(path, str | Path)],
            kind=self.kind if kind == "" else kind,
            format=self.format if kind == "" else "auto",
        )
        dataset.ledger.check(max_quarantined=self.max_quarantined)
        self.ledgers.append(dataset.ledger)
        for path, sha256 in dataset.sha256.items():
            version = dataset.versions.get(path)
            self.inputs[path] = Input(
                path=path,
                sha256=sha256,
                rows=dataset.ledger.paths[path],
                parent_run=_made_by(path),
                data_set=None if version is None else asdict(version),
            )
        return dataset.rows

    def note(self, *paths: str | Path) -> None:
        """Files that were read and hold no rows."""
        for path in paths:
            self.inputs[str(path)] = Input(path=str(path), sha256=digest_file(path))


def _made_by(path: str) -> str | None:
    """The run directory that a file lies in, if it lies in one."""
    above = Path(path).absolute().parents
    return next((str(folder) for folder in above if (folder / "run.json").is_file()), None)


def _texts(against: Files, inputs: dict[str, Input]) -> Iterator[str]:
    """Every text in files of test sets: the lines of .txt and .md, the values of all fields in any other format."""
    for path in [against] if isinstance(against, str | Path) else against:
        if Path(path).suffix.lower() in (".txt", ".md"):
            try:
                yield from filter(str.strip, Path(path).read_text(encoding="utf-8", errors="replace").splitlines())
            except OSError as error:
                raise DataError(f"cannot be read: {error.strerror}. Check the path.", path=path) from None
            sha256 = digest_file(path)
        else:
            records, digest = open_records(path)
            for _, record in records:
                if not isinstance(record, Rejected):
                    yield from _strings(record)
            sha256 = digest()
        inputs[str(path)] = Input(path=str(path), sha256=sha256)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _read_margins(path: str | Path) -> dict[str, float]:
    """The margin of each row: stated, or the reward of `chosen` less that of `rejected`. Raises DataError."""
    margins = {}
    records, _ = open_records(path)
    for line, record in records:
        value = None
        if not isinstance(record, Rejected):
            name, rewards = record.get("id", record.get("row_id")), record.get("rewards")
            value = record.get("margin")
            if value is None and isinstance(rewards, Mapping) and {"chosen", "rejected"} <= rewards.keys():
                value = rewards["chosen"] - rewards["rejected"]
        if (
            isinstance(record, Rejected)
            or name is None
            or isinstance(value, bool)
            or not isinstance(value, int | float)
        ):
            shape = '{"id": …, "margin": …}, or the rewards of chosen and rejected'
            raise DataError(f"this line has no id with a margin. Write {shape}.", path=path, line=line)
        margins[str(name)] = float(value)
    return margins


def _write_run(path: Path, result: Audit, material: Material, settings: AuditSettings, source: _Source) -> None:
    """The run directory: findings, all their rows, the slice to label again, the page."""
    defaults = asdict(AuditSettings())
    values = asdict(settings)
    run = RunDirectory.create(
        path,
        stage="audit",
        config={"settings": values},
        user_set=[f"settings.{name}" for name in values if values[name] != defaults[name]],
        inputs=list(source.inputs.values()),
        seed=material.seed,
        extra={"kind": result.kind, "rows": result.rows, "seconds": round(result.seconds, 3), "passed": result.passed},
    )
    if result.ledger is not None:
        write_json(run.path / "ledger.json", result.ledger.summary())
        result.ledger.write(run.path / "ledger.jsonl")
    findings = [{**asdict(KINDS[finding.code]), **listed(finding), "data": finding.data} for finding in result.findings]
    write_json(run.path / "findings.json", {"kind": result.kind, "rows": result.rows, "findings": findings})
    with disk_errors(run.path):
        (run.path / "rows").mkdir()
    for code in dict.fromkeys(finding.code for finding in result.findings if finding.rows):
        lines = [line for finding in result.findings if finding.code == code for line in _row_lines(finding)]
        write_bytes(run.path / "rows" / f"{code}.jsonl", "".join(lines).encode())
    write_json(run.path / "examples.json", _examples(result.findings, material))
    if settings.slice_size:
        judgements, labels = audit_slice(material, settings.slice_size)
        if judgements:
            write(judgements, run.artifact("audit-slice.jsonl"))
            content = "".join(json.dumps(label, ensure_ascii=False) + "\n" for label in labels)
            write_bytes(run.artifact("audit-slice-labels.jsonl"), content.encode())
    if result.filtered is not None:
        write(result.filtered, run.artifact("filtered.jsonl"))
    write_bytes(run.path / REPORT, audit_report(run.path).encode())
    run.seal()


def _row_lines(finding: Finding) -> Iterator[str]:
    """A line for each row of a finding, the worst first: its id, which finding of this code, its probability if any."""
    chances = finding.data.get("probability", {})
    about = finding.data.get("phrase")
    for name in finding.rows:
        line = {"id": name}
        line |= {"phrase": about} if about else {}
        line |= {"probability": chances[name]} if name in chances else {}
        yield json.dumps(line, ensure_ascii=False) + "\n"


def _examples(findings: Sequence[Finding], material: Material) -> dict[str, Any]:
    """The first rows of every finding that is not a note, as texts, by id."""
    wanted = {name for found in findings if found.severity != "note" for name in found.rows[:EXAMPLES_SHOWN]}
    return {row.id: _example(row) for row in material.ordered_rows if row.id in wanted}


def _example(row: Row) -> dict[str, Any]:
    match row:
        case Preference():
            names = ["chosen", "rejected"]
        case Judgement():
            names = [f"{side}{' (preferred)' if row.label == side else ''}" for side in ("a", "b")]
        case Feedback():
            names = ["thumb up" if row.label else "thumb down"]
        case _:
            names = [str(place + 1) for place in range(len(completions_of(row)))]
    prompt = "" if isinstance(row, Demonstration) else text_of(prompt_of(row))
    texts = zip(names, completions_of(row), strict=True)
    return {"prompt": _short(prompt), "replies": [{"label": name, "text": _short(text)} for name, text in texts]}


def _short(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + " …"
