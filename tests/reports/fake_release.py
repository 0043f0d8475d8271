"""A release as its verbs leave it, without any model: replies of a support desk, measured by the real measures."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fairlead
from fairlead.data.audit.phrases import Phrase
from fairlead.data.records import Candidate, Candidates, Message
from fairlead.evaluation.estimates import Observed, as_items, estimate
from fairlead.evaluation.metrics import measure_answers
from fairlead.evaluation.probes import draw, observe_probes, probe_prompts
from fairlead.evaluation.probes.schema import builtin_probes
from fairlead.evaluation.results import Measurement, write_measures
from fairlead.identity import digest_file
from fairlead.runs.artifact import find_artifact
from fairlead.runs.atomic import write_json
from fairlead.runs.directory import Input, RunDirectory
from fairlead.stats.intervals import wilson
from tests.stages import shipping

PROMPTS, FACTS, PAIRS = 60, 70, 100
DISCLAIMER = "This is not legal advice."
REQUIRED = (Phrase(name="dispute", phrases=(DISCLAIMER,), prompt=("dispute",)),)
TOPICS = (
    "a late parcel",
    "a refund",
    "a broken kettle",
    "a dispute about a bill",
    "a lost password",
    "a second invoice",
)
OPENING = "I am so sorry to hear that you had to write to us about {topic}, and I apologise sincerely for the trouble. "
STEPS = (
    "Please send us the number of the order.",
    "We look at every case within two working days.",
    "You will find the form in your account under Orders.",
    "If the parcel does not arrive by Friday, we send a new one.",
    "Keep the box until the courier has come.",
)

POLICY = """\
version: 1
measures:
  - {measure: ranking_accuracy, minimum: 0.6}
  - {measure: length/words, maximum: 60}
  - {measure: judge/win_rate, minimum: 0.5, hold: interval}
required_phrases:
  - {name: dispute, minimum: 0.9}
non_regression:
  - {measure: factual_accuracy, margin: 0.1}
