from __future__ import annotations

import pytest

from fairlead.losses.contract import Range
from fairlead.losses.scores import Pairs
from fairlead.losses.table import LOSSES, NLL_WEIGHT, WPO, allowed, parameters


def test_parameters_are_those_of_the_signature_with_their_defaults() -> None:
    assert parameters("dpo_norm") == {"beta": 2.0, "label_smoothing": 0.0, NLL_WEIGHT: 0.0, WPO: False}
    assert parameters("kto") == {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0}
    assert parameters("aot") == {"beta": 0.1, NLL_WEIGHT: 0.0}
    assert parameters("reward") == {"center_coefficient": 0.0}
    assert parameters("sft") == {}


def test_defaults_are_those_of_the_papers() -> None:
    assert {name: parameters(name).get("beta") for name in LOSSES} == {
        "sft": None,
        "dpo": 0.1,
        "dpo_robust": 0.1,
        "ipo": 0.1,
        "hinge": 0.1,
        "exo": 0.1,
        "discopop": 0.05,
        "dpo_norm": 2.0,
        "r_dpo": 0.1,
        "ld_dpo": 0.1,
        "dpop": 0.3,
        "nca": 0.1,
        "bco_pair": 0.1,
        "sppo": 0.001,
        "cal_dpo": 0.001,
        "apo_zero": 0.1,
        "apo_down": 0.1,
        "aot": 0.1,
        "aot_unpaired": 0.1,
        "simpo": 2.0,
        "alpha_po": 2.0,
        "cpo": 0.1,
        "orpo": 0.1,
        "kto": 0.1,
        "bco": 0.1,
        "apo_zero_unpaired": 0.1,
        "reward": None,
    }
    others = {
        "dpo_robust": {"label_smoothing": 0.1},
        "exo": {"label_smoothing": 0.001},
        "discopop": {"discopop_tau": 0.05},
        "r_dpo": {"length_alpha": 0.005},
        "ld_dpo": {"ld_alpha": 0.5},
        "dpop": {"dpop_lambda": 50.0},
        "bco_pair": {"reward_shift": "zero"},
        "bco": {"reward_shift": "running"},
        "simpo": {"gamma": 1.0},
        "alpha_po": {"gamma": 1.0, "alpha": 0.25},
        "cpo": {"cpo_alpha": 1.0},
    }
    for name, expected in others.items():
        assert expected.items() <= parameters(name).items()


def test_a_word_means_the_same_in_every_row() -> None:
    for key in ("f_divergence", "divergence_alpha"):
        assert len({parameters(name)[key] for name in LOSSES if key in parameters(name)}) == 1


def test_what_a_parameter_may_be() -> None:
    assert allowed("ipo", "normalize") == ("mean", "sum")
    assert allowed("dpo", WPO) is bool
    assert str(allowed("dpo", NLL_WEIGHT)) == "at least 0"


def test_ends_of_ranges() -> None:
    assert 1.0 in Range(low=0, high=1)
    assert 1.0 not in Range(low=0, high=1, high_open=True)
    assert 0.0 not in Range(low=0, low_open=True)
    assert str(Range(low=1, high=2)) == "at least 1 and at most 2"


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if not loss.row_weights])
def test_only_losses_over_pairs_that_sort_their_batch_refuse_weights(name: str) -> None:
    loss = LOSSES[name]
    assert loss.examples is Pairs
    assert loss.statistic is not None
    assert loss.statistic.per_example
