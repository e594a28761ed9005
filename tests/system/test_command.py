"""The command, as a process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

GEO = """
import time

class Shout:
    def __call__(self, row):
        if row["name"] == "rom":
            raise ValueError("not rome")
        return {**row, "name": row["name"].upper()}

def slow(row):
    time.sleep(0.05)
    return row

def broken(row):
    raise KeyError("no")

def tokens(row):
    return 1.0

def endless():
    n = 0
    while True:
        n += 1
        yield {"n": n}
"""

RUN = "runpy.run_module('headrace.runtime.cli', run_name='__main__', alter_sys=True)"

GOOD = """
name = "shout"
[source]
type = "csv"
path = "in.csv"
[[stage]]
call = "geo:Shout"
workers = 4
[stage.limit]
rates = ["1000/s"]
[sink]
type = "jsonl"
path = "out.jsonl"
[quarantine]
type = "jsonl"
path = "bad.jsonl"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "geo.py").write_text(GEO)
    (tmp_path / "in.csv").write_text("n,name\n1,lund\n2,oslo\n")
    (tmp_path / "good.toml").write_text(GOOD)
    return tmp_path


def headrace(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headrace.runtime.cli", *arguments]
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, text=True, timeout=30)


def test_run_ends_with_0_where_all_is_well(folder: Path) -> None:
    done = headrace(folder, "run", "good.toml")
    assert done.returncode == 0, done.stderr
    assert "delivered" in done.stderr
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert rows == [{"n": "1", "name": "LUND"}, {"n": "2", "name": "OSLO"}]


def test_run_ends_with_3_where_rows_are_in_quarantine(folder: Path) -> None:
    (folder / "in.csv").write_text("n,name\n1,lund\n2,rom\n3,oslo,and more\n")
    done = headrace(folder, "run", "good.toml", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["quarantined"] == 2
    bad = [json.loads(line) for line in (folder / "bad.jsonl").read_text().splitlines()]
    assert sorted(b["seq"] for b in bad) == [1, 2]
    bad.sort(key=lambda b: b["seq"])
    assert "in.csv:4" in bad[1]["message"]


def test_run_ends_with_1_where_the_run_failed_and_says_why_in_a_line(folder: Path) -> None:
    text = GOOD.replace("geo:Shout", "geo:broken").replace("workers = 4", 'on_error = "fail"')
    (folder / "fails.toml").write_text(text)
    done = headrace(folder, "run", "fails.toml", "-q")
    assert done.returncode == 1
    assert re.fullmatch(r"headrace: shout: KeyError: 'no' \(row [0-9] in 'broken'\)\n", done.stderr), done.stderr
    assert "Traceback" in headrace(folder, "run", "fails.toml", "-q", "--traceback").stderr
    # It was cut short, so it has not the name of a whole one.
    assert not (folder / "out.jsonl").exists()


def test_every_mistake_is_told_at_once_with_its_key_and_line(folder: Path) -> None:
    (folder / "bad.toml").write_text(
        'nmae = "x"\n[source]\ntype = "xls"\npath = "in.csv"\n[[stage]]\ncall = "geo:shot"\nworkers = 0\n'
        'limit = "200 per s"\n[[stage]]\ncall = "nix:da"\n[stage.retry]\nattempts = "3"\n[sink]\ntype = "jsonl"\n'
    )
    for command in ("check", "run"):
        done = headrace(folder, command, "bad.toml")
        assert done.returncode == 2
        assert [line.split(": ")[0:2] for line in done.stderr.splitlines()] == [
            ["bad.toml:1", "nmae"],
            ["bad.toml:3", "source.type"],
            ["bad.toml:6", "stage[0].call"],
            ["bad.toml:7", "stage[0].workers"],
            ["bad.toml:8", "stage[0].limit"],
            ["bad.toml:10", "stage[1].call"],
            ["bad.toml:12", "stage[1].retry.attempts"],
            ["bad.toml:13", "sink.path"],
        ]
        assert "did you mean 'name'" in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "source: is missing"),
        ("source = 3", "expected a table, got a number"),
        ("[source\n", "f.toml:1: not TOML"),
        (GOOD.replace("in.csv", "nix.csv"), "f.toml:5: source.path: no such file: nix.csv"),
        (GOOD.replace("out.jsonl", "nix/out.jsonl"), "sink.path: no such folder: nix"),
        (GOOD.replace('call = "geo:Shout"', 'call = "geo"'), "stage[0].call"),
        (GOOD.replace('["1000/s"]', '["5 tokens/s"]'), "cost= go together"),
        (GOOD.replace('type = "csv"', 'type = "csv"\nencoding = "klingon"'), "unknown encoding 'klingon'"),
    ],
)
def test_a_wrong_file_is_one_clear_message(folder: Path, text: str, said: str) -> None:
    (folder / "f.toml").write_text(text)
    done = headrace(folder, "check", "f.toml")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_no_file(folder: Path) -> None:
    done = headrace(folder, "run", "nix.toml")
    assert (done.returncode, done.stderr) == (2, "nix.toml: no such file\n")


