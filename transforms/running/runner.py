"""Run one stage: build its Beam pipeline, run it, hold its counts against its files, publish them."""

from __future__ import annotations

import logging
import pathlib
import re
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions

from gangue.transforms import at_hand, log
from gangue.transforms.datasets.manifest import Manifest
from gangue.transforms.datasets.names import staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.running import heap, interruption, progress, shards, workers
from gangue.transforms.running.counts import Counts
from gangue.transforms.settings import mistakes, sections

Build = Callable[[beam.Pipeline], Any]

_SECONDS = 15  # that a job server may take to answer
# Runners whose servers may know flags that Beam does not.
_SERVED = ("PortableRunner", "FlinkRunner", "SparkRunner", "PrismRunner")

# What a runner's own traceback has where it could not start its workers, by default in containers of Docker.
_NO_ENVIRONMENT = re.compile(r"in start_worker\b|\bprogram \"docker\"")

_REFUSED = {
    "multi_threading": "Beam's multi_threading mode loses rows and reports DONE",
    "multi_processing": "Beam's multi_processing mode loses large elements and waits for ever when a process dies",
    "DaskRunner": "Beam's Dask runner drops what finish_bundle emits and runs only the last leaf",
    "BundleBasedDirectRunner": "Beam's BundleBasedDirectRunner loses the counters of every step that waits for another",
}


def options(settings: sections.Beam, flags: Sequence[str] = ()) -> PipelineOptions:
    """Beam options of the ``beam`` section; the runner is always named, never Beam's own default.

    Raises:
      ValueError: a runner or a mode that loses data; a flag that nobody knows, or with a value that it cannot have.

    >>> options(sections.Beam(), ["--direct_num_worker=2"])
    Traceback (most recent call last):
    ...
    ValueError: beam.options: Beam must know every flag, not --direct_num_worker=2. Did you mean --direct_num_workers?
    >>> options(sections.Beam(), ["--direct_running_mode=multi_threading"])
    Traceback (most recent call last):
    ...
    ValueError: beam.options: Beam's multi_threading mode loses rows and reports DONE. Remove it, or set beam.workers
    """
    arguments = [*settings.options, *flags]
    for argument in arguments:
        for word, reason in _REFUSED.items():
            if word in argument:
                raise ValueError(f"beam.options: {reason}. Remove it, or set beam.workers")
    if any(argument.startswith("--runner") for argument in arguments):
        raise ValueError("beam.options: the runner is named by beam.runner, got --runner too. Remove it")
    _check_flags(arguments, settings.runner)
    arguments.append(f"--runner={settings.runner}")
    if settings.elsewhere:
        arguments.append("--no_save_main_session")
    if settings.runner == "DataflowRunner":
        arguments += _shipped(arguments)
    if settings.runner == "FnApiRunner" and not any("direct_running_mode" in a for a in arguments):
        arguments += ["--direct_running_mode=in_memory"]
    return PipelineOptions(arguments)


def _check_flags(arguments: Sequence[str], runner: str) -> None:
    """Check flags as Beam reads them, which ignores what it does not know; of what its server may know, only warn.

    Raises:
      ValueError: nobody knows one of them, or its value is of another type.
    """
    if not arguments:  # most jobs have none, and the parser is made anew for each stage
        return
    parsers: list[Any] = []
    PipelineOptions([]).get_all_options(add_extra_args_fn=parsers.append)  # the parser of all that Beam knows

    def refuse(said: str) -> None:
        raise ValueError(f"beam.options: Beam must be able to read every flag, but says: {said}. Correct it")

    parsers[0].error = refuse  # its own prints pages and ends the process
    _, unknown = parsers[0].parse_known_args(arguments)
    if not unknown:
        return
    known = [flag for action in parsers[0]._actions for flag in action.option_strings]
    cure = mistakes.meant(unknown[0].partition("=")[0], known) or " Correct or remove it"
    line = f"Beam must know every flag, not {unknown[0]}.{cure}"
    if runner not in _SERVED:
        raise ValueError(f"beam.options: {line}")
    log.say_once("beam.options", f"{line}, unless {runner} knows it")


def _shipped(arguments: Sequence[str]) -> list[str]:
    """The flag that brings this very code to other machines: Beam packs the tree it runs from and installs it there."""
    if any(argument.startswith(("--setup_file", "--extra_package")) for argument in arguments):
        return []
    project = pathlib.Path(__file__).resolve().parents[2] / "pyproject.toml"
    if not project.is_file():
        raise ValueError(
            f"beam.options: Dataflow's workers need the code of Gangue, found no {project} to pack."
            " Add --extra_package=gangue-VERSION.tar.gz"
        )
    return [f"--setup_file={project}"]


