"""How a command ends: in one line, whatever went wrong, and soon after a signal."""

from __future__ import annotations

import _thread
import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

from gangue.transforms import log

INTERRUPTED, TERMINATED = 130, 143  # exit codes
_PATIENCE = 3.0  # seconds that threads have to end after a signal
_struck: type[KeyboardInterrupt] | None = None


class Terminated(KeyboardInterrupt):
    """SIGTERM: for whatever runs the same as Ctrl-C."""


def struck() -> type[KeyboardInterrupt] | None:
    """Which signal ends the command that runs; None: none. Libraries that catch what it raises hand on text."""
    return _struck


def report_errors(command: Callable[[], None]) -> int:
    """Run a command; mistakes of the user or the data end in one plain line, not in a traceback.

    Returns:
      The exit code: 0, 1 for an error, 130 when interrupted, 143 when terminated.
    """
    try:
        with _signals_raise():
            command()
    except ValueError as error:
        return _said(str(error), 1)
    except OSError as error:
        return _said(in_words(error), 1)
    except Terminated:
        return _said("terminated; what was finished is kept. Run the same command to go on", TERMINATED)
    except KeyboardInterrupt:
        return _said("interrupted; what was finished is kept. Run the same command to go on", INTERRUPTED)
    return 0


def end_soon() -> None:
    """Spare Python the look for garbage in all that was loaded before it ends: half a second.

    Not where triton is loaded, which torch brings for GPUs: newer versions print what was not collected.
    """
    if "triton" not in sys.modules:
        gc.freeze()


def leave(code: object) -> None:
    """End a process that a signal stopped, if a thread is left that nobody ends: Python would wait for it for ever.

    A library that is interrupted between the start of a thread and what ends it leaves one: Beam's sampler of states.
    """
    if not isinstance(code, int) or code not in (INTERRUPTED, TERMINATED):
        return
    until = time.monotonic() + _PATIENCE
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise what unwinds the stage; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():  # only there may signals be caught
        yield
        return
    global _struck
    kinds: dict[int, type[KeyboardInterrupt]] = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
    earlier, shown = {number: signal.getsignal(number) for number in kinds}, sys.unraisablehook

    def stop(number: int, _: object) -> None:
        global _struck
        for each in kinds:
            signal.signal(each, signal.SIG_DFL)
        _struck = kinds[number]
        raise _struck

    def repeat(lost: sys.UnraisableHookArgs) -> None:
        """Python drops what is raised while a finaliser or a weak reference's callback runs: raise it once more."""
        number = next((number for number, kind in kinds.items() if lost.exc_type is kind), None)
        if number is None:
            shown(lost)
            return
        signal.signal(number, stop)
        _thread.start_new_thread(again, (number,))  # it waits for nothing: this hook must have ended by then

    def again(number: int) -> None:
        time.sleep(0.2)
        signal.pthread_kill(threading.main_thread().ident or 0, number)

    try:
        sys.unraisablehook = repeat
        for number in kinds:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        sys.unraisablehook = shown
        _struck = None


def in_words(error: OSError) -> str:
    """What the system refused, in words; an error of our own says it already."""
    if error.errno is None or error.strerror is None:
        return str(error)
    where = os.fsdecode(error.filename) if error.filename else "a file"
    return (
        f"{where}: must be there and usable, but the system says: {error.strerror.lower()}. Check the path, its"
        " permissions and the free space, and run the same command again"
    )


def _said(line: str, code: int) -> int:
    log.say("gangue", line)
    return code