def test_check_runs_nothing(folder: Path) -> None:
    done = headrace(folder, "check", "good.toml")
    assert (done.returncode, done.stdout) == (0, "good.toml: source → Shout (4, 1000/s) → out.jsonl\n")
    assert not (folder / "out.jsonl").exists()


def test_standard_input_and_output(folder: Path) -> None:
    (folder / "pipe.toml").write_text(GOOD.replace("in.csv", "-").replace("out.jsonl", "-"))
    done = headrace(folder, "run", "pipe.toml", stdin="n,name\n1,lund\n")
    assert (done.returncode, done.stdout) == (0, '{"n":"1","name":"LUND"}\n')


def test_a_source_in_python_and_an_interrupt_ends_with_130(folder: Path) -> None:
    text = GOOD.replace('type = "csv"\npath = "in.csv"', 'type = "python"\ncall = "geo:endless"')
    (folder / "endless.toml").write_text(text.replace("geo:Shout", "geo:slow"))
    command = [sys.executable, "-m", "headrace.runtime.cli", "run", "endless.toml", "--log", "info"]
    listening = ["-c", f"import signal, runpy, sys; signal.signal(signal.SIGINT, signal.default_int_handler); {RUN}"]
    with subprocess.Popen(
        [sys.executable, *listening, *command[3:]], cwd=folder, stderr=subprocess.PIPE, text=True
    ) as process:
        part = folder / "out.jsonl.part"
        while not (part.exists() and part.stat().st_size):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "drained in" in said


def test_version_and_help_import_no_actors_L46(folder: Path) -> None:
    assert headrace(folder, "--version").stdout.startswith("headrace ")
    assert "check" in headrace(folder, "--help").stdout
    script = (
        "import sys\nsys.argv = ['headrace', '--version']\nfrom headrace.runtime.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted(m for m in sys.modules if m.startswith(('pykka', 'msgspec', 'rich', 'httpx', 'headrace.actors'))))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "[]"


def test_without_its_extra_the_command_says_which(folder: Path) -> None:
    (folder / "click.py").write_text("raise ImportError('not here')")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "headrace.runtime.cli"], env=environment, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert done.stderr == "headrace: the command needs the extra 'cli': pip install 'headrace[cli]'\n"


# --- graphs ---------------------------------------------------------------------------------------------------------------

GRAPH = """
[source]
type = "csv"
path = "in.csv"
rows = "infer"

[[stage]]
kind = "route"
name = "triage"
by = 'n > 1 ? "late" : ""'
branches = ["late"]

[[stage]]
kind = "fork"
name = "ask"
branches = ["a", "b"]

[[stage]]
name = "a"
call = "geo:slow"
after = "ask.a"

[[stage]]
name = "b"
call = "geo:slow"
after = "ask.b"

[[stage]]
kind = "join"
name = "both"
fork = "ask"
after = ["a", "b"]

[[sink]]
type = "jsonl"
path = "out.jsonl"

[[sink]]
after = "triage.late"
type = "jsonl"
path = "late.jsonl"
"""


@pytest.fixture
def graphs(folder: Path) -> Path:
    (folder / "in.csv").write_text("n,name\n1,lund\n2,rom\n3,oslo\n")
    (folder / "graph.toml").write_text(GRAPH)
    return folder


