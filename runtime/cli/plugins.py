"""`headrace plugins`: what installed packages bring."""

from __future__ import annotations

import json

import click

from .output import say, say_json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, a list of objects.")
@click.pass_context
def plugins(context: click.Context, *, as_json: bool) -> None:
    """List what installed packages bring: sources, sinks, classifiers, readers of headers, stores of journals.

    Each is loaded, to see whether it can be used; the exit status is 1 where one cannot.
    """
    import msgspec

    from ..connectors.plugins import installed

    found = installed()
    if as_json:
        say_json(json.dumps([msgspec.structs.asdict(each) for each in found]))
    elif not found:
        say("no package brings anything; how one does is told in the page about entry points")
    for each in () if as_json else found:
        state = f"cannot be used: {each.wrong}" if each.wrong is not None else "ok"
        say(f"{each.group.removeprefix('headrace.'):<12} {each.name:<16} {each.value}  ({each.package})  {state}")
    context.exit(int(any(each.wrong is not None for each in found)))
