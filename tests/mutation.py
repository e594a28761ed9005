"""A mutation run over the actors: which small faults, put into them one at a time, does no test notice?

`make mutation FOR=3600` samples faults of the kinds in `faults.py` (a comparison, a condition, a number, an arithmetic
operator, a missing statement, a missing answer), and for each of them runs those of the actors' own tests that load the
module, and, where they pass, a few scenarios in simulation, in a process of its own that is forked after the libraries have
been imported. It prints the score and each survivor. `ONLY="rate pace"` puts faults into these modules alone. The same seed
gives the same sample, of which `--skip` leaves out what was tried before; `--again ID` tries single ones again.

Two tools are made for this. Mutmut needs the modules to lie where they are imported from, and puts a switch into each
function: these tests, which call small ones millions of times, ran for minutes without an end. Cosmic-ray starts a new
interpreter for each fault, and most of its operators would change annotations here, which are no code.
"""

from __future__ import annotations

import argparse
import ast
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import resource
import signal
import sys
import time
import types
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

# Imported before the fork, so that no child needs to do it again.
import hypothesis  # noqa: F401
import msgspec  # noqa: F401
import pytest

from tests.faults import ACTORS, OPERATORS, ROOT, Point, mutated, points_of

TESTS = ROOT / "tests" / "actors"
PACKAGE = "headrace.actors."
Loads = dict[str, frozenset[str]]
"""Test files, by path, and the modules of the actors that each of them loads."""
CPU_S_MAX = 60
"""A child that needs more processor time goes round in circles, which counts as noticed; ..."""
BYTES_MAX = 1 << 30
"""... as does one that needs more memory."""
STAGE = ("stage", "stage_permits", "stage_faults")
TESTED_BY = {
    "limits.token_bucket": ["token_bucket", "gate"],
    "limits.pace": ["pace_rules", "gate", "gate_edges"],
    "limits.rate_search": ["rate_search", "pace_rules", "gate"],
    "limits.in_flight": ["in_flight", "pace_rules"],
    "limits.tally": ["tally", "pace_rules", "told_quotas"],
    "limits.told_quotas": ["told_quotas", "gate"],
    "limits.patience": ["patience", "gate"],
    "stages.witnesses": ["witnesses", "stage_faults"],
    "stages.trials": ["trials", "witnesses", "stage_faults"],
    "stages.meter": ["meter", "stage_values"],
    "limits.concurrency": ["concurrency", "gate"],
    "limits.gate": ["gate", "gate_edges", "governor"],
    "limits.permits": ["gate", "gate_edges", "governor"],
    "limits.wishes": ["gate", "gate_edges"],
    "limits.stated_rates": ["gate", "gate_edges"],
    "limits.outage_watch": ["gate", "gate_edges"],
    "stages.overload": ["overload"],
    "governor": ["governor"],
    "buffers.resequencer": ["reorder"],
    "reorder": ["reorder"],
    "rows.rowset": ["identity", "batch", "ledger", "reorder"],
    "rows.identity": ["identity", "reorder", "ledger", "batch", "join"],
    "edges.outputs": ["outputs", "join"],
    "edges.operators": ["outputs"],
    "relay": ["outputs"],
    "stages.backoff": ["worker", *STAGE],
    "journaling.recovered": ["recovered"],
    "ledger": ["ledger"],
    "join": ["join"],
    "batch": ["batch"],
    "journal": ["journal"],
    "conductor": ["conductor"],
    "desk": ["desk"],
    "sink": ["sink"],
    "source": ["source"],
    "stages.key_queue": ["key_queue", *STAGE],
    "stages.scheduler": ["key_queue", *STAGE],
}
"""Test files that are run first; of other modules, the one of the same name and those of the stage."""
SLOW = "tests/actors/limits/test_pace.py"
"""The tests of what is learned of limits come last: they take longer than all others together."""
SCENARIOS = (
    "worker_killed_in_every_state",
    "retried_and_routed",
    "joins_within_joins",
    "batches_by_key_in_a_small_window",
    "pieces_in_order",
    "keys_with_budgets_of_their_own",
    "outage_burns_no_row",
    "rows_with_weights",
    "twenty_batches_at_once",
    "drain_amid_a_graph",
)
"""What is played where the actors' own tests have passed; ..."""
LIMITS = (
    "a_brown_out",
    "a_burst_of_one_found_out",
    "a_clock_that_is_wrong",
    "a_cost_known_afterwards",
    "a_minute_at_a_time",
    "a_quota_for_each_key",
    "a_window_that_began_before",
    "a_wrong_key",
    "an_outage_and_one_attempt",
    "any_ten_seconds",
    "concurrency_by_latency",
    "exhausted_for_an_hour",
    "exhausted_until_tomorrow",
    "hints_of_every_shape",
    "limit_changes",
    "one_beside_two_hundred",
    "outage_of_every_kind",
    "outage_that_does_not_end",
    "quota_halves_and_recovers",
    "quota_stated",
    "refusals_that_come_late",
    "refused_for_ever",
    "slow_calls_fast_refusals",
    "so_many_in_flight",
    "the_process_stands_still",
    "told_in_anthropic_headers",
    "told_in_ietf_headers",
    "two_runs_one_limit",
    "windows_of_calls",
)
"""... and what is played, too, where the fault is in the governor, or in what says whose fault a failure is."""
GOVERNOR = (
    "governor",
    "limits.gate",
    "limits.permits",
    "limits.wishes",
    "limits.stated_rates",
    "limits.outage_watch",
    "limits.pace",
    "limits.rate_search",
    "limits.in_flight",
    "limits.tally",
    "limits.token_bucket",
    "limits.patience",
    "limits.concurrency",
    "limits.told_quotas",
    "stages.meter",
    "stages.trials",
    "stages.witnesses",
)


