"""Speed of reading and checking rows: 200,000 short ones in several formats, each in a process of its own.

    python -m bench.import_rows

Prints one JSON object with rows per second (reading with all checks, and the whole import with ledger and file), of
wall time and of processor time, which other work on the machine does not lengthen, and the peak of memory, for
`bench/results/import.json`.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.near_duplicates import peak

ROWS = 200_000


def texts() -> Iterator[tuple[int, str, str, str]]:
    """Number, question and two answers: about 130 characters together."""
    for number in range(ROWS):
        question = f"Where is my parcel? The order number is {number}."
        yield (
            number,
            question,
            f"It left on Tuesday and is due tomorrow, order {number}.",
            "We are so sorry, please wait!",
        )


def turns(role: str, text: str) -> list[dict[str, str]]:
    """One turn, as a list of messages."""
    return [{"role": role, "content": text}]


def canonical(number: int, question: str, good: str, bad: str) -> dict[str, Any]:
    """Fairlead's own row."""
    pair = {"chosen": turns("assistant", good), "rejected": turns("assistant", bad)}
    return {"id": f"r{number}", "prompt": turns("user", question), **pair, "meta": {"segment": "shipping"}}


def trl(number: int, question: str, good: str, bad: str) -> dict[str, Any]:
    """TRL's standard preference."""
    return {"prompt": question, "chosen": good, "rejected": bad}


def llama_factory(number: int, question: str, good: str, bad: str) -> dict[str, Any]:
    """LLaMA-Factory's sharegpt ranking."""
    answers = {"chosen": {"from": "gpt", "value": good}, "rejected": {"from": "gpt", "value": bad}}
    return {"conversations": [{"from": "human", "value": question}], **answers}


def hh(number: int, question: str, good: str, bad: str) -> dict[str, Any]:
    """HH-RLHF."""
    opening = f"\n\nHuman: {question}\n\nAssistant:"
    return {"chosen": f"{opening} {good}", "rejected": f"{opening} {bad}"}


CASES = {
    "canonical.jsonl": canonical,
    "trl.jsonl": trl,
    "llama-factory.json": llama_factory,
    "hh.jsonl": hh,
    "trl.csv": trl,
    "trl.parquet": trl,
}


def make(path: Path) -> None:
    """Write the rows of one case."""
    rows = (CASES[path.name](*each) for each in texts())
    if path.suffix == ".parquet":
        import polars

        polars.DataFrame(list(rows)).write_parquet(path)
        return
    with open(path, "w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            writer = csv.DictWriter(file, ["prompt", "chosen", "rejected"])
            writer.writeheader()
            writer.writerows(rows)
        elif path.suffix == ".json":
            file.write("[" + ",\n".join(map(json.dumps, rows)) + "]")
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def measure(path: Path) -> dict[str, float]:
    """Rows per second of wall time and of processor time, and the peak of this process's memory."""
    from fairlead.data.reading import read
    from fairlead.stages.import_rows import import_rows

    found = {}
    target = path.with_name("out.jsonl")
    for name, work in (("read", lambda: read(path).ledger), ("import", lambda: import_rows(path, to=target))):
        wall, processor = time.perf_counter(), time.process_time()
        assert work().rows_in == ROWS
        found[f"{name}_rows_per_second"] = round(ROWS / (time.perf_counter() - wall))
        found[f"{name}_rows_per_processor_second"] = round(ROWS / (time.process_time() - processor))
    return found | {"peak_rss_mib": round(peak())}


def main() -> None:
    """Measure each case in a fresh process, one after the other."""
    from fairlead.runs.surroundings import hardware, package_versions

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES:
            path = Path(folder) / name
            make(path)
            child = [sys.executable, "-m", "bench.import_rows", str(path)]
            found[name] = json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout)
            path.unlink()
    versions = {
        name: version for name, version in package_versions().items() if name in ("fairlead", "msgspec", "polars")
    }
    print(json.dumps({"rows": ROWS, "formats": found, "hardware": hardware(), "packages": versions}, indent=1))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(Path(sys.argv[1]))))
    else:
        main()
