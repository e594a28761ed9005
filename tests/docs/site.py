"""Builds the pages of `runtime/docs/` into `out/site`, and sees that the site needs nothing from elsewhere: `make docs`.

The pages are built from a copy under `out/docs/`, since the generator wants its output below its configuration. Beside
them stands the package as the API's reference reads it, without running it. Anything that the generator warns of (a link to
no page or heading, a name that is not there) is an error.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import headrace

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "runtime" / "docs"
WORK = ROOT / "out" / "docs"
SITE = ROOT / "out" / "site"
BUILD_S = 120.0
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
NETWORK = re.compile(r"^(https?:)?//", re.IGNORECASE)
IN_STYLES = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)", re.IGNORECASE)
LOADS = {"src", "srcset", "data", "poster", "action", "background", "href"}
"""Attributes with which a page loads something by itself; an `<a href>` is followed by a reader, who wants it."""
FROM_ELSEWHERE = {"mermaid": "a drawing", "glightbox": "a picture", "pyodide": "a program"}
"""Classes of elements for which the generator's script would load what the site does not have."""


def build() -> None:
    """Build the site; ends the process where something is wrong."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    shutil.copytree(PAGES, WORK / "pages", ignore=shutil.ignore_patterns("zensical.toml"))
    shutil.copy(PAGES / "zensical.toml", WORK)
    package = WORK / "package" / "headrace"
    package.mkdir(parents=True)
    # The package gives its names when they are asked for; this one names them for whoever reads and runs nothing.
    names = ", ".join(name for name in headrace.__all__ if not name.startswith("__"))
    (package / "__init__.py").write_text(f"from headrace.runtime import {names}\n", encoding="utf-8")
    for folder in ("actors", "runtime", "scenarios"):
        (package / folder).symlink_to(ROOT / folder)
    command = [str(Path(sys.executable).parent / "zensical"), "build", "--strict", "-f", str(WORK / "zensical.toml")]
    built = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=BUILD_S)
    if built.returncode != 0:
        # The generator's own traceback says nothing of the pages.
        told = COLOURS.sub("", built.stdout).split("Traceback", 1)
        sys.exit(f"{told[0] if 'Warning' in told[0] else built.stdout}\nthe pages cannot be built")
    # For those who read text: llms.txt leads to the pages as they were written.
    for page in PAGES.rglob("*.md"):
        shutil.copy(page, WORK / "site" / page.relative_to(PAGES))
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.move(WORK / "site", SITE)


class _Loads(HTMLParser):
    """What a page loads by itself from somewhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in LOADS and tag != "a" and NETWORK.match((value or "").strip()):
                self.found.append(f"<{tag} {name}={value}>")
            if name == "style":
                self.found += IN_STYLES.findall(value or "")
            if name == "class":
                self.found += [
                    f"{FROM_ELSEWHERE[one]} (class {one})" for one in (value or "").split() if one in FROM_ELSEWHERE
                ]

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "style":
            self.found += IN_STYLES.findall(data)


def from_elsewhere(site: Path) -> Iterator[str]:
    """What the pages and styles of the site load from other places, with the file."""
    for path in sorted(site.rglob("*.html")):
        loads = _Loads()
        loads.feed(path.read_text(encoding="utf-8"))
        yield from (f"{path.relative_to(site)}: {found}" for found in loads.found)
    for path in sorted(site.rglob("*.css")):
        yield from (
            f"{path.relative_to(site)}: {found}" for found in IN_STYLES.findall(path.read_text(encoding="utf-8"))
        )


if __name__ == "__main__":
    build()
    loaded = list(from_elsewhere(SITE))
    if loaded:
        sys.exit("the site loads what is not in it:\n  " + "\n  ".join(loaded))
    print(f"{SITE.relative_to(ROOT)}: {len(list(SITE.rglob('*.html')))} pages, which load nothing from elsewhere")
