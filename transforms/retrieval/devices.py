"""Devices (GPUs) of this machine that exact search may use, and when they are worth it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PAIRS = 1 << 25
"""Queries x documents of a search for which a device is opened: two cores take about a quarter of a second, to load
torch and to open a device takes seconds, once in a process."""

_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # of NVIDIA, of NVIDIA under Windows' Linux, of AMD


def pay(queries: int, documents: int) -> bool:
    """Whether a search of so many documents for so many queries is worth a device."""
    return queries * documents >= PAIRS


def found() -> tuple[torch.device, ...]:
    """What torch can use here; without one of the drivers that it knows, torch is not loaded to say that it is nothing.

    With ``NVIDIA_TF32_OVERRIDE=1`` NVIDIA's libraries round more than the search can make up for, whatever torch is
    told: then it is nothing too.
    """
    if not any(map(os.path.exists, _DRIVERS)) or os.environ.get("NVIDIA_TF32_OVERRIDE") == "1":
        return ()
    import torch

    return tuple(torch.device("cuda", number) for number in range(torch.cuda.device_count()))
