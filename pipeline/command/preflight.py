"""What can be known to go wrong before the first stage runs: where things are read from and written to."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
from collections.abc import Iterator

from gangue.pipeline import params, plan
from gangue.transforms import log
from gangue.transforms.datasets import disk, ownership, remote
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import protocol

# file -> what is in it where Gangue wrote it, a pattern
_CARD = {"README.md": "mined by Gangue"}
_REPORTS = {
    "report.html": "<title>Gangue",
    "metrics.json": '"leak"',
    "audit.json": '"leak"',
    "plots/verdicts.svg": 'aria-label="Candidates by verdict"',
}
_FRONTIER = {"frontier.json": '"fn_low"', "frontier.svg": 'aria-label="False negatives against hardness"'}
_LABELS = {"labels.json": '"of": "[0-9a-f]{16}"'}


def check(data: Data, p: params.Params, reports: str) -> None:
    """Check that a job may run: its source is not among its datasets, and nothing of the user's is in the way.

    Args:
      data: where the datasets go.   p: params.   reports: where report and metrics go.

    Raises:
      ValueError: says which path, the rule and the cure.
    """
    check_source(data, p)
    check_retrievers(p)
    check_folder(reports, "--reports")
    for dataset in datasets(p):
        data.check_ours(dataset)
    check_card(data)
    check_report(Data(reports), p)
    _tell_of_another_report(data, Data(reports))


def check_card(data: Data) -> None:
    """Check that the file that describes the triplets, which ``export`` writes, would replace none of the user's.

    Raises:
      ValueError: it would.
    """
    _check_files(data, "--data", _CARD)


def check_report(reports: Data, p: params.Params) -> None:
    """Check that what ``audit`` writes would replace no file of the user's.

    Raises:
      ValueError: it would.
    """
    scores = (f"plots/score_{name}.svg" for name in (*p.retrievers, *p.scorers))
    _check_files(reports, "--reports", _REPORTS | dict.fromkeys(scores, 'aria-label="Scores of positives and'))


def _tell_of_another_report(data: Data, reports: Data) -> None:
    from gangue.transforms.evidence import lineage

    with contextlib.suppress(ValueError):  # a damaged one tells of nothing, and is replaced
        if lineage.of_another_job(data, reports):
            log.say(
                "gangue mine",
                f"{reports.root} has the report of other triplets than those of {data.root}, which will be replaced."
                " Name a folder for each job to keep both: --reports",
            )


def check_frontier(reports: Data) -> None:
    """The same of ``gangue frontier``."""
    _check_files(reports, "--reports", _FRONTIER)


def check_labels(reports: Data) -> None:
    """The same of ``gangue labels``."""
    _check_files(reports, "--reports", _LABELS)


def check_source(data: Data, p: params.Params) -> None:
    """Check that the datasets go into a folder, and that nothing the source names is in it.

    Raises:
      ValueError: it is no folder, or something is.
    """
    check_folder(data.root, "--data")
    if data.root.startswith("memory://") and (p.beam.workers > 1 or p.beam.cluster):
        raise ValueError(f"--data: {data.root} is seen by one process alone. Set beam.workers: 1, or name a folder")
    inside = _real(data.root).rstrip("/") + "/"
    for key, path in _sources(p.source):
        if (_real(path).rstrip("/") + "/").startswith(inside):
            raise ValueError(
                f"{key}: {path} must not be in the folder of the datasets, {data.root}, which Gangue fills and empties."
                " Move it, or name another folder for the datasets: --data"
            )


def check_retrievers(p: params.Params) -> None:
    """Check that what the retrievers need is installed.

    Raises:
      ValueError: it is not.
    """
    for name, retriever in p.retrievers.items():
        protocol.check(retriever, name)


def check_folder(path: str, option: str) -> None:
    """Check that a path is a folder, or free.

    Raises:
      ValueError: a file is there.
    """
    filesystem, inside = disk.filesystem_of(path)
    if filesystem.isfile(inside):
        raise ValueError(f"{option}: {path} must be a folder, got a file. Name another")
    disk.check_writable(path)


def datasets(p: params.Params) -> list[str]:
    """Everything a job replaces, as folders under the root of its datasets."""
    return [
        *("documents", "queries", "positives", "judged", "rejected"),
        *(f"{kind}/{name}" for name in p.encoders for kind in ("vectors", "clusters")),
        *(f"{kind}/{name}" for name in p.retrievers for kind in ("indexes", "candidates", "quotas")),
        *(f"{kind}/{name}" for name in p.scorers for kind in ("models", "scores")),
        *(f"sections/{name}" for name in plan.SECTIONS),
        *("pairs", "relevance", "calibration", "verdicts", "negatives", "shortfalls", "triplets", "audit"),
        *(f"views/{view}" for view in p.export.views),
    ]


def _sources(source: params.Source) -> Iterator[tuple[str, str]]:
    """Keys of the source that name files, and their paths."""
    yield "source.path", source.path
    for key in source.files:
        if name := getattr(source, key):
            yield f"source.{key}", posixpath.join(source.path, name)


def _real(path: str) -> str:
    path = disk.absolute(path)
    return path if "://" in path else os.path.realpath(path)


def _check_files(folder: Data, option: str, written: dict[str, str]) -> None:
    filesystem, _ = disk.filesystem_of(folder.root)
    for name, mark in written.items():
        path = folder.path(name)
        with contextlib.suppress(FileNotFoundError):
            if not re.search(mark, remote.content(filesystem, path).decode("utf-8", "replace")):
                raise ownership.in_the_way(folder.shown(name), "it", option)
