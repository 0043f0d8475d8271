from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fairlead.cli import allocator
from fairlead.cli.allocator import TUNABLES, VARIABLE, start_again_with_a_whole_heap

PROGRAM = f"""
import os, sys
from fairlead.cli.allocator import start_again_with_a_whole_heap
start_again_with_a_whole_heap()
print(os.getpid(), os.environ.get({VARIABLE!r}), sys.argv[1:])
"""


@pytest.mark.skipif(not allocator._is_glibc(), reason="the C library is not glibc")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, TUNABLES),
        ("glibc.rtld.optional_static_tls=512", f"glibc.rtld.optional_static_tls=512:{TUNABLES}"),
        ("glibc.malloc.arena_max=1", "glibc.malloc.arena_max=1"),
    ],
)
def test_a_program_starts_again_once_in_its_own_process(before: str | None, after: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if before is not None:
        environment[VARIABLE] = before
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "train", "a b"], env=environment, stdout=subprocess.PIPE, text=True
    )
    out, _ = process.communicate(timeout=60)
    assert out.splitlines() == [f"{process.pid} {after} {['train', 'a b']}"]


def test_other_verbs_and_other_programs_stay_as_they_are() -> None:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    for arguments in (["audit", "train"], []):
        command = [sys.executable, "-c", PROGRAM, *arguments]
        out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        assert out.endswith(f" None {arguments}\n")


def test_a_function_call_is_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the tests' own process")

    monkeypatch.setattr(os, "execv", refuse)
    monkeypatch.setattr(sys, "argv", ["fairlead", "train", "x.yaml"])
    monkeypatch.delenv(VARIABLE, raising=False)
    start_again_with_a_whole_heap()
    assert VARIABLE not in os.environ