def run(
    stage: str,
    build: Build,
    data: Data,
    settings: sections.Beam,
    *,
    rows: int | None,
    writes: Sequence[str] = (),
    in_place: Mapping[str, Sequence[str]] = {},
    flags: Sequence[str] = (),
) -> Counts:
    """Run a stage and publish what it wrote.

    Args:
      stage: name, for messages.
      build: lays the stage's transforms on a pipeline.
      data: where its datasets are.
      settings: the ``beam`` section.
      rows: how many rows there are to do, for the progress bar; None: nobody knows.
      writes: datasets it stages, which are published when all is well and thrown away when not.
      in_place: dataset -> its shards, for those it writes where they stay, since what an earlier or a killed run
        left there is worth keeping; any other shard there is removed.
      flags: further Beam flags.

    Returns:
      The stage's counts.

    Raises:
      ValueError: the data breaks a rule (the message says which), or the counts do not add up.
    """
    if settings.runner == "DataflowRunner" and data.local:
        raise ValueError(
            f"--data: must be where Dataflow's workers can reach it, got {data.root}. Name a bucket: --data gs://BUCKET/JOB"
        )
    _check_endpoint(settings, flags)
    for dataset in in_place:
        data.check_ours(dataset)
    with data.staging(*writes):
        at_hand.begin(f"{stage} {uuid.uuid4().hex}")
        heap.keep(block=8, on_top=32)
        started = time.monotonic()
        counts = _execute(stage, build, data, settings, rows, flags)
        written = {dataset: data.describe(dataset, shards) for dataset, shards in in_place.items()}
        written |= {staged(dataset): data.describe(staged(dataset), data.shards(staged(dataset))) for dataset in writes}
        reconcile(stage, counts, data, written)
    for dataset in in_place:
        data.commit(dataset, written[dataset])
    for dataset in writes:
        data.publish(dataset, written[staged(dataset)])
    seconds = time.monotonic() - started
    shown = {name.removeprefix("out:"): n for name, n in counts.items() if not name.startswith("rows:") and n}
    shown.pop("in", None)  # records of all kinds: nobody's unit
    detail = ", ".join(f"{name} {count}" for name, count in sorted(shown.items())) or "nothing to do"
    log.say(stage, f"{detail} ({seconds:.1f} s)")
    return counts


def _execute(
    stage: str, build: Build, data: Data, settings: sections.Beam, rows: int | None, flags: Sequence[str]
) -> Counts:
    """Run the pipeline and return its counters."""
    if settings.runner == "DataflowRunner":  # its log says where the job is to be seen
        logging.basicConfig(level=logging.INFO, format="%(message)s")
    else:
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    pipeline = beam.Pipeline(options=options(settings, flags))
    build(pipeline)
    with progress.shown(stage, rows), workers.started(stage, settings, data), shards.failures() as failures:
        result = None
        try:
            result = pipeline.run()
            result.wait_until_finish()
        except Exception as error:
            cause = failures[0] if failures else error
            told = _plain(stage, cause)
            if settings.elsewhere and not failures and isinstance(told, Exception):
                said = f"{settings.runner} must start, and does not: {str(told).rstrip('.')}"
                if _NO_ENVIRONMENT.search(str(error)):
                    told = ValueError(
                        f"beam.options: workers of {said}. Without Docker name their environment"
                        " (--environment_type=EXTERNAL, LOOPBACK or PROCESS): see docs/cluster.md"
                    )
                elif result is None:
                    told = ValueError(f"beam.options: {said}. Correct beam.options or beam.runner")
            raise told from cause
    return shards.counts_of(result)


def _check_endpoint(settings: sections.Beam, flags: Sequence[str]) -> None:
    """Check that something listens where ``--job_endpoint`` says: Beam would wait for it without an end.

    Raises:
      ConnectionError: nothing does.
    """
    if not settings.elsewhere:
        return
    endpoint = options(settings, flags).view_as(PortableOptions).job_endpoint
    if not endpoint or endpoint == "embed":
        return
    host, _, port = endpoint.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except (OSError, ValueError) as error:
        said = error if host else "HOST:PORT is wanted"
        raise ConnectionError(
            f"beam.options: a job server must listen at --job_endpoint={endpoint}, none does ({said}). Start it, or"
            " correct the address"
        ) from None


def reconcile(stage: str, counts: Counts, data: Data, written: Mapping[str, Manifest]) -> None:
    """Check that no row was lost: rows in = rows out + rows dropped, and rows counted = rows on disk.

    A runner's state DONE proves nothing: some lose elements and report it.

    Raises:
      ValueError: the counts disagree; names both.
    """
    gone = {name: count for name, count in counts.items() if name.startswith("out:")}
    if counts["in"] != sum(gone.values()):
        raise ValueError(
            f"{stage}: every row must go somewhere, but {counts['in']} came in and {sum(gone.values())} went out"
            f" ({', '.join(f'{name[4:]} {count}' for name, count in sorted(gone.items()))}). Run it again"
        )
    for dataset, manifest in written.items():
        counted, found = counts[f"rows:{dataset}"], sum(manifest.rows)
        if counted != found:
            raise ValueError(
                f"{stage}: {data.shown(dataset)} must hold the {counted} rows that were written, found {found}."
                " Run it again"
            )


def _plain(stage: str, error: BaseException) -> BaseException:
    """The error of a stage's work under the name of the stage; of other machines, the last line of what Beam tells."""
    if (interrupted := interruption.struck()) is not None:
        return interrupted()
    kind = ValueError if isinstance(error, ValueError | OSError) else RuntimeError
    whole = interruption.in_words(error) if isinstance(error, OSError) else str(error)
    lines = [line.strip() for line in whole.splitlines() if re.search(r"\w", line)]
    last = lines[-1] if lines else type(error).__name__
    said = re.sub(r" *\[while running .*?\]", "", last)
    return kind(f"{stage}: {said}")
