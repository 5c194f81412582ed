"""The ``gangue`` command: all stages in one process, each of them alone as DVC runs it, and a look at the result."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from gangue.pipeline import STAGES

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

NameOf = Annotated[str, typer.Argument(metavar="NAME", help="For which of them, by its name in the params.")]
ParamsPath = Annotated[str, typer.Option("--params", help="Params file.")]
DataPath = Annotated[str, typer.Option("--data", help="Root of the datasets: a folder or an fsspec path.")]
ReportsPath = Annotated[str, typer.Option("--reports", help="Folder of the report and metrics.")]


def _version(asked: bool) -> None:
    if asked:
        import importlib.metadata

        print(f"gangue {importlib.metadata.version('gangue')}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it, and end.")
    ] = False,
) -> None:
    """Turn (query, positive) pairs and a corpus into training triplets whose negatives are hard but not false."""


def _reported(command: Callable[[], None]) -> typer.Exit:
    """Run a command and report its errors; Ctrl-C may come while the libraries load."""
    try:
        from gangue.transforms.running import interruption, workers

        workers.quieten_beam()
    except KeyboardInterrupt:
        print("gangue: interrupted before anything began", file=sys.stderr)  # noqa: T201
        return typer.Exit(130)
    code = interruption.report_errors(command)
    interruption.end_soon()
    return typer.Exit(code)


def _loaded(name: str) -> Any:
    """A module of the pipeline and all its libraries. To look for garbage in what loads takes a fifth of the time."""
    gc.disable()
    module = importlib.import_module(f"gangue.pipeline.{name}")
    gc.freeze()  # what is loaded stays; neither a collection nor the end of the process goes through it again
    gc.enable()
    return module


@app.command()
def mine(params: ParamsPath = "params.yaml", data: DataPath = "data", reports: ReportsPath = "reports") -> None:
    """Run every stage in this process, without DVC, to the same bytes."""

    def command() -> None:
        _loaded("mine").run(params, data, reports)
        _loaded("command.show").summary(params, data, reports)

    raise _reported(command)


@app.command()
def summary(params: ParamsPath = "params.yaml", data: DataPath = "data", reports: ReportsPath = "reports") -> None:
    """Say what was mined and where to look."""

    def command() -> None:
        _loaded("command.show").summary(params, data, reports)

    raise _reported(command)


@app.command()
def frontier(params: ParamsPath = "params.yaml", data: DataPath = "data", reports: ReportsPath = "reports") -> None:
    """Print false negatives against hardness for every filter and cut, and draw them."""

    def command() -> None:
        _loaded("command.show").frontier(params, data, reports)

    raise _reported(command)


@app.command("sample-for-labels")
def sample_for_labels(
    pairs: Annotated[int, typer.Option(min=1, help="How many pairs, about.")] = 200,
    params: ParamsPath = "params.yaml",
    data: DataPath = "data",
    reports: ReportsPath = "reports",
    seed: Annotated[int, typer.Option(min=0, max=10**18 - 1, help="Of the draw.")] = 13,
) -> None:
    """Write mined negatives, and what other cuts would mine, to label: how many are false, whatever was assumed."""

    def command() -> None:
        _loaded("command.show").sample_for_labels(params, data, reports, pairs, seed)

    raise _reported(command)


@app.command()
def labels(
    file: Annotated[str, typer.Argument(help="What sample-for-labels wrote, with every label filled in.")],
    data: DataPath = "data",
    reports: ReportsPath = "reports",
) -> None:
    """Say how many of the negatives are false, by their labels, with a 95 % interval."""

    def command() -> None:
        _loaded("command.show").labels(file, data, reports)

    raise _reported(command)


@app.command()
def show(
    query: Annotated[str | None, typer.Argument(help="Id of a query, or words of its text.")] = None,
    data: DataPath = "data",
    rows: Annotated[int | None, typer.Option(min=1, help="How many triplets; 3, or all of a query.")] = None,
) -> None:
    """Print triplets with their scores: the first, or those of a query, likeliest false negatives first."""

    def command() -> None:
        _loaded("command.show").triplets(data, rows if rows is not None or query else 3, query)

    raise _reported(command)


def _run(stage: str, name: str | None, params: str, data: str, flags: list[str], **own: str) -> None:
    """Run one stage, and report its errors."""

    def command() -> None:
        module = _loaded(stage)
        _loaded("command.stages").run_alone(module.run, stage, name, STAGES[stage], params, data, flags=flags, **own)

    raise _reported(command)


def _add(stage: str, section: str) -> None:
    """The command of a stage."""

    def once(context: typer.Context, params: ParamsPath = "params.yaml", data: DataPath = "data") -> None:
        _run(stage, None, params, data, context.args)

    def for_name(
        context: typer.Context, name: NameOf, params: ParamsPath = "params.yaml", data: DataPath = "data"
    ) -> None:
        _run(stage, name, params, data, context.args)

    def audit(
        context: typer.Context,
        params: ParamsPath = "params.yaml",
        data: DataPath = "data",
        reports: ReportsPath = "reports",
    ) -> None:
        _run(stage, None, params, data, context.args, reports=reports)

    every = f"Run the stage {stage}" + (f" for one of {section}" if section else "")
    app.command(
        stage,
        help=f"{every}, as DVC does; further flags are Beam's.",
        rich_help_panel="Stages",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(audit if stage == "audit" else for_name if section else once)


for _stage, _section in STAGES.items():
    _add(_stage, _section)


def main() -> None:
    """Entry point of the ``gangue`` command."""
    from gangue.transforms.running import workers

    try:
        with workers.forking():
            app()
    except KeyboardInterrupt:  # before a command could catch it
        sys.exit(130)
    except SystemExit as ended:
        from gangue.transforms.running import interruption

        interruption.leave(ended.code)
        raise
