"""Classifiers that installed packages bring, by the entry point group `headrace.classifiers`.

    [project.entry-points."headrace.classifiers"]
    acme = "acme_client.headrace:classify"

Each is a callable that takes an exception and returns a `Verdict`, one of the words "transient", "permanent",
"refused" and "exhausted", or None for an exception that it does not know. They are loaded when the first call of the
process fails, and are asked after the user's own `Retry(classify=)` and before the table. One that cannot be loaded
or that raises is left out from then on, and a RuntimeWarning says which and why.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..text import told

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "headrace.classifiers"

_lock = threading.Lock()
_loaded: list[tuple[str, Callable[[BaseException], Any]]] | None = None


def asked(error: BaseException) -> Any:
    """What the first of the installed classifiers that knows the exception says of it. None if none does."""
    classifiers = _loaded
    if classifiers is None:
        if not _can_read_files():
            return None
        classifiers = _load()
    for entry in tuple(classifiers):
        name, classifier = entry
        try:
            said = classifier(error)
        except Exception as worse:
            if entry in classifiers:
                classifiers.remove(entry)
            _warn(f"The classifier {name} raised {told(worse)}. It is left out from now on.")
            continue
        if said is not None:
            return said
    return None


def forget() -> None:
    """Loads the classifiers anew at the next failure. For tests."""
    global _loaded
    _loaded = None


def _can_read_files() -> bool:
    """Whether this process has a file descriptor left. Where it has none, installed packages look as if there were none."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True


def _load() -> list[tuple[str, Callable[[BaseException], Any]]]:
    global _loaded
    # Not when this module is imported: it takes as long as all the rest, and most runs never need it.
    from importlib.metadata import entry_points

    with _lock:
        if _loaded is None:
            found = []
            for entry in entry_points(group=GROUP):
                classifier = _of(entry)
                if classifier is not None:
                    found.append((f"{entry.name!r} ({entry.value})", classifier))
            _loaded = found
    return _loaded


def _of(entry: EntryPoint) -> Callable[[BaseException], Any] | None:
    try:
        classifier = entry.load()
    except Exception as error:
        _warn(f"The classifier {entry.name!r} ({entry.value}) cannot be loaded: {told(error)}. It is left out.")
        return None
    if not callable(classifier):
        _warn(f"The classifier {entry.name!r} ({entry.value}) is a {type(classifier).__name__} and cannot be called.")
        return None
    return classifier  # type: ignore[no-any-return]


def _warn(message: str) -> None:
    warnings.warn(f"{message} Entry point group: {GROUP}.", RuntimeWarning, stacklevel=2)
