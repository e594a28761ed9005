"""Files as people have them are recognised, or refused with what they look like and what reads them (L89)."""

from __future__ import annotations

import bz2
import csv
import gzip
import lzma
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from headrace.actors.protocol import BadRow
from headrace.runtime import ConfigError, sources
from headrace.runtime.connectors import csv_source
from headrace.runtime.files.pipeline_file import read


def rows_of(source: Any) -> tuple[list[Any], list[tuple[str, Any]]]:
    """(rows, bad ones as what is said of them and what is kept)."""
    source.open()
    try:
        rows: list[Any] = []
        bad: list[tuple[str, Any]] = []
        ended = False
        while not ended:
            values, ended, _ = source.read(100)
            rows += [value for value in values if not isinstance(value, BadRow)]
            bad += [(str(value.error), value.raw) for value in values if isinstance(value, BadRow)]
        return rows, bad
    finally:
        source.close()


def told(source: Any) -> str:
    """What `check` says, which is what a run says."""
    with pytest.raises(ConfigError) as caught:
        source.check()
    with pytest.raises(ConfigError) as again:
        source.open()
    assert str(caught.value) == str(again.value)
    return str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "in.csv"


TEXT = b"id,name\n1,ann\n2,bob\n"
ROWS = [{"id": "1", "name": "ann"}, {"id": "2", "name": "bob"}]


def zipped(name: str) -> bytes:
    import io

    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr(name, TEXT)
    return whole.getvalue()


