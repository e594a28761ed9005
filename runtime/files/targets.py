"""What job files name: `module:name`, imported, or the dialect of headers, with each mistake noted at its key and line."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from typing import Any

from ..text import told
from .strict_toml import Reading


def made(reading: Reading, make: Callable[[], object], key: str) -> object:
    """What a class, or a function that makes a source, gives; None where it raises, which is noted."""
    try:
        return make()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        reading.note(key, f"making it raised {told(error)}")
        return None


def named(reading: Reading, target: str | None, key: str) -> Any:
    """The object that a text such as `module:name` names."""
    if target is None:
        return None
    module_name, _, name = target.partition(":")
    try:
        value: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and module_name.split(".")[0] == error.name.split(".")[0]:
            reading.note(key, f"no module {module_name!r}, neither installed nor next to the file")
        else:
            reading.note(key, f"importing {module_name!r} needs the module {error.name!r}, which is not installed")
        return None
    except KeyboardInterrupt:
        # Of whoever waits for it.
        raise
    except BaseException as error:
        # Also a script that calls `sys.exit` when it is imported, which would end the command without a word.
        reading.note(key, f"importing {module_name!r} raised {told(error)}")
        return None
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            near = difflib.get_close_matches(part, dir(value), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            reading.note(key, f"{module_name!r} has no {name!r}{hint}")
            return None
        except Exception as error:
            reading.note(key, f"{module_name!r}: asking for {name!r} raised {told(error)}")
            return None
    return value


def reader(reading: Reading, said: str | None, key: str) -> Any:
    """What reads headers: the object that `module:name` names, or the dialect of that name."""
    if said is None or ":" in said:
        return named(reading, said, key)
    # Only files that say something of headers need it.
    from ..verdicts.quotas import reader_named

    return reading.attempt(key, lambda: reader_named(said))
