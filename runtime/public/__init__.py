"""Headrace moves rows through slow, flaky, rate-limited calls, in order, and loses none.

    from headrace import Pipeline

    report = Pipeline("shout").source(["Lund", "Oslo"]).map(str.upper).sink(print).run()

Every name here is public. Each is imported when it is first used (PEP 562), so that `import headrace` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.runtime import *  # noqa: F403

    __version__: str
    """The version of the package that is installed."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("headrace")
    elif name == "__all__":
        value = [*importlib.import_module("headrace.runtime").__all__, "__version__"]
    elif name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    else:
        runtime = importlib.import_module("headrace.runtime")
        if name not in runtime.__all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(runtime.__all__)}")
        value = getattr(runtime, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *__getattr__("__all__")})
