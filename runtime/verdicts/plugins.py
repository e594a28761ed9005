"""What installed packages bring, by entry point group: classifiers of errors, and readers of headers.

    [project.entry-points."headrace.classifiers"]
    acme = "acme_client.headrace:classify"

    [project.entry-points."headrace.headers"]
    acme = "acme_client.headrace:quotas"

A classifier is a callable that takes an exception and returns a `Verdict`, one of the words "transient", "permanent",
"refused" and "exhausted", or None for an exception that it does not know. It is asked after the user's own
`Retry(classify=)` and before the table.

A reader is a callable that takes the headers of an answer and returns a list of `Quota`, or None for headers that are not in
its dialect. It is asked after the user's own `Limit(headers=)` and before the table; `Limit(headers="acme")` asks it alone.

They are loaded when they are first needed. One that cannot be loaded or that raises is left out from then on, and a
RuntimeWarning says which and why.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..text import told

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class Plugin(NamedTuple):
    """One of them. `known_as`: its name and what it is, for people."""

    name: str
    known_as: str
    ask: Callable[[object], Any]


class Plugins:
    """Those of one group. `what`: one of them is called so."""

    def __init__(self, group: str, what: str) -> None:
        self._group = group
        self._what = what
        self._lock = threading.Lock()
        self._loaded: list[Plugin] | None = None

    def asked(self, about: Any, checked: Callable[[Any], object] | None = None) -> Any:
        """What the first of them says that knows it; None if none does. `checked`: makes of that what it is to be, or
        raises."""
        plugins = self._loaded
        if plugins is None:
            if not _can_read_files():
                return None
            plugins = self._load()
        for plugin in tuple(plugins):
            try:
                said = plugin.ask(about)
                if said is not None:
                    return said if checked is None else checked(said)
            except Exception as worse:
                if plugin in plugins:
                    plugins.remove(plugin)
                self._warn(f"The {self._what} {plugin.known_as} raised {told(worse)}. It is left out from now on.")
        return None

    def named(self, name: str) -> Plugin | None:
        """The plug-in of that name; None where there is none."""
        return next((plugin for plugin in self._load() if plugin.name == name), None)

    def names(self) -> list[str]:
        """The names of all plug-ins that are installed."""
        return [plugin.name for plugin in self._load()]

    def forget(self) -> None:
        """Load them anew when they are next needed. For tests."""
        self._loaded = None

    def _load(self) -> list[Plugin]:
        # Not when this module is imported: it takes as long as all the rest, and most runs never need it.
        from importlib.metadata import entry_points

        with self._lock:
            if self._loaded is None:
                found = [self._of(entry) for entry in entry_points(group=self._group)]
                self._loaded = [plugin for plugin in found if plugin is not None]
            return self._loaded

    def _of(self, entry: EntryPoint) -> Plugin | None:
        known_as = f"{entry.name!r} ({entry.value})"
        try:
            ask = entry.load()
        except Exception as error:
            self._warn(f"The {self._what} {known_as} cannot be loaded: {told(error)}. It is left out.")
            return None
        if not callable(ask):
            self._warn(f"The {self._what} {known_as} is a {type(ask).__name__} and cannot be called.")
            return None
        return Plugin(entry.name, known_as, ask)

    def _warn(self, message: str) -> None:
        warnings.warn(f"{message} Entry point group: {self._group}.", RuntimeWarning, stacklevel=2)


def _can_read_files() -> bool:
    """Whether this process has a file descriptor left. Where it has none, installed packages look as if there were none."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True


classifiers = Plugins("headrace.classifiers", "classifier")
readers = Plugins("headrace.headers", "reader of headers")
