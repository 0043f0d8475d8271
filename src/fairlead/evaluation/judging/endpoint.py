"""A server that speaks the chat-completions protocol: asked again after faults that may pass, never without end."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import httpx2 as httpx

from fairlead.config.judge import EndpointSection
from fairlead.data.records import Turns
from fairlead.errors import ConfigError, FairleadError, Fault, MachineError, RunError
from fairlead.evaluation.judging.cache import Completion

LATER = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses of faults that may pass."""
GOES_ON = "Answers so far are kept: the same command goes on from there."
MOST_SHOWN = 300  # characters of a server's complaint
Asker = Literal["judge", "model"]
"""What a server stands behind: a judge, or a model that is measured or asked for answers."""
MILLION = 1_000_000


class Endpoint:
    """One server and one model of it, with the calls and money this run has spent on it.

    key: the secret, None where the server asks for none; it is sent to the server and shown nowhere. kind, name: what
    messages call it. extra: further fields of every request. Use it as a context manager; `complete` is a `Complete`.
    """

    def __init__(
        self,
        settings: EndpointSection,
        *,
        name: str,
        key: str | None,
        kind: Asker = "judge",
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings, self.name, self._key = settings, name, key
        self._kind, self._called, self._extra = kind, f"{kind} {name!r}", dict(extra or {})
        self.calls, self.spent = 0, 0.0
        self._reserved = 0.0
        self._next_start = 0.0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._client = httpx.Client(
            timeout=settings.timeout,
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
            follow_redirects=False,  # the key is for this server alone
        )

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *ending: object) -> None:
        self._client.close()

    def complete(self, prompts: Sequence[Turns], done: Callable[[int, Completion], None]) -> None:
        """Ask for a completion of each prompt, some at a time, and tell of each as it comes.

        Raises ConfigError where the server refuses the key or the request, MachineError where it cannot be reached or
        stays at fault through all retries, RunError where the cost limit is reached. What came before was told of.
        """
        self._stop.clear()
        failed: list[BaseException] = []

        def one(place: int) -> None:
            try:
                if not self._stop.is_set():
                    done(place, self._ask(prompts[place]))
            except BaseException as error:
                # Set here, so that not one more call is begun; what the others then raise comes second.
                failed.append(error)
                self._stop.set()
                raise

        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            try:
                wait([pool.submit(one, place) for place in range(len(prompts))], return_when=FIRST_EXCEPTION)
            finally:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
        if failed:
            raise failed[0]

    def _ask(self, prompt: Turns) -> Completion:
        """One completion, after as many tries as are allowed."""
        body = {
            "model": self.settings.model,
            "messages": [{"role": turn.role, "content": turn.content} for turn in prompt],
            "temperature": self.settings.temperature,
            "max_tokens": self.settings.max_tokens,
            **self._extra,
        }
        dearest = self._dearest(prompt)
        trouble: FairleadError | Completion = Completion(text="", fault="malformed")
        for attempt in range(self.settings.retries + 1):
            self._take_turn(dearest)
            asked_wait: float | None = None
            try:
                reply = self._client.post(f"{self.settings.url.rstrip('/')}/chat/completions", json=body)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                trouble = self._unreachable(error)
            else:
                if reply.status_code in LATER:
                    trouble = self._at_fault(reply)
                    asked_wait = _retry_after(reply.headers.get("Retry-After"))
                elif reply.status_code != 200:
                    raise self._refused(reply)
                else:
                    trouble = self._read(reply)
                    if trouble.fault != "malformed":
                        return trouble
            finally:
                with self._lock:
                    self._reserved -= dearest
            if attempt < self.settings.retries and self._pause(attempt, asked_wait):
                break
        if isinstance(trouble, Completion):
            return trouble
        raise trouble

    def _dearest(self, prompt: Turns) -> float:
        """The most that a call can cost: a token is at least a byte long, and an answer has at most max_tokens."""
        read = sum(len(turn.content.encode()) for turn in prompt)
        return (read * self.settings.price_in + self.settings.max_tokens * self.settings.price_out) / MILLION

    def _take_turn(self, dearest: float) -> None:
        """Wait until the rate allows another call, and reserve what it may cost.

        Raises RunError where that could pass the cost limit, and where another call has stopped the run.
        """
        rate, limit = self.settings.requests_per_minute, self.settings.max_cost
        with self._lock:
            if limit is not None and self.spent + self._reserved + dearest > limit:
                problem = f"{self._called} has cost {self.spent:.4g}; the next call could pass max_cost {limit:g}."
                raise RunError(f"{problem} {GOES_ON} Raise max_cost to spend more.")
            now = time.monotonic()
            start = max(now, self._next_start)
            self._next_start = start + (60 / rate if rate else 0.0)
        if self._stop.wait(start - now):
            raise RunError(f"{self._called} was stopped. {GOES_ON}")
        with self._lock:
            self.calls += 1
            self._reserved += dearest

    def _pause(self, attempt: int, asked: float | None) -> bool:
        """Wait before another try: as long as the server asks, else a doubling time with jitter. True: stop instead."""
        own = self.settings.backoff * 2**attempt * random.uniform(0.5, 1.0)
        return self._stop.wait(min(self.settings.max_wait, own if asked is None else asked))

    def _read(self, reply: httpx.Response) -> Completion:
        """The completion in a reply of status 200; `malformed` where it is none, `truncated` where it was cut."""
        try:
            content = reply.json()
            choice = content["choices"][0]
            text = choice["message"]["content"]
            finish = choice.get("finish_reason")
            usage = content.get("usage")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return Completion(text="", fault="malformed")
        if not isinstance(text, str | None):
            return Completion(text="", fault="malformed")
        counts = usage if isinstance(usage, Mapping) else {}
        tokens_in, tokens_out = _whole(counts.get("prompt_tokens")), _whole(counts.get("completion_tokens"))
        price_in, price_out = self.settings.price_in, self.settings.price_out
        cost = ((tokens_in or 0) * price_in + (tokens_out or 0) * price_out) / MILLION
        with self._lock:
            self.spent += cost
        fault = "truncated" if finish == "length" else ""
        return Completion(text=text or "", fault=fault, tokens_in=tokens_in, tokens_out=tokens_out, cost=cost)

    def _unreachable(self, error: Exception) -> MachineError:
        kind = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
        remedy = f"Check that the server runs, and the network. {GOES_ON}"
        return MachineError(f"{self._called}: {self.settings.url} {kind} ({self._shown(str(error))}). {remedy}")

    def _at_fault(self, reply: httpx.Response) -> MachineError:
        said = f"{self._called}: {self.settings.url} answers {reply.status_code} ({self._complaint(reply)})"
        return MachineError(f"{said} after {self.settings.retries + 1} tries. Wait, or lower concurrency. {GOES_ON}")

    def _refused(self, reply: httpx.Response) -> ConfigError:
        is_key = reply.status_code in (401, 403)
        field, source = _place(self._kind, self.name, "api_key_env" if is_key else "url")
        remedy = "Set the environment variable to a key that is valid there." if is_key else "Check url and model."
        problem = f"{self.settings.url} answers {reply.status_code} ({self._complaint(reply)})."
        return ConfigError([Fault(field=field, problem=problem, remedy=remedy)], source=source)

    def _complaint(self, reply: httpx.Response) -> str:
        return self._shown(reply.text) or "without a word"

    def _shown(self, text: str) -> str:
        """What a server said, short and on one line, without the key that some servers repeat."""
        text = " ".join(text.split())
        return (text if self._key is None else text.replace(self._key, "…"))[:MOST_SHOWN]


def key_from_environment(settings: EndpointSection, *, name: str, kind: Asker = "judge") -> str | None:
    """The key in the environment variable that the settings name. Raises ConfigError where it is not set."""
    if settings.api_key_env is None:
        return None
    key = os.environ.get(settings.api_key_env, "").strip()
    if not key:
        problem = f"the environment variable {settings.api_key_env} is not set."
        field, source = _place(kind, name, "api_key_env")
        raise ConfigError([Fault(field=field, problem=problem, remedy="Export the key under it.")], source=source)
    return key


def _place(kind: Asker, name: str, field: str) -> tuple[str, str]:
    """Where a setting was given: its field, and what holds it."""
    return (f"judges.{name}.endpoint.{field}", "judge.yaml") if kind == "judge" else (field, "endpoint")


def identity_of(settings: EndpointSection) -> dict[str, Any]:
    """What an answer depends on besides the texts: where the cache tells two judges apart."""
    return {
        "url": settings.url.rstrip("/"),
        "model": settings.model,
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
    }


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, given as a number or as a date (RFC 9110, section 10.2.3); None where neither can be read."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
