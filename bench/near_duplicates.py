"""Near-duplicates at scale: rows per second, recall of planted ones, memory; each size in a process of its own.

    python -m bench.near_duplicates                # 10,000, 100,000 and 1,000,000 short texts
    python -m bench.near_duplicates --sizes 10000

Texts of 8 to 40 words drawn from a vocabulary as natural ones are (Zipf), a tenth of them planted: copies of an earlier
text with one word in 20 replaced. Recall is over planted pairs with a true Jaccard similarity of at least `SIMILAR`;
unfounded are texts, of a sample, that have no near-duplicate in their cluster. Writes bench/results/.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.data.near_duplicates import SIMILAR, cluster, nearest
from fairlead.data.shingles import jaccard
from fairlead.runs.atomic import write_json
from fairlead.runs.surroundings import hardware, package_versions

RESULTS = Path(__file__).parent / "results" / "near-duplicates.json"
SIZES = (10_000, 100_000, 1_000_000)
VOCABULARY = 50_000
PLANTED = 10  # one text in so many is a copy
CHANGED = 20  # one word in so many is another
SAMPLE = 2_000
EVALUATED = 0.02  # share of the texts that are looked up among the others
MIB = 1 << 20


def make_texts(count: int, seed: int) -> tuple[list[str], list[tuple[int, int]]]:
    """Texts, and the places of originals and their copies."""
    rng = np.random.default_rng(seed)
    words = [f"w{number:x}" for number in range(VOCABULARY)]
    texts: list[str] = []
    planted = []
    while len(texts) < count:
        block = min(PLANTED * 1000, count - len(texts))
        lengths = rng.integers(8, 41, size=block)
        drawn = iter(np.minimum(rng.zipf(1.2, size=int(lengths.sum())), VOCABULARY) - 1)
        for length in lengths.tolist():
            text = [words[next(drawn)] for _ in range(length)]
            if len(texts) % PLANTED == PLANTED - 1:
                original = int(rng.integers(0, len(texts)))
                text = texts[original].split()
                for place in rng.choice(len(text), size=max(1, len(text) // CHANGED), replace=False):
                    text[place] = words[int(rng.integers(0, VOCABULARY))]
                planted.append((original, len(texts)))
            texts.append(" ".join(text))
    return texts, planted


def peak() -> float:
    """Largest resident set so far, in MiB. Unlike that of `getrusage`, it leaves out what the parent held."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / MIB


def measure(count: int) -> dict[str, Any]:
    """Cluster so many texts, and look up some of them among the others."""
    texts, planted = make_texts(count, seed=0)
    before = peak()
    start = time.perf_counter()
    found = cluster(texts)
    seconds = time.perf_counter() - start
    after = peak()
    true = [(one, other) for one, other in planted if jaccard(texts[one], texts[other]) >= SIMILAR]
    joined = sum(found[one] == found[other] for one, other in true)
    asked = max(1, round(count * EVALUATED))
    start = time.perf_counter()
    near = nearest(texts[-asked:], texts[:-asked])
    lookup = time.perf_counter() - start
    expected = {other for one, other in true if other >= count - asked > one}
    hit = sum(near.place[other - (count - asked)] >= 0 for other in expected)
    return {
        "texts": count,
        "words": round(float(np.mean([len(text.split()) for text in texts[:SAMPLE]])), 1),
        "seconds": round(seconds, 2),
        "texts_per_second": round(count / seconds),
        "planted": len(planted),
        "planted_similar": len(true),
        "recall": joined / len(true),
        "clusters": len(np.unique(found)),
        "unfounded": _unfounded(texts, found),
        "base_mib": round(before, 1),
        "peak_mib": round(after, 1),
        "bytes_per_text": round((after - before) * MIB / count),
        "lookup": {
            "texts": asked,
            "among": count - asked,
            "seconds": round(lookup, 2),
            "recall": hit / len(expected) if expected else None,
        },
    }


def _unfounded(texts: list[str], found: np.ndarray[Any, Any]) -> int:
    """Of a sample of the clustered texts, how many have no near-duplicate in their cluster."""
    order = np.argsort(found, kind="stable")
    clusters = [part for part in np.split(order, np.flatnonzero(np.diff(found[order])) + 1) if len(part) > 1]
    dice = np.random.default_rng(1)
    some = dice.choice(len(clusters), size=min(SAMPLE, len(clusters)), replace=False)
    lonely = 0
    for part in (clusters[place] for place in some):
        one, *others = part.tolist()
        lonely += not any(jaccard(texts[one], texts[other]) >= SIMILAR for other in others)
    return lonely


def main() -> None:
    """Measure each size in a fresh process and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[*SIZES])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(measure(given.one)))
        return
    runs = []
    for size in given.sizes:
        command = [sys.executable, "-m", "bench.near_duplicates", "--one", str(size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout))
        print(json.dumps(runs[-1]), file=sys.stderr)
    write_json(RESULTS, {"similar": SIMILAR, "runs": runs, "hardware": hardware(), "packages": package_versions()})


if __name__ == "__main__":
    main()
