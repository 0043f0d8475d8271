"""`judge`: the answers of two or more models put to judges, and what came of it as measures, verdicts and rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fairlead.config.judge import JudgeConfig, read_judge
from fairlead.config.rubric import Rubric, read_rubric
from fairlead.data.records import Judgement, Preference
from fairlead.data.split import prompt_key
from fairlead.data.writing import write
from fairlead.errors import RunError
from fairlead.evaluation.judging.asking import Asked, ask, panel
from fairlead.evaluation.judging.contract import Comparison, Judge, Verdict
from fairlead.evaluation.judging.measuring import audit_judge, panel_agreement, win_items, win_rates
from fairlead.evaluation.judging.people import with_people
from fairlead.evaluation.judging.ranking import Ranking, rank
from fairlead.evaluation.judging.self_preference import OwnAnswers, OwnJudged, judge_own, self_preference, write_own
from fairlead.evaluation.results import Item, Measurement, write_measures
from fairlead.identity import digest
from fairlead.progress import SILENT, Progress
from fairlead.reports.judge_report import judge_report
from fairlead.runs.atomic import write_bytes, write_json
from fairlead.runs.directory import REPORT, RunDirectory
from fairlead.stages.judges import open_judges
from fairlead.stages.judging_exports import examples, exports, own_for_people, verdict_line
from fairlead.stages.judging_material import Material, read_material

RANKING = "ranking.json"


@dataclass(frozen=True, kw_only=True)
class Judging:
    """What judges held of two or more models.

    measures: of the candidate against the others, of every model where there are more than two, and of each judge.
    verdicts: of the panel, one per comparison. void: why nothing can be concluded, a sentence per judge; empty where
    all is well. ranking: the models in order, None where there are two. left_out: prompts and answers that had no
    counterpart, by file. showings, cached: how often judges were asked, own answers included, and how many of these
    answers were kept from earlier. calls, cost: calls to servers, and their price. preferences, for_people,
    own_for_people: rows written.
    """

    measures: tuple[Measurement, ...]
    verdicts: tuple[Verdict, ...]
    void: tuple[str, ...]
    ranking: Ranking | None
    comparisons: int
    left_out: Mapping[str, int]
    showings: int
    cached: int
    calls: int
    cost: float
    preferences: int
    for_people: int
    own_for_people: int
    run: Path


@dataclass(frozen=True, kw_only=True)
class _Said:
    """All that judges said: of the comparisons, and of answers that judges wrote themselves."""

    asked: tuple[Asked, ...]
    own: tuple[OwnAnswers, ...]
    own_judged: tuple[OwnJudged, ...]
    calls: int
    cost: float

    @property
    def own_comparisons(self) -> list[Comparison]:
        return [comparison for each in self.own for comparison in each.comparisons]

    @property
    def showings(self) -> int:
        judged = sum(one.showings for one in self.asked) + sum(one.showings for one in self.own_judged)
        return judged + sum(each.written for each in self.own)

    @property
    def cached(self) -> int:
        judged = sum(one.cached for one in self.asked) + sum(one.cached for one in self.own_judged)
        return judged + sum(each.cached for each in self.own)


def judge(
    candidate: str | Path,
    *others: str | Path,
    judge: str | Path,
    out: str | Path,
    against: str | Path | None = None,
    rubric: str | Path | None = None,
    human: str | Path | None = None,
    progress: Progress = SILENT,
) -> Judging:
    """Have judges say which of several models answers best, and write a run about it.

    candidate, others, against: files of candidates with answers to the same prompts, matched by prompt, one for each
    model; every two are compared, and more than two are ranked. Or one file of judgements, whose response_a is the
    candidate's. judge: a YAML file (docs/judges.md). rubric: a YAML file of criteria. human: judgements by people, to
    audit the judges by. out: new run directory.

    The result does not depend on the order of the rows, nor on that of the models after the first. A run killed or
    stopped goes on with the same call: what a model answered is kept in the cache. Raises ConfigError and DataError for
    what was given, RunError where `out` is taken or a cost limit is reached, MachineError where a server cannot be
    reached.
    """
    config = read_judge(judge)
    criteria = None if rubric is None else read_rubric(rubric)
    _check_free(Path(out))
    models = [candidate, *others, *([] if against is None else [against])]
    files = [judge, *([] if rubric is None else [rubric])]
    material = read_material(models, human, criteria, files=files)
    said, people = _ask_all(material, config, criteria, progress)
    everything = [*material.comparisons, *people]
    void = tuple(sentence for each in said.asked for sentence in _void(each))
    verdicts = panel(said.asked)[: len(material.comparisons)]
    ranking = _ranking(material, verdicts, config.seed, void=bool(void))
    measures = [
        *_candidates_rates(material, verdicts, config.seed, void=bool(void)),
        *([] if ranking is None else ranking.measures),
        *(measure for each in said.asked for measure in audit_judge(each, everything, seed=config.seed)),
        *self_preference(said.own, said.own_judged, material.human),
        *panel_agreement(said.asked, seed=config.seed),
    ]
    pairs, aside = exports(material.rows, verdicts, config, criteria, void=bool(void))
    own = own_for_people(said.own_comparisons, config.seed)
    result = Judging(
        measures=tuple(measures),
        verdicts=verdicts,
        void=void,
        ranking=ranking,
        comparisons=len(material.comparisons),
        left_out=material.left_out,
        showings=said.showings,
        cached=said.cached,
        calls=said.calls,
        cost=said.cost,
        preferences=len(pairs),
        for_people=len(aside),
        own_for_people=len(own),
        run=Path(out),
    )
    _write_run(result, material, said, config, criteria, {"preferences": pairs, "for_people": aside, "own": own})
    return result


def _check_free(out: Path) -> None:
    """Fail before anything is paid for."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out}: there is something of that name already. Choose another folder, or remove it.")


