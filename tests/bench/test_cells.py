from __future__ import annotations

from bench.against_trl.cells import LENGTHS, METHODS, PRECOMPUTED, default_plan, every_cell, selected


def test_the_matrix_has_every_combination_once_and_begins_with_the_plan() -> None:
    matrix, plan = every_cell(), default_plan()
    names = [cell.name for cell in matrix]
    references = 2 * 2 + 4  # of dpo and kto two, of each of the others one
    assert len(names) == len(set(names)) == 2 * 2 * 2 * len(LENGTHS) * references
    assert matrix[: len(plan)] == plan


def test_the_plan_begins_with_dpo_on_every_profile_and_leaves_no_method_out() -> None:
    plan = default_plan()
    first = plan[:6]
    assert {(cell.method, cell.precision) for cell in first} == {("dpo", "fp32")}
    assert {(cell.adapter, cell.profile) for cell in first} == {(a, p) for a in ("lora", "full") for p in LENGTHS}
    assert {cell.method for cell in plan} == set(METHODS)
    assert {"bf16", "fp32"} == {cell.precision for cell in plan}


def test_cells_are_chosen_by_words_between_the_bars() -> None:
    chosen = selected(every_cell(), ["dpo", "64/256", "full", "bf16", "30M"])
    assert len(chosen) == 2
    assert selected(chosen, [PRECOMPUTED])[0].lengths == (64, 256)
    assert not selected(chosen, ["dp"])
