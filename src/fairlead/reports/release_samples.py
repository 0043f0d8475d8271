"""Replies side by side, picked by a stated rule, with their differences marked; and probes and facts that failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fairlead.data.records import Candidates
from fairlead.data.texts import text_of
from fairlead.reports.differences import changed_share, marked
from fairlead.reports.figures import percent
from fairlead.reports.page import Block, Exchange, Exchanges, Prose, Reply, Section
from fairlead.reports.release_data import Release, Rows, Side
from fairlead.reports.release_tables import probes_table
from fairlead.reports.release_words import count_text

EACH = 3
"""Prompts that each rule picks."""
MOST_FAILURES = 12
MOST_SHOWN = 1500  # characters of a text
ATTACK, BENIGN = "probe/attack_success", "probe/over_refusal"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One prompt with the first reply of each model. changed: the share of words that the two do not have in common;
    worse: the measures by which the second reply is worse."""

    id: str
    prompt: str
    before: str
    after: str
    changed: float
    worse: tuple[str, ...] = ()


def samples_section(release: Release) -> Section | None:
    """Replies whose change is the largest, replies that changed as most did, and replies that got worse."""
    before, after = release.before, release.after
    if before is None or after is None:
        return None
    samples = _samples(before, after, "prompts", _directions(after))
    facts = [each for each in _samples(before, after, "factual", {"factual_accuracy": "up"}) if each.worse]
    groups = pick(samples)
    blocks: list[Block] = []
    for title, picked in (*groups.items(), ("Facts lost", sorted(facts, key=lambda each: each.id)[:EACH])):
        if picked:
            blocks.append(Prose(text=title, tone="strong"))
            blocks.append(Exchanges(exchanges=[_exchange(each, before, after) for each in picked]))
    if not blocks:
        return None
    lead = (
        f"Of {count_text(len(samples), 'prompt')}, {EACH} each: the largest change, which is the share of words that "
        f"both replies do not have in common; the change nearest to the median; and what got worse by the most "
        f"measures. Equal ones by id; the first reply of each. Words that went are struck out, new ones underlined."
    )
    return Section(title="Side by side", lead=lead, blocks=blocks)


def pick(samples: Sequence[Sample], each: int = EACH) -> dict[str, list[Sample]]:
    """Samples by the rule that picks them, no prompt twice: regressions first, since they must not be missed.

    Neither the order of the samples nor chance plays a part.
    """
    regressions = sorted((one for one in samples if one.worse), key=lambda one: (-len(one.worse), -one.changed, one.id))
    taken = {one.id for one in regressions[:each]}
    left = [one for one in samples if one.id not in taken]
    largest = sorted(left, key=lambda one: (-one.changed, one.id))[:each]
    taken |= {one.id for one in largest}
    ordered = sorted(one.changed for one in samples)
    middle = ordered[len(ordered) // 2] if ordered else 0.0
    left = [one for one in left if one.id not in taken]
    typical = sorted(left, key=lambda one: (abs(one.changed - middle), one.id))[:each]
    return {"Largest change": largest, "Typical change": typical, "Got worse": regressions[:each]}


def _directions(side: Side) -> dict[str, str]:
    return {each["name"]: each["direction"] for each in side.measures if each["direction"] != "none"}


def _samples(before: Side, after: Side, what: str, directions: Mapping[str, str]) -> list[Sample]:
    first, second = before.answers[what], after.answers[what]
    return [_sample(key, first, second, before, after, directions) for key in sorted(first.keys() & second.keys())]


def _sample(key: str, first: Rows, second: Rows, before: Side, after: Side, directions: Mapping[str, str]) -> Sample:
    old, new = (text_of(rows[key].candidates[0].messages) for rows in (first, second))
    worse = []
    for name, direction in directions.items():
        was, now = (side.items.get(name, {}).get(key) for side in (before, after))
        if was is not None and now is not None and (now < was if direction == "up" else now > was):
            worse.append(name)
    prompt = _prompt(second[key])
    return Sample(
        id=key, prompt=prompt, before=old, after=new, changed=changed_share(old, new), worse=tuple(sorted(worse))
    )


def _prompt(row: Candidates) -> str:
    """The last user turn where it is alone, else all turns with who speaks."""
    if len(row.prompt) == 1:
        return row.prompt[0].content
    return "\n".join(f"{turn.role}: {turn.content}" for turn in row.prompt)


def _exchange(sample: Sample, before: Side, after: Side) -> Exchange:
    old, new = _short(sample.before), _short(sample.after)
    left, right = marked(old, new)
    worse = f"; worse: {', '.join(sample.worse)}" if sample.worse else ""
    return Exchange(
        label=f"{sample.id}: {percent(sample.changed)} of the words changed{worse}",
        prompt=_short(sample.prompt),
        replies=[
            Reply(label=before.label, text=sample.before, pieces=left, color=0),
            Reply(label=after.label, text=sample.after, pieces=right, color=1),
        ],
    )


def probes_section(release: Release) -> Section | None:
    """How probes went, by kind, and those that the new model failed, with what it said."""
    table = probes_table(release)
    if table is None:
        return None
    blocks: list[Block] = [table]
    after = release.after
    if after is not None:
        failed = list(_failed(release, after))
        total = sum(value == 1 for name in (ATTACK, BENIGN) for value in after.items.get(name, {}).values())
        if failed:
            blocks.append(Prose(text=f"Failed by {after.name}: {len(failed)} of {total} shown", tone="strong"))
            blocks.append(Exchanges(exchanges=failed))
        elif not total:
            blocks.append(Prose(text=f"{after.name} failed none of them.", tone="good"))
    lead = "Attacks that a good model declines, and harmless requests that it must not. The texts may offend."
    return Section(title="Probes", lead=lead, blocks=blocks)


def _failed(release: Release, after: Side) -> Iterator[Exchange]:
    """The failures, those that are new first, then by kind and id."""
    rows, before = after.answers["probes"], release.before
    failures = []
    for name, words in ((ATTACK, "the attack succeeded"), (BENIGN, "refused, though harmless")):
        known = {} if before is None else before.items.get(name, {})
        for key, value in after.items.get(name, {}).items():
            if value == 1 and key in rows:
                failures.append((known.get(key) != 0, name, key, words))
    for old, _, key, words in sorted(failures)[:MOST_FAILURES]:
        row = rows[key]
        family = str(row.meta.get("family", "")).replace("_", " ")
        news = "" if old else ", new: the model before did not"
        reply = Reply(label=f"{after.label}: {words}{news}", text=_short(text_of(row.candidates[0].messages)), color=1)
        yield Exchange(label=" · ".join(filter(None, (key, family))), prompt=_short(_prompt(row)), replies=[reply])


def _short(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + " …"
