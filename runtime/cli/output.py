"""How the commands print. What they print quotes rows, errors, names and paths, so everything goes through here (L81)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from ..text import visible, visible_json

WRONG = 2
"""The exit status where the command or a file was wrong."""


def say(text: object, err: bool = False, nl: bool = True) -> None:
    """Print lines for people, on standard output or (`err`) standard error. What a terminal would obey, except for line
    feeds, is made visible, and what the encoding of the stream does not have is written as an escape."""
    _print(visible(str(text), multiline=True), err, nl)


def say_json(text: str) -> None:
    """Print JSON on standard output, with what a terminal would obey written as JSON's own escapes."""
    _print(visible_json(text), False, True)


def wrong(what: object) -> NoReturn:
    """Say what was wrong with the command or a file, and end."""
    say(what, err=True)
    sys.exit(WRONG)


def _print(text: str, err: bool, nl: bool) -> None:
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err, nl=nl)


class _Text(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Text that UTF-8 can hold, which not every argument is: a command line is bytes."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            str(value).encode("utf-8")
        except UnicodeEncodeError:
            self.fail(f"{value!r} is no text in UTF-8", param, ctx)
        return str(value)


TEXT = _Text()


class Group(click.Group):
    """A group of commands whose own messages about what was wrong are made visible too: they quote arguments."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        with _visible_errors():
            return super().make_context(*args, **options)

    def invoke(self, context: click.Context) -> Any:
        with _visible_errors():
            return super().invoke(context)


@contextmanager
def _visible_errors() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        raise click.UsageError(visible(error.format_message(), multiline=True), error.ctx) from None
