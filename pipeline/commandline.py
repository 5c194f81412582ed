"""The command line of a stage, and how a command ends: in one line, whatever went wrong."""

from __future__ import annotations

import _thread
import argparse
import contextlib
import gc
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pipeline import params, preflight
from transforms import occupancy
from transforms.storage import Data


class Terminated(KeyboardInterrupt):
    """SIGTERM: for whatever runs the same as Ctrl-C."""


def main(
    stage: str, run_stage: Callable[..., Any], choices: Callable[[params.Params], Sequence[str]] | None = None
) -> None:
    """Command line of one stage: ``python -m pipeline.STAGE [NAME] [--data DIR] [--params FILE] [Beam flags]``.

    ``choices`` lists the names of a stage that runs once per encoder, retriever or scorer.
    """
    gc.freeze()  # what is loaded stays; neither a collection nor the end of the process goes through it again
    gc.enable()
    # Workers import the stage by its name; what is of ``__main__`` here is of another ``__main__`` there.
    module = importlib.import_module(f"pipeline.{stage}")
    run_stage = getattr(module, run_stage.__name__)
    parser = argparse.ArgumentParser(prog=f"python -m pipeline.{stage}", description=module.__doc__)
    if choices:
        parser.add_argument("name", help="which of the params section to run")
    parser.add_argument("--data", default="data", help="root of the datasets: a folder or an fsspec path")
    parser.add_argument("--params", default="params.yaml", help="params file")
    arguments, flags = parser.parse_known_args()

    def command() -> None:
        settings = params.load(arguments.params)
        names = choices(settings) if choices else []
        if choices and arguments.name not in names:
            raise ValueError(f"{arguments.params}: {stage} knows {', '.join(names)}, got {arguments.name}")
        data = Data(arguments.data)
        preflight.check_source(data, settings)
        with occupancy.occupied(data, stage):
            run_stage(data, settings, *([arguments.name] if choices else []), flags=flags)
            check_unchanged(arguments.params, settings)

    code = report_errors(command)
    end_soon()
    sys.exit(code)


def end_soon() -> None:
    """Spare Python the look for garbage in all that was loaded before it ends: half a second.

    Not where triton is loaded, which torch brings for GPUs: newer versions print what was not collected.
    """
    if "triton" not in sys.modules:
        gc.freeze()


def check_unchanged(path: str, settings: params.Params) -> None:
    """Check that the params file still says what the run was told: DVC and the reader take it for what was done.

    Raises:
      ValueError: it was changed meanwhile.
    """
    if params.load(path) != settings:
        raise ValueError(
            f"{path}: must not change while a stage runs, but it did: what was written follows the earlier values."
            " Run the same command again"
        )


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
        return _said(_of_the_system(error), 1)
    except Terminated:
        return _said("terminated; what was finished is kept. Run the same command to go on", 143)
    except KeyboardInterrupt:
        return _said("interrupted; what was finished is kept. Run the same command to go on", 130)
    return 0


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise what unwinds the stage; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():  # only there may signals be caught
        yield
        return
    kinds = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
    earlier, shown = {number: signal.getsignal(number) for number in kinds}, sys.unraisablehook

    def stop(number: int, _: object) -> None:
        for each in kinds:
            signal.signal(each, signal.SIG_DFL)
        raise kinds[signal.Signals(number)]

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


def _of_the_system(error: OSError) -> str:
    """What the system refused, in words; an error of our own says it already."""
    if error.errno is None or error.strerror is None:
        return str(error)
    where = os.fsdecode(error.filename) if error.filename else "a file"
    return (
        f"{where}: must be there and usable, but the system says: {error.strerror.lower()}. Check the path, its"
        " permissions and the free space, and run the same command again"
    )


def _said(line: str, code: int) -> int:
    print(f"gangue: {line}", file=sys.stderr, flush=True)  # noqa: T201
    return code