def _ask_all(
    material: Material, config: JudgeConfig, rubric: Rubric | None, progress: Progress
) -> tuple[_Said, tuple[Comparison, ...]]:
    """All that judges say, and the judgements of people that judges were asked about too."""
    planting = {"canaries": config.canaries, "sycophancy": config.sycophancy, "seed": config.seed}
    with open_judges(config, rubric, progress) as bench:
        own = tuple(
            write_own(each, material.comparisons, number=config.self_preference, seed=config.seed)
            for each in bench.judges
        )
        pairs = [comparison for each in own for comparison in each.comparisons]
        # What people said of judges' own answers is held against these, and is no part of the slice of all answers.
        people = with_people(pairs, material.human)[1]
        everything = [*material.comparisons, *people]

        def said_by(each: Judge) -> tuple[Asked, OwnJudged]:
            return ask(each, everything, **planting), judge_own(each, pairs)

        said = [said_by(each) for each in bench.judges]
        calls, cost = bench.calls, bench.cost
    asked, judged = tuple(one for one, _ in said), tuple(one for _, one in said)
    return _Said(asked=asked, own=own, own_judged=judged, calls=calls, cost=cost), people


def _void(asked: Asked) -> Iterator[str]:
    kept = Counter(each.sort for each in asked.planted if not each.lost)
    total = Counter(each.sort for each in asked.planted)
    for sort, number in sorted(kept.items()):
        what = "the null answer" if sort == "null" else "the answer that holds an injection"
        yield f"judge {asked.judge!r}: {what} did not lose in {number} of {total[sort]} planted comparisons."
    if not asked.planted:
        yield f"judge {asked.judge!r}: no comparison has an answer that a planted one could lose to."


def _of_candidate(material: Material) -> list[int]:
    """The places of the comparisons that the candidate is a side of: it is always the first."""
    return [place for place, (first, _) in enumerate(material.sides) if first == material.models[0]]


def _candidates_rates(
    material: Material, verdicts: Sequence[Verdict], seed: int, *, void: bool
) -> Iterator[Measurement]:
    """The candidate's win rates: against all others, and against each of them where there are several."""
    prompts = [prompt_key(row) for row in material.rows]

    def rates(places: Sequence[int]) -> list[Measurement]:
        chosen = [material.comparisons[n] for n in places], [verdicts[n] for n in places], [prompts[n] for n in places]
        return win_rates(*chosen, seed=seed, void=void)

    if len(material.models) <= 2:
        yield from rates(range(len(material.comparisons)))
        return
    own = _of_candidate(material)
    yield from rates(own)
    for other in sorted(material.models[1:]):
        for measure in rates([place for place in own if material.sides[place][1] == other]):
            if not measure.slice:
                yield replace(measure, slice={"against": other})