@pytest.mark.parametrize(
    ("data", "looks"),
    [
        (gzip.compress(TEXT), "a gzip file, not CSV; call it .gz, and it is unpacked while it is read"),
        (bz2.compress(TEXT), "a bzip2 file, not CSV; call it .bz2, and it is unpacked while it is read"),
        (lzma.compress(TEXT), "an xz file"),
        (b"\x28\xb5\x2f\xfd" + bytes(range(40)), "a zstd file"),
        (zipped("a.csv"), "a ZIP archive"),
        (zipped("xl/workbook.xml"), "an Excel workbook (.xlsx)"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "an old Excel workbook"),
        (b"PAR1\x15\x04\x15\x10", "a Parquet file"),
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n", "a pointer of Git LFS"),
        (b"SQLite format 3\x00\x10\x00", "an SQLite database"),
        (b"\n<!DOCTYPE html><html>", "an HTML or XML document"),
        (b'<?xml version="1.0"?>\n', "an HTML or XML document"),
        ("id,name\n1,ann\n".encode("utf-16-le"), "utf-16-le without a byte order mark: say encoding='utf-16-le'"),
        ("id,name\n1,ann\n".encode("utf-16-be"), "utf-16-be without a byte order mark"),
        ("id,name\n1,ann\n".encode("utf-32-le"), "utf-32-le without a byte order mark"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "data",
)
def test_a_file_of_another_format_is_refused_with_what_it_looks_like_L89(path: Path, data: bytes, looks: str) -> None:
    path.write_bytes(data)
    assert f"looks like {looks}" in told(sources.csv(path))
    assert f"looks like {looks}".replace("CSV", "JSON Lines") in told(sources.jsonl(path))


@pytest.mark.parametrize(
    "text", ['[{"id":1},{"id":2}]', '{"id":1}\n{"id":2}\n', '\ufeff[\n  {"id": 1}\n]\n', ' [ { "id" : 1 } ]']
)
def test_json_in_the_place_of_a_table_is_told_and_is_no_table_without_rows_L89(path: Path, text: str) -> None:
    path.write_text(text)
    assert "looks like JSON, not CSV" in told(sources.csv(path))


@pytest.mark.parametrize("text", ["[id,n\n1,2\n", "{id},n\n1,2\n"])
def test_a_header_that_begins_like_json_is_a_header(path: Path, text: str) -> None:
    path.write_text(text)
    assert len(rows_of(sources.csv(path))[0]) == 1


@pytest.mark.parametrize("text", ["PAR1,GIF8\n1,2\n", "BZhang\nx\n", "GIF8\n1\n"])
def test_a_header_that_begins_like_a_format_is_a_header(path: Path, text: str) -> None:
    path.write_text(text)
    assert len(rows_of(sources.csv(path))[0]) == 1


def test_a_gzip_file_that_is_called_so_is_unpacked_L89(tmp_path: Path) -> None:
    path = tmp_path / "in.csv.gz"
    path.write_bytes(gzip.compress(TEXT[:12]) + gzip.compress(TEXT[12:]))
    assert rows_of(sources.csv(path)) == (ROWS, [])
    (tmp_path / "in.JSONL.GZ").write_bytes(gzip.compress(b'{"a": 1}\n'))
    assert rows_of(sources.jsonl(tmp_path / "in.JSONL.GZ")) == ([{"a": 1}], [])
    # Unpacked by whoever sent it, and still called so.
    path.write_bytes(TEXT)
    assert rows_of(sources.csv(path)) == (ROWS, [])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding_L89(path: Path, encoding: str) -> None:
    path.write_bytes("id,name\n1,Åsa\n".encode(encoding))
    assert rows_of(sources.csv(path)) == ([{"id": "1", "name": "Åsa"}], [])
    assert sources.csv(path).fields() == ["id", "name"]
    path.write_bytes('{"name":"Åsa"}\n'.encode(encoding))
    assert rows_of(sources.jsonl(path)) == ([{"name": "Åsa"}], [])


def test_a_mark_that_contradicts_the_encoding_is_told_L89(path: Path) -> None:
    path.write_bytes("id\n".encode("utf-16"))
    assert "begins with the byte order mark of utf-16-le, and encoding='cp1252' was asked for" in told(
        sources.csv(path, encoding="cp1252")
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id;name\n1;ann\n2;bob\n", "';'"),
        ("id\tname\n1\tann\n2\tbob\n", r"'\t'"),
        ("id|name\n", "'|'"),
        ("id^name\n1^ann\n", "'^'"),
        ("id~name\n1~ann\n", "'~'"),
        ('"id";"na;me"\n1;"a;n"\n', "';'"),
    ],
)
def test_another_separator_is_told_with_the_option_that_reads_it_L89(path: Path, text: str, said: str) -> None:
    path.write_text(text)
    assert told(sources.csv(path)) == (
        f"{path}:1: its fields are not separated by ',' but by {said}, as it looks: say delimiter={said}; "
        "or, if it has one column, any that is not in it, such as '\\x1f'"
    )
    path.write_text(text.translate({ord(c): "," for c in ";\t|^~"}))
    assert "are not separated by ';' but by ','" in told(sources.csv(path, delimiter=";"))


def test_a_single_column_is_read_though_other_separators_stand_in_it(path: Path) -> None:
    path.write_text("note\none; two\nthree\n")
    assert rows_of(sources.csv(path)) == ([{"note": "one; two"}, {"note": "three"}], [])
    path.write_text("a;b\n1;2\n")
    assert rows_of(sources.csv(path, delimiter="\x1f")) == ([{"a;b": "1;2"}], [])


def test_a_first_line_sep_is_honoured_as_excel_does_L89(path: Path) -> None:
    for line in ("sep=;\n", "SEP=;\r\n", '"sep=;"\n', "\ufeffsep=;\n"):
        path.write_text(f"{line}id;name\n1;ann\n2;bob\n", newline="")
        assert rows_of(sources.csv(path)) == (ROWS, [])
        assert sources.csv(path).fields() == ["id", "name"]
    assert "sep" not in str(rows_of(sources.csv(path, delimiter=";")))
    assert "the line says that ';' separates fields, and delimiter='|' was asked for" in told(
        sources.csv(path, delimiter="|")
    )


def test_lines_that_end_with_carriage_returns_alone_L89(path: Path) -> None:
    path.write_bytes(b'id,name\r1,"a\nb"\r2,bob\r')
    assert rows_of(sources.csv(path)) == ([{"id": "1", "name": "a\nb"}, {"id": "2", "name": "bob"}], [])
    path.write_bytes(b'{"a": 1}\r{"a": 2}\r')
    assert rows_of(sources.jsonl(path)) == ([{"a": 1}, {"a": 2}], [])


def test_a_lone_carriage_return_without_quotes_is_told_and_with_quotes_is_kept_L89(path: Path) -> None:
    path.write_bytes(b'id,t\n1,a\rb\n2,"c\rd"\n')
    rows, bad = rows_of(sources.csv(path))
    assert rows == [{"id": "2", "t": "c\rd"}]
    assert bad == [
        (f"{path}:2: not CSV: a lone carriage return stands in a field that has no quotes around it", "1,a\rb")
    ]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty; a CSV file begins with a line of column names"),
        (b"\n\r\n", "holds nothing but empty lines"),
        (b",,\n1,2,3\n", "no column has a name"),
        (b"a,,b,,c\n", "columns 2, 4 have no name, so rows cannot tell them apart"),
        (b"id,n,id\n", "column 'id' stands there twice, as columns 1 and 3: rename one of them"),
        (b'id,"n\n1,2\n', "the header cannot be read: a quote is opened in this line and never closed"),
        (b"id,pr\xe9nom\n", "the header is not utf-8: byte 6 is 0xe9; say with encoding= what the file is in"),
        (b"\0\0\0\0\n", "byte 1 is NUL: it is no text"),
    ],
)
def test_a_header_that_cannot_be_one_is_told_with_what_to_do_L89(path: Path, data: bytes, says: str) -> None:
    path.write_bytes(data)
    assert says in told(sources.csv(path))


