"""`headrace run`, `check` and `graph`; those about journals and scenarios are in files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from . import journals
from .jobs import (
    ACCEPT_CHANGES,
    FILE,
    JOURNAL_NAME,
    REPLACE,
    SUSPEND_AFTER,
    Shown,
    check_new,
    mark_as_made,
    own_output,
    read_job,
    run_job,
)
from .output import Group, say, wrong
from .plugins import plugins
from .scenarios import scenario, soak

if TYPE_CHECKING:
    from ..files.pipeline_file import Job


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from importlib.metadata import version

        # Not by `say`: what makes text of others visible is not to be imported for this (L46).
        click.echo(f"headrace {version('headrace')}")
        context.exit()


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Say which it is.")
def headrace() -> None:
    """Move rows through slow, flaky, rate-limited calls: in order, at the rate the other side allows, and lose none."""


headrace.add_command(scenario)
headrace.add_command(soak)
headrace.add_command(plugins)
for command in journals.COMMANDS:
    headrace.add_command(command)


@headrace.command()
@FILE
@click.option("--json", "as_json", is_flag=True, help="The report as JSON, on standard output.")
@click.option("--quiet", "-q", is_flag=True, help="No progress and no report; errors only.")
@click.option(
    "--log", type=click.Choice(["debug", "info", "warning"]), help="Log to standard error from this level on."
)
@click.option("--traceback", is_flag=True, help="Where an error came from, too.")
@click.option("--where", metavar="EXPRESSION", help="Only rows of which this is true, such as 'country == \"SE\"'.")
@click.option("--journal", type=JOURNAL_NAME, help="Go on where the run in this file was; begin there if it is new.")
@ACCEPT_CHANGES
@SUSPEND_AFTER
def run(
    file: Path,
    as_json: bool,
    quiet: bool,
    log: str | None,
    traceback: bool,
    where: str | None,
    journal: str | None,
    accept_changes: bool,
    suspend_after: float | None,
) -> NoReturn:
    """Run the pipeline that FILE describes.

    The first Ctrl-C finishes what is under way, the second stops at once.
    """
    job = read_job(file)
    if where is not None:
        job = _with_where(job, where)
    run_job(job, file, journal, accept_changes, Shown(as_json, quiet, log, traceback), suspend_after)


@headrace.command()
@FILE
def check(file: Path) -> None:
    """Say what is wrong with FILE, all of it, or show its graph; run nothing."""
    plan = read_job(file).plan()
    from ..graph.drawing import line, tree

    say(f"{file}: {line(plan) or tree(plan)}")


@headrace.command()
@FILE
@click.option(
    "--format",
    "form",
    type=click.Choice(["mermaid", "dot", "svg"]),
    default="mermaid",
    show_default=True,
    help="Mermaid's or Graphviz's language, or a picture.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="A file, not standard output.")
@REPLACE
def graph(file: Path, form: str, output: Path | None, replace: bool) -> None:
    """Draw the graph that FILE describes."""
    job = read_job(file)
    plan = job.plan()
    from ..errors import ConfigError
    from ..graph import drawing

    try:
        drawn = {"mermaid": drawing.mermaid, "dot": drawing.dot, "svg": drawing.svg}[form](plan)
    except ConfigError as error:
        wrong(str(error))
    if output is None:
        say(drawn)
        return
    try:
        job.pipeline.check_files(job.journal.path if job.journal is not None else None, file, own_output(output))
    except ConfigError as error:
        wrong(str(error))
    check_new(output, "headrace graph", replace)
    try:
        with output.open("w", encoding="utf-8") as made:
            made.write(drawn + "\n")
            mark_as_made(made, "headrace graph")
    except OSError as error:
        wrong(f"{output}: cannot be written: {error.strerror}")


def _with_where(job: Job, where: str) -> Job:
    from msgspec.structs import replace

    from ..errors import ConfigError

    try:
        narrowed = replace(job, pipeline=job.pipeline.where(where))
        narrowed.plan()
    except ConfigError as error:
        wrong(f"--where: {error}")
    return narrowed