def test_a_graph_in_a_file_runs_and_is_shown_as_a_tree(graphs: Path) -> None:
    done = headrace(graphs, "run", "graph.toml", "--json")
    assert done.returncode == 0, done.stderr
    assert (graphs / "late.jsonl").read_text() == '{"n":2,"name":"rom"}\n{"n":3,"name":"oslo"}\n'
    assert json.loads((graphs / "out.jsonl").read_text()) == {part: {"n": 1, "name": "lund"} for part in "ab"}
    nodes = {node["name"]: node["traffic"] for node in json.loads(done.stdout)["nodes"]}
    assert nodes["triage"]["ways"] == {"late": 2, "": 1}
    shown = headrace(graphs, "check", "graph.toml")
    assert shown.returncode == 0
    assert shown.stdout.splitlines() == [
        "graph.toml: graph",
        "route triage (16)",
        "└─ late: late.jsonl",
        "fork ask",
        "├─ a: a (16)",
        "└─ b: b (16)",
        "join both (all)",
        "out.jsonl",
    ]


def test_a_graph_is_drawn_to_a_file_or_to_standard_output(graphs: Path) -> None:
    assert headrace(graphs, "graph", "graph.toml").stdout.startswith("flowchart TD")
    assert headrace(graphs, "graph", "graph.toml", "--format", "dot").stdout.startswith("digraph")
    done = headrace(graphs, "graph", "graph.toml", "--format", "svg", "-o", "graph.svg")
    assert (done.returncode, done.stdout) == (0, "")
    assert "<svg" in (graphs / "graph.svg").read_text()
    done = headrace(graphs, "graph", "graph.toml", "-o", "nowhere/graph.mmd")
    assert (done.returncode, "cannot be written" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('after = "ask.b"', 'after = "ask.c"', "graph.toml:13: stage[1]: branch 'b' of fork 'ask' leads nowhere"),
        (
            'after = "ask.b"',
            'after = "aks.b"',
            "graph.toml:26: stage[3].after: after 'aks.b': no node before it has this name",
        ),
        (
            'after = ["a", "b"]',
            'after = ["a"]',
            "graph.toml:23: stage[3]: 'b' leads nowhere; let a sink stand after it",
        ),
        ("n > 1", "m > 1", "graph.toml:7: stage[0]: 'triage': expression"),
        ("n > 1", "n > ", "graph.toml:7: stage[0]: expression"),
        ('kind = "fork"', 'kind = "fork"\nworkers = 3', "stage[1].workers: says nothing of a fork; known are branches"),
        ('kind = "fork"', 'kind = "frok"', "graph.toml:14: stage[1].kind: "),
        ('fork = "ask"', 'fork = "triage"', "join 'both': 'triage' is no fork"),
        ('by = \'n > 1 ? "late" : ""\'', "", "stage[0].call: is missing, or by=, an expression"),
        ('name = "b"', 'name = "a"', "two nodes are named 'a'"),
    ],
)
def test_what_is_wrong_with_a_graph_is_told_with_its_line(graphs: Path, old: str, new: str, told: str) -> None:
    assert old in GRAPH
    (graphs / "graph.toml").write_text(GRAPH.replace(old, new))
    done = headrace(graphs, "check", "graph.toml")
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_may_be_told_which_rows_to_take(graphs: Path) -> None:
    done = headrace(graphs, "run", "graph.toml", "--json", "--where", "name != 'rom'")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["dropped"] == 1
    assert (graphs / "late.jsonl").read_text() == '{"n":3,"name":"oslo"}\n'
    done = headrace(graphs, "run", "graph.toml", "--where", "nmae != 'rom'")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "--where: 'where': expression \"nmae != 'rom'\": column 1: rows have no field 'nmae'; did you mean 'name'?\n"
    )


def test_standard_output_that_is_full_is_told_in_one_line_L91(folder: Path) -> None:
    command = [sys.executable, "-m", "headrace.runtime.cli", "check", "good.toml"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (
        2,
        "standard output: cannot be written: No space left on device\n",
    )


def test_a_folder_that_is_gone_is_told_in_one_line_L87(folder: Path) -> None:
    (folder / "gone").mkdir()
    script = f'cd gone && rmdir ../gone && exec "$0" -m headrace.runtime.cli run {folder}/good.toml'
    done = subprocess.run(["sh", "-c", script, sys.executable], cwd=folder, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert done.stderr == (
        "the folder that this command was to run in is gone, or cannot be read: change to another one first\n"
    )
