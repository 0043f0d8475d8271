from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import fairlead
from fairlead.cli import application
from fairlead.errors import ConfigError, Fault, MachineError, RunError


def raising(error: BaseException) -> Callable[[], None]:
    def app() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (RunError("no steps are left. Raise train.epochs."), 2, "no steps are left"),
        (ConfigError([Fault(field="a", problem="x."), Fault(field="b", problem="y.")]), 2, "- b: y."),
        (MachineError("the disk is full."), 3, "the disk is full."),
        (OSError(errno.ENOSPC, "No space left on device", "model.safetensors"), 3, "model.safetensors: No space"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_known_endings(
    error: BaseException,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(application, "app", raising(error))
    assert application.main() == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fairlead: ")
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("division by zero"), AssertionError(), OSError(errno.EBADF, "bad")]
)
def test_a_bug_keeps_its_traceback_in_a_file(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(application.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(application, "app", raising(error))
    assert application.main() == 70
    err = capsys.readouterr().err
    assert "this is a bug" in err
    assert type(error).__name__ in err
    assert "Traceback" not in err
    (written,) = tmp_path.iterdir()
    assert str(written) in err
    assert "Traceback" in written.read_text()


def test_a_bug_on_a_full_disk_prints_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**options: str) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(application.tempfile, "mkstemp", refuse)
    monkeypatch.setattr(application, "app", raising(ZeroDivisionError()))
    assert application.main() == 70
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_exits_with_a_code_of_their_own_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "app", raising(SystemExit(143)))
    with pytest.raises(SystemExit) as caught:
        application.main()
    assert caught.value.code == 143


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = "import sys; from fairlead.cli import main; sys.argv[0] = 'fairlead'; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=folder, check=False
    )


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    done = run("--version", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"fairlead {fairlead.__version__}\n")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["version"] == fairlead.__version__


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tarin"], "No such command 'tarin'"),
        (["train"], "Missing argument 'CONFIG'"),
        (["train", "x.yaml", "--reusme"], "--resume"),
        (["generate", "p.jsonl", "--model", "m", "-n", "0"], "-n"),
        (["init"], "--schema"),
    ],
)
def test_wrong_calls_end_with_2(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = run(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_with_130_and_one_line(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom fairlead.cli import application\n"
        "@application.app.command('wait')\ndef wait() -> None:\n    print('ready', flush=True)\n    time.sleep(30)\n"
        "sys.argv = ['fairlead', 'wait']\nsys.exit(application.main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        # A suite that runs in the background is deaf to Ctrl-C, and so would be this process.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert err == "fairlead: interrupted\n"
