"""A Dask cluster in the place of worker processes: its scheduler hands out names, and sees to workers that it loses.

Its deployments (Slurm, Kubernetes, SSH), retries and dashboard are Dask's; nothing of that is written here. What would
end a job on it late is said before the first stage.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import functools
import hashlib
import importlib.metadata
import logging
import os
import pathlib
import platform
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from gangue.transforms import log
from gangue.transforms.datasets import disk
from gangue.transforms.datasets.storage import Data
from gangue.transforms.running import progress

if TYPE_CHECKING:
    import distributed

Result = TypeVar("Result")

_SECONDS = 15  # that a scheduler may take to answer, and the first worker to come
_SILENT = 20  # that a worker may take to answer; one that does not connect in 30 is gone to Dask
_SILENT_AT_END = 5  # the same where nothing depends on it any more
_ALIKE = ("gangue", "numpy", "pyarrow", "faiss-cpu", "scipy", "torch", "transformers", "sentence-transformers")
"""What bytes depend on, and what a function's name means."""
_SHIPPED = (".py", ".j2", ".json")  # what a package of Gangue consists of
_LOGS = ("distributed", "distributed.client", "tornado.application")  # those whose levels Dask sets


@contextlib.contextmanager
def connected(address: str) -> Iterator[distributed.Client]:
    """A client of the scheduler at an address, or of the one that a scheduler file names, with a worker at least.

    Raises:
      ValueError: Dask is not installed.   ConnectionError: no scheduler answers, it goes away, or it has no worker.
    """
    try:
        import distributed
    except ImportError:
        raise ValueError("beam.cluster: Dask must be installed: pip install 'gangue[cluster]'") from None
    where = {"address": address} if "://" in address else {"scheduler_file": address}
    if "://" not in address and not os.path.isfile(address):
        raise FileNotFoundError(
            f"beam.cluster: {address} must be a scheduler's address (tcp://HOST:8786) or its file, found none."
            " Correct it, or start one: dask scheduler --scheduler-file FILE"
        )
    with _without_logs():
        client = _client(address, where)
        try:
            with contextlib.suppress(TimeoutError):
                client.wait_for_workers(1, timeout=_SECONDS)
            if not client.scheduler_info()["workers"]:
                raise ConnectionError(
                    f"beam.cluster: the scheduler at {address} must have workers, none came in {_SECONDS} seconds."
                    f" Start one: dask worker {client.scheduler.address}"
                )
            if _is_there(client.dashboard_link):
                log.say_once("beam.cluster", f"what it does is to be seen at {client.dashboard_link}")
            yield client
        except OSError as error:
            if client.status == "running" and not isinstance(error, distributed.comm.CommClosedError):
                raise
            raise _lost() from error
        finally:
            with contextlib.suppress(Exception):
                client.close(timeout=5)


@functools.cache
def _is_there(link: str) -> bool:
    """Whether a scheduler has this page, or cannot be asked from here: its address is known also where it has none."""
    try:
        urllib.request.urlopen(link, timeout=_SILENT_AT_END).close()
    except urllib.error.HTTPError as error:
        return error.code != 404
    except (OSError, ValueError):
        return True
    return True


