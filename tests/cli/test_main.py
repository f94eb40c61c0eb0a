from __future__ import annotations

import errno
import os
import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from edgeopt.boards import profiles
from edgeopt.core.errors import BoardError
from tests.cli.conftest import Ran

HEAVY = (
    "torch",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "optuna",
    "stable_baselines3",
    "matplotlib",
    "numpy",
    "scipy",
)


def raising(error: BaseException) -> Callable[[], Any]:
    def names() -> Any:
        raise error

    return names


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from edgeopt.cli.main import main; main(['--help']); "
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "optimize" in ran.stdout
    assert ran.stderr.strip() == "[]"


def test_no_command_shows_help(run: Callable[..., Ran]) -> None:
    ran = run()
    assert ran.code == 0
    assert "optimize" in ran.out


def test_version(run: Callable[..., Ran]) -> None:
    ran = run("--version")
    assert (ran.code, ran.out[:8]) == (0, "edgeopt ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["optimize", "--frobnicate"],
        ["optimize", "--objective", "speed"],
        ["measure"],
        ["devices"],
        ["optimize", "--threads", "0"],
        ["optimize", "--device"],
    ],
)
def test_wrong_usage_is_exit_2_in_few_lines(run: Callable[..., Ran], arguments: list[str]) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert len(ran.err.splitlines()) <= 3


def test_a_deliberate_error_exits_with_its_own_code(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "names", raising(BoardError("the cable is out", hint="put it in")))
    ran = run("devices", "list")
    assert ran.code == 4
    assert ran.err == "error: the cable is out\nhint: put it in\n"


def test_with_json_an_error_is_the_one_document(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "names", raising(BoardError("the cable is out")))
    ran = run("devices", "list", "--json")
    assert ran.code == 4
    assert ran.document == {"error": {"kind": "board", "message": "the cable is out", "hint": None}}
    assert "error: the cable is out" in ran.err


def test_json_before_parsing_fails_is_json_too(run: Callable[..., Ran]) -> None:
    ran = run("devices", "frobnicate", "--json")
    assert ran.code == 2
    assert ran.document["error"]["kind"] == "usage"


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.EIO]
)
def test_a_failing_host_is_exit_1_in_one_line(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(profiles, "names", raising(OSError(number, os.strerror(number), "/data/study.log")))
    ran = run("devices", "list")
    assert ran.code == 1
    assert "/data/study.log" in ran.err.splitlines()[0]
    assert "Traceback" not in ran.err
    assert "bug" not in ran.err


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EEXIST])
def test_only_commands_that_have_it_are_told_of_another_output(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(profiles, "names", raising(OSError(number, os.strerror(number), "/data/study.log")))
    hint = run("devices", "list", "--json").document["error"]["hint"]
    assert hint
    assert "-o" not in hint
    with_output = run("optimize", "--device", "local", "--json").document["error"]
    assert with_output == {**with_output, "hint": f"{hint}, or choose another place with -o"}


def test_a_bug_is_exit_1_and_says_how_to_see_more(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "names", raising(ZeroDivisionError("division\nby zero")))
    ran = run("devices", "list")
    assert ran.code == 1
    assert ran.err.splitlines()[0] == "error: internal error: ZeroDivisionError: division by zero"
    assert "--debug" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("arguments", [("--debug", "devices", "list"), ("devices", "list", "--debug")])
def test_debug_shows_the_traceback_wherever_it_stands(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr(profiles, "names", raising(ZeroDivisionError("x")))
    assert "Traceback" in run(*arguments).err


def test_debug_from_the_environment(run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "names", raising(ZeroDivisionError("x")))
    monkeypatch.setenv("EDGEOPT_DEBUG", "1")
    assert "Traceback" in run("devices", "list").err


def test_an_interrupt_is_130(run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "names", raising(KeyboardInterrupt()))
    ran = run("devices", "list", "--json")
    assert ran.code == 130
    assert ran.document["error"]["kind"] == "interrupted"


def test_what_others_print_stays_off_the_document(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def noisy() -> tuple[str, ...]:
        print("a metric that prints")
        os.write(1, b"a library in C that prints\n")
        return ("local",)

    monkeypatch.setattr(profiles, "names", noisy)
    ran = run("devices", "list", "--json")
    assert [row["name"] for row in ran.document["devices"]] == ["local"]
    assert "a metric that prints" in ran.err
    assert "a library in C that prints" in ran.err


def test_the_reader_of_a_pipe_may_leave_early() -> None:
    ran = subprocess.run(
        f"{sys.executable} -m edgeopt devices show rpi4 | head -1", shell=True, capture_output=True, text=True
    )
    assert ran.stderr == ""


@pytest.mark.parametrize(("name", "code"), [("nosuch", 2), ("rpi4", 0)])
def test_the_reader_of_a_document_may_have_left(name: str, code: int) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as left:
        ran = subprocess.run(
            [sys.executable, "-m", "edgeopt", "devices", "show", name, "--json"],
            stdout=left, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert ran.returncode == code
    assert ran.stderr.splitlines()[:1] == (["error: unknown device 'nosuch'"] if code else [])
    assert "Traceback" not in ran.stderr
    assert "Exception" not in ran.stderr


def test_an_interrupt_while_the_commands_are_imported_is_130(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(types.ModuleType):
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "edgeopt.cli.app", Slow("edgeopt.cli.app"))
    ran = run("devices", "list")
    assert (ran.code, ran.err) == (130, "error: interrupted\n")
