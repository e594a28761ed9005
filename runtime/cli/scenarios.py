"""`headrace scenario` and `headrace soak`. What they need is imported when they are used.

Exit status: 0 everything held, 1 something did not, 2 the command or a file was wrong.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from .output import WRONG, say, say_json

if TYPE_CHECKING:
    from headrace.scenarios.play import Played
    from headrace.scenarios.script import Script

FAILED = 1
FEW = 12
"""With more scenarios than this, only those that went wrong have a line of their own."""
NEEDS = "this command needs the extra 'scenarios': pip install 'headrace[scenarios]'"


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """`90`, `90s`, `10m`, `24h`, `7d`, as seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        from headrace.actors.quantities import LONGEST_S

        text = str(value).strip().lower()
        unit = _UNITS.get(text[-1:])
        try:
            seconds = float(text[:-1] if unit else text) * (unit or 1.0)
        except ValueError:
            self.fail(f"{value!r} is no duration; it reads like 90s, 10m, 24h or 7d", param, ctx)
        if not 0 < seconds <= LONGEST_S:
            self.fail(f"{value!r}: a duration is greater than 0, and at most {LONGEST_S:.0e} s (31 years)", param, ctx)
        return seconds


def _ready() -> None:
    try:
        import greenlet  # noqa: F401 - asked for here, so that its absence is one line
    except ImportError:
        say(f"headrace: {NEEDS}", err=True)
        sys.exit(WRONG)


def _read(name: str) -> tuple[Path, Script]:
    from headrace.scenarios.play import check_graph
    from headrace.scenarios.script import find, read

    from ..errors import ConfigError

    try:
        path = find(name)
        script = read(path)
    except ConfigError as error:
        say(f"headrace: {error}", err=True)
        sys.exit(WRONG)
    try:
        check_graph(script)
    except ConfigError as error:
        say(f"headrace: {path}: {error}", err=True)
        sys.exit(WRONG)
    return path, script


@click.group()
def scenario() -> None:
    """Scripted faults: list, show, run and write scenarios."""
    _ready()


@scenario.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON, on standard output.")
def list_(as_json: bool) -> None:
    """The scenarios that come with Headrace: what each shows, and which lessons it answers."""
    from headrace.scenarios.script import SCRIPTS, read

    scripts = [read(path) for path in sorted(SCRIPTS.glob("*.toml"))]
    if as_json:
        told = [{"name": s.name, "shows": s.shows, "lessons": s.lessons} for s in scripts]
        say_json(json.dumps(told, indent=2))
        return
    for script in scripts:
        say(f"{script.name:<32} {', '.join(script.lessons)}")
        say(f"{'':<4}{script.shows}")


@scenario.command()
@click.argument("name")
def show(name: str) -> None:
    """Print the file of one scenario."""
    path, _ = _read(name)
    say(path.read_text(encoding="utf-8"), nl=False)


@scenario.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def new(file: Path) -> None:
    """Write a scenario to start from, with comments, to FILE."""
    if file.exists():
        say(f"headrace: {file} exists; name another one", err=True)
        sys.exit(WRONG)
    from headrace.scenarios.template import TEMPLATE

    try:
        file.write_text(TEMPLATE, encoding="utf-8")
    except OSError as error:
        say(f"headrace: {file} cannot be written: {error}", err=True)
        sys.exit(WRONG)
    say(f"{file} is written; try: headrace scenario run {file} --seeds 100")


