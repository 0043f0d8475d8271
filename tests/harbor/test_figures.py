from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO

import msgspec
import pytest
from rich.console import Console

from examples.harbor import suites
from examples.harbor.checks import own_checks
from examples.harbor.decisions import Decided, Rule
from examples.harbor.figures import AS_PUBLISHED, FIGURES, LENGTH, NOT_PUBLISHED, OTHERWISE, Results, figures, model_row
from examples.harbor.tables import gates_table, models_table, published_table
from examples.harbor.world import Case
from fairlead.data.audit.phrases import read_phrases
from fairlead.data.records import Candidates
from fairlead.evaluation.estimates import Observed, as_items, estimate
from fairlead.evaluation.metrics import measure_answers
from tests.harbor.cases import RECORD, answered, case

LONG = "I'm so sorry for the trouble, Nina. I know how you feel about it. Your order is in transit with DHL. Bye now."
SHORT = "Your order is in transit with DHL."


def status(count: int) -> list[Case]:
    """Status questions off as many records."""
    return [of_order(case("where", name=f"e-{number:03d}"), 100 + number) for number in range(count)]


def of_order(asked: Case, order: int) -> Case:
    record = replace(RECORD, order=order)
    return replace(asked, record=record, system=record.desk_system)


def row(asked: Case, reply: str) -> Candidates:
    return msgspec.structs.replace(suites.asked(asked), candidates=answered(asked, reply).candidates)


def results(
    name: str, cases: Sequence[Case] = (), replies: Sequence[str] = ("",), others: Sequence[Observed] = ()
) -> Results:
    """What the library measures of replies that are given in turn."""
    rows = [row(asked, replies[number % len(replies)]) for number, asked in enumerate(cases)]
    checks = own_checks({asked.id: asked for asked in cases})
    slices = ("segment", "intent", "prose")
    observed = [*measure_answers(rows, read_phrases(suites.REQUIRED), checks=checks, slices=slices), *others]
    prose = suites.prose_ids(cases)
    items = tuple(item for item in as_items(observed) if item.measure != LENGTH or item.id in prose)
    return Results(model=name, measures=tuple(estimate(observed)), items=items)


def ranked(right: Sequence[float]) -> list[Observed]:
    return [
        Observed(measure="ranking_accuracy", id=f"p-{number:03d}", value=value, group=f"p-{number:03d}")
        for number, value in enumerate(right)
    ]


def test_a_figure_that_comes_out_says_so() -> None:
    found = figures(results("sft", status(40), [LONG]), results("dpo", status(40), [SHORT]))
    assert found["apology_rate"].before == 1
    assert found["apology_rate"].after == 0
    assert found["apology_rate"].verdict == AS_PUBLISHED
    assert found["apology_rate"].low == pytest.approx(0, abs=1e-12)
    assert found["apology_rate"].high == pytest.approx(0.0876, abs=1e-3)  # Wilson, 0 of 40
    assert "−100 %" in found["apology_rate"].note
    assert found["apology_rate"].p_value == pytest.approx(2 * 0.5**40)
    assert found["median_reply_words"].before == 23
    assert found["median_reply_words"].after == 7
    assert found["median_reply_words"].verdict == AS_PUBLISHED
    assert found["factual_accuracy"].verdict == AS_PUBLISHED
    assert found["factual_accuracy"].n == 40


def test_a_figure_that_does_not_come_out_is_marked() -> None:
    wrong = "Your order is in transit with UPS."
    found = figures(results("sft", status(40), [SHORT]), results("dpo", status(40), [SHORT, wrong, wrong]))
    assert found["factual_accuracy"].verdict == OTHERWISE
    assert found["apology_rate"].verdict == OTHERWISE
    assert found["median_reply_words"].verdict == OTHERWISE


def test_lost_refusals_and_over_refusals_are_marked_worse() -> None:
    codes = [of_order(case("staff_code", name=f"r-{number}"), 200 + number) for number in range(20)]
    cases = [*codes, *status(20)]
    right, wrong = ["I can't share that."] * 20 + [SHORT] * 20, ["It is plum 52."] * 20 + ["I can't share that."] * 20
    found = figures(results("sft", cases, right), results("dpo", cases, wrong))
    assert found["refusal_rate"].before == 1
    assert found["refusal_rate"].after == 0
    assert found["refusal_rate"].verdict.endswith("WORSE")
    assert found["over_refusal_rate"].before == 0
    assert found["over_refusal_rate"].after == 1
    assert found["over_refusal_rate"].verdict.endswith("WORSE")
    held = figures(results("sft", cases, right), results("dpo", cases, right))
    assert held["refusal_rate"].verdict.endswith("held")


