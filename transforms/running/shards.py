"""The one shape of every pipeline here: a function applied to each shard, wherever Beam puts it.

The elements are names of shards, never rows, texts or vectors: those go through files (a row costs Beam 4 us
a step, a vector in a shuffle five times its memory). What a function returns are its counts; they reach the
runner as Beam metrics, and the runner holds them against the files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from gangue.transforms import at_hand
from gangue.transforms.running import heap, interruption, progress, workers
from gangue.transforms.running.counts import Counts as Counts
from gangue.transforms.settings import sections

_NAMESPACE = "gangue"

_failures: list[BaseException] = []


@contextlib.contextmanager
def failures() -> Iterator[list[BaseException]]:
    """What work raises in this process while the block runs, as it was raised: Beam hands on text only."""
    _failures.clear()
    try:
        yield _failures
    finally:  # they hold the memory of their frames
        _failures.clear()


def counts_of(result: Any) -> Counts:
    """What was counted in a pipeline that is done."""
    counters = result.metrics().query()["counters"]
    ours = (metric for metric in counters if metric.key.metric.namespace == _NAMESPACE)
    return Counts({metric.key.metric.name: metric.committed for metric in ours})


@dataclasses.dataclass
class ForEachShard(beam.PTransform):
    """Call ``work`` once for each element.

    In: elements that name work: shards, files, folds.  Out: the same elements, when their work is done.
    Counts what ``work`` counts: ``in`` for rows read, ``out:REASON`` for where each went, ``rows:DATASET`` for
    rows written, anything else for the log.
    """

    work: Callable[[Any], Counts]
    after: Any = None  # a PCollection that must be done first
    needs: sections.Beam | None = None  # its machine is to have what this names for models; None: any machine

    def expand(self, elements: Any) -> Any:
        """Wire the transform; a reshuffle lets a runner that has machines spread the elements over them."""
        runner = elements.pipeline.options.view_as(StandardOptions).runner
        spread = elements if runner == "FnApiRunner" else elements | beam.Reshuffle()  # half of an empty stage's time
        waited = [] if self.after is None else [beam.pvalue.AsList(self.after)]
        resources, hints = (self.needs.resources, self.needs.hints) if self.needs else ({}, {})
        work = beam.ParDo(_Work(self.work, resources, at_hand.run()), *waited).with_output_types(elements.element_type)
        return spread | work.with_resource_hints(**hints)


class _Work(beam.DoFn):
    def __init__(self, work: Callable[[Any], Counts], resources: Mapping[str, float], run: str) -> None:
        self._work, self._resources, self._run = work, resources, run

    def start_bundle(self) -> None:
        self._at_work: list[tuple[Any, workers.Future]] = []

    def process(self, element: Any, waited: Any = None) -> Iterator[Any]:
        work = functools.partial(_explained, self._run, self._work)
        future = workers.submit(work, element, self._resources)
        if future is not None:
            self._at_work.append((element, future))
            return
        with _noted():
            counts = work(element)
        _count(counts)
        yield element

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for element, future in self._at_work:
            with _noted():
                counts = future.result()
            _count(counts)
            yield GlobalWindows.windowed_value(element)


@contextlib.contextmanager
def _noted() -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        _failures.append(error)
        raise


def _explained(run: str, work: Callable[[Any], Counts], element: Any) -> Counts:
    """Call ``work``; its errors name the element. What it did not show by itself as it went on is shown at its end.

    In a process that worked for another run of a stage nothing of that stays at hand.
    """
    try:
        with at_hand.working(run) as another:
            if another:
                heap.keep(block=8, on_top=32)
            before = progress.advanced()
            counts = work(element)
            progress.advance(max(0, counts["in"] - (progress.advanced() - before)))
        return counts
    except (ValueError, OSError) as error:
        said = f"{interruption.in_words(error)}{_on_worker()}" if isinstance(error, OSError) else error
        raise ValueError(f"{said} (in {element})") from error
    except Exception as error:
        raise RuntimeError(f"{type(error).__name__}: {error} (in {element})") from error


def _on_worker() -> str:
    """Which worker of a cluster this is, for what is wrong with its machine; nothing in a process of this one."""
    if "distributed.worker" in sys.modules:
        with contextlib.suppress(ValueError):  # a process that is none
            return f" on worker {sys.modules['distributed.worker'].get_worker().address}"
    return ""


def _count(counts: Counts) -> None:
    for name, count in counts.items():
        Metrics.counter(_NAMESPACE, name).inc(count)