@scenario.command()
@click.argument("names", metavar="FILE...", nargs=-1)
@click.option("--seed", type=int, help="Play this seed only; with --seeds or --for, begin with it.")
@click.option("--seeds", type=click.IntRange(min=1), help="Play so many seeds of each scenario.")
@click.option("--for", "for_s", type=Duration(), help="Play as many seeds as fit into this time, such as 3m.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@click.option("--real", is_flag=True, help="On threads, in real time, against a real HTTP service on loopback.")
@click.option(
    "--trace",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the history of one seed here, as JSON lines.",
)
@click.option("--shrink/--no-shrink", default=True, help="Make what broke smaller.")
@click.option("--json", "as_json", is_flag=True, help="What came of it as JSON, on standard output.")
def run(
    names: tuple[str, ...],
    seed: int | None,
    seeds: int | None,
    for_s: float | None,
    jobs: int,
    real: bool,
    trace: Path | None,
    shrink: bool,
    as_json: bool,
) -> NoReturn:
    """Play scenarios: files, or names out of `headrace scenario list`; all of those where none is named."""
    from headrace.scenarios.script import SCRIPTS

    found = [_read(name) for name in names or sorted(path.stem for path in SCRIPTS.glob("*.toml"))]
    if not names and not real:
        from headrace.scenarios.script import LONG

        found = [(path, script) for path, script in found if script.name not in LONG]
    if real:
        sys.exit(_run_real(found, as_json))
    if trace is not None and (len(found) > 1 or seeds is not None or for_s is not None):
        raise click.UsageError("--trace writes one history: name one scenario, and one --seed")
    if seeds is None and for_s is None:
        sys.exit(_run_one_seed(found, seed or 0, trace, shrink, as_json))
    if seed is None and for_s is not None:
        import secrets

        seed = secrets.randbelow(1_000_000_000)
    sys.exit(_run_many(found, seed or 0, seeds, for_s, jobs, shrink, as_json))


def _run_one_seed(found: list[tuple[Path, Script]], seed: int, trace: Path | None, shrink: bool, as_json: bool) -> int:
    from headrace.scenarios.play import play

    all_played = []
    for path, script in found:
        if trace is not None:
            with trace.open("wb") as file:
                played = play(script, seed, trace=file)
        else:
            played = play(script, seed)
        all_played.append(played)
        if not as_json:
            _tell(path, script, played, shrink)
    if as_json:
        _tell_json(all_played)
    return 0 if all(played.well for played in all_played) else FAILED


def _run_many(
    found: list[tuple[Path, Script]],
    first_seed: int,
    seeds: int | None,
    for_s: float | None,
    jobs: int,
    shrink: bool,
    as_json: bool,
) -> int:
    import time

    from headrace.scenarios.explore import explore

    scripts = {script.name: (path, script) for path, script in found}
    plays = dict.fromkeys(scripts, 0)
    bad: list[Played] = []
    steps = 0
    began = time.monotonic()
    if not as_json:
        span = f"{seeds:,} seeds of each" if seeds is not None else f"for {for_s:g} s"
        say(f"{len(found)} scenarios, {span}, from seed {first_seed} on")
    for played in explore([path for path, _ in found], first_seed, seeds, jobs, for_s):
        plays[played.scenario] += 1
        steps += played.steps
        if not played.well:
            bad.append(played)
            if not as_json and sum(b.scenario == played.scenario for b in bad) == 1:
                what = str(played.breach).splitlines()[0] if played.breach else "; ".join(played.missed)
                say(f"{played.scenario}, seed {played.seed}: {what}")
    took_s = time.monotonic() - began
    if as_json:
        _tell_json(bad, {"plays": plays, "steps": steps, "seconds": took_s, "first_seed": first_seed})
        return FAILED if bad else 0
    for name, n in plays.items():
        if len(plays) > FEW and all(played.scenario != name for played in bad):
            continue
        wrong = [played.seed for played in bad if played.scenario == name]
        told = f"; wrong: {len(wrong)}, seeds {', '.join(map(str, wrong[:5]))}" if wrong else ""
        say(f"  {name:<36} {n:>7,} seeds{told}")
    each = f"{min(plays.values()):,} to {max(plays.values()):,} seeds of each"
    rate = f"{steps:,} steps in {took_s:.1f} s ({steps / took_s:,.0f}/s)"
    say(f"{sum(plays.values()):,} plays, {each}, {rate}, {len(bad)} wrong")
    if bad:
        first = min(bad, key=lambda played: (played.breach is None, played.steps))
        path, script = scripts[first.scenario]
        _tell(path, script, first, shrink)
    return FAILED if bad else 0


def _tell_json(all_played: list[Played], more: dict[str, object] | None = None) -> None:
    import msgspec

    told = [msgspec.to_builtins(played) for played in all_played]
    say_json(json.dumps({**(more or {}), "played" if more is None else "wrong": told}, indent=2, ensure_ascii=False))


def _tell(path: Path, script: Script, played: Played, shrink: bool) -> None:
    figures = played.figures
    verdict = "as expected" if played.well else "BROKEN" if played.breach else "NOT as expected"
    say(f"{script.name}, seed {played.seed}: {verdict}")
    say(f"  {script.shows}")
    if figures.rows:
        outcomes = ("delivered", "dropped", "quarantined", "failed", "interrupted")
        ended = ", ".join(f"{getattr(figures, name):,g} {name}" for name in outcomes if getattr(figures, name))
        say(
            f"  {figures.rows:,g} rows: {ended or 'none ended'}; {figures.state or 'executor'} after {figures.elapsed:.3f} s"
        )
    say(
        f"  {figures.calls:,g} calls, {figures.in_flight:g} at once at most; {figures.refusals:,g} refused, "
        f"{figures.cooldowns:g} cooldowns, {figures.retries:,g} retries, {figures.late:g} late answers"
    )
    say(
        f"  {played.steps:,} steps, {played.switches:,} switches, {played.schedule.policy}; "
        f"{played.took_s:.2f} s; history {played.digest}"
    )
    for missed in played.missed:
        say(f"  expected otherwise: {missed}")
    if played.breach is None:
        return
    say(f"\n{played.breach}\n\nthe last steps:")
    for line in played.story:
        say(f"  {line}")
    say(f"\nreplay: headrace scenario run {path} --seed {played.seed}")
    if shrink:
        _shrink(path, script, played)


def _shrink(path: Path, script: Script, played: Played) -> None:
    import msgspec

    from headrace.scenarios.script import ExpectTable
    from headrace.scenarios.shrink import shrink

    smallest = shrink(script, played)
    small = smallest.script
    to = Path(f"{path.stem}.shrunk.toml")
    # What the large one was expected to come to says nothing of the small one.
    bare = msgspec.structs.replace(small, name=f"{script.name}-shrunk", expect=ExpectTable())
    to.write_bytes(msgspec.toml.encode(bare))
    rows = small.source.rows if small.executor is None else sum(b.callers * b.rows for b in small.executor.batch)
    say(
        f"\nthe smallest found in {smallest.tried} plays: {rows} rows, {len(small.fault)} faults, "
        f"{smallest.played.steps} steps, {smallest.played.switches} switches"
    )
    say(f"{smallest.played.breach}\n")
    for line in smallest.played.story:
        say(f"  {line}")
    say(f"\nreplay: headrace scenario run {to} --seed {smallest.played.seed}")


def _run_real(found: list[tuple[Path, Script]], as_json: bool) -> int:
    from headrace.scenarios.real import play_real, unsupported

    wrong = 0
    told = []
    for _, script in found:
        reason = unsupported(script)
        if reason is not None:
            if not as_json:
                say(f"{script.name}: left out: {reason}")
            continue
        figures, missed = play_real(script)
        wrong += bool(missed)
        told.append({"scenario": script.name, "missed": missed})
        if not as_json:
            say(
                f"{script.name}: {'NOT as expected' if missed else 'as expected'}: {figures.state or 'executor'} after "
                f"{figures.elapsed:.2f} s, {figures.delivered:,g} of {figures.rows:,g} rows, {figures.calls:,g} calls, "
                f"{figures.refusals:,g} refused, {figures.cooldowns:g} cooldowns"
            )
            for miss in missed:
                say(f"  expected otherwise: {miss}")
    if as_json:
        say_json(json.dumps(told, indent=2))
    return FAILED if wrong else 0


def _check_outputs(name: str, outputs: list[Path]) -> None:
    """What a soak writes is not the scenario that it reads."""
    from ..connectors.file_identity import FileUse, check_uses
    from ..errors import ConfigError

    scenario = [FileUse(name, "read", user="the scenario")] if Path(name).exists() else []
    try:
        check_uses([*scenario, *(FileUse(str(path), "write", user="the soak") for path in outputs)])
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(WRONG)


@click.command()
@click.argument("name", metavar="FILE")
@click.option(
    "--for", "for_s", type=Duration(), default="24h", show_default=True, help="How long, such as 10m, 24h or 7d."
)
@click.option("--real", is_flag=True, help="On threads, in real time, against a real HTTP service on loopback.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the simulation.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("out"), show_default=True, help="Folder."
)
@click.option("--json", "as_json", is_flag=True, help="The report as JSON, on standard output.")
def soak(name: str, for_s: float, real: bool, seed: int, out: Path, as_json: bool) -> NoReturn:
    """Run one scenario for hours or days, and say whether anything leaks or decays.

    Virtual time, unless --real. The report is written as soak-NAME.json and as one page, soak-NAME.html.
    """
    _ready()
    _, script = _read(name)
    if script.executor is not None:
        say("headrace: an executor's scenario has an end of its own; soak one with a pipeline", err=True)
        sys.exit(WRONG)
    _check_outputs(name, [out / f"soak-{script.name}.{end}" for end in ("json", "html")])
    from headrace.scenarios.soak import soak as soak_virtual
    from headrace.scenarios.soak import soak_real, to_json
    from headrace.scenarios.soak_page import page

    def progress(share: float, sample: Any) -> None:
        if not as_json and (share * 20) % 1 < 1e-9:
            say(
                f"{share:>5.0%}  {sample.rows_per_s:>10,.1f} rows/s  99 % within {sample.p99_s:.3f} s  "
                f"{sample.permits_out:>5} permits out  {sample.memory_mb:>7.1f} MB  {sample.threads:>5} threads",
                err=True,
            )

    soaked = (
        soak_real(script, for_s, progress=progress)
        if real
        else soak_virtual(script, for_s, seed=seed, progress=progress)
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"soak-{script.name}.json").write_text(json.dumps(to_json(soaked), indent=2), encoding="utf-8")
        (out / f"soak-{script.name}.html").write_text(page(soaked), encoding="utf-8")
    except OSError as error:
        say(f"headrace: the report cannot be written: {error}", err=True)
        sys.exit(WRONG)
    if as_json:
        say_json(json.dumps(to_json(soaked)))
    else:
        say(str(soaked.report))
        for finding in soaked.findings:
            say(f"{'yes' if finding.well else 'NO ':<4} {finding.what}: {finding.figures}")
        say(f"in {soaked.took_s:.1f} s; {out / f'soak-{script.name}.html'}")
    sys.exit(0 if soaked.well else FAILED)
