"""For every test: what hypothesis draws is judged by what comes, never by how long it took on a busy machine."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("few", settings.get_profile("headrace"), max_examples=25, derandomize=True, database=None)
settings.load_profile(os.environ.get("HEADRACE_EXAMPLES", "headrace"))
