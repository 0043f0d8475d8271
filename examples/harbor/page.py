"""The one HTML file at the end: published beside measured, distributions, replies, training curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from examples.harbor.cache import Finished
from examples.harbor.decisions import read_decision, read_frontier, read_steps
from examples.harbor.figures import FIGURES, LENGTH, UNITS, Figure, Results, came_out, is_bad, model_row
from examples.harbor.measuring import answered_by, read_answers, shares_of_gain
from examples.harbor.model import CREDITS
from examples.harbor.recipe import SHIPPED
from examples.harbor.sets import faults
from examples.harbor.story import SFT, Told
from examples.harbor.world import Case
from fairlead.evaluation.results import read_measures
from fairlead.reports.figures import Estimate, Measured, histograms, rate_bars
from fairlead.reports.frontier_figure import frontier_figure
from fairlead.reports.page import (
    Block,
    Cell,
    Column,
    Comparison,
    Exchange,
    Exchanges,
    Facts,
    Figures,
    Measurement,
    Page,
    Prose,
    Reply,
    Section,
    Table,
    Tone,
    amount,
    render,
)
from fairlead.reports.page import Figure as Drawing
from fairlead.reports.run_curves import curve_figures
from fairlead.reports.run_data import read_run
from fairlead.stats.intervals import Interval

SHOWN_PER_INTENT = 1
CAVEAT = (
    "A real language model of 135 million parameters on a generated world; the published figures come from a model of "
    "8 billion. Intervals are wide at this size."
)

AUDITED = (
    "Every set is audited before anything is trained on it. What is planted in the pairs stands here before any model "
    "shows it: the struck sentence, the few refusals, the one annotator who drifts."
)


GATED = (
    "Adapters are held against examples/harbor/gate.yaml by their evaluation, that of the fine-tuned model, the "
    "judge, and the audit of their pairs. The last one's release page is release.html, beside this one."
)
SWEPT = "DPO on the first pairs at each β, measured on the prompts that settings are chosen on."
JUDGED = (
    "Blinded, in both orders, against the fine-tuned model's replies to the same prompts; planted answers had to lose."
)
PROMPTING = (
    "The fine-tuned model asked better, with a system prompt, two examples and a handbook to look things up in: what "
    "share of each gain that reaches."
)
JUDGE_MEASURES = (
    "judge/win_rate", "judge/win_rate_length_controlled", "judge/human_agreement", "judge/human_kappa",
    "judge/longer_preferred", "judge/canaries_lost",
)  # fmt: skip


def report_page(
    told: Told,
    results: Sequence[Results],
    found: Mapping[str, Figure],
    cases: Sequence[Case],
    facts: Mapping[str, Any],
) -> str:
    """The report as HTML. `found` are the figures of the last model; `facts` say what ran where; `cases` were asked."""
    # What tells the runs apart is what the story calls their models.
    runs = [replace(read_run(policy.run), name=name) for name, policy in told.policies.items()]
    sections = [
        Section(
            title="Published against measured", blocks=[_comparison(told, results, found), _tests(found)], lead=CAVEAT
        ),
        Section(title="May it ship?", blocks=list(_gates(told)), lead=GATED),
        Section(title="The sweep of β", blocks=list(_sweep(told)), lead=SWEPT),
        Section(title="What the judge held", blocks=[_judged(told)], lead=JUDGED),
        Section(title="Prompting instead", blocks=list(_prompting(told)), lead=PROMPTING),
        Section(title="What the audits found", blocks=[_audited(told)], lead=AUDITED),
        Section(title="Lengths and apologies", blocks=[_distributions(results)]),
        Section(title="Replies, before and after", blocks=[_exchanges(told, cases)]),
        Section(title="Training", blocks=[curve_figures(runs, range(len(runs)))]),
        Section(title="Stages", blocks=[_stages(facts["stages"])]),
    ]
    machine = facts["hardware"]
    memory = f"{(machine['memory_bytes'] or 0) / 1e9:.0f} GB"
    shown = [
        ("Model", facts["model"]),
        ("Seed", str(facts["seed"])),
        ("Measured on", f"{facts['measured on']} prompts"),
    ]
    shown += [("Machine", f"{machine['processor']}, {machine['cores']} cores, {memory}")]
    shown += [("Time", f"{sum(stage.seconds for stage in facts['stages']) / 60:.0f} min for all stages")]
    header: list[Block] = [Facts(facts=shown)]
    if facts["smoke"]:
        header.append(Prose(text="A smoke run: a few steps on small sets. Its numbers mean nothing.", tone="warn"))
    return render(
        Page(title="Harbor Support", subtitle="Fairlead example", header=header, sections=sections, footer=CREDITS)
    )


def _comparison(told: Told, results: Sequence[Results], found: Mapping[str, Figure]) -> Comparison:
    rows = {each.model: model_row(each) for each in results}
    measurements = []
    for name, shown in FIGURES.items():
        figure = found[name]
        tone: Tone = "bad" if is_bad(figure.verdict) else ""
        measurements.append(
            Measurement(
                name=name,
                meaning=shown.meaning,
                estimates=[_estimate(row.get(name)) for row in rows.values()],
                published=figure.published,
                verdict=came_out(figure.verdict),
                tone=tone,
                unit=UNITS.get(name, "share"),
            )
        )
    caption = (
        f"95 % intervals as `fairlead eval` and `fairlead judge` give them. One more annotator would agree with "
        f"{told.ceiling:.0%} of the held-out labels: about the best that ranking_accuracy could be."
    )
    return Comparison(columns=list(rows), rows=measurements, caption=caption)


def _gates(told: Told) -> Iterator[Block]:
    """Every rule on every adapter, and what the registry said."""
    columns = [Column(title="adapter"), Column(title="rule"), Column(title=""), Column(title="why")]
    rows: list[list[str | Cell]] = []
    for name, proof in told.proofs.items():
        if proof.gate is None:
            continue
        decided = read_decision(proof.gate.path)
        yield Prose(
            text=f"{name} may ship."
            if decided.passed
            else f"{name} may not ship: it fails {len(decided.failed)} rules.",
            tone="good" if decided.passed else "bad",
        )
        for rule in decided.rules:
            mark = Cell(text="pass" if rule.passed else "FAIL", tone="" if rule.passed else "bad")
            rows.append([name, rule.rule, mark, f"{rule.figures}{rule.reason}"])
    for step in read_steps(told.registered):
        yield Prose(text=f"Registry: {step.said}", tone="" if step.promoted else "muted")
    yield Table(columns=columns, rows=rows, title="Every rule", folded=True)


def _sweep(told: Told) -> Iterator[Block]:
    frontier = read_frontier(told.sweep)
    title = f"{frontier['y']} against {frontier['x']}"
    caption = f"Rule: {frontier['rule']}. Hollow points are not allowed by it."
    yield Prose(text=frontier["why"], tone="strong")
    yield Figures(figures=[Drawing(title=title, svg=frontier_figure(frontier), caption=caption, wide=True)], large=True)
    for diagnosis in frontier["diagnoses"]:
        yield Prose(text=diagnosis["text"], tone="warn")


def _judged(told: Told) -> Table:
    judged = {name: read_measures(proof.judge.path) for name, proof in told.proofs.items() if proof.judge is not None}
    columns = [Column(title="measure"), *(Column(title=name, numeric=True) for name in judged)]
    rows = []
    for measure in JUDGE_MEASURES:
        cells = []
        for found in judged.values():
            own = [each for each in found.measures if each.name == measure and set(each.slice) <= {"judge"}]
            cells.append(_figure_text(own[0].value, own[0].low, own[0].high, own[0].unit) if own else "–")
        rows.append([measure, *cells])
    return Table(columns=columns, rows=rows)


def _figure_text(value: float | None, low: float | None, high: float | None, unit: str) -> str:
    if value is None:
        return "–"
    ends = "" if low is None or high is None else f" ({amount(low, unit)} to {amount(high, unit)})"
    return f"{amount(value, unit)}{ends}"


def _prompting(told: Told) -> Iterator[Block]:
    shares = [each for each in shares_of_gain(told.proofs[SHIPPED].evaluation.path) if each["model"] == SHIPPED]
    if not shares:
        yield Prose(text="No gain is settled well enough to say what share of it prompting reaches.")
    for share in shares:
        yield Prose(text=f"{share['measure']}: {share['says']}")


def _audited(told: Told) -> Table:
    """Errors and warnings on every set of the story."""
    columns = [Column(title="set"), Column(title="severity"), Column(title="finding")]
    columns += [Column(title="value", numeric=True), Column(title="n", numeric=True), Column(title="what was seen")]
    rows = []
    for name, run in told.audits.items():
        for fault in faults(run):
            value = "–" if fault.value is None else amount(fault.value, fault.unit)
            tone: Tone = "bad" if fault.severity == "error" else "warn"
            severity = Cell(text=fault.severity, tone=tone)
            rows.append([name, severity, fault.title, value, str(fault.n), fault.detail or fault.remedy])
    return Table(columns=columns, rows=rows)


def _tests(found: Mapping[str, Figure]) -> Table:
    """How each verdict was reached."""
    rows = [
        [
            FIGURES[name].meaning,
            _short(name, figure.before),
            _short(name, figure.after),
            str(figure.n),
            figure.note or "–",
        ]
        for name, figure in found.items()
    ]
    columns = [Column(title="figure"), Column(title=SFT, numeric=True), Column(title=SHIPPED, numeric=True)]
    columns += [Column(title="n", numeric=True), Column(title="test, change")]
    return Table(columns=columns, rows=rows, title="The tests behind the verdicts", folded=True)


def _short(name: str, value: float | None) -> str:
    return "–" if value is None else amount(value, UNITS.get(name, "share"))


def _estimate(entry: Mapping[str, Any] | None) -> Estimate | None:
    if entry is None or entry["value"] is None:
        return None
    ends = entry["low"], entry["high"]
    return Estimate(value=entry["value"], interval=None if None in ends else Interval(*ends), n=entry["n"])


def _distributions(results: Sequence[Results]) -> Figures:
    lengths = [(each.model, each.values(LENGTH)) for each in results]
    apologies = []
    for index, each in enumerate(results):
        estimate = _estimate(model_row(each).get("apology_rate"))
        if estimate is not None:
            apologies.append(Measured(label=each.model, estimate=estimate, color=index))
    return Figures(
        figures=[
            Drawing(
                title="Words per reply",
                svg=histograms(lengths, unit="words", description="reply lengths of every model"),
                caption="Replies in prose: tool calls and refusals are left out.",
            ),
            Drawing(
                title="Apologies on neutral questions",
                svg=rate_bars(apologies, description="apology rates of every model"),
                caption="Status and policy questions, on which nothing has gone wrong.",
            ),
        ],
        large=True,
    )


def _exchanges(told: Told, cases: Sequence[Case]) -> Exchanges:
    """The first questions of every intent with every model's reply, chosen before anything was measured."""
    texts = {
        name: {row.id: row.candidates[0].messages[-1].content for row in read_answers(run)}
        for name, run in answered_by(told.proofs).items()
    }
    shown, taken = [], dict.fromkeys({case.intent for case in cases}, 0)
    for case in cases:
        if taken[case.intent] < SHOWN_PER_INTENT:
            taken[case.intent] += 1
            replies = [
                Reply(label=name, text=replies[case.id], color=index)
                for index, (name, replies) in enumerate(texts.items())
            ]
            shown.append(Exchange(prompt=f"{case.system}\n\n{case.question}", replies=replies))
    return Exchanges(exchanges=shown)


def _stages(stages: Sequence[Finished]) -> Table:
    rows = [[stage.name, f"{stage.seconds:.1f}", "reused" if stage.reused else ""] for stage in stages]
    columns = [Column(title="stage"), Column(title="seconds", numeric=True), Column(title="")]
    return Table(columns=columns, rows=rows, title="Wall-clock of every stage", folded=True)