def _ranking(material: Material, verdicts: Sequence[Verdict], seed: int, *, void: bool) -> Ranking | None:
    if len(material.models) <= 2:
        return None
    prompts = [prompt_key(row) for row in material.rows]
    return rank(material.models, material.sides, verdicts, prompts, seed=seed, void=void)


def _items(material: Material, verdicts: Sequence[Verdict]) -> Iterator[Item]:
    """What each comparison gave to the candidate's win rate; where a prompt has one with each rival, they share it."""
    if len(material.models) <= 2:
        yield from win_items(verdicts)
        return
    for place in _of_candidate(material):
        for item in win_items([verdicts[place]]):
            yield replace(item, group=prompt_key(material.rows[place]))


def _write_run(
    result: Judging,
    material: Material,
    said: _Said,
    config: JudgeConfig,
    rubric: Rubric | None,
    rows: Mapping[str, Sequence[Preference | Judgement]],
) -> None:
    run = RunDirectory.create(
        result.run,
        stage="judge",
        config={
            "judge": config.model_dump(mode="json"),
            "rubric": None if rubric is None else rubric.sha256,
        },
        user_set=[f"judge.{name}" for name in sorted(config.model_fields_set)],
        inputs=material.inputs,
        seed=config.seed,
        extra={"void": list(result.void), "account": _account(result, said), "passed": not result.void},
    )
    suite = {"path": Path(material.inputs[0].path).name, "sha256": digest([each.sha256 for each in material.inputs])}
    items = () if result.void else _items(material, result.verdicts)
    write_measures(run, result.measures, model=material.models[0], adapter=None, suite=suite, items=items)
    lines = [verdict_line(verdict) for verdict in result.verdicts]
    lines += [verdict_line(verdict) for one in said.asked for verdict in one.verdicts]
    lines += [{"planted": each.sort, **verdict_line(each.verdict)} for one in said.asked for each in one.planted]
    lines += [{"own": True, **verdict_line(verdict)} for one in said.own_judged for verdict in one.verdicts]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_bytes(run.path / "verdicts.jsonl", text.encode())
    if result.ranking is not None:
        write_json(run.path / RANKING, _ranking_record(result.ranking))
    shown = examples(material.comparisons, material.sides, result.verdicts, config.seed)
    write_json(run.path / "examples.json", shown)
    write(rows["preferences"], run.artifact("preferences.jsonl"))
    write(rows["for_people"], run.artifact("for_people.jsonl"))
    if rows["own"]:
        write(rows["own"], run.artifact("own_answers_for_people.jsonl"))
    write_bytes(run.path / REPORT, judge_report(run.path).encode())
    run.seal()


def _account(result: Judging, said: _Said) -> dict[str, Any]:
    faults = Counter(fault for one in said.asked for verdict in one.verdicts for fault in verdict.faults)
    own_left_out = Counter[str]()
    for each in said.own:
        own_left_out.update(each.left_out)
    return {
        "comparisons": result.comparisons,
        "left_out": dict(result.left_out),
        "showings": result.showings,
        "cached": result.cached,
        "calls": result.calls,
        "cost": result.cost,
        "preferences": result.preferences,
        "for_people": result.for_people,
        "faults": dict(sorted(faults.items())),
        "own_answers": sum(each.written for each in said.own),
        "own_answers_left_out": dict(sorted(own_left_out.items())),
    }


def _ranking_record(ranking: Ranking) -> dict[str, Any]:
    """The ranking as ranking.json holds it: models from the strongest to the weakest, and who met whom."""
    return {
        "format": 1,
        "models": [
            {
                "name": name,
                "strength": _figures(ranking.strengths[name]),
                "win_rate": _figures(ranking.win_rates[name]),
            }
            for name in ranking.models
        ],
        "pairs": [asdict(pair) for pair in ranking.met],
        "unfit": ranking.unfit,
        "why": ranking.why,
    }


def _figures(measure: Measurement) -> dict[str, float | int | None]:
    return {"value": measure.value, "low": measure.low, "high": measure.high, "n": measure.n}
