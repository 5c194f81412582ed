"""The ``gangue`` command, with Gangue's own code whatever packages lie in the working folder or on PYTHONPATH.

Gangue's packages have common names, ``pipeline`` and ``transforms``. Those beside this file are meant.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from pipeline.cli import main

__all__ = ["main"]
