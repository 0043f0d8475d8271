from __future__ import annotations

import math

import pytest

from fairlead.losses.table import LOSSES, NLL_WEIGHT, Range, allowed, check_parameters, parameters

EVERY_PARAMETER = [(name, key) for name in LOSSES for key in parameters(name)]


def faults_of(name: str, **given: object) -> str:
    return "\n".join(map(str, check_parameters(name, given)))


def test_parameters_are_those_of_the_signature_with_their_defaults() -> None:
    assert parameters("dpo") == {"beta": 0.1, "label_smoothing": 0.0, NLL_WEIGHT: 0.0}
    assert parameters("kto") == {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0}
    assert parameters("sft") == {}


def test_defaults_are_those_of_the_papers() -> None:
    assert {name: parameters(name).get("beta") for name in LOSSES} == {
        "sft": None,
        "dpo": 0.1,
        "ipo": 0.1,
        "hinge": 0.1,
        "dpo_norm": 2.0,
        "dpop": 0.3,
        "simpo": 2.0,
        "orpo": 0.1,
        "kto": 0.1,
    }
    assert parameters("simpo")["gamma"] == 1.0
    assert parameters("dpop")["dpop_lambda"] == 50.0


@pytest.mark.parametrize("name", LOSSES)
def test_defaults_are_allowed(name: str) -> None:
    assert check_parameters(name, parameters(name)) == []


@pytest.mark.parametrize(("name", "key"), EVERY_PARAMETER)
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, True, None, "many", [0.1]])
def test_nonsense_is_a_fault_of_its_field(name: str, key: str, value: object) -> None:
    (fault,) = check_parameters(name, {key: value}, field="loss.1")
    assert fault.field == f"loss.1.{key}"
    assert fault.remedy


def test_ends_of_ranges() -> None:
    assert faults_of("dpo", beta=0) == ("loss.beta: 0 is out of range. Write a number above 0; the default is 0.1.")
    assert "at least 0 and below 0.5" in faults_of("dpo", label_smoothing=0.5)
    assert faults_of("dpo", label_smoothing=0, nll_weight=0, beta=1) == ""
    assert 1.0 in Range(low=0, high=1)
    assert 1.0 not in Range(low=0, high=1, high_open=True)
    assert str(Range(low=1, high=2)) == "at least 1 and at most 2"
    assert allowed("ipo", "normalize") == ("mean", "sum")


def test_faults_name_the_remedy() -> None:
    assert faults_of("simp0") == "loss.name: there is no loss named 'simp0'. Did you mean simpo?"
    assert "The losses are sft, dpo, ipo" in faults_of("reinforce")
    assert "Did you mean label_smoothing? dpo takes beta, label_smoothing, nll_weight." in faults_of(
        "dpo", lable_smoothing=0.1
    )
    assert "It is a parameter of dpo, hinge, dpo_norm, simpo." in faults_of("ipo", label_smoothing=0.1)
    assert "sft takes no parameters." in faults_of("sft", betta=0.1)
    assert "Write mean or sum." in faults_of("ipo", normalize="median")


def test_a_number_that_yaml_reads_as_text() -> None:
    assert faults_of("dpo", beta="1e-3") == "loss.beta: '1e-3' is not a number. YAML reads 1e-3 as text; write 0.001."


def test_all_faults_at_once() -> None:
    assert len(check_parameters("simpo", {"beta": -1, "gamma": "x", "lambda": 3})) == 3
