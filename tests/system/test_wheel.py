"""What is on the disk is in the wheel: packages are listed by hand, and a forgotten one works until it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "runtime" / "docs"
"""The pages of the site, which are read there."""
SHIPPED = {".py", ".typed", ".csv", ".md", ".toml", ".json"}


@pytest.mark.timeout(120)
def test_the_wheel_holds_what_the_disk_holds(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "-w",
        str(tmp_path),
    ]
    # What an earlier build left behind would be packed, too.
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True, timeout=110)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("headrace/")}
    on_disk = {
        f"headrace/{path.relative_to(ROOT)}"
        for folder in ("actors", "runtime", "scenarios")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in SHIPPED and "__pycache__" not in path.parts and DOCS not in path.parents
    }
    on_disk -= {name for name in on_disk if name.endswith("README.md")}
    # The package `headrace` itself.
    on_disk = {name.replace("/runtime/public/", "/") for name in on_disk}
    assert packed == on_disk
    assert {f"headrace/{folder}/py.typed" for folder in ("actors", "runtime", "scenarios")} <= packed
