"""The root of all errors of Headrace's own.

The errors of one actor stand in that actor's file; `headrace.runtime.errors` has all that are public.
"""

from __future__ import annotations


class HeadraceError(Exception):
    """Root of the errors that Headrace itself raises."""
