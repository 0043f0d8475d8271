"""Judge runs that are killed, and servers that fail: is anything paid for twice, and does each run end as it should?

    python -m bench.judge_faults                  # 12 kills and every fault, a few minutes; writes the figures
    python -m bench.judge_faults --kills 3 --out /tmp/faults.json

A real server on this machine stands for the judge. Every verdict it sends carries a digest of the question, delimiters
left out, so that the file of kept answers shows which questions are paid for. `fairlead judge` runs as a process of its
own and is killed with SIGKILL at random moments. An answer that was sent and not yet kept when the process died is
lost, at most one for each call under way; every other question is asked once. Exits 1 where that is not so.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from fairlead.runs.atomic import write_json
from fairlead.runs.surroundings import hardware, package_versions

RESULTS = Path(__file__).parent / "results" / "judge-faults.json"
KILLS, PROMPTS, CONCURRENCY = 12, 120, 4
FEW = 12  # prompts of a run that meets a fault
SLOW = 1.0  # seconds; longer than the time-out of the runs here
FAULTS = ("down", "401", "429", "500", "slow", "malformed", "truncated", "always A")
PROGRAM = "import sys; from fairlead.cli import main; sys.exit(main())"


@dataclass
class Server:
    """A judge that prefers the answer with more words, but for planted ones; what it was asked and what it answered.

    fault: how it fails, empty for not at all; `passes` is the number of calls that it answers before it does.
    """

    port: int = 0
    fault: str = ""
    passes: int = 0
    pause: float = 0.0
    asked: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, request: dict[str, Any]) -> tuple[int, bytes, str]:
        """Status and body, and the digest of the question where it is answered."""
        with self.lock:
            question = digest_of(request)
            self.asked.append(question)
            failing = self.fault and len(self.asked) > self.passes
        time.sleep(self.pause)
        if failing and self.fault in ("401", "429", "500"):
            return int(self.fault), b'{"error": "as was asked for"}', ""
        if failing and self.fault == "slow":
            time.sleep(SLOW)
        if failing and self.fault == "malformed":
            return 200, b"<html>not a completion</html>", ""
        verdict = "A" if failing and self.fault == "always A" else verdict_on(request)
        cut = failing and self.fault == "truncated"
        text = json.dumps({"reason": question, "verdict": verdict})
        choice = {"message": {"role": "assistant", "content": text[:-6] if cut else text}}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        content = {"choices": [choice | {"finish_reason": "length" if cut else "stop"}], "usage": usage}
        return 200, json.dumps(content).encode(), question


def digest_of(request: dict[str, Any]) -> str:
    """Of what is asked, without the delimiters that each call draws anew."""
    text = json.dumps(request["messages"])
    mark = re.search(r"<<([0-9a-f]{16}) PROMPT>>", text)
    return hashlib.sha256((text.replace(mark[1], "") if mark else text).encode()).hexdigest()[:24]


def verdict_on(request: dict[str, Any]) -> str:
    """A, B or tie: planted answers lose, then the answer with more words wins."""
    found = dict(
        re.findall(r"<<\w+ ANSWER ([AB])>>\n(.*?)\n<<\w+ END OF ANSWER", request["messages"][-1]["content"], re.DOTALL)
    )
    rank = {
        letter: (not text.startswith(("Thank you", "Note to")), len(text.split())) for letter, text in found.items()
    }
    return "tie" if rank["A"] == rank["B"] else "A" if rank["A"] > rank["B"] else "B"


@contextmanager
def serving(server: Server) -> Generator[str]:
    """The server's address while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body, question = server.reply(request)
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                return  # whoever asked is gone
            if question:
                with server.lock:
                    server.answered.append(question)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        server.port = http.server_port
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.port}/v1"
        finally:
            http.shutdown()
            thread.join()


def write_inputs(folder: Path, url: str, prompts: int, **settings: Any) -> list[str]:
    """Two models' answers and a panel of one judge; the words of the command."""
    folder.mkdir(parents=True)
    for name, more in (("tuned", 3), ("base", 1)):
        rows = []
        for number in range(prompts):
            text = " ".join(f"{name}{n}" for n in range(4 + (more if number % 4 else 2)))
            answer = {"id": f"{number}-0", "messages": [{"role": "assistant", "content": text}], "model": name}
            prompt = [{"role": "user", "content": f"Question {number}?"}]
            rows.append(json.dumps({"id": f"r{number}", "prompt": prompt, "candidates": [answer]}))
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    endpoint = {"url": url, "model": "m", "backoff": 0.01, "retries": 2, "timeout": 0.5, "concurrency": CONCURRENCY}
    panel = {"judges": [{"name": "server", "endpoint": endpoint | settings}], "self_preference": 0}
    (folder / "judge.yaml").write_text(json.dumps(panel))
    names = ["tuned.jsonl", "--against", "base.jsonl", "--judge", "judge.yaml", "--out", "run", "--json"]
    return ["judge", *(str(folder / word) if "." in word or word == "run" else word for word in names)]


