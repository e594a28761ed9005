"""How a report is laid out: lines of a label, a figure and a remark, as text of any width and as a table for notebooks.

What stands in them quotes rows, errors, names and paths, so everything is made visible here, and escaped for HTML (L81).
"""

from __future__ import annotations

import html
import shutil
import textwrap
from collections.abc import Iterable
from typing import NamedTuple

from ..text import visible

WIDTH_MIN, WIDTH_MAX = 40, 120
WIDTH = 100
"""Where nobody knows how wide the terminal is, or there is none."""
LABEL_CHARS = 16
"""Indent and label, so that figures of all depths stand below each other."""
VALUE_CHARS = 8


class Line(NamedTuple):
    """One line. `depth`: how far it is indented. `value`: a figure; without one, `label` is a sentence. `remark`: what else
    there is to say, on the same line where there is room. `whole`: it is not broken, so that it can be copied."""

    depth: int
    label: str
    value: str = ""
    remark: str = ""
    whole: bool = False


def terminal_width() -> int:
    """How wide lines may be: as wide as the terminal, within bounds."""
    return max(WIDTH_MIN, min(WIDTH_MAX, shutil.get_terminal_size((WIDTH, 24)).columns))


def as_text(lines: Iterable[Line], width: int) -> str:
    """The lines as text. What does not fit is broken between words, and goes on further to the right."""
    return "\n".join(part for line in lines for part in _parts(line, width))


def _parts(line: Line, width: int) -> list[str]:
    indent = "  " * line.depth
    label, value, remark = visible(line.label), visible(line.value), visible(line.remark)
    if not value:
        head = f"{indent}{label}{f'   ({remark})' if remark else ''}"
        if len(head) <= width:
            return [head]
        if line.whole:
            return (
                [f"{indent}{label}", *_wrapped(f"({remark})", f"{indent}    ", width)]
                if remark
                else [f"{indent}{label}"]
            )
        return _wrapped(f"{label}{f' ({remark})' if remark else ''}", indent, width, f"{indent}    ")
    head = f"{indent}{label:<{LABEL_CHARS - len(indent)}}{value:>{VALUE_CHARS}}"
    if not remark:
        return [head]
    if len(head) + 5 + len(remark) <= width:
        return [f"{head}   ({remark})"]
    return [head, *_wrapped(f"({remark})", f"{indent}    ", width)]


def _wrapped(text: str, indent: str, width: int, then: str | None = None) -> list[str]:
    # Paths, commands and names stay whole, so that they can be copied, though they be too long.
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=then if then is not None else f"{indent} ",
        break_long_words=False,
        break_on_hyphens=False,
    ) or [indent]


def as_html(lines: Iterable[Line]) -> str:
    """The lines as a table. It has no script, no style sheet and nothing from elsewhere."""
    found = list(lines)
    rows = []
    for line in found[1:]:
        label, value, remark = (html.escape(visible(text)) for text in (line.label, line.value, line.remark))
        pad = f'style="padding-left:{0.5 + line.depth:.1f}em;text-align:left;white-space:normal"'
        if value:
            rows.append(
                f'<tr><td {pad}>{label}</td><td style="text-align:right">{value}</td>'
                f'<td style="text-align:left">{remark}</td></tr>'
            )
        else:
            cell = f"<code>{label}</code>" if line.whole else label
            rows.append(f'<tr><td colspan="3" {pad}>{cell}{f" ({remark})" if remark else ""}</td></tr>')
    caption = html.escape(visible(found[0].label)) if found else ""
    return (
        f'<table><caption style="caption-side:top;text-align:left"><b>{caption}</b></caption>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
