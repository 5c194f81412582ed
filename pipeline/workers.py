"""Worker processes of a stage: when one dies, the stage ends and says so."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator


class Terminated(KeyboardInterrupt):
    """SIGTERM: for whatever runs the same as Ctrl-C."""


_PATIENCE = 10.0  # seconds that Beam may take to end its other workers
_deaths: list[str] = []  # of worker processes
_watches: list[object] = []  # one while a pipeline runs


def _notice(failed: threading.ExceptHookArgs) -> None:
    """Interrupt the run when a worker process dies: Beam lets the thread that minds it fail, and waits for ever."""
    name = failed.thread.name if failed.thread else ""
    if name == "run_worker":
        _deaths.append(str(failed.exc_value))
        watch = _watches[:]
        while watch and watch == _watches and callable(signal.getsignal(signal.SIGINT)):  # it is not stopping already
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # wakes it where it waits
            time.sleep(_PATIENCE)  # and again: a library may have swallowed what it raised
    elif name not in ("read_grpc_client_inputs", "beam_control_read"):  # which hear of it too
        threading.__excepthook__(failed)


@contextlib.contextmanager
def watched(stage: str, workers: int) -> Iterator[None]:
    """Watch over worker processes.

    Raises:
      ChildProcessError: one died.   KeyboardInterrupt: it was interrupted, as this process was.
    """
    _deaths.clear()
    _watches[:] = [object()]
    if workers > 1:
        threading.excepthook = _notice  # for good: threads may fail until the process ends
    try:
        yield
    except KeyboardInterrupt:
        code = _deaths[0].split()[-1] if _deaths else "130"
        if code in ("130", "-2"):
            raise
        if code in ("143", "-15"):
            raise Terminated from None
        raise ChildProcessError(
            f"{stage}: a worker process must live until its work is done, one ended with code {code} (137: killed, most"
            " likely for want of memory). Lower beam.workers, or the rows per shard under ingest, and run the same"
            " command again"
        ) from None
    finally:
        _watches.clear()