# --- a child --------------------------------------------------------------------------------------------------------------


class _Loader(importlib.abc.Loader):
    def __init__(self, path: Path, tree: ast.Module) -> None:
        self._path = path
        self._tree = tree

    def exec_module(self, module: types.ModuleType) -> None:
        exec(compile(self._tree, str(self._path), "exec"), vars(module))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the one module that has a fault."""

    def __init__(self, point: Point) -> None:
        self._name = f"headrace.actors.{point.module}"
        self._loader = _Loader(ACTORS / f"{point.module.replace('.', '/')}.py", mutated(point))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, self._loader, origin=str(self._loader._path))


def tests_for(module: str, loads: Loads) -> list[list[str]]:
    """Test files that load the module: those that are most likely to notice, and the others."""
    names = TESTED_BY.get(module, [module.rpartition(".")[2], *STAGE])
    own = [str(path.relative_to(ROOT)) for name in names for path in TESTS.rglob(f"test_{name}.py")]
    files = sorted((file for file, loaded in loads.items() if module in loaded), key=lambda file: (file == SLOW, file))
    return [[file for file in own if file in files], [file for file in files if file not in own]]


def _pytest(files: Sequence[str]) -> bool:
    """Whether all tests of these files pass."""
    options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-p", "no:headrace", "-o", "timeout=0", "-W", "ignore"]
    return not files or pytest.main([*options, *files]) == pytest.ExitCode.OK


def _shut_in() -> None:
    """What a child may use has bounds, and nobody hears it."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S_MAX, CPU_S_MAX + 5))
    resource.setrlimit(resource.RLIMIT_AS, (BYTES_MAX, BYTES_MAX))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    os.environ["HEADRACE_EXAMPLES"] = "few"


def loads_of_all() -> Loads:
    """Which of the actors' modules each of their test files loads: in no other one can it notice a fault."""
    return {name: _loads(name) for name in sorted(str(path.relative_to(ROOT)) for path in TESTS.rglob("test_*.py"))}