@contextlib.contextmanager
def _without_logs() -> Iterator[None]:
    """Nothing of Dask's logs meanwhile: a scheduler that goes away is pages to them, a line to us."""
    loggers = [logging.getLogger(name) for name in _LOGS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _client(address: str, where: Mapping[str, str]) -> distributed.Client:
    """A client of the scheduler there. What answers may be none: then Dask's own limit of time does not hold."""
    import distributed

    found: list[Any] = []

    def connect() -> None:
        try:
            found.append(distributed.Client(timeout=_SECONDS, set_as_default=False, name="gangue", **where))
        except Exception as error:  # whatever Dask makes of an address that is none, or of a damaged file
            found.append(error)

    connecting, began = threading.Thread(target=connect, daemon=True), time.monotonic()
    connecting.start()
    connecting.join(2 * _SECONDS)
    client = found[0] if found else TimeoutError()
    if isinstance(client, OSError):
        waited = round(time.monotonic() - began)
        within = f" in {waited} seconds" if waited else ""
        raise ConnectionError(
            f"beam.cluster: a scheduler must answer at {address}, none did{within}."
            " Start one (dask scheduler), or correct the address"
        ) from None
    if isinstance(client, Exception):
        said = " ".join(f"{type(client).__name__}: {client}".split())
        raise ValueError(
            f"beam.cluster: must be a scheduler's address (tcp://HOST:8786) or its file, got {address} ({said})."
            " Correct it"
        ) from None
    return client


def faults(client: distributed.Client, data: Data, resources: Mapping[str, float]) -> list[str]:
    """What would go wrong on some worker, a line each: it does not answer, other code, unseen data, no accelerator."""
    ours, lines = versions(), []
    for worker, found in sorted(_answers(client, _SILENT, importlib.metadata.version, "gangue").items()):
        if isinstance(found, ImportError):  # what is not ours is there
            lines.append(f"worker {worker} must have gangue installed: pip install 'gangue[cluster]'")
        if isinstance(found, TimeoutError):
            lines.append(_silence(worker))
    if lines:
        return lines
    codes = _answers(client, _SILENT, code)  # of older code an error: it has no such function
    for worker, theirs in sorted(_asked(client, _SILENT, versions).items()):
        other = [f"{name} {theirs[name]} for {ours[name]}" for name in ours if theirs[name] != ours[name]]
        if other:
            lines.append(f"worker {worker} must have the versions of this process, has {', '.join(other)}")
        elif not isinstance(found := codes.get(worker, code()), OSError) and found != code():
            lines.append(
                f"worker {worker} must have the code of this process, has other code as gangue {ours['gangue']}."
                " Install this process's there, and start the worker again"
            )
    with disk.token(data.root) as (path, content):
        for worker, seen in sorted(_asked(client, _SILENT, _seen, data.root, path).items()):
            if seen != content.decode():
                lines.append(
                    f"worker {worker} must see the datasets at {data.root}, and does not ({seen}). Name a folder that"
                    " is mounted there too, or a bucket: --data s3://BUCKET/JOB"
                )
    there = [worker["resources"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    for kind, count in resources.items():
        if not any(each.get(kind, 0) >= count for each in there):
            lines.append(
                f"a worker must have what beam.accelerator names, {kind} {count:g}, none has. Start it with --resources"
                f" '{kind}={count:g}', or leave beam.accelerator out"
            )
    return lines


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that bytes depend on; "none" for what is not there."""
    found = {"Python": platform.python_version()}
    for name in _ALIKE:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def code() -> str:
    """What tells the code of this process from any other, also of the same version."""
    return _CODE


def _code_of(package: pathlib.Path) -> str:
    """A hash of the files of a package, by their paths in it."""
    digest = hashlib.blake2b(digest_size=16)
    found = [os.path.join(folder, name) for folder, _, names in os.walk(package, followlinks=True) for name in names]
    for path, name in sorted((os.path.relpath(file, package), file) for file in found if file.endswith(_SHIPPED)):
        content = pathlib.Path(name).read_bytes()
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


# Now, for the files may change while a worker runs the earlier code.
_CODE = _code_of(pathlib.Path(__file__).parents[2])


def _asked(
    client: distributed.Client, seconds: float | None, call: Callable[..., Result], *given: Any
) -> dict[str, Result]:
    """What a call returns on each worker, but for those that go away meanwhile: others will do their work.

    Raises:
      ConnectionError: one does not answer.
    """
    answers = _answers(client, seconds, call, *given)
    for worker, answer in answers.items():
        if isinstance(answer, TimeoutError):
            raise ConnectionError(f"beam.cluster: {_silence(worker)}")
        if isinstance(answer, Exception) and not isinstance(answer, OSError):
            raise answer
    return {worker: answer for worker, answer in answers.items() if not isinstance(answer, OSError)}


def _answers(
    client: distributed.Client, seconds: float | None, call: Callable[..., Any], *given: Any
) -> dict[str, Any]:
    """What a call returns or raises on each worker; of one that does not answer in so many seconds a ``TimeoutError``.

    One that is stopped would be waited for until the scheduler gives it up, which may never be. One that went away
    after the scheduler named it does not answer either: the scheduler then tries its address for 30 seconds.
    """

    async def answer(worker: str) -> Any:
        try:
            running = client._run(call, *given, workers=[worker], on_error="return")
            return (await asyncio.wait_for(running, seconds))[worker]
        except TimeoutError as error:
            known = await client.scheduler.identity(n_workers=-1)
            return error if worker in known["workers"] else ConnectionError(f"worker {worker} went away")

    async def answers(workers: list[str]) -> dict[str, Any]:
        return dict(zip(workers, await asyncio.gather(*map(answer, workers)), strict=True))

    found: dict[str, Any] = client.sync(answers, list(client.scheduler_info(n_workers=-1)["workers"]))
    return found


def _silence(worker: str) -> str:
    return (
        f"worker {worker} must answer, and did not in {_SILENT} seconds: it is stopped, or its machine does nothing but"
        " swap. End it or let it go on, and run the same command again"
    )


def _lost() -> ConnectionError:
    return ConnectionError(
        "beam.cluster: the scheduler must answer until all is done, it went away. Start it, unless something else does,"
        " and run the same command again: what was finished is kept"
    )


def _seen(root: str, path: str) -> str:
    """What a worker reads there, or why it reads nothing."""
    try:
        return str(disk.filesystem_of(root)[0].cat_file(path), "ascii")
    except Exception as error:  # whatever a file system's client raises
        return (str(error).strip().splitlines() or [type(error).__name__])[-1]


async def _said(call: Callable[[], Any]) -> str | None:
    """What a call raises on a worker, which answers others meanwhile: it may copy a model."""
    try:
        await asyncio.to_thread(call)
    except (OSError, ValueError) as error:
        return str(error)
    return None


class Workers:
    """The workers of a cluster, as an executor for one stage."""

    def __init__(self, client: distributed.Client, stage: str, data: Data) -> None:
        self._futures: list[_Future]
        self._client, self.stage, self._futures, self._told = client, stage, [], ""
        self._job = f"gangue {hashlib.blake2b(data.root.encode(), digest_size=8).hexdigest()}"
        self._run = f"{self._job} {uuid.uuid4().hex}"
        if self._at_work():
            log.say(stage, "waiting for what the cluster still does of a run before")
        while self._at_work():  # what it writes must not meet what we write
            time.sleep(0.2)

    def submit(self, work: Callable[[Any], Result], element: Any, resources: Mapping[str, float]) -> _Future:
        """Have a worker call ``work``, one that has these resources."""
        key = f"{self._run} {self.stage} {len(self._futures)} {element}"
        future = self._client.submit(work, element, key=key, resources=dict(resources) or None)
        self._futures.append(_Future(future, element, functools.partial(self._look, resources)))
        return self._futures[-1]

    def _look(self, resources: Mapping[str, float]) -> None:
        """Say once that nobody is there to do what is waited for, by a worker with these resources."""
        if self._client.status != "running":
            return
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        able = [one for one in workers if all(one["resources"].get(kind, 0) >= n for kind, n in resources.items())]
        said = ""
        if not able:
            needed = " ".join(f"{kind}={count:g}" for kind, count in resources.items())
            which, option = (f" with {needed}", f" --resources '{needed}'") if needed else ("", "")
            said = f"no worker is left{which}; waiting for one: dask worker {self._client.scheduler.address}{option}"
        elif all(one["status"] == "paused" for one in able):
            said = (
                "all workers are paused, since their memory is nearly full; waiting for one. Give them more: dask"
                " worker --memory-limit"
            )
        if said and said != self._told:
            log.say(self.stage, said)
        self._told = said

    def everywhere(self, call: Callable[[], Any]) -> list[str]:
        """Which errors a call raises on the workers, a line each."""
        late = threading.Timer(_SILENT, log.say, (self.stage, "waiting for all workers, of which some copy a model"))
        late.daemon = True
        late.start()
        try:
            said = _asked(self._client, None, _said, call)
        finally:
            late.cancel()
        return [f"worker {worker}: {error}" for worker, error in sorted(said.items()) if error is not None]

    def end(self) -> None:
        """Have nothing of it done that has not begun, and wait for what has: it may be writing.

        Where the scheduler is gone, or a worker does not answer, nobody knows of it: the next run waits.
        """
        if self._client.status != "running":
            return
        self._client.cancel([each.future for each in self._futures])
        self._futures.clear()
        while True in _answers(self._client, _SILENT_AT_END, _does, self._job).values():
            time.sleep(0.1)

    def _at_work(self) -> bool:
        """Whether a worker does anything for the datasets of this root; the scheduler forgets what was cancelled."""
        return any(_asked(self._client, _SILENT, _does, self._job).values())


class _Future:
    """What a worker will return."""

    def __init__(self, future: distributed.Future, element: Any, look: Callable[[], None]) -> None:
        self.future, self._element, self._look = future, element, look

    def result(self) -> Any:
        """It, as soon as it is there; what the work raised is raised.

        Raises:
          ChildProcessError: workers died of it.   ConnectionError: the scheduler is gone.
        """
        import distributed

        try:
            while not self.future.done():
                with contextlib.suppress(TimeoutError):
                    self.future.result(timeout=_SECONDS)
                if not self.future.done():
                    self._look()
            counts = self.future.result()
        except distributed.KilledWorker as error:
            raise ChildProcessError(
                f"{self._element} took {error.allowed_failures + 1} workers of the cluster with it, most"
                " likely for want of memory. Give them more (dask worker --memory-limit), or lower the rows per shard"
                " under ingest, and run the same command again"
            ) from None
        except (concurrent.futures.CancelledError, distributed.comm.CommClosedError):
            raise _lost() from None  # only a client without its scheduler cancels what we wait for
        if isinstance(counts, collections.Counter):
            progress.advance(counts["in"])
        return counts


def _does(job: str, dask_worker: distributed.Worker) -> bool:
    with dask_worker.active_threads_lock:
        return any(str(key).startswith(job) for key in dask_worker.active_threads.values())
