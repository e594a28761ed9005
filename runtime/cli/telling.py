"""What becomes of standard error where nobody reads it.

It can be closed, full, or a terminal that is gone. Telling then stops, and nothing else: no run ends by it, and no exit
status changes (L91).
"""

from __future__ import annotations

import contextlib
import os
import sys


def silence() -> None:
    """From now on nobody is told anything; what waits to be written would fail again at the end of the process."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        if nowhere != 2:
            os.close(nowhere)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - as long as the process


def is_heard() -> bool:
    """Whether standard error is open. Where it is not, the next file that is opened would take its place."""
    try:
        os.fstat(2)
    except OSError:
        return False
    return sys.stderr is not None