def test_prompts_are_paired_by_id_and_not_by_their_order() -> None:
    cases, replies = status(40), [SHORT, "It is lost."]
    found = figures(results("sft", cases, replies), results("dpo", cases[::-1], replies[::-1]))
    assert found["factual_accuracy"].p_value == 1


def test_lengths_are_those_of_replies_in_prose() -> None:
    refusal = of_order(case("staff_code", name="r-0"), 300)
    found = results("sft", [*status(3), refusal], [SHORT, SHORT, SHORT, LONG])
    assert found.values(LENGTH) == [7, 7, 7]
    assert model_row(found)["median_reply_words"] == {"value": 7, "low": 7, "high": 7, "n": 3}


def test_ranking_accuracy_is_tested_pair_by_pair() -> None:
    before = results("sft", others=ranked([1.0] * 60 + [0.0] * 40))
    found = figures(before, results("dpo", others=ranked([1.0] * 80 + [0.0] * 20)))["ranking_accuracy"]
    assert (found.before, found.after, found.n, found.verdict) == (0.6, 0.8, 100, AS_PUBLISHED)
    few = figures(before, results("dpo", others=ranked([1.0] * 62 + [0.0] * 38)))["ranking_accuracy"]
    assert few.verdict == OTHERWISE


def test_attacks_count_the_other_way_round() -> None:
    def attacked(values: Sequence[float]) -> Results:
        return results(
            "m",
            others=[
                Observed(measure="probe/attack_success", id=str(number), value=value, group=str(number))
                for number, value in enumerate(values)
            ],
        )

    found = figures(attacked([0.0] * 20), attacked([1.0] * 20))["probe_attack_success"]
    assert found.verdict.endswith("WORSE")
    assert figures(attacked([1.0] * 20), attacked([0.0] * 20))["probe_attack_success"].verdict.endswith("held")


def test_what_was_not_measured_is_said_to_be_missing() -> None:
    found = figures(results("sft"), results("dpo"))
    assert set(found) == set(FIGURES)
    assert all(row.n == 0 and row.after is None for row in found.values())
    assert all(row.verdict == "not measured" for row in found.values())
    assert model_row(results("sft")) == {}


def test_every_figure_of_the_summary_is_there_and_finite() -> None:
    before = results("sft", status(8), [LONG], ranked([1.0, 0.5]))
    nats = [Observed(measure="kl/k1", id=str(number), value=number, group=str(number)) for number in (2, 4)]
    found = figures(before, results("dpo", status(8), [SHORT], [*ranked([1.0, 1.0]), *nats]))
    names = {"ranking_accuracy", "median_reply_words", "apology_rate", "factual_accuracy", "disclaimer_rate"}
    assert names | {"refusal_rate", "tool_call_validity"} <= set(found)
    assert (found["kl"].before, found["kl"].after, found["kl"].verdict) == (None, 3, NOT_PUBLISHED)
    for row in found.values():
        assert {"published", "before", "after", "low", "high", "n"} <= set(row.row())
        assert all(value is None or math.isfinite(value) for value in (row.before, row.after, row.low, row.high))


def test_the_tables_print() -> None:
    before, after = results("sft", status(8), [LONG]), results("dpo", status(8), [SHORT])
    rule = Rule(rule="a ≥ 1", passed=False, reason="below", value=0.5, low=0.25, high=0.75, n=8)
    console = Console(width=160, file=StringIO())
    console.print(published_table(figures(before, after), title="t"))
    console.print(models_table([before, after], title="t"))
    console.print(gates_table({"dpo": Decided(passed=False, rules=(rule, replace(rule, rule="b", passed=True)))}))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for shown in ("−38 %", "100 %", "dpo", "NO", "a ≥ 1: 0.5 (0.25 to 0.75), below"):
        assert shown in text
