"""What files are called: packed, many, elsewhere; and files that are one JSON array."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.runtime import ConfigError, Pipeline, RunFailed, sinks, sources
from headrace.runtime.connectors.packed import PACKINGS, Unpacked, unpacked_name
from headrace.runtime.connectors.remote import shown
from headrace.runtime.errors import SourceChanged
from headrace.runtime.files.pipeline_file import read

zstandard = pytest.importorskip("zstandard")
fsspec = pytest.importorskip("fsspec")
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: bytes(zstandard.ZstdCompressor().compress(data)),
}
LINES = "id,v\n" + "".join(f"{i},row {i}\n" for i in range(5000))


def values(source: Any, **options: Any) -> list[Any]:
    return [outcome.value for outcome in Pipeline().source(source, **options).stream()]


def stopped_at(source: Callable[[], Any], stop: str, folder: Path) -> list[Any]:
    """What a run gives that fails at a row, and goes on."""
    fails = True

    def ask(row: dict[str, Any]) -> dict[str, Any]:
        if fails and row["id"] == stop:
            raise ValueError("no")
        return row

    def run() -> None:
        flow = Pipeline(window=500).source(source()).map(ask, on_error="fail", version="1")
        flow.sink(sinks.jsonl(folder / "out.jsonl")).run(journal=folder / "run.db")

    with pytest.raises(RunFailed):
        run()
    fails = False
    run()
    return values(sources.jsonl(folder / "out.jsonl"))


@pytest.mark.parametrize("ending", PACK)
def test_packed_files_are_unpacked_while_they_are_read(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"in.csv{ending}"
    path.write_bytes(PACK[ending](LINES.encode()))
    assert [row["id"] for row in values(sources.csv(path))] == [str(i) for i in range(5000)]
    path.write_bytes(PACK[ending](LINES[:100].encode()) + PACK[ending](LINES[100:].encode()))
    assert len(values(sources.csv(path))) == 5000
    assert [row["id"] for row in stopped_at(lambda: sources.csv(path), "3000", tmp_path)] == [
        str(i) for i in range(5000)
    ]


@pytest.mark.parametrize("ending", PACK)
def test_a_packed_file_that_is_cut_short_is_told(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"in.csv{ending}"
    data = PACK[ending](LINES.encode())
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises((RunFailed, ConfigError, SourceChanged), match="file is damaged or cut short"):
        values(sources.csv(path))
    path.rename(tmp_path / "in.csv")
    with pytest.raises(
        ConfigError, match=rf"looks like a.* file, not CSV; call it {ending}, and it is unpacked while it is"
    ):
        sources.csv(tmp_path / "in.csv").check()


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(PACKINGS), st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_are_unpacked_or_told(packing: Any, data: bytes, n: int) -> None:
    class Given:
        def __init__(self) -> None:
            self.left = packing.magic + data

        def read(self, n: int = -1) -> bytes:
            taken: bytes = self.left[:n]
            self.left = self.left[n:]
            return taken

        def close(self) -> None:
            pass

        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return False

    unpacked = Unpacked("x", Given(), packing)
    try:
        while unpacked.read(n):
            pass
    except SourceChanged as error:
        told = str(error)
    else:
        told = "damaged or cut short"
    assert "damaged or cut short" in told


def test_a_missing_package_for_zstd_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.csv.zst").write_bytes(PACK[".zst"](b"id\n1\n"))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "compression", None)
    with pytest.raises(ConfigError, match=r"zstd needs the extra 'zstd': pip install 'headrace\[zstd\]'"):
        sources.csv(tmp_path / "in.csv.zst").check()
    assert unpacked_name("a.JSONL.XZ") == "a.JSONL"


# --- many files ---


def many(folder: Path) -> list[str]:
    """Files of 1,000 rows each; the ids of all rows."""
    for i, name in enumerate(("b.csv", "a.csv", "c.csv.gz")):
        data = ("id,v\n" + "".join(f"{i}-{j},x\n" for j in range(1000))).encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    for name in ("_SUCCESS", ".hidden.csv", "notes.txt"):
        (folder / name).write_text("x")
    return [f"{i}-{j}" for i in (1, 0, 2) for j in range(1000)]


def test_a_folder_and_a_pattern_are_one_source(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    ids = many(tmp_path / "in")
    assert [row["id"] for row in values(sources.csv(tmp_path / "in"))] == ids
    assert [row["id"] for row in values(sources.csv(f"{tmp_path}/in/[ab].csv"))] == ids[:2000]
    assert [row["id"] for row in values(sources.csv(f"{tmp_path}/**/a.csv"))] == ids[:1000]
    assert [row["id"] for row in stopped_at(lambda: sources.csv(tmp_path / "in"), "0-500", tmp_path)] == ids
    with pytest.raises(ConfigError, match=r"\*.tsv: there is no file"):
        values(sources.csv(f"{tmp_path}/in/*.tsv"))
    with pytest.raises(ConfigError, match=r"there is no file that is called \.jsonl or \.ndjson"):
        values(sources.jsonl(tmp_path / "in"))
    (tmp_path / "odd[1].csv").write_text("id\n7\n")
    assert values(sources.csv(tmp_path / "odd[1].csv")) == [{"id": "7"}]


def test_a_file_that_came_meanwhile_is_another_work_L27(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    many(tmp_path / "in")

    def run() -> int:
        flow = Pipeline().source(sources.csv(tmp_path / "in")).sink(sinks.jsonl(tmp_path / "out.jsonl"))
        return flow.run(journal=tmp_path / "run.db").delivered

    assert run() == 3000
    (tmp_path / "in" / "aa.csv").write_text("id,v\nnew,x\n")
    with pytest.raises(ConfigError, match="was another work"):
        run()


def test_types_of_many_files_are_those_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("id\n1\n2\n")
    (tmp_path / "2.csv").write_text("id\n3\nx\n")
    outcomes = list(Pipeline().source(sources.csv(f"{tmp_path}/*.csv"), rows="infer").stream())
    assert [outcome.value for outcome in outcomes[:3]] == [{"id": 1}, {"id": 2}, {"id": 3}]
    assert "2.csv:3" in str(outcomes[3].error)


# --- JSON arrays ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" [ ] ", []),
        (
            '[{"a": [1, {"b": "]"}]},\n\n 2, "x\\"y" , null, true, 1.5e3]',
            [{"a": [1, {"b": "]"}]}, 2, 'x"y', None, True, 1500.0],
        ),
        ("[12345]", [12345]),
    ],
)
def test_values_of_an_array_are_rows(
    text: str, expected: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headrace.runtime.connectors import json_source

    (tmp_path / "in.json").write_text(text)
    for chunk in (1, 3, 1 << 18):
        monkeypatch.setattr(json_source, "CHUNK", chunk)
        assert values(sources.json(tmp_path / "in.json")) == expected


def test_an_array_is_read_in_its_encoding_and_goes_on(tmp_path: Path) -> None:
    import json

    rows = [{"id": str(i), "v": "smörgås"} for i in range(3000)]
    (tmp_path / "in.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-16")
    assert values(sources.json(tmp_path / "in.json")) == rows
    assert stopped_at(lambda: sources.json(tmp_path / "in.json"), "1500", tmp_path) == rows


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": 1}', "begins with '{', and is no JSON array"),
        ("[1, 2", "after value 2, it ends: was it cut short"),
        ("[1 2]", "after value 1, a comma is expected, and '2' stands there"),
        ("[1, nonsense]", "after value 1, Expecting value"),
        ("[1] 2", "after value 1, there is more than an array, '2'"),
        ("[1,]", "after value 1, Expecting value"),
    ],
)
def test_what_is_no_array_is_told(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(text)
    with pytest.raises((ConfigError, RunFailed), match=told):
        values(sources.json(tmp_path / "in.json"))


def test_a_value_that_is_no_json_costs_itself_alone(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text("[1, NaN, 3]")
    outcomes = list(Pipeline().source(sources.json(tmp_path / "in.json")).stream())
    assert [outcome.value for outcome in outcomes] == [1, "NaN", 3]
    assert outcomes[1].status.value == "quarantined"


# --- elsewhere ---


@pytest.fixture
def memory() -> Iterator[Any]:
    found = fsspec.filesystem("memory")
    yield found
    found.store.clear()
    found.pseudo_dirs[:] = [""]


def test_files_elsewhere_are_read_as_those_here(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/b/in.csv", LINES.encode())
    memory.pipe("/b/in.csv.gz", gzip.compress(LINES.encode()))
    memory.pipe("/b/more/1.jsonl", b'{"id": "1"}\n')
    memory.pipe("/b/more/2.jsonl", b'{"id": "2"}\n')
    ids = [str(i) for i in range(5000)]
    assert [row["id"] for row in values(sources.csv("memory://b/in.csv"))] == ids
    assert [row["id"] for row in values(sources.csv("memory://b/in.csv.gz"))] == ids
    assert values(sources.jsonl("memory://b/more/*.jsonl")) == [{"id": "1"}, {"id": "2"}]
    assert [row["id"] for row in stopped_at(lambda: sources.csv("memory://b/in.csv"), "3000", tmp_path)] == ids
    memory.pipe("/b/in.csv", LINES.replace("row 9", "ROW 9").encode())
    flow = Pipeline(window=500).source(sources.csv("memory://b/in.csv")).map(dict, on_error="fail", version="1")
    flow = flow.sink(sinks.jsonl(tmp_path / "out.jsonl"))
    with pytest.raises(ConfigError, match="was another work"):
        flow.run(journal=tmp_path / "run.db")


def test_parquet_elsewhere(memory: Any) -> None:
    with memory.open("/b/in.parquet", "wb") as file:
        parquet.write_table(arrow.table({"id": [1, 2]}), file)
    assert values(sources.parquet("memory://b/in.parquet")) == [{"id": 1}, {"id": 2}]
    assert values(sources.parquet("memory://b/*.parquet")) == [{"id": 1}, {"id": 2}]
    with pytest.raises(ConfigError, match=r"memory://b/nowhere.parquet: no such file"):
        sources.parquet("memory://b/nowhere.parquet").check()


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_outputs_elsewhere(kind: str, memory: Any, tmp_path: Path) -> None:
    url = f"memory://b/out.{kind}"
    sink, source = getattr(sinks, kind), getattr(sources, kind)
    rows = [{"id": str(i)} for i in range(50)]
    fails = True

    def ask(row: dict[str, Any]) -> dict[str, Any]:
        if fails and row["id"] == "30":
            raise ValueError("no")
        return row

    flow = Pipeline(window=5).source(rows).map(ask, on_error="fail", version="1").sink(sink(url))
    with pytest.raises(RunFailed):
        flow.run(journal=tmp_path / "run.db")
    assert not memory.exists("/b/out." + kind)
    fails = False
    report = flow.run(journal=tmp_path / "run.db")
    assert values(source(url)) == rows
    assert str(report.files[0]) == f"{url}: created"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.db", "run.db.lock"]
    assert flow.run(journal=tmp_path / "run.db").delivered == 50
    assert values(source(url)) == rows
    again = Pipeline().source([{"id": "x"}])
    for said in (None, "error"):
        with pytest.raises(ConfigError, match=f"out.{kind}: exists already, and if_exists says"):
            again.sink(sink(url, if_exists=said)).run()
    assert str(again.sink(sink(url, if_exists="append")).run().files[0]) == f"{url}: appended to what was there"
    assert values(source(url)) == [*rows, {"id": "x"}]
    assert "replaced" in str(again.sink(sink(url, if_exists="replace")).run().files[0])
    assert values(source(url)) == [{"id": "x"}]


def test_a_file_that_came_meanwhile_is_left_as_it_is_L61(memory: Any, tmp_path: Path) -> None:
    fails = True

    def ask(row: int) -> int:
        if fails and row == 30:
            raise ValueError("no")
        return row

    flow = Pipeline(window=5).source(range(50)).map(ask, on_error="fail", version="1")
    flow = flow.sink(sinks.jsonl("memory://b/out.jsonl"))
    with pytest.raises(RunFailed):
        flow.run(journal=tmp_path / "run.db")
    memory.pipe("/b/out.jsonl", b"theirs")
    fails = False
    told = "appeared or was changed since the run began, and is left as it is; the rows are in"
    with pytest.raises(RunFailed, match=told):
        flow.run(journal=tmp_path / "run.db")
    assert memory.cat("/b/out.jsonl") == b"theirs"
    memory.rm("/b/out.jsonl")
    flow.run(journal=tmp_path / "run.db")
    assert values(sources.jsonl("memory://b/out.jsonl")) == list(range(50))


class Server(BaseHTTPRequestHandler):
    """Gives parts of a file; without them where it is called so."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.path.startswith("/secret"):
            self.send_error(403)
            return
        data = LINES.encode()
        said = self.headers.get("Range")
        if said is None:
            self.send_response(200)
        else:
            first, _, last = said.removeprefix("bytes=").partition("-")
            whole = len(data)
            data = data[int(first) : int(last) + 1 if last else None]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(data) - 1}/{whole}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_files_of_the_web(web: str) -> None:
    pytest.importorskip("aiohttp")
    source = sources.csv(f"{web}/in.csv?token=very-secret")
    assert len(values(source)) == 5000
    assert "very-secret" not in f"{source.name}{source.fingerprint()}"
    with pytest.raises(ConfigError) as told:
        sources.csv(f"{web.replace('//', '//ada:very-secret@')}/secret.csv?token=very-secret").check()
    assert "very-secret" not in str(told.value)
    assert "ada" not in str(told.value)
    assert "403" in str(told.value)


def test_what_cannot_be_read_from_elsewhere_is_told(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"memory://b/in\.csv: no such file"):
        sources.csv("memory://b/in.csv").check()
    with pytest.raises(ConfigError, match="nonsense:// is no kind of URL that files are read from"):
        sources.csv("nonsense://b/in.csv").check()
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ConfigError, match=r"a package for s3:// is not installed: pip install 'headrace\[s3\]'"):
        sources.csv("s3://b/in.csv").check()
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ConfigError, match=r"need the extra 'remote': pip install 'headrace\[remote\]'"):
        sources.csv("memory://b/in.csv").check()
    assert shown("s3://key:word@b/a b?x=1#y") == "s3://b/a b"


def test_ends_of_a_job_file(memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    memory.pipe("/b/1.json", b'[{"id": 1}]')
    Path("job.toml").write_text('source = "memory://b/*.json"\nsink = "out.jsonl"\n')
    read(Path("job.toml")).pipeline.run()
    assert Path("out.jsonl").read_text() == '{"id":1}\n'
