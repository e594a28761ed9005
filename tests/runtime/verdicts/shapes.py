"""Exceptions of packages that are not installed, by their shape: the module and name of the class, and its attributes."""

from __future__ import annotations

import json
from typing import Any


def shaped(path: str, *args: Any, bases: tuple[type, ...] = (Exception,), **fields: Any) -> BaseException:
    """`shaped("openai.RateLimitError", status_code=429)` is an exception of such a class with such attributes."""
    module, _, name = path.rpartition(".")
    error: BaseException = type(name, bases, {"__module__": module})(*args)
    for field, value in fields.items():
        setattr(error, field, value)
    return error


class Response:
    """An answer as httpx and requests have it, with its body in memory."""

    def __init__(self, status: int, body: Any = None, **headers: str) -> None:
        self.status_code = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._content = b"" if body is None else json.dumps(body).encode()


def http(status: int, body: Any = None, **headers: str) -> BaseException:
    """What `raise_for_status()` raises."""
    return shaped("requests.exceptions.HTTPError", bases=(OSError,), response=Response(status, body, **headers))
