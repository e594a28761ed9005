"""The command on files, against loops that do nothing else: whole processes, with all that they import."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Run = Callable[[], object]
Make = Callable[[int], Run]
FOLDER = Path(tempfile.gettempdir()) / "headrace-benchmarks"
"""Inputs are made once."""


def narrow(rows: int) -> Path:
    """Rows of four columns."""
    lines = ([str(i), f"name {i}", "Lund", str(i * 1.5)] for i in range(rows))
    return _csv(f"narrow-{rows}.csv", ["id", "name", "city", "amount"], lines)


def wide(rows: int) -> Path:
    """Rows of a hundred columns."""
    lines = ([f"{i}-{j}" for j in range(100)] for i in range(rows))
    return _csv(f"wide-{rows}.csv", [f"c{j}" for j in range(100)], lines)


def large(rows: int) -> Path:
    """Rows of 100 KB, as JSON Lines."""
    path = FOLDER / f"large-{rows}.jsonl"
    if not path.exists():
        FOLDER.mkdir(exist_ok=True)
        with path.with_suffix(".new").open("w") as file:
            file.writelines(json.dumps({"id": i, "text": "x" * 100_000}) + "\n" for i in range(rows))
        path.with_suffix(".new").rename(path)
    return path


def _csv(name: str, header: list[str], lines: Iterator[list[str]]) -> Path:
    path = FOLDER / name
    if not path.exists():
        FOLDER.mkdir(exist_ok=True)
        with path.with_suffix(".new").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(lines)
        path.with_suffix(".new").rename(path)
    return path


def command(made: Callable[[int], Path], *, journal: bool = False) -> Make:
    """`headrace run`, from a file through a function that does nothing to JSON Lines."""

    def make(rows: int) -> Run:
        source = made(rows)

        def run() -> None:
            with tempfile.TemporaryDirectory() as folder:
                here = Path(folder)
                (here / "fn.py").write_text("def same(row): return row\n")
                (here / "job.toml").write_text(
                    f'[source]\ntype = "{source.suffix[1:]}"\npath = "{source}"\n'
                    '[[stage]]\ncall = "fn:same"\n[sink]\ntype = "jsonl"\npath = "out.jsonl"\n'
                )
                told = ["--journal", "run.db"] if journal else []
                line = [str(Path(sys.executable).parent / "headrace"), "run", "job.toml", "-q", *told]
                subprocess.run(line, cwd=folder, check=True, capture_output=True)
                _check(here / "out.jsonl", rows)

        return run

    return make


def loop(script: str, made: Callable[[int], Path]) -> Make:
    """A script of its own process, called with the input and the output."""

    def make(rows: int) -> Run:
        source = made(rows)

        def run() -> None:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "out.jsonl"
                subprocess.run([sys.executable, "-c", script, source, out], check=True)
                _check(out, rows)

        return run

    return make


def _check(out: Path, rows: int) -> None:
    with out.open("rb") as file:
        blocks: Iterator[bytes] = iter(lambda: file.read(1 << 20), b"")
        written = sum(block.count(b"\n") for block in blocks)
    if written != rows:
        raise AssertionError(f"{written:,} of {rows:,} rows were written")


CSV_AND_JSON = """
import csv, json, sys
with open(sys.argv[1], newline="") as source, open(sys.argv[2], "w") as out:
    for row in csv.DictReader(source):
        out.write(json.dumps(row, ensure_ascii=False) + "\\n")
"""
READER_AND_MSGSPEC = """
import csv, msgspec, sys
encode = msgspec.json.Encoder().encode_lines
with open(sys.argv[1], newline="") as source, open(sys.argv[2], "wb") as out:
    reader, rows = csv.reader(source), []
    header = next(reader)
    for fields in reader:
        rows.append(dict(zip(header, fields)))
        if len(rows) == 1000:
            out.write(encode(rows))
            rows.clear()
    out.write(encode(rows))
"""
MSGSPEC_LINES = """
import msgspec, sys
encode, decode = msgspec.json.Encoder().encode_lines, msgspec.json.Decoder().decode
with open(sys.argv[1], "rb") as source, open(sys.argv[2], "wb") as out:
    rows = []
    for line in source:
        rows.append(decode(line))
        if len(rows) == 1000:
            out.write(encode(rows))
            rows.clear()
    out.write(encode(rows))
"""
HUNDRED_BYTES: dict[str, Any] = {"answer": "x" * 86, "n": 1}
"""A hundred bytes as a journal keeps them."""


def journaled(rows: int) -> Run:
    """Answers of a hundred bytes, durable within 50 ms."""
    from headrace.runtime import Pipeline

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            Pipeline().source(range(rows)).map(lambda x: HUNDRED_BYTES).run(journal=Path(folder) / "run.db")

    return run


def fresh(script: str) -> Make:
    """A Python that runs this script and ends, so many times."""

    def make(times: int) -> Run:
        def run() -> None:
            for _ in range(times):
                subprocess.run([sys.executable, "-c", script], check=True)

        return run

    return make


TEN_ROWS = "from headrace.runtime import Pipeline\nPipeline().source(range(10)).map(abs).sink([].append).run()"

FILES: dict[str, tuple[int, Make]] = {
    "csv to jsonl": (1_000_000, command(narrow)),
    "csv to jsonl, journal": (1_000_000, command(narrow, journal=True)),
    "csv to jsonl, csv and json": (1_000_000, loop(CSV_AND_JSON, narrow)),
    "csv to jsonl, csv.reader and msgspec": (1_000_000, loop(READER_AND_MSGSPEC, narrow)),
    "100 columns": (50_000, command(wide)),
    "100 columns, csv.reader and msgspec": (50_000, loop(READER_AND_MSGSPEC, wide)),
    "100 KB rows": (2_000, command(large)),
    "100 KB rows, journal": (2_000, command(large, journal=True)),
    "100 KB rows, msgspec": (2_000, loop(MSGSPEC_LINES, large)),
    "journal, 100 bytes": (200_000, journaled),
    "ten rows, fresh": (10, fresh(TEN_ROWS)),
    "ten rows, the libraries alone": (10, fresh("import pykka, msgspec, loguru")),
    "ten rows, nothing": (10, fresh("pass")),
}
