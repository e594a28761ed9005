"""How the commands print. What they print quotes rows, errors, names and paths, so everything goes through here (L81)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import click

from .telling import silence

WRONG = 2
"""The exit status where the command or a file was wrong."""


def say(text: object, err: bool = False, nl: bool = True) -> None:
    """Print lines for people, on standard output or (`err`) standard error. What a terminal would obey, except for line
    feeds, is made visible, and what the encoding of the stream does not have is written as an escape."""
    # Imported when there is something to say: `headrace --version` needs none of it (L46).
    from ..text import visible

    _print(visible(str(text), multiline=True), err, nl)


def say_json(text: str) -> None:
    """Print JSON on standard output, with what a terminal would obey written as JSON's own escapes."""
    from ..text import visible_json

    _print(visible_json(text), False, True)


def wrong(what: object) -> NoReturn:
    """Say what was wrong with the command or a file, and end."""
    say(what, err=True)
    sys.exit(WRONG)


def _print(text: str, err: bool, nl: bool) -> None:
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    text = text.encode(encoding, "backslashreplace").decode(encoding)
    if not err:
        try:
            click.echo(text, nl=nl)
        except BrokenPipeError:
            # Whoever read it has had enough; click ends the command.
            raise
        except OSError as error:
            _give_up_output()
            wrong(f"standard output: cannot be written: {error.strerror}")
        return
    # A line of progress may stand there.
    progress = sys.modules.get("headrace.runtime.run.progress")
    if progress is not None:
        progress.erase()
    try:
        click.echo(text, err=True, nl=nl)
    except (OSError, ValueError):
        # Nobody reads it: that ends no run, and changes no exit status (L91).
        silence()


def _give_up_output() -> None:
    """What waits to be written would fail again at the end of the process."""
    import os

    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class _Text(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Text that UTF-8 can hold, which not every argument is: a command line is bytes."""

    name = "text"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
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

    def invoke(self, context: click.Context) -> object:
        _check_folder()
        with _visible_errors():
            return super().invoke(context)


def _check_folder() -> None:
    """Relative paths lead nowhere from a folder that is gone, and Python itself cannot say where it is."""
    import os

    try:
        os.getcwd()
    except OSError:
        wrong("the folder that this command was to run in is gone, or cannot be read: change to another one first")


@contextmanager
def _visible_errors() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        from ..text import visible

        raise click.UsageError(visible(error.format_message(), multiline=True), error.ctx) from None
