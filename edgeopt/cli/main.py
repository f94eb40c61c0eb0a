"""The entry point: runs a command, prints its answer once, and turns every failure into few lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from edgeopt.cli.answer import Answer
from edgeopt.cli.failures import Failure, failure

INTERRUPTED = 130

# The surrogate multiplies many small matrices: with a BLAS thread per core, which wait for each other by
# spinning, it takes ten times as long on a machine that measures besides. Read when numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `edgeopt` with `arguments` (default: those of the process) and return its exit code."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    given = argv[: argv.index("--")] if "--" in argv else argv
    debug = "--debug" in given or os.environ.get("EDGEOPT_DEBUG", "") not in ("", "0")
    # Taken out here, so that it may stand before or after the command.
    argv = [a for a in given if a != "--debug"] + argv[len(given) :]
    if "--json" not in given:
        return _run(argv, debug, None)
    with _only_the_document() as stream:
        return _run(argv, debug, stream)


def _run(argv: list[str], debug: bool, stream: IO[str] | None) -> int:
    """Run one command; `stream` receives its one JSON document, None shows it to a person."""
    try:
        from edgeopt.cli.app import app  # in here: it may take long enough for somebody to interrupt it

        answer = app(argv, prog_name="edgeopt", standalone_mode=False)
        if isinstance(answer, Answer):
            _print(answer, stream)
            return answer.exit_code
        if answer == INTERRUPTED:  # Typer has turned the KeyboardInterrupt into this
            return _fail(Failure("interrupted", "interrupted", None, INTERRUPTED), stream)
        # Typer returns the code of an early exit (--help, --version), None of a plain return.
        return answer if isinstance(answer, int) else 0
    except KeyboardInterrupt:
        return _fail(Failure("interrupted", "interrupted", None, INTERRUPTED), stream)
    except BrokenPipeError:
        # Whoever read us has left (`| head`): keep the interpreter from flushing into the void again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            import traceback

            traceback.print_exc()
        return _fail(failure(error, has_output=_knows_output(argv)), stream)


def _knows_output(argv: Sequence[str]) -> bool:
    """Whether the command that was meant has `-o`; not, where the commands could not even be imported."""
    commands = sys.modules.get("edgeopt.cli.app")
    if commands is None:
        return False
    import typer.main

    command = typer.main.get_command(commands.app)
    for word in argv:
        command = getattr(command, "commands", {}).get(word, command)
    return any("-o" in parameter.opts for parameter in command.params)


def _print(answer: Answer, stream: IO[str] | None) -> None:
    if stream is not None:
        print(answer.to_json(), file=stream, flush=True)
        return
    shown = answer.text()
    if isinstance(shown, str):
        print(shown, flush=True)
        return
    from edgeopt.cli.console import out

    out().print(shown)
    sys.stdout.flush()


def _fail(why: Failure, stream: IO[str] | None) -> int:
    print(why.lines(), file=sys.stderr)
    if stream is not None:
        with suppress(BrokenPipeError):
            print(Answer(why.document(), text=str).to_json(), file=stream, flush=True)
    return why.exit_code


@contextmanager
def _only_the_document() -> Iterator[IO[str]]:
    """Yield the real stdout, and send all else that is printed meanwhile, even by C code, to stderr."""
    sys.stdout.flush()
    descriptor = os.dup(1)
    os.dup2(2, 1)
    printed, sys.stdout = sys.stdout, sys.stderr
    try:
        # Closing writes what a reader that has left did not take: once more in vain.
        with (
            suppress(BrokenPipeError),
            os.fdopen(descriptor, "w", encoding="utf-8", closefd=False) as stream,
        ):
            yield stream
    finally:
        sys.stdout = printed
        os.dup2(descriptor, 1)
        os.close(descriptor)
