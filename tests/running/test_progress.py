"""What whoever waits gets to see: a bar on a terminal, a line every ten seconds in a log."""

import contextlib
import io
import itertools
import os
import time
import types

import apache_beam as beam
import pytest
from rich.console import Console

from gangue.pipeline import params
from gangue.transforms.datasets.names import shard_names
from gangue.transforms.datasets.storage import Data
from gangue.transforms.records import runs
from gangue.transforms.running import progress, runner
from gangue.transforms.running.counts import Counts
from gangue.transforms.running.shards import ForEachShard
from gangue.transforms.sources import blocks


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass from one look at the clock to the next: the first look is at zero."""

    def tick(*seconds):
        times = itertools.accumulate([0, *seconds])
        monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: next(times)))

    return tick


def test_a_log_gets_a_line_at_most_every_ten_seconds(clock, capsys):
    clock(4, 4, 4, 9, 1)
    with progress.shown("embed", 100):
        for _ in range(5):
            progress.advance(12)
    assert capsys.readouterr().err.splitlines() == [
        "embed: 36/100 rows, 3 rows/s, 21 s left",
        "embed: 60/100 rows, 3 rows/s, 15 s left",
    ]


def test_where_the_total_is_unknown_a_line_tells_how_much_is_done_and_how_fast(clock, capsys):
    clock(20)
    with progress.shown("ingest", None, "records"):
        progress.advance(8192)
    assert capsys.readouterr().err == "ingest: 8192 records, 410 records/s\n"


def test_reading_a_source_counts_its_records(tmp_path, clock, capsys):
    (block,) = blocks.in_blocks([blocks.rejected("file", line, "empty", "") for line in (1, 2)])
    clock(1, 10)
    with progress.shown("ingest", None, "records"):
        runs.spill(Data(str(tmp_path)), [block, block])
    assert capsys.readouterr().err == "ingest: 4 records, 0 records/s\n"


@pytest.mark.parametrize(("total", "seen"), [(None, "7 records"), (70, "7/70 records")])
def test_a_terminal_gets_a_bar_with_or_without_a_total(monkeypatch, total, seen):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    with progress.shown("ingest", total, "records"):
        progress.advance(7)
        bar = progress._reporter.bar
        paper = Console(file=io.StringIO(), width=120)
        paper.print(bar.get_renderable())
    assert "ingest" in paper.file.getvalue()
    assert seen in paper.file.getvalue()
    assert "records/s" in paper.file.getvalue()


def test_nobody_watching_is_no_error():
    progress.advance(3)


def work(shard):
    progress.advance(3)  # some batches of a model
    time.sleep(0.3)
    return Counts({"in": 40, "out:done": 40})


@pytest.mark.parametrize("workers", [1, 2])
def test_the_rows_of_all_workers_are_shown_by_their_parent(workers, tmp_path, monkeypatch):
    shown = []
    reporter = types.SimpleNamespace(advance=shown.append)

    def watched(title, total, unit="rows"):
        monkeypatch.setattr(progress, "_reporter", reporter)
        return contextlib.nullcontext()

    monkeypatch.setattr(progress, "shown", watched)
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    shards = shard_names(4)

    def build(root):
        return root | beam.Create(shards) | ForEachShard(work)

    runner.run("test", build, Data(str(tmp_path)), params.Beam(workers=workers), rows=160)
    assert sum(shown) == 160
    assert len(shown) > 1, "as it went on, not at the end only"
