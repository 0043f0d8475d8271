"""What an audit holds its figures against. Every default has its reason beside it; each can be set otherwise."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, fields

from fairlead.errors import ConfigError, Fault


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """Thresholds of an audit. `…_warning` and `…_error` are where a figure becomes one; shares lie between 0 and 1."""

    # Gap. A fifth of ties costs a fifth of the labelling; at two fifths the two completions are too much alike, or the
    # rubric does not say what decides.
    ties_warning: float = 0.20
    ties_error: float = 0.40
    split_votes_warning: float = 0.20  # items without a majority are lost like ties
    split_votes_error: float = 0.40
    weak_warning: float = 0.40  # narrow majorities and slight preferences are normal, but not for most of a set
    label_balance_warning: float = 0.90  # thumbs nearly all up, or nearly all down, hold little contrast

    # Agreement. Below 0.2 is "slight" and below 0.4 "fair" (Landis and Koch 1977). Two people who agree on 72 % of
    # comparisons without ties, as is usual for helpfulness, have about 0.44.
    agreement_warning: float = 0.40
    agreement_error: float = 0.20
    min_items: int = 30  # with fewer items a coefficient is shown and not judged
    min_votes: int = 20  # votes beside others' from which an annotator is looked at alone
    annotator_gap: float = 0.10  # so far below the others' agreement, beyond chance, an annotator stands out
    constant_warning: float = 0.95  # one label given this often is no judgement
    drift_warning: float = 0.10  # change of α between periods or versions that is worth a look
    periods: int = 4  # spans of equally many items over which drift is looked for

    # Length and other surface cues. One half is no preference. Human preferences lean to 0.55–0.60 by themselves.
    cue_warning: float = 0.65
    cue_error: float = 0.80  # four labels in five can be had without reading
    prefers_longer_warning: float = 0.62
    prefers_longer_error: float = 0.75
    length_ratio: float = 2.0  # a chosen side longer than this times the rejected teaches length
    long_chosen_warning: float = 0.25  # where lengths vary freely, a fifth of pairs is so by chance
    length_is_the_label: bool = False  # length is what is judged: findings about it are notes

    # Rejections. What nearly all rejected sides share is what is learnt.
    rejection_warning: float = 0.60
    safety_expected: bool = True  # a set without refusals and safe completions unlearns them
    safety_warning: float = 0.01
    required_warning: float = 1.00  # a hard constraint holds always
    required_error: float = 0.95

    # Mixed criteria. A group leans where its share is beyond this from one half, its interval on one side of one half.
    flip_lean: float = 0.10
    flip_error: float = 0.20  # both groups lean so far: half of the rows teach the opposite of the other half

    # Hygiene.
    language_warning: float = 0.01
    outliers_warning: float = 0.01
    pii_warning: float = 0.0  # any
    control_warning: float = 0.0  # any
    overlap_words: int = 13  # n-gram shared with a test set (Brown et al. 2020, appendix C)
    contamination_warning: float = 0.0  # any
    contamination_error: float = 0.01

    # Signal.
    min_probe: int = 200  # pairs below which a probe says nothing
    confident: float = 0.90  # probability against the label from which a row is put up for re-labelling
    wrong_warning: float = 0.05

    # Identity. A row that stands twice weighs twice; a tenth of such rows is no accident. Near-duplicates are milder:
    # products have templates, but where half of the prompts repeat others, the set is half as large as it looks.
    duplicates_warning: float = 0.01
    duplicates_error: float = 0.10
    near_duplicates_warning: float = 0.05
    near_duplicates_error: float = 0.25
    near_prompts_warning: float = 0.10
    near_prompts_error: float = 0.50
    shared_segments_warning: float = 0.01
    contradictions_warning: float = 0.0  # any: one of the two is wrong
    contradictions_error: float = 0.02
    cycles_warning: float = 0.0  # any
    cycles_error: float = 0.10  # labels drawn by lot have about 0.4
    identical_warning: float = 0.0  # any: there is nothing to learn
    identical_error: float = 0.01
    close_pairs_warning: float = 0.20  # DPO lowers the likelihood of both sides there (Pal et al. 2024)
    diffs_warning: float = 0.0  # any
    diffs_error: float = 0.05
    fragments_warning: float = 0.01
    fragments_error: float = 0.10

    # Leakage. A held-out row that was trained on measures memory. Near ones are often of one template: few are borne.
    leakage_error: float = 0.0  # any
    near_leakage_error: float = 0.01

    # Match with production. A tenth of live prompts of another kind is worth a look; three tenths are another task.
    shift_warning: float = 0.10
    shift_error: float = 0.30
    vocabulary_warning: float = 0.05  # bits; two topics of one product are about 0.1 apart, two products 0.3
    vocabulary_error: float = 0.25

    slice_size: int = 100  # pairs drawn for double labelling: agreement to about ±0.1

    def __post_init__(self) -> None:
        if self.periods < 2:
            fault = Fault(
                field="periods", problem=f"{self.periods} leaves nothing to compare.", remedy="Use 2 or more."
            )
            raise ConfigError([fault], source="audit")


def settings_from(assignments: Sequence[str]) -> AuditSettings:
    """The settings with texts such as `ties_error=0.5` laid over the defaults.

    Raises `ConfigError` naming every one that is no setting or has no value of its type.
    """
    types = {field.name: type(field.default) for field in fields(AuditSettings)}
    values: dict[str, float | int | bool] = {}
    faults = []
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if name not in types or not equals:
            near = difflib.get_close_matches(name, types, n=1)
            meant = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(types)}."
            problem = "is no setting of an audit." if equals else "NAME=VALUE is meant."
            faults.append(Fault(field=name, problem=problem, remedy=meant))
            continue
        try:
            values[name] = _value(text, types[name])
        except ValueError:
            words = {bool: "true or false", int: "a whole number", float: "a number"}
            faults.append(Fault(field=name, problem=f"{text!r} is not {words[types[name]]}."))
    if faults:
        raise ConfigError(faults, source="audit")
    return AuditSettings(**values)  # type: ignore[arg-type]


def _value(text: str, kind: type) -> float | int | bool:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    value = int(text) if kind is int else float(text)
    if not value >= 0 or value == float("inf"):
        raise ValueError(text)
    return value