def test_trailing_columns_without_a_name_are_left_out_unless_something_stands_there_L89(path: Path) -> None:
    path.write_text("id,name,,\n1,ann,,\n2,bob\n3,cy,,x\n4,dee,\n")
    rows, bad = rows_of(sources.csv(path))
    assert rows == ROWS
    assert bad == [
        (f"{path}:4: column 4 has no name in the header, and a value here", ["3", "cy", "", "x"]),
        (f"{path}:5: 3 fields where the header has 2", ["4", "dee", ""]),
    ]


def test_what_stood_on_a_bad_line_is_kept_L89(path: Path) -> None:
    path.write_bytes(b'id,name\n1,ann\n2,Ren\xe9e\n3,"a"b\n4,"x\ny"z\n5,"never\n6,six\n')
    rows, bad = rows_of(sources.csv(path))
    assert [row["id"] for row in rows] == ["1", "6"]
    assert bad == [
        (
            f"{path}:3: bytes that are not utf-8 (byte 6 of the line is 0xe9); in the row that is kept, they are written as "
            "\\xNN",
            "2,Ren\\xe9e",
        ),
        (f"{path}:4: not CSV: ',' expected after '\"'", '3,"a"b'),
        (f"{path}:5: not CSV: ',' expected after '\"'", '4,"x\ny"z'),
        (f"{path}:7: not CSV: a quote is opened in this line and never closed", '5,"never'),
    ]
    path.write_bytes(b'{"a": 1}\n{"n": "Ren\xe9e"}\nnope\n')
    rows, bad = rows_of(sources.jsonl(path))
    assert [raw for _, raw in bad] == ['{"n": "Ren\\xe9e"}', "nope"]


def test_a_quote_that_is_never_closed_costs_its_line_and_not_the_rest_L89(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_source, "FIELD_CHARS_MAX", 100_000)
    limit = csv.field_size_limit()
    try:
        path.write_text("a,b\n" + '1,"open\n' + "2,two\n" * 60_000 + "3," + "y" * 100_001 + "\n4,four\n")
        rows, bad = rows_of(sources.csv(path))
    finally:
        csv.field_size_limit(limit)
    assert len(rows) == 60_001
    assert bad[0] == (f"{path}:2: not CSV: a quote is opened in this line and never closed", '1,"open')
    assert bad[1][0].startswith(f"{path}:60003: not CSV: a field has more than 100,000 characters (FIELD_CHARS_MAX)")
    assert len(bad) == 2


