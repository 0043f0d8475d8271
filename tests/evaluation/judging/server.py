"""A judge behind a real local server, which can be made to fail in every way that servers do."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What the server sends back: status, headers, body; after a wait; `cut` closes the line half-way."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    cut: bool = False


STYLE = "Why, certainly"
"""How answers begin that the server wrote itself."""
Asked = dict[str, Any]
Behaviour = Callable[[int, Asked], Reply]
"""Number of the call, from 0, and the body of the request, to the reply."""


def completion(text: str | None, *, finish: str = "stop", tokens: tuple[int, int] = (100, 10)) -> Reply:
    content = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]},
    }
    return Reply(body=json.dumps(content).encode())


def answers(asked: Asked) -> dict[str, str]:
    """The two answers in a request, by letter, as the delimiters enclose them."""
    text = asked["messages"][-1]["content"]
    return dict(re.findall(r"<<(?:\w+) ANSWER ([AB])>>\n(.*?)\n<<\w+ END OF ANSWER [AB]>>", text, re.DOTALL))


def question(asked: Asked) -> str:
    """The prompt in a request to judge, or to answer."""
    text = asked["messages"][-1]["content"]
    found = re.search(r"<<\w+ PROMPT>>\n(.*?)\n<<", text, re.DOTALL)
    return found[1] if found else text


def sound(number: int, asked: Asked) -> Reply:
    """Prefers the answer that says "good", then any to a planted one; is not moved by opinions or notes.

    Asked for an answer of its own, it writes one that says "good" to every other question.
    """
    if not answers(asked):
        return completion(own_answer(question(asked)))
    rank = {
        letter: ("good" in text, "Thank" not in text and "Note" not in text) for letter, text in answers(asked).items()
    }
    verdict = "tie" if rank["A"] == rank["B"] else "A" if rank["A"] > rank["B"] else "B"
    return completion(json.dumps({"reason": "it is good", "verdict": verdict}))


def own_answer(question: str) -> str:
    """What the server itself answers, in a style of its own."""
    even = int(re.sub(r"\D", "", question) or 0) % 2 == 0
    return f"{STYLE}, {'a good answer' if even else 'an answer'} to that."


def vain(number: int, asked: Asked) -> Reply:
    """As `sound`, but for answers in its own style, which it prefers to all others."""
    shown = answers(asked)
    own = [letter for letter, text in shown.items() if text.startswith(STYLE)]
    return completion(json.dumps({"verdict": own[0]})) if len(own) == 1 else sound(number, asked)


def always_a(number: int, asked: Asked) -> Reply:
    return completion('{"verdict": "A"}')


def first_then(replies: list[Reply], then: Behaviour = sound) -> Behaviour:
    """These replies to the first calls, then a behaviour."""
    return lambda number, asked: replies[number] if number < len(replies) else then(number, asked)


@dataclass
class Server:
    """An address, the calls it got, and how it behaves; both may be read and set while it runs."""

    url: str
    behave: Behaviour
    asked: list[Asked] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    @property
    def calls(self) -> int:
        return len(self.asked)


@contextmanager
def serving(behave: Behaviour = sound) -> Generator[Server]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = server.calls
                server.asked.append(body)
                server.keys.append(self.headers.get("Authorization"))
                server.times.append(time.monotonic())
            reply = server.behave(number, body) if self.path.endswith("/chat/completions") else Reply(status=404)
            time.sleep(reply.wait)
            try:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cut else reply.body)
            except OSError:
                pass  # the client gave up first
            self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = Server(url=f"http://127.0.0.1:{http.server_port}/v1", behave=behave)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