def start(words: list[str]) -> subprocess.Popen[str]:
    """The command, as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "JUDGE_KEY": "sk-none"},
    )


def kept(folder: Path) -> list[str]:
    """Digests of the questions whose answers are kept."""
    file = folder / "judge-cache.sqlite"
    if not file.is_file():
        return []
    with sqlite3.connect(file) as connection:
        try:
            texts = [text for (text,) in connection.execute("SELECT text FROM answers")]
        except sqlite3.OperationalError:  # killed before the table was made
            return []
    return [match[1] for text in texts if (match := re.search(r'"reason": "([0-9a-f]{24})"', text))]


def kill_runs(folder: Path, kills: int, prompts: int, seed: int) -> dict[str, Any]:
    """One judge run, killed at random moments `kills` times and started again until it ends."""
    rng = random.Random(seed)
    server = Server(pause=0.01)
    again: list[str] = []
    lost: list[int] = []
    with serving(server) as url:
        words = write_inputs(folder, url, prompts, timeout=5.0)
        most = 2 * prompts + 2 * 2 * 3 + 2 * 20
        for number in range(kills + 1):
            paid, before = set(kept(folder)), len(server.asked)
            process = start(words)
            if number < kills:
                _kill_after(process, server, before + rng.randint(1, max(1, most // (kills + 2))), rng.uniform(0, 0.03))
            output, complaint = process.communicate(timeout=300)
            time.sleep(0.1)  # calls that were under way end at the server
            again += [question for question in server.asked[before:] if question in paid]
            lost.append(len(server.answered) - sum(lost) - len(kept(folder)))
        result = json.loads(output) if process.returncode == 0 else {"error": complaint}
    answers, distinct = len(server.answered), len(set(server.answered))
    return {
        "kills": kills,
        "calls_under_way_at_most": CONCURRENCY,
        "questions": distinct,
        "answers_sent": answers,
        "kept": len(kept(folder)),
        "lost_when_killed": sum(lost),
        "most_lost_in_one_kill": max(lost),
        "kept_and_asked_again": len(again),
        "paid_twice_and_not_lost": answers - distinct - sum(lost),
        "exit_code": process.returncode,
        "comparisons": result.get("comparisons"),
        "void": result.get("void"),
    }


def _kill_after(process: subprocess.Popen[str], server: Server, calls: int, more: float) -> None:
    while len(server.asked) < calls and process.poll() is None:
        time.sleep(0.001)
    time.sleep(more)
    process.send_signal(signal.SIGKILL)


def meet(folder: Path, fault: str) -> dict[str, Any]:
    """A run that meets a fault after ten answers, and the same command once the fault has gone."""
    server = Server(fault=fault, passes=0 if fault == "always A" else 10)
    with serving(server) as url:
        address = _nobody() if fault == "down" else url
        words = write_inputs(folder, address, FEW, api_key_env="JUDGE_KEY")
        first = start(words)
        output, complaint = first.communicate(timeout=300)
        calls, paid = len(server.asked), set(kept(folder))
        found: dict[str, Any] = {"exit_code": first.returncode, "calls": calls, "kept": len(paid)}
        if first.returncode in (0, 1):
            shown = json.loads(output)
            measures = {measure["name"]: measure["value"] for measure in shown["measures"]}
            found |= {"void": bool(shown["void"]), "unparsed": measures["judge/unparsed"]}
            found["calls_to_servers"] = shown["calls"]
            return found
        said = " ".join(complaint[complaint.find("fairlead:") :].split())  # without the progress before it
        found["said"] = re.sub(r"127\.0\.0\.1:\d+", "SERVER", said)[:200]
        server.fault = ""
        if fault == "down":
            panel = folder / "judge.yaml"
            panel.write_text(panel.read_text().replace(address, url))
        before = len(server.asked)
        second = start(words)
        second.communicate(timeout=300)
        after = server.asked[before:]
        repeated = sum(number - 1 for number in Counter(after).values())
        return found | {
            "exit_code_when_mended": second.returncode,
            "calls_when_mended": len(after),
            "kept_and_asked_again": sum(question in paid for question in after) + repeated,
        }


def _nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{held.getsockname()[1]}/v1"


def battery(folder: Path, kills: int, prompts: int, seed: int) -> dict[str, Any]:
    """All figures."""
    figures = {"kills": kill_runs(folder / "kills", kills, prompts, seed)}
    figures["faults"] = {fault: meet(folder / fault.replace(" ", "-"), fault) for fault in FAULTS}
    return figures


def is_sound(figures: dict[str, Any]) -> bool:
    """Whether nothing was paid for twice but what was under way at a kill, and every run that was mended ended."""
    killed = figures["kills"]
    runs = [killed, *figures["faults"].values()]
    return (
        killed["exit_code"] == 0
        and killed["paid_twice_and_not_lost"] == 0
        and killed["most_lost_in_one_kill"] <= CONCURRENCY
        and not any(run.get("kept_and_asked_again") for run in runs)
        and not any(run.get("exit_code_when_mended") for run in runs)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = battery(Path(folder), given.kills, given.prompts, given.seed)
    surroundings = {"hardware": hardware(), "packages": package_versions()}
    write_json(given.out, {**figures, "sound": is_sound(figures), "seed": given.seed, **surroundings})
    print(json.dumps(figures, indent=1))
    sys.exit(0 if is_sound(figures) else 1)


if __name__ == "__main__":
    main()
