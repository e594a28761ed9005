"""What each client's exception was taken for: filled in by the tests, printed at their end."""

from __future__ import annotations

from .failures import DATABASE, NETWORK, STATUS

CELLS: dict[tuple[str, str], str] = {}
"""Client and failure: the first letter of the verdict, with an exclamation mark where it is wrong."""


def as_text() -> str:
    """One line a client, one column a failure, in two blocks."""
    clients = list(dict.fromkeys(client for client, _ in CELLS))
    letters = (
        "T transient, P permanent, R refused, X exhausted, ! wrong, . does not happen, - not tried (nothing installed)"
    )
    lines = [letters]
    for failures in (list(NETWORK), list(STATUS), list(DATABASE)):
        shown = [client for client in clients if any((client, failure) in CELLS for failure in failures)]
        lines.append("")
        for number, failure in enumerate(failures, 1):
            lines.append(f"  {number:2} {failure}")
        lines.append(" " * 18 + "".join(f"{number:>3}" for number in range(1, len(failures) + 1)))
        for client in shown:
            lines.append(f"{client:18}" + "".join(f"{CELLS.get((client, failure), '.'):>3}" for failure in failures))
    judged = [cell for cell in CELLS.values() if cell not in (".", "-")]
    lines += ["", f"{sum('!' not in cell for cell in judged)} of {len(judged)} cells are right"]
    return "\n".join(lines)
