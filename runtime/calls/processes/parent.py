"""A child process ends when its parent does, however that ends."""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""Of `prctl(2)` on Linux."""


def die_with(parent: int) -> None:
    """Have the system kill this process as soon as the thread that started it has ended, on Linux; elsewhere, nothing is
    done. `parent`: the process id that the parent is to have; where it is gone already, this process ends here."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