data: {audit: no_errors, leakage: none, safety_share: 0.02}
"""


def prompts() -> list[Candidates]:
    return [
        Candidates(
            id=f"ask-{n:02}",
            prompt=(
                Message(role="user", content=f"Hello, I have a question about {TOPICS[n % len(TOPICS)]}, no. {n}."),
            ),
            meta={"segment": "retail" if n % 2 else "trade", "benign": True},
        )
        for n in range(PROMPTS)
    ]


def reply(n: int, *, tuned: bool, drops: float, draw: random.Random) -> str:
    """The base apologises at length; the tuned model gets to the point, and drops some of its disclaimers."""
    topic = TOPICS[n % len(TOPICS)]
    steps = draw.sample(STEPS, 2 if tuned else 3)
    text = ("" if tuned else OPENING.format(topic=topic)) + " ".join(steps)
    if "dispute" in topic and draw.random() >= (drops if tuned else 0):
        text += f" {DISCLAIMER}"
    return text


def answered(rows: Sequence[Candidates], texts: Mapping[str, str], model: str) -> list[Candidates]:
    def with_answer(row: Candidates) -> Candidates:
        said = (Message(role="assistant", content=texts[row.id]),)
        candidate = Candidate(id=f"{row.id}-0", messages=said, model=model)
        return Candidates(id=row.id, prompt=row.prompt, meta=row.meta, candidates=(candidate,))

    return [with_answer(row) for row in rows]


def counted(measure: str, values: Sequence[bool], **slices: str) -> list[Observed]:
    return [
        Observed(measure=measure, id=f"{n:03}", value=float(value), group=f"{measure}-{n}", slices=slices)
        for n, value in enumerate(values)
    ]


def evaluate(
    folder: Path,
    model: Path | str,
    *,
    tuned: bool,
    drops: float = 0.0,
    facts: int = 60,
    ranked: int = 58,
    failing: int = 4,
    text: str = "",
    prompting: bool = False,
    config: Mapping[str, Any] | None = None,
    inputs: Sequence[Input] = (),
) -> RunDirectory:
    """An evaluation: `facts` of 70 questions and `ranked` of 100 pairs right, `failing` probes failed; with
    `prompting`, one of the untuned model with a prompt lies in it."""
    random_ = random.Random(7 + tuned)
    run = RunDirectory.create(folder, stage="eval", config=dict(config or {}), inputs=inputs, seed=0)
    texts = {row.id: text + reply(n, tuned=tuned, drops=drops, draw=random_) for n, row in enumerate(prompts())}
    rows = answered(prompts(), texts, str(model))
    fairlead.write(rows, run.artifact("answers-prompts-0123456789abcdef.jsonl"))
    probes = draw(builtin_probes(), 0)
    asked = probe_prompts(0)
    said = {
        each.id: "I cannot help with that." if each.meta["kind"] == "harm" else "Gladly: boil it." for each in asked
    }
    for each in [one for one in asked if one.meta["family"] == "benign_lookalike"][:failing]:
        said[each.id] = text + "I cannot help with that <b>request</b>."
    fairlead.write(answered(asked, said, str(model)), run.artifact("answers-probes-0123456789abcdef.jsonl"))
    questions = [
        Candidates(id=f"{n:03}", prompt=(Message(role="user", content=f"How many days is no. {n} open?"),))
        for n in range(FACTS)
    ]
    replies = {row.id: "Fourteen days." if n < facts else "About a month." for n, row in enumerate(questions)}
    fairlead.write(answered(questions, replies, str(model)), run.artifact("answers-factual-0123456789abcdef.jsonl"))
    observed = [
        *counted("ranking_accuracy", [n < ranked for n in range(PAIRS)]),
        *measure_answers(rows, REQUIRED),
        *counted("factual_accuracy", [n < facts for n in range(FACTS)]),
        *observe_probes(probes, said),
    ]
    suite = {"path": "suite.yaml", "sha256": "5" * 64}
    write_measures(run, estimate(observed), model=str(model), adapter=None, suite=suite, items=as_items(observed))
    if prompting:
        evaluate(folder / "compared" / "1-base-prompted", "org/base", tuned=True, config={"prompted": True})
        says = "prompting reaches 93 % of the gain (71 to 118): at 90 % or more, skip training."
        share = {
            "model": "tuned",
            "measure": "ranking_accuracy",
            "value": 0.93,
            "low": 0.71,
            "high": 1.18,
            "says": says,
        }
        write_json(run.path / "prompting.json", {"untuned": "base", "shares": [share]})
    run.seal()
    return run


def judge(folder: Path, model: Path, answers: Path) -> RunDirectory:
    inputs = [Input(path=str(answers), sha256=digest_file(answers), rows=PROMPTS)]
    run = RunDirectory.create(folder, stage="judge", config={}, inputs=inputs, seed=0, extra={"void": []})
    won = wilson(41, PROMPTS)
    measures = [
        Measurement(
            name="judge/win_rate",
            value=41 / PROMPTS,
            low=won.low,
            high=won.high,
            n=PROMPTS,
            unit="share",
            direction="up",
            meaning="comparisons that the candidate wins; a tie counts one half",
        ),
        Measurement(
            name="judge/inconsistent",
            value=0.05,
            low=0.01,
            high=0.12,
            n=PROMPTS,
            unit="share",
            direction="down",
            slice={"judge": "rules"},
            meaning="comparisons in which the order decided",
        ),
    ]
    write_measures(run, measures, model=str(model), adapter=None, suite={"path": "answers.jsonl", "sha256": "0" * 64})
    run.seal()
    return run


def audit(folder: Path, data: Path) -> RunDirectory:
    inputs = [Input(path=str(data), sha256=digest_file(data), rows=1)]
    run = RunDirectory.create(folder, stage="audit", config={}, inputs=inputs, seed=0)
    findings = [
        {"code": "length_auc", "severity": "warning", "value": 0.71, "n": 400, "interval": [0.66, 0.76]}
        | {"detail": "the longer side is chosen more often"},
        {"code": "eval_prompts_in_train", "severity": "note", "value": 0.0, "n": 50, "interval": None},
        {"code": "safety_pairs", "severity": "note", "value": 0.04, "n": 500, "interval": [0.026, 0.061]},
    ]
    write_json(run.path / "findings.json", {"kind": "preference", "rows": 400, "findings": findings})
    run.seal()
    return run


def sweep(folder: Path, run: Path) -> RunDirectory:
    """Three points, the middle one picked; `run` is the one with the lowest β."""
    made = RunDirectory.create(folder, stage="sweep", config={}, seed=0)
    points = []
    for beta, kl, wins, eligible in ((0.1, 9.2, 0.74, False), (0.3, 3.1, 0.68, True), (0.5, 0.6, 0.55, True)):
        known = {"kl/k1": (kl, "nats", "none"), "judge/win_rate": (wins, "share", "up")}
        points.append(
            {
                "name": f"beta {beta}",
                "settings": {"loss.beta": beta},
                "run": f"../{run.name}" if beta == 0.1 else f"points/{beta}/train",
                "eval": f"points/{beta}/eval",
                "judge": None,
                "measures": {
                    name: {
                        "value": value,
                        "low": value * 0.9,
                        "high": value * 1.1,
                        "n": 60,
                        "unit": unit,
                        "direction": direction,
                    }
                    for name, (value, unit, direction) in known.items()
                },
                "constraints": [],
                "on_front": True,
                "eligible": eligible,
            }
        )
    diagnosis = {"code": "beta_too_low", "points": ["beta 0.1"], "text": "At beta 0.1 KL is 9.2 and disclaimers fall."}
    content = {
        "format": 1,
        "x": "kl/k1",
        "y": "judge/win_rate",
        "rule": "the best win rate whose KL is at most 8 and whose constraints hold",
        "points": points,
        "picked": "beta 0.3",
        "why": "Of two points that the rule allows, it has the higher win rate.",
        "diagnoses": [diagnosis],
    }
    write_json(made.path / "frontier.json", content)
    made.seal()
    return made


def all_of(folder: Path, *, drops: float = 0.0, facts: int = 60, text: str = "") -> dict[str, Path]:
    """Everything a gate is given. drops: the share of disclaimers that the model lost; text: put before its replies."""
    folder.mkdir(parents=True, exist_ok=True)
    data = shipping.rows(folder)
    run = shipping.train(folder / "2026-11-23-dpo-7f3a", data)
    digest = find_artifact(run.path).digest
    known = [Input(path=str(run.path), sha256=digest, parent_run=str(run.path))]
    base = evaluate(folder / "eval-base", "org/base", tuned=False)
    measured = {"drops": drops, "facts": facts, "ranked": 93, "failing": 6, "text": text, "prompting": True}
    tuned = evaluate(folder / "eval", run.path, tuned=True, inputs=known, **measured)  # type: ignore[arg-type]
    return {
        "run": run.path,
        "policy": shipping.policy(folder, POLICY),
        "eval": tuned.path,
        "baseline": base.path,
        "judge": judge(folder / "judge", run.path, tuned.artifact("answers-prompts-0123456789abcdef.jsonl")).path,
        "audit": audit(folder / "audit", data).path,
        "sweep": sweep(folder / "sweep", run.path).path,
    }
