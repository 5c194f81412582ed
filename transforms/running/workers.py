"""The workers of a stage, processes here or a cluster's: they do the work of Beam's elements, names of shards.

Beam's own ``multi_processing`` mode is refused: it takes five seconds to start, loses large elements, and waits for
ever when a process dies. Here Beam runs in this process and hands each element to a pool of Python's.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import threadpoolctl

from gangue.transforms.running import progress

if TYPE_CHECKING:  # the command says what it can do before any of these is loaded
    from gangue.transforms.datasets.storage import Data
    from gangue.transforms.running import cluster
    from gangue.transforms.settings import sections

_pool: concurrent.futures.Executor | None = None
_cluster: cluster.Workers | None = None
_forks = False
_THREADS = "OMP_NUM_THREADS"  # how many the libraries of a process use, where the user says it


class Future(Protocol):
    """What a worker will return."""

    def result(self) -> Any:
        """It, as soon as it is there; what the work raised is raised."""


def submit(work: Callable[[Any], Any], element: Any, resources: Mapping[str, float] = {}) -> Future | None:
    """Have a worker call ``work``, on a cluster one that has these resources; None where there are no workers."""
    if _cluster is not None:
        return _cluster.submit(work, element, resources)
    return None if _pool is None else _pool.submit(work, element)


def everywhere(call: Callable[[], Any]) -> None:
    """Have every worker of a cluster, if there is one, call something that must succeed there.

    Raises:
      ValueError: it does not; a line for each worker.
    """
    if _cluster is not None and (lines := _cluster.everywhere(call)):
        raise ValueError("\n".join(f"beam.cluster: {line}" for line in lines))


@contextlib.contextmanager
def started(stage: str, settings: sections.Beam, data: Data) -> Iterator[None]:
    """Keep workers for what runs inside; where there are none, this process works itself.

    Raises:
      ChildProcessError: one died.
      ValueError, ConnectionError: a cluster cannot do it; says why, and the cure.
    """
    if settings.elsewhere:
        yield
    elif settings.cluster is not None:
        with _on_cluster(stage, settings.cluster, data, settings.resources):
            yield
    elif settings.workers == 1:
        yield
    else:
        with _processes(stage, settings.workers):
            yield


@contextlib.contextmanager
def _on_cluster(stage: str, address: str, data: Data, resources: Mapping[str, float]) -> Iterator[None]:
    global _cluster
    from gangue.transforms.running import cluster

    with cluster.connected(address) as client:
        if faults := cluster.faults(client, data, resources):
            raise ValueError("\n".join(f"beam.cluster: {fault}" for fault in faults))
        _cluster = cluster.Workers(client, stage, data)
        try:
            yield
        finally:
            ended, _cluster = _cluster, None  # also where it cannot be ended: the next job must not ask it
            ended.end()


@contextlib.contextmanager
def _processes(stage: str, count: int) -> Iterator[None]:
    from gangue.transforms.datasets import disk

    temporary = tempfile.TemporaryDirectory(prefix=disk.temporary_prefix(), ignore_cleanup_errors=True)
    with temporary as folder, _pool_of(stage, count, folder):
        yield


@contextlib.contextmanager
def _pool_of(stage: str, count: int, folder: str) -> Iterator[None]:
    """As ``_processes``; in the folder lie their temporary files, since they end without a chance to remove them."""
    global _pool
    others = set(multiprocessing.active_children())
    context = _context()
    ours: set[Any] = set()
    done = context.Value("q", 0)
    threads = None if _THREADS in os.environ else max(1, _cores() // count)
    _pool = concurrent.futures.ProcessPoolExecutor(
        count, context, _begin, (done, {**os.environ, "TMPDIR": folder}, threads)
    )
    try:
        for started_up in [_pool.submit(os.getpid) for _ in range(count)]:  # all of them, here in the main thread
            started_up.result()
        ours = set(multiprocessing.active_children()) - others
        with progress.followed(done):
            yield
        _pool.shutdown()
    except BaseException as error:
        codes = {process.exitcode for process in ours} - {None, 0}
        for process in set(multiprocessing.active_children()) - others:  # they may be in the middle of a shard
            process.kill()
            process.join()
        if _has_broken(error):
            code = min(codes - {-signal.SIGTERM} or codes or {1})  # the pool terminates those that are left
            raise ChildProcessError(
                f"{stage}: a worker process must live until its work is done, one ended with code"
                f" {code if code > 0 else 128 - code} (137: killed, most likely for want of memory). Lower"
                " beam.workers, or the rows per shard under ingest, and run the same command again"
            ) from None
        raise
    finally:
        _pool = None


def _context() -> Any:
    """How processes are started: as forks of this one, or of one that has done nothing but load our libraries."""
    if _forks:
        return multiprocessing.get_context("fork")
    if sys.platform != "linux":  # elsewhere libraries start threads as they load
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # It is started once in the life of this process; what is not loaded here by now is perhaps not wanted.
    models = ["sentence_transformers"] if "sentence_transformers" in sys.modules else []
    context.set_forkserver_preload(["gangue.pipeline.mine", *models])
    return context


@contextlib.contextmanager
def forking() -> Iterator[None]:
    """Say that this process is the ``gangue`` command's alone: no other threads run, so a fork is safe.

    It saves each worker its imports. In somebody's own program others may hold locks.
    """
    global _forks
    before, _forks = _forks, sys.platform == "linux"
    try:
        yield
    finally:
        _forks = before


def quieten_beam() -> None:
    """Drop what Beam says at every import: that it lacks BigQuery's client, which nothing here uses."""
    logging.getLogger().addFilter(_is_not_of_bigquery)  # once, however often it is called


def _is_not_of_bigquery(record: logging.LogRecord) -> bool:
    return "apitools" not in record.getMessage()


def _begin(done: Any, environment: dict[str, str], threads: int | None) -> None:
    """What a worker does first: leave Ctrl-C to the main process, end when that does, and tell it of progress.

    Its ``environment`` is that of the main process as it is now, with a folder for temporary files: it may be a fork of
    one that was started long ago.
    Its libraries use so many ``threads``, its share of the cores; None: as the environment says.
    """
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # TMPDIR may be another now
    if threads is not None:
        _limit_threads(threads)
    progress.advance_parent(done)
    quieten_beam()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _cores() -> int:
    """How many of the processor's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _limit_threads(count: int) -> None:
    """Have the libraries use so many: those that are loaded, in a fork, and those that ask as they load."""
    os.environ[_THREADS] = str(count)
    threadpoolctl.threadpool_limits(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def _has_broken(error: BaseException | None) -> bool:
    """Whether the pool broke: Beam wraps errors."""
    while error is not None:
        if isinstance(error, concurrent.futures.BrokenExecutor):
            return True
        error = error.__cause__ or error.__context__
    return False
