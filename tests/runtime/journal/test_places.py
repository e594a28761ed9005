"""Where a journal is: a file of its own, under one name, that this Headrace can read; all else is told in a sentence."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import sqlite3
import stat
import sys
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from headrace.runtime import Pipeline
from headrace.runtime.errors import ConfigError
from headrace.runtime.journal.sqlite.store import SqliteStore
from headrace.runtime.journal.stores import hold, look_into


def run(path: Path | str) -> None:
    Pipeline("job").source([1]).run(journal=path)


def a_folder(path: Path) -> None:
    path.mkdir()


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_text(path: Path) -> None:
    path.write_text("this is no database, and it is long enough to be taken for one" * 20)


def a_link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "missing" / "run.db")


def a_second_name(path: Path) -> None:
    run(path)
    os.link(path, path.with_suffix(".other"))


def of_another_version(path: Path) -> None:
    run(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA user_version = 1")
    db.close()


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (a_folder, "is a folder, not a journal"),
        (a_fifo, "is a named pipe, not a journal"),
        (a_text, "is not a journal"),
        (a_link_to_nowhere, "the folder .* does not exist"),
        (a_second_name, r"has 2 names \(hard links\)"),
        (of_another_version, "is a journal of version 1, and this Headrace reads version 4: use the one that began it"),
    ],
)
def test_what_can_be_no_journal_is_told_in_a_sentence_and_left_as_it_is(
    tmp_path: Path, make: Callable[[Path], None], what: str
) -> None:
    path = tmp_path / "run.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    for write in (True, False):
        with pytest.raises(ConfigError, match=what) as told:
            run(path) if write else SqliteStore(str(path), new=not path.exists(), write=False)
        assert str(told.value).startswith(f"{path}: ")
        assert "\n" not in str(told.value)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_device_is_no_journal() -> None:
    with pytest.raises(ConfigError, match="/dev/null: is a device, not a journal"):
        run("/dev/null")


def test_an_empty_file_becomes_one_and_has_nothing_to_look_at(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    path.touch()
    with pytest.raises(ConfigError, match="is empty; no run was begun in it"):
        look_into(str(path))
    run(path)
    run(path)


def test_a_link_is_the_same_journal_L36(tmp_path: Path) -> None:
    """Whoever holds it under one name holds it under the other."""
    path, link = tmp_path / "run.db", tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    run(link)
    assert path.is_file()
    file = hold(str(link))
    try:
        with pytest.raises(ConfigError, match="another process is running with this journal"):
            run(path)
    finally:
        file.close()
    assert sorted(each.name for each in link.parent.iterdir()) == ["link.db"]
    run(path)


def test_a_connection_is_closed_whatever_was_found(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    run(path)
    whole = path.read_bytes()
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for at in (18, 100, 4096 + 3, len(whole) // 2, len(whole) - 4096):
            data = bytearray(whole)
            data[at] ^= 0xFF
            path.write_bytes(data)
            for write in (True, False):
                with contextlib.suppress(ConfigError):
                    SqliteStore(str(path), write=write).close()
                assert not _open_files(path), f"byte {at}"
        gc.collect()


def _open_files(path: Path) -> list[str]:
    if not sys.platform.startswith("linux"):
        return []
    links = [f"/proc/self/fd/{each}" for each in os.listdir("/proc/self/fd")]
    return [os.readlink(each) for each in links if os.path.lexists(each) and str(path) in os.readlink(each)]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.db"
    opened = os.open

    def refusing(name: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(name, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refusing)
        with pytest.raises(ConfigError, match="cannot be opened: Permission denied; it and its folder must be"):
            run(path)
    run(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
