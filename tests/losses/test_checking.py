from __future__ import annotations

import math

import pytest

from fairlead.losses.checking import check_losses, check_parameters
from fairlead.losses.table import LOSSES, allowed, parameters

EVERY_PARAMETER = [(name, key) for name in LOSSES for key in parameters(name)]


def faults_of(name: str, **given: object) -> str:
    return "\n".join(map(str, check_parameters(name, given)))


@pytest.mark.parametrize("name", LOSSES)
def test_defaults_are_allowed(name: str) -> None:
    assert check_parameters(name, parameters(name)) == []


@pytest.mark.parametrize(("name", "key"), EVERY_PARAMETER)
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, True, None, "many", [0.1]])
def test_nonsense_is_a_fault_of_its_field(name: str, key: str, value: object) -> None:
    faults = check_parameters(name, {key: value}, field="loss.1")
    if value is True and allowed(name, key) is bool:
        assert faults == []
        return
    (fault,) = faults
    assert fault.field == f"loss.1.{key}"
    assert fault.remedy


def test_ends_of_ranges() -> None:
    assert faults_of("dpo", beta=0) == ("loss.beta: 0 is out of range. Write a number above 0; the default is 0.1.")
    assert "at least 0 and below 0.5" in faults_of("dpo", label_smoothing=0.5)
    assert "above 0 and below 0.5" in faults_of("exo", label_smoothing=0)
    assert faults_of("dpo", label_smoothing=0, nll_weight=0, beta=1) == ""


def test_faults_name_the_remedy() -> None:
    assert faults_of("simp0") == "loss.name: there is no loss named 'simp0'. Did you mean simpo?"
    assert "The losses are sft, dpo, dpo_robust" in faults_of("reinforce")
    assert "Did you mean label_smoothing? dpo_norm takes beta, label_smoothing, nll_weight, wpo." in faults_of(
        "dpo_norm", lable_smoothing=0.1
    )
    assert "It is a parameter of dpo, dpo_robust, hinge, exo, dpo_norm, simpo, cpo." in faults_of(
        "ipo", label_smoothing=0.1
    )
    assert "sft takes no parameters." in faults_of("sft", betta=0.1)
    assert "Write mean or sum." in faults_of("ipo", normalize="median")


def test_a_number_that_yaml_reads_as_text() -> None:
    assert faults_of("dpo", beta="1e-3") == "loss.beta: '1e-3' is not a number. YAML reads 1e-3 as text; write 0.001."


def test_a_switch_is_true_or_false() -> None:
    assert faults_of("dpo", wpo=True) == ""
    assert faults_of("dpo", wpo="True") == "loss.wpo: 'True' is neither true nor false. Write true or false."
    assert faults_of("dpo", wpo=1) == "loss.wpo: 1 is neither true nor false. Write true or false."


def test_weights_of_the_policy_are_refused_where_rows_are_sorted() -> None:
    for name in ("aot", "aot_unpaired"):
        assert faults_of(name, wpo=True).startswith(f"loss.wpo: {name} has no parameter 'wpo'.")


def test_a_parameter_of_a_divergence_that_is_not_in_force() -> None:
    assert faults_of("dpo", divergence_alpha=0.3) == (
        "loss.divergence_alpha: it belongs to the alpha divergence, and f_divergence is reverse_kl. "
        "Remove it, or write f_divergence: alpha."
    )
    assert faults_of("dpo", divergence_alpha=0.3, f_divergence="alpha") == ""
    assert "f_divergence is js" in faults_of("dpo", divergence_alpha=0.3, f_divergence="js")


def test_all_faults_at_once() -> None:
    assert len(check_parameters("simpo", {"beta": -1, "gamma": "x", "lambda": 3})) == 3
    assert [fault.field for fault in check_losses([("dpo", {"beta": -1}, 1.0)])] == ["loss.beta"]
    assert [fault.field for fault in check_losses([])] == ["loss"]


def test_losses_over_different_rows_do_not_sum() -> None:
    (fault,) = check_losses([("dpo", {}, 1.0), ("kto", {}, 1.0)])
    assert str(fault).startswith("loss: dpo and kto take different kinds of rows.")
    assert len(check_losses([("sft", {}, 1.0), ("kto", {}, 1.0)])) == 1
    assert check_losses([("sft", {}, 1.0), ("dpo", {}, 1.0), ("orpo", {}, 1.0)]) == []


def test_a_reward_model_is_trained_alone() -> None:
    (fault,) = check_losses([("dpo", {}, 1.0), ("reward", {}, 1.0)])
    assert str(fault) == (
        "loss: dpo and reward train different models: reward trains one that gives a score. Train with reward alone."
    )
