"""What can be wrong with a journal, whichever store it is kept in, in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from headrace.runtime.errors import ConfigError, HeadraceError
from headrace.runtime.text import kind_of


class Damaged(HeadraceError):
    """Something in the journal is not what was written."""


class StoreFailed(HeadraceError):
    """The store could not do what it was told. The message says why, to go on with after the journal's name."""


class StoreLost(HeadraceError):
    """The journal is not under its name any more, or belongs to another owner. The message is a whole sentence."""


def damaged(name: str, error: object) -> ConfigError:
    """What a person is told of it."""
    return ConfigError(f"{name}: is damaged ({error}); nothing was changed. Restore it from a copy")


@contextmanager
def in_words(name: str) -> Iterator[None]:
    """What is wrong with a journal becomes a `ConfigError`."""
    try:
        yield
    except StoreFailed as error:
        raise ConfigError(f"{name}: {error}") from error
    except StoreLost as error:
        raise ConfigError(str(error)) from error
    except Damaged as error:
        raise damaged(name, error) from error
    except HeadraceError:
        raise
    except (msgspec.MsgspecError, ValueError, LookupError, OverflowError, AssertionError) as error:
        # What was read is not what was written.
        raise damaged(name, f"{kind_of(error)}: {error}") from error
