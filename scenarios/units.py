"""What numbers a scenario file holds, by what they may be."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Lesson = Annotated[str, Meta(pattern=r"^L[0-9]{2}$")]
Span = Annotated[list[float], Meta(min_length=2, max_length=2)]
"""From and to, both included."""
Bounds = float | Span
"""A number, or from and to."""
