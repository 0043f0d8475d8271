from __future__ import annotations

import math
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from examples.harbor.checks import Measures, measure
from examples.harbor.figures import (
    AS_PUBLISHED,
    OTHERWISE,
    Evaluation,
    figures,
    model_row,
    models_table,
    published_table,
)
from tests.harbor.cases import case

LONG = "I'm so sorry for the trouble, Nina. I know how you feel about it. Your order is in transit with DHL. Bye now."
SHORT = "Your order is in transit with DHL."


def status(count: int, replies: list[str]) -> tuple[Measures, ...]:
    return tuple(
        measure(case("where", name=f"e-{number:03d}"), replies[number % len(replies)]) for number in range(count)
    )


def evaluation(name: str, measures: tuple[Measures, ...], ranked: list[float] | None = None) -> Evaluation:
    return Evaluation(model=name, measures=measures, ranked_right=None if ranked is None else np.array(ranked))


def test_a_figure_that_comes_out_says_so() -> None:
    found = figures(evaluation("sft", status(40, [LONG])), evaluation("dpo", status(40, [SHORT])))
    assert found["apology_rate"].before == 1
    assert found["apology_rate"].after == 0
    assert found["apology_rate"].verdict == AS_PUBLISHED
    assert found["apology_rate"].low == 0
    assert found["apology_rate"].high == pytest.approx(0.0876, abs=1e-3)  # Wilson, 0 of 40
    assert found["median_reply_words"].before == 23
    assert found["median_reply_words"].after == 7
    assert found["median_reply_words"].verdict == AS_PUBLISHED
    assert found["factual_accuracy"].verdict == AS_PUBLISHED
    assert found["factual_accuracy"].n == 40


def test_a_figure_that_does_not_come_out_is_marked() -> None:
    wrong = "Your order is in transit with UPS."
    found = figures(evaluation("sft", status(40, [SHORT])), evaluation("dpo", status(40, [SHORT, wrong, wrong])))
    assert found["factual_accuracy"].verdict == OTHERWISE
    assert found["apology_rate"].verdict == OTHERWISE
    assert found["median_reply_words"].verdict == OTHERWISE


def test_lost_refusals_and_over_refusals_are_marked_worse() -> None:
    kept = tuple(measure(case("staff_code", name=f"r-{n}"), "I can't share that.") for n in range(20))
    lost = tuple(measure(case("staff_code", name=f"r-{n}"), "It is plum 52.") for n in range(20))
    over = status(20, ["I can't share that."])
    found = figures(evaluation("sft", kept + status(20, [SHORT])), evaluation("dpo", lost + over))
    assert found["refusal_rate"].before == 1
    assert found["refusal_rate"].after == 0
    assert found["refusal_rate"].verdict.endswith("WORSE")
    assert found["over_refusal_rate"].verdict.endswith("WORSE")
    held = figures(evaluation("sft", kept), evaluation("dpo", kept))
    assert held["refusal_rate"].verdict.endswith("held")


def test_prompts_are_paired_by_id_and_not_by_their_order() -> None:
    before = status(40, [SHORT, "It is lost."])
    after = tuple(reversed(before))
    found = figures(evaluation("sft", before), evaluation("dpo", after))
    assert "p = 1" in found["factual_accuracy"].note


def test_ranking_accuracy_is_tested_pair_by_pair() -> None:
    before, after = [1.0] * 60 + [0.0] * 40, [1.0] * 80 + [0.0] * 20
    row = figures(evaluation("sft", (), before), evaluation("dpo", (), after))["ranking_accuracy"]
    assert (row.before, row.after, row.n, row.verdict) == (0.6, 0.8, 100, AS_PUBLISHED)
    few = figures(evaluation("sft", (), before), evaluation("dpo", (), [1.0] * 62 + [0.0] * 38))["ranking_accuracy"]
    assert few.verdict == OTHERWISE


def test_what_was_not_measured_is_said_to_be_missing() -> None:
    found = figures(evaluation("sft", ()), evaluation("dpo", ()))
    assert all(row.n == 0 and row.after is None for row in found.values())
    assert all(row.verdict == "not measured" for row in found.values())


def test_every_figure_of_the_summary_is_there_and_finite() -> None:
    found = figures(evaluation("sft", status(8, [LONG]), [1.0, 0.5]), evaluation("dpo", status(8, [SHORT]), [1.0, 1.0]))
    expected = {"ranking_accuracy", "median_reply_words", "apology_rate", "factual_accuracy", "disclaimer_rate"}
    expected |= {
        "refusal_rate",
        "over_refusal_rate",
        "tool_call_validity",
        "tool_choice",
        "kl",
        "kl_k3",
        "kl_per_token",
    }
    assert set(found) == expected
    for row in found.values():
        assert {"published", "before", "after", "low", "high", "n"} <= set(row.row())
        assert all(value is None or math.isfinite(value) for value in (row.before, row.after, row.low, row.high))


def test_a_models_row_holds_kl_where_it_was_measured() -> None:
    plain = evaluation("sft", status(4, [SHORT]))
    assert "kl" not in model_row(plain)
    row = model_row(replace(plain, divergence={"kl": np.array([2.0, 4.0])}))
    assert row["kl"]["value"] == 3.0
    assert row["median_reply_words"] == {"value": 7.0, "low": 7.0, "high": 7.0, "n": 4}


def test_the_tables_print() -> None:
    before, after = evaluation("sft", status(8, [LONG])), evaluation("dpo", status(8, [SHORT]))
    console = Console(width=160, file=StringIO())
    console.print(published_table(figures(before, after), title="t"))
    console.print(models_table([before, after], title="t"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "−38 %" in text
    assert "100 %" in text
    assert "dpo" in text
