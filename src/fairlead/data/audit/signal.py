"""Rows whose label a model would bet against: first to be looked at again, since they are wrong or hard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from fairlead.data.audit.findings import Finding, Kind
from fairlead.data.audit.grading import above, finding, percent
from fairlead.data.audit.material import Floats, Indices, Material, Side
from fairlead.data.audit.ngrams import CHUNK, Words, hashed
from fairlead.data.audit.settings import AuditSettings
from fairlead.stats.classification import fit_logistic
from fairlead.stats.intervals import wilson

RELABEL = "Have the rows listed judged again, the first ones first; correct or leave out those that were wrong."

KINDS = {
    "probe_accuracy": Kind(
        title="What words alone can tell",
        meaning="share of labels that a linear probe of words and pairs of words gets right on prompts it has not seen",
        remedy="Near 0.5, the label cannot be read off the words: more rows help. Very high: look for a cue above.",
    ),
    "probe_disagrees": Kind(
        title="Labels that a probe bets against",
        meaning="share of rows whose label the probe, not having seen them, takes for wrong with the stated confidence",
        remedy=RELABEL,
    ),
    "margin_disagrees": Kind(
        title="Labels that a model bets against",
        meaning="share of rows whose label the implicit margin of a model takes for wrong with the stated confidence",
        remedy=RELABEL,
    ),
}

BUCKETS = 2048
"""Features that n-grams are hashed to, each with a sign of its own so that collisions cancel on average
(Weinberger et al. 2009)."""
RIDGE = 100.0
MOST_FITTED = 20_000
MOST_LISTED = 1_000
"""Rows whose probability stands beside them in the run directory."""

Matrix = NDArray[np.int8]


def signal(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    """What the probe gets right, and what it, or the model whose margins were given, gets confidently wrong."""
    yield from _margins(material, settings)
    contrast = material.contrast
    if contrast.paired:
        if len(contrast.better) >= settings.min_probe:
            yield from _probe(material, settings, contrast.better, contrast.worse)
    elif min(len(contrast.better), len(contrast.worse)) >= settings.min_probe:
        yield from _probe(material, settings, [*contrast.better, *contrast.worse], ())


def _margins(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    given = [(material.margins[row.id], row.id) for row in material.ordered_rows if row.id in material.margins]
    if not given:
        return
    bar = log((1 - settings.confident) / settings.confident)  # a margin is a log-odds (Bradley–Terry)
    wrong = sorted((margin, name) for margin, name in given if margin <= bar)
    right = sum(margin > 0 for margin, _ in given)
    yield _disagrees(
        "margin_disagrees",
        [(1 / (1 + exp(-max(margin, -700.0))), name) for margin, name in wrong],
        len(given),
        settings,
        f"the model ranks {right:,} of {len(given):,} as labelled",
    )


def _disagrees(code: str, wrong: Sequence[tuple[float, str]], n: int, settings: AuditSettings, detail: str) -> Finding:
    """`wrong`: the probability of the label and the row, the least probable first."""
    k = len(wrong)
    return finding(
        code,
        above(k / n, settings.wrong_warning),
        k / n,
        n=n,
        interval=wilson(k, n),
        rows=[name for _, name in wrong],
        detail=f"{k:,} labels have a probability of at most {1 - settings.confident:.2g}; {detail}",
        data={"probability": {name: round(chance, 6) for chance, name in wrong[:MOST_LISTED]}},
    )


def _probe(
    material: Material, settings: AuditSettings, better: Sequence[Side], worse: Sequence[Side]
) -> Iterator[Finding]:
    """`worse` is empty where single completions are probed: the signs then say which are which."""
    up = len(material.contrast.better)
    signs = np.ones(len(better)) if worse else np.where(np.arange(len(better)) < up, 1.0, -1.0)
    folds = material.folds(better)
    if np.unique(folds).size < 2:
        return
    drawn = np.zeros(len(better), dtype=bool)
    drawn[material.drawn([side.row for side in better], MOST_FITTED)] = True
    scores = _held_out(better, worse, signs, folds, drawn)
    known = np.column_stack([scores, np.ones(len(scores))]) if not worse else scores[:, None]
    calibration = fit_logistic(known, signs, np.ones(len(signs)), ridge=1e-6)
    probability = 1 / (1 + np.exp(-np.clip(known @ calibration * signs, -30, 30)))
    right = int((probability > 0.5).sum())
    n = len(better)
    yield finding(
        "probe_accuracy",
        "note",
        right / n,
        n=n,
        interval=wilson(right, n),
        detail=f"ridge regression on {BUCKETS:,} hashed words and pairs of words, rows of a prompt kept together",
    )
    doubted = np.nonzero(probability <= 1 - settings.confident)[0]
    wrong = sorted((float(probability[place]), better[int(place)].row) for place in doubted)
    yield _disagrees(
        "probe_disagrees", wrong, n, settings, f"the probe gets {percent(right / n)} right on unseen prompts"
    )


def _held_out(
    better: Sequence[Side], worse: Sequence[Side], signs: Floats, folds: Indices, drawn: NDArray[np.bool_]
) -> Floats:
    """The score of each row under the ridge regression fitted to the drawn rows of the other folds.

    Exact, by the sums X'X and X'y of each fold: leaving a fold out is a subtraction.
    """
    width = BUCKETS + (0 if worse else 1)
    grams = {int(fold): np.zeros((width, width), dtype=np.float32) for fold in np.unique(folds)}
    products = {fold: np.zeros(width) for fold in grams}
    positives = (signs > 0).sum()
    # Targets that make least squares Fisher's discriminant where the classes differ in size (Duda, Hart and Stork 5.8).
    targets = signs if worse else np.where(signs > 0, signs.size / positives, -signs.size / (signs.size - positives))
    for places, features in _features(better, worse, drawn):
        for fold in grams:
            own = folds[places] == fold
            part = features[own].astype(np.float32)
            grams[fold] += part.T @ part
            products[fold] += part.T @ targets[places[own]]
    gram, product = np.sum([*grams.values()], axis=0), np.sum([*products.values()], axis=0)
    ridge = RIDGE * np.eye(width, dtype=np.float32)
    fitted = {
        fold: np.linalg.solve(gram - grams[fold] + ridge, (product - products[fold]).astype(np.float32))
        for fold in grams
    }
    scores = np.zeros(len(better))
    for places, features in _features(better, worse, np.ones(len(better), dtype=bool)):
        for fold, theta in fitted.items():
            held = folds[places] == fold
            scores[places[held]] = features[held].astype(np.float32) @ theta
    return scores


def _features(
    better: Sequence[Side], worse: Sequence[Side], wanted: NDArray[np.bool_]
) -> Iterator[tuple[Indices, Matrix]]:
    """Places of wanted rows and their features, a chunk at a time: differences of the sides, or one side and a 1."""
    memory = Words()
    for places in np.array_split(np.nonzero(wanted)[0], max(1, wanted.sum() // CHUNK)):
        features = _presence([better[place].text for place in places], memory)
        if worse:
            features -= _presence([worse[place].text for place in places], memory)
        else:
            features = np.column_stack([features, np.ones(len(places), dtype=np.int8)])
        yield places, features


def _presence(texts: Sequence[str], memory: Words) -> Matrix:
    """Which words and pairs of words each text holds, hashed to `BUCKETS` signed features, [texts, BUCKETS]."""
    words = hashed(texts, memory)
    pairs = words.grams(2)
    found = np.concatenate([words.word, pairs.word])
    bucket = found >> np.uint64(64 - BUCKETS.bit_length() + 1)
    sign = (found >> np.uint64(20)) & np.uint64(1)
    # Set, not added: a text that repeats a word does not have more of it.
    holds = np.zeros((len(texts), 2, BUCKETS), dtype=np.int8)
    holds[np.concatenate([words.text, pairs.text]), sign.astype(np.intp), bucket.astype(np.intp)] = 1
    return holds[:, 1] - holds[:, 0]