def _loads(file: str) -> frozenset[str]:
    """As `loads_of_all`, by running that file in a process of its own. It must pass on the code as it is."""
    answer, told = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            _shut_in()
            code = 0 if _pytest([file]) else 1
            names = [name.removeprefix(PACKAGE) for name in sys.modules if name.startswith(PACKAGE)]
            os.write(told, " ".join(names).encode())
        finally:
            os._exit(code)
    os.close(told)
    with os.fdopen(answer) as pipe:
        loaded = pipe.read().split()
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
        sys.exit(f"{file} fails on the code as it is: mend that first")
    return frozenset(loaded)


def _child(point: Point, loads: Loads) -> int:
    """0: nothing was noticed."""
    _shut_in()
    sys.meta_path.insert(0, _Finder(point))
    if not all(_pytest(files) for files in tests_for(point.module, loads)):
        return 1
    from headrace.scenarios.play import play
    from headrace.scenarios.script import find, read

    names = (*LIMITS, *SCENARIOS) if point.module in GOVERNOR else SCENARIOS
    return 0 if all(play(read(find(name)), 0).well for name in names) else 1


def begin(point: Point, loads: Loads) -> int:
    """Try a fault in a process of its own; its number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = _child(point, loads)
    finally:
        os._exit(code)


# --- the run --------------------------------------------------------------------------------------------------------------


def shown(point: Point) -> str:
    """A fault for people: where it is, and what its line becomes."""
    before = (ACTORS / f"{point.module.replace('.', '/')}.py").read_text().splitlines()[point.line - 1].strip()
    return f"{point.id:<44} {before}"


def run(points: Sequence[Point], loads: Loads, jobs: int, seconds: float) -> tuple[int, list[Point]]:
    """How many were tried, and the survivors."""
    until = time.monotonic() + seconds
    waiting = list(reversed(points))
    under_way: dict[int, Point] = {}
    tried: Counter[str] = Counter()
    survivors: list[Point] = []
    while under_way or (waiting and time.monotonic() < until):
        while waiting and len(under_way) < jobs and time.monotonic() < until:
            point = waiting.pop()
            under_way[begin(point, loads)] = point
        pid, status = os.wait()
        point = under_way.pop(pid)
        tried[point.module] += 1
        if status == 0:
            survivors.append(point)
            print("survived ", shown(point), flush=True)
    for module in sorted(tried):
        left = sum(point.module == module for point in survivors)
        print(f"{module:<14} {tried[module]:>4} tried {tried[module] - left:>4} noticed")
    return sum(tried.values()), survivors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--for", dest="seconds", type=float, default=3600.0, help="seconds in which new ones are begun")
    parser.add_argument("--seed", type=int, default=1, help="which sample")
    parser.add_argument("--sample", type=int, default=100_000, help="faults at most")
    parser.add_argument("--skip", type=int, default=0, help="the first ones of the sample, which were tried before")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="*", default=[], metavar="MODULE", help="faults in these modules of the actors")
    parser.add_argument("--again", nargs="*", default=[], metavar="ID", help="these faults, as they were named")
    chosen = parser.parse_args()
    os.chdir(ROOT)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    paths = [path.relative_to(ACTORS).with_suffix("") for path in ACTORS.rglob("*.py") if path.stem != "__init__"]
    all_modules = sorted(".".join(path.parts) for path in paths)
    if unknown := sorted({*chosen.only} - {*all_modules}):
        parser.error(f"there is no module {', '.join(unknown)} in actors/; there are {', '.join(all_modules)}")
    modules = chosen.only or all_modules
    points = [point for module in modules for point in points_of(module)]
    print(f"{len(points)} faults can be put into {len(modules)} modules ({OPERATORS})", flush=True)
    random.Random(chosen.seed).shuffle(points)
    if chosen.again:
        points = [point for point in points if point.id in chosen.again]
    points = points[chosen.skip :][: chosen.sample]
    tried, survivors = run(points, loads_of_all(), chosen.jobs, chosen.seconds)
    noticed = tried - len(survivors)
    print(
        f"{noticed} of {tried} were noticed ({noticed / max(tried, 1):.1%}); {len(survivors)} survived (seed {chosen.seed})"
    )


if __name__ == "__main__":
    main()
