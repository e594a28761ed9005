"""Sources and sinks that packages bring: the package in tests/plugin, and some that are not as they should be."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.runtime import ConfigError
from headrace.runtime.connectors import plugins
from headrace.runtime.files.pipeline_file import read

PACKAGE = Path(__file__).parents[2] / "plugin"
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes what an installer makes of entry points, without one; gives the folder, which is on the path."""
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def installed(name: str, groups: dict[str, dict[str, str]], code: dict[str, str]) -> Path:
        for module, text in code.items():
            (folder / f"{module}.py").write_text(text)
        info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in of.items()) for group, of in groups.items()]
        (info / "entry_points.txt").write_text("\n".join(lines))
        return folder

    return installed


@pytest.fixture
def acme(install: Install) -> Path:
    """The folder in which the example package is installed."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    code = {"headrace_acme": (PACKAGE / "headrace_acme.py").read_text()}
    return install(project["name"], project["entry-points"], code)


def test_a_job_file_uses_what_a_package_brings(acme: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUT", str(tmp_path))
    job = tmp_path / "job.toml"
    job.write_text(
        '[source]\ntype = "acme"\noptions = { shop = "Lund", n = 2 }\n'
        '[sink]\ntype = "acme"\noptions = { path = "${OUT}/ledger.txt" }\n'
    )
    read(job).pipeline.run(journal=tmp_path / "run.db")
    assert (tmp_path / "ledger.txt").read_text().splitlines() == [
        "{'shop': 'Lund', 'order': 0}",
        "{'shop': 'Lund', 'order': 1}",
    ]
    job.write_text('source = "acme://Oslo?n=1"\nsink = "' + str(tmp_path) + '/out.jsonl"\n')
    read(job).pipeline.run()
    assert (tmp_path / "out.jsonl").read_text() == '{"shop":"Oslo","order":0}\n'


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ('type = "acm"', "source.type: there is no source of the type 'acm'; did you mean 'acme'?"),
        ('type = "nothing"', "known are csv, json, jsonl, parquet, sql, python, acme"),
        ('type = "acme"\npath = "x"', "source.path: says nothing of a acme source; known are url, options, rows"),
        ('type = "acme"\noptions = { shops = 1 }', "got an unexpected keyword argument 'shops'; it takes (shop: "),
        (
            'type = "acme"\noptions = { n = -1 }',
            "(headrace_acme:Orders of headrace-acme 1.0) cannot be made: ValueError: n=-1",
        ),
        ('type = "acme"\noptions = { shop = "${NOT_SET}" }', "the variable NOT_SET of the environment is not set"),
        ('type = "acme"\noptions = 7', "source.options: expected `object`, got `int`"),
    ],
)
def test_what_is_wrong_with_it_is_told_with_its_line(acme: Path, tmp_path: Path, source: str, told: str) -> None:
    job = tmp_path / "job.toml"
    job.write_text(f'sink = "{tmp_path}/out.jsonl"\n[source]\n{source}\n')
    with pytest.raises(ConfigError) as error:
        read(job)
    assert told in str(error.value)


def test_plug_ins_that_are_not_as_they_should_be_are_told(install: Install) -> None:
    group = {
        "broken": "brought_broken:x",
        "number": "brought_code:NUMBER",
        "lost": "brought_code:nothing",
        "raises": "brought_code:f",
    }
    code = {
        "brought_broken": "raise RuntimeError('no')",
        "brought_code": "NUMBER = 7\ndef f(): raise OSError('away')\n",
    }
    install("theirs", {"headrace.sources": group}, code)
    for name, told in (
        ("broken", "cannot be loaded: RuntimeError: no"),
        ("number", "is a int, and makes nothing: a class or a function is expected"),
        ("lost", "cannot be loaded: AttributeError"),
        ("raises", "cannot be made: OSError: away"),
        ("nowhere", "there is no source 'nowhere' among the plug-ins"),
    ):
        with pytest.raises(ConfigError, match=told):
            plugins.made("source", name, {})


def test_two_packages_with_one_name_are_told(install: Install) -> None:
    for name in ("one", "two"):
        install(name, {"headrace.sinks": {"theirs": f"brought_{name}:make"}}, {f"brought_{name}": "make = print"})
    with pytest.raises(ConfigError, match=r"the sink 'theirs' is brought by two packages, one 1.0 .* and two 1.0"):
        plugins.made("sink", "theirs", {})


def test_the_command_lists_them(acme: Path, install: Install) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "headrace.runtime.cli", "plugins", *words]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=50, env={"PYTHONPATH": str(acme), "PATH": "/usr/bin"}
        )

    ran = run()
    assert ran.returncode == 0, ran.stderr
    assert "sources      acme             headrace_acme:Orders  (headrace-acme 1.0)  ok" in ran.stdout
    assert "sinks        acme             headrace_acme:Ledger  (headrace-acme 1.0)  ok" in ran.stdout
    assert "classifiers  acme" in ran.stdout
    install(
        "theirs", {"headrace.sources": {"broken": "brought_broken:x"}}, {"brought_broken": "raise RuntimeError('no')"}
    )
    ran = run("--json")
    assert ran.returncode == 1
    told = {(each["group"], each["name"]): each["wrong"] for each in json.loads(ran.stdout)}
    assert told[("headrace.sources", "broken")] == "RuntimeError: no"
    assert told[("headrace.sources", "acme")] is None