@pytest.mark.parametrize(
    "encoding", ["rot13", "base64", "hex", "zlib", "punycode", "idna", "undefined", "klingon", "a\0b"]
)
def test_codecs_that_are_no_encodings_of_text_are_told_L89(encoding: str) -> None:
    for make in (sources.csv, sources.jsonl):
        with pytest.raises(ConfigError, match="encoding"):
            make("in.csv", encoding=encoding)


@pytest.mark.parametrize("delimiter", ["", "ab", '"', "\n", "\0", "\udc80"])
def test_what_cannot_separate_fields_is_told(delimiter: str) -> None:
    with pytest.raises(ConfigError, match="delimiter"):
        sources.csv("in.csv", delimiter=delimiter)


def test_json_over_several_lines_is_told_L89(path: Path) -> None:
    path.write_text('[\n  {"a": 1},\n  {"a": 2}\n]\n')
    assert "one JSON value over several lines" in told(sources.jsonl(path))


# --- job files ------------------------------------------------------------------------------------------------------------

JOB = '[source]\ntype = "csv"\npath = "{path}"\n'


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ('type = "jsonl"\ndelimiter = ";"', "job.toml:4: source.delimiter: says nothing of a jsonl source"),
        ('type = "csv"\nencoding = "rot13"', "job.toml:4: source.encoding: encoding='rot13' is no encoding of text"),
        ('type = "jsonl"\nencoding = "hex"', "job.toml:4: source.encoding: encoding='hex' is no encoding of text"),
        ('type = "csv"\ncall = "json:loads"', "job.toml:4: source.call: says nothing of a csv source"),
        ('type = "csv"', "its fields are not separated by ',' but by ';'"),
    ],
)
def test_a_key_of_a_source_has_an_effect_or_is_told_L92(path: Path, tmp_path: Path, source: str, says: str) -> None:
    path.write_text("id;name\n1;ann\n")
    kind, _, key = source.partition("\n")
    (tmp_path / "job.toml").write_text(f'[source]\n{kind}\npath = "{path}"\n{key}\n')
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "job.toml")
    assert says in str(caught.value)
    assert len([line for line in str(caught.value).splitlines() if says in line]) == 1


def test_the_encoding_of_json_lines_has_an_effect_L92(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b'{"n":"Ren\xe9e"}\n')
    assert rows_of(sources.jsonl(path, encoding="cp1252")) == ([{"n": "Renée"}], [])
    (tmp_path / "job.toml").write_text(f'[source]\ntype = "jsonl"\npath = "{path}"\nencoding = "cp1252"\n')
    assert read(tmp_path / "job.toml").plan().source(lambda: None).encoding == "cp1252"  # type: ignore[arg-type,return-value,attr-defined]


def test_a_job_file_with_a_mark_is_read_and_one_that_is_not_utf_8_is_told_L89(path: Path, tmp_path: Path) -> None:
    path.write_bytes(TEXT)
    job = tmp_path / "job.toml"
    job.write_text("\ufeff" + JOB.format(path=path), encoding="utf-8")
    read(job).plan()
    for data, says in (
        (JOB.encode("utf-16"), "is not UTF-8 (it looks like UTF-16, or is no text): save it as UTF-8"),
        (b"\0" * 100, "is not UTF-8"),
        (b"# one\n# Ren\xe9e\n", "job.toml:2: is not UTF-8 (byte 0xe9)"),
    ):
        job.write_bytes(data)
        with pytest.raises(ConfigError) as caught:
            read(job)
        assert says in str(caught.value)


def test_check_refuses_what_a_run_would_with_status_2_L89(path: Path, tmp_path: Path) -> None:
    path.write_bytes(gzip.compress(TEXT))
    (tmp_path / "job.toml").write_text(JOB.format(path=path))
    for command in ("check", "run"):
        done = subprocess.run(
            [sys.executable, "-m", "headrace.runtime.cli", command, "job.toml"],
            cwd=tmp_path, capture_output=True, text=True, timeout=50,
        )  # fmt: skip
        assert done.returncode == 2
        assert "source: " in done.stderr
        assert "looks like a gzip file" in done.stderr
