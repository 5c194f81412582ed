"""The ``gangue`` command: all stages in one process, and a look at the result."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

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
        from pipeline import commandline
    except KeyboardInterrupt:
        print("gangue: interrupted before anything began", file=sys.stderr)  # noqa: T201
        return typer.Exit(130)
    code = commandline.report_errors(command)
    commandline.end_soon()
    return typer.Exit(code)


@app.command()
def mine(params: ParamsPath = "params.yaml", data: DataPath = "data", reports: ReportsPath = "reports") -> None:
    """Run every stage in this process, without DVC, to the same bytes."""

    def command() -> None:
        from pipeline import mine, show

        mine.run(params, data, reports)
        show.summary(params, data, reports)

    raise _reported(command)


@app.command()
def summary(params: ParamsPath = "params.yaml", data: DataPath = "data", reports: ReportsPath = "reports") -> None:
    """Say what was mined and where to look."""

    def command() -> None:
        from pipeline import show

        show.summary(params, data, reports)

    raise _reported(command)


@app.command()
def calibrate(params: ParamsPath = "params.yaml", data: DataPath = "data", reports: ReportsPath = "reports") -> None:
    """Print false negatives against hardness for every filter and cut, and draw them."""

    def command() -> None:
        from pipeline import show

        show.calibrate(params, data, reports)

    raise _reported(command)


@app.command("sample-for-labels")
def sample_for_labels(
    pairs: Annotated[int, typer.Option(min=1, help="How many pairs, about.")] = 200,
    data: DataPath = "data",
    reports: ReportsPath = "reports",
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 13,
) -> None:
    """Write mined negatives for somebody to label: their labels say how many are false, whatever was assumed."""

    def command() -> None:
        from pipeline import show

        show.sample_for_labels(data, reports, pairs, seed)

    raise _reported(command)


@app.command()
def labels(
    file: Annotated[str, typer.Argument(help="What sample-for-labels wrote, with every label filled in.")],
    data: DataPath = "data",
    reports: ReportsPath = "reports",
) -> None:
    """Say how many of the negatives are false, by their labels, with a 95 % interval."""

    def command() -> None:
        from pipeline import show

        show.labels(file, data, reports)

    raise _reported(command)


@app.command()
def show(
    query: Annotated[str | None, typer.Argument(help="Id of a query, or words of its text.")] = None,
    data: DataPath = "data",
    rows: Annotated[int | None, typer.Option(help="How many triplets; 3, or all of a query.")] = None,
) -> None:
    """Print triplets with their scores: the first, or those of a query, likeliest false negatives first."""

    def command() -> None:
        from pipeline import show

        show.triplets(data, rows if rows is not None or query else 3, query)

    raise _reported(command)


def main() -> None:
    """Entry point of the ``gangue`` command."""
    try:
        app()
    except KeyboardInterrupt:  # before a command could catch it
        sys.exit(130)
