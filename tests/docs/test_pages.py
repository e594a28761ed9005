"""The pages say what the code says: names, keys, messages, tests. That their examples run is `make docs`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import headrace
from headrace.actors import protocol
from headrace.runtime import errors
from headrace.runtime.files import ends, pipeline_file
from tests.docs.site import PAGES, ROOT, from_elsewhere

TABLES: dict[str, type[msgspec.Struct]] = {
    "Top level": pipeline_file.File,
    "[source]": ends.SourceTable,
    "[[stage]]": pipeline_file.StageTable,
    "[stage.limit]": pipeline_file.LimitTable,
    "[stage.retry]": pipeline_file.RetryTable,
    "[sink] and [[sink]]": ends.SinkTable,
    "[journal]": pipeline_file.JournalTable,
}
SEQUENCE = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    return (PAGES / name).read_text(encoding="utf-8")


def pages() -> set[str]:
    return {path.relative_to(PAGES).as_posix() for path in PAGES.rglob("*.md")}


def test_every_page_is_in_the_navigation_and_in_llms_txt() -> None:
    def leaves(nav: Any) -> Iterator[str]:
        if isinstance(nav, str):
            yield nav
        else:
            for each in nav.values() if isinstance(nav, dict) else nav:
                yield from leaves(each)

    assert set(leaves(tomllib.loads(page("zensical.toml"))["project"]["nav"])) == pages()
    linked = re.findall(r"\]\(([^)]+)\)", page("llms.txt"))
    assert {re.sub(r"\.html$", ".md", link) for link in linked} == pages()


def test_every_public_name_is_in_the_reference() -> None:
    directives = set(re.findall(r"^::: headrace\.(\w+)$", "".join(map(page, pages())), re.MULTILINE))
    assert directives == set(headrace.__all__) - {"__version__"}


def keys_told(title: str) -> dict[str, str]:
    """The keys that a section of the page about job files lists, with what it says of their defaults."""
    sections = dict(
        section.split("\n", 1) for section in re.split(r"^## ", page("reference/job-file.md"), flags=re.MULTILINE)[1:]
    )
    return dict(re.findall(r"^\| `(\w+)` \| *(.*?) *\|", sections[title], re.MULTILINE))


@pytest.mark.parametrize("title", TABLES)
def test_every_key_of_a_job_file_is_told_with_its_default(title: str) -> None:
    told, table = keys_told(title), TABLES[title]
    assert set(told) == set(table.__struct_fields__)
    for field in msgspec.structs.fields(table):
        if isinstance(field.default, bool):
            assert told[field.name] == str(field.default).lower(), field.name
        elif isinstance(field.default, int | float):
            assert told[field.name] == f"{field.default:g}", field.name
        elif isinstance(field.default, str):
            assert told[field.name] == f'`"{field.default}"`', field.name


def test_the_quarantine_has_the_keys_of_a_sink_but_those() -> None:
    missing = set(ends.SinkTable.__struct_fields__) - set(ends.QuarantineTable.__struct_fields__)
    said = re.search(r"^## \[quarantine\]\n\n(.*)", page("reference/job-file.md"), re.MULTILINE)
    assert said is not None
    assert missing == set(re.findall(r"`(\w+)`", said[1]))


def test_every_error_is_in_the_reference() -> None:
    text = page("reference/errors.md")
    assert [name for name in errors.__all__ if name != "name_of" and name not in text] == []


def test_diagrams_show_messages_that_there_are() -> None:
    shown = set()
    for name in pages():
        for block in SEQUENCE.findall(page(name)):
            head, *lines = block.splitlines()
            if not any("-->|" in line for line in lines):
                continue
            actors = set(head.split())
            assert len(actors) >= 2
            for line in lines:
                shown |= set(re.findall(r"\b[A-Z][a-zA-Z]+\b", line.split("   ")[0] if "|   " not in line else line))
    assert len(shown) > 10
    assert [name for name in sorted(shown) if not issubclass(getattr(protocol, name, int), protocol.Message)] == []


def test_the_tests_that_pages_name_exist() -> None:
    named = set(re.findall(r"`((?:tests|runtime|actors|scenarios)/[\w/.]+)`", "".join(map(page, pages()))))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    targets = set(re.findall(r"`make (\w+)", "".join(map(page, pages()))))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [target for target in sorted(targets) if f"\n{target}:" not in makefile] == []


@pytest.mark.parametrize(
    ("html", "loads"),
    [
        ('<script src="https://cdn.example/x.js"></script>', True),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', True),
        ('<img srcset="HTTPS://example.org/x.png">', True),
        ('<p style="background: url(http://example.org/x.png)">', True),
        ("<style>@import 'https://example.org/x.css';</style>", True),
        ('<pre class="mermaid">graph</pre>', True),
        (
            '<a href="https://example.org">a link</a><img src="local.png"><svg xmlns="http://www.w3.org/2000/svg"/>',
            False,
        ),
    ],
)
def test_what_a_page_loads_from_elsewhere_is_found(tmp_path: Path, html: str, loads: bool) -> None:
    (tmp_path / "page.html").write_text(html)
    assert bool(list(from_elsewhere(tmp_path))) == loads


def test_what_a_style_loads_from_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "style.css").write_text('@font-face { src: url("https://fonts.example/x.woff2"); }')
    assert len(list(from_elsewhere(tmp_path))) == 1
