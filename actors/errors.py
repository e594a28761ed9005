"""The root of all errors of Headrace's own.

The errors of one actor stand in that actor's file; `headrace.runtime.errors` has all that are public.
"""

from __future__ import annotations


class HeadraceError(Exception):
    """Root of the errors that Headrace itself raises."""


class InternalError(HeadraceError, AssertionError):
    """Something that cannot be was found: a fault of Headrace's own. The message says
    what should hold and does not, or what was found."""
