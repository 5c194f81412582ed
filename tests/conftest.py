"""Fixtures: the real data sets, where they are at hand."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import pytest
from hypothesis import settings

settings.register_profile("gangue", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("gangue")


@pytest.fixture
def shared_data() -> Callable[[str], pathlib.Path]:
    """Folder of a real data set, below $GANGUE_SHARED_DATA or beside the repository; skips without it."""
    beside = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    root = pathlib.Path(os.environ.get("GANGUE_SHARED_DATA", beside))

    def folder(name: str) -> pathlib.Path:
        if not (root / name).is_dir():
            pytest.skip(f"no data set {name}: set GANGUE_SHARED_DATA to the folder that has it")
        return root / name

    return folder
