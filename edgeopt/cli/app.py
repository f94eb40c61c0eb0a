"""The command line's tree. Command modules import their work inside the function, so that help is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeopt import __version__
from edgeopt.cli import (
    bench,
    boards,
    confirm,
    data,
    deploy,
    devices,
    doctor,
    init,
    keys,
    measure,
    optimize,
    package,
    report,
    repository,
    rewrites,
    rollback,
    status,
    study,
    verify,
)
from edgeopt.cli.flags import examples

app = typer.Typer(
    name="edgeopt",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "edgeopt optimize --device local",
        "edgeopt init model.onnx",
        "edgeopt optimize --device rpi4 --data val.npz",
    ),
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"edgeopt {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def edgeopt(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (also EDGEOPT_DEBUG=1).")
    ] = False,
) -> None:
    """Make neural networks fast, small and cool on Raspberry-Pi-class boards, measured on the board."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command("optimize", epilog=optimize.EPILOG)(optimize.optimize)
app.command("confirm", epilog=confirm.EPILOG)(confirm.confirm)
app.command("measure", epilog=measure.EPILOG)(measure.measure)
app.add_typer(study.app, name="study")
app.command("report", epilog=report.EPILOG)(report.report)
app.command("package", epilog=package.EPILOG)(package.package)
app.command("verify", epilog=verify.EPILOG)(verify.verify)
app.add_typer(keys.app, name="keys")
app.add_typer(devices.app, name="devices")
app.add_typer(boards.app, name="boards")
app.add_typer(data.app, name="data")
app.add_typer(rewrites.app, name="rewrites")
app.command("deploy", epilog=deploy.EPILOG)(deploy.deploy)
app.command("rollback", epilog=rollback.EPILOG)(rollback.rollback)
app.command("status", epilog=status.EPILOG)(status.status)
app.add_typer(repository.app, name="repository")
app.add_typer(bench.app, name="bench")
app.command("init", epilog=init.EPILOG)(init.init)
app.command("doctor", epilog=doctor.EPILOG)(doctor.doctor)
