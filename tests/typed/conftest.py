"""Type checkers take their time, so they are asked by `make types` and not by `make test`."""

from __future__ import annotations

import os

collect_ignore = [] if os.environ.get("HEADRACE_TYPES") else ["test_types.py"]
