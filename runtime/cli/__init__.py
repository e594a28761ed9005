"""The command `headrace`. Nothing is imported before it is needed (L46)."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point; ends the process with the exit status."""
    try:
        import click  # noqa: F401 - asked for here, so that its absence is one line
    except ImportError:
        print("headrace: the command needs the extra 'cli': pip install 'headrace[cli]'", file=sys.stderr)
        sys.exit(2)
    from .commands import headrace
    from .telling import is_heard, silence

    if not is_heard():
        silence()
    headrace()


__all__ = ["main"]
