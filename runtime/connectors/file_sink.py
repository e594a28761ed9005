"""What the sinks of files have in common: an output that is checked, held, written and given its name."""

from __future__ import annotations

import os

from headrace.actors.errors import InternalError

from ..errors import ConfigError
from .claims import SinkClaim
from .file_identity import STANDARD, FileUse, StrPath, checked_path
from .formats import form_of, refuse_other_formats
from .packed import PACKED_NAMES
from .part_file import IfExists, PartFile, check_if_exists
from .port import RunInfo, Written
from .remote import is_url, shown
from .stream_output import StreamOutput, is_stream

HEAD_BYTES = 65_536
"""So much of a file that rows are appended to is looked at."""


class FileSink:
    """Base of the sinks of files. A subclass makes bytes of rows, and appends them with `_write`."""

    kind = "text"
    """What its files hold, for messages."""

    def __init__(self, path: StrPath, if_exists: IfExists | None) -> None:
        self.path = checked_path(path)
        self.name = "standard output" if self.path == STANDARD else self.path
        if is_url(self.path):
            self.name = shown(self.path)
        if self.path.lower().endswith(PACKED_NAMES) and not is_stream(self.path):
            raise ConfigError(
                f"{self.name}: outputs are not packed while they are written; name it without the ending, and pack it when"
                " it is complete"
            )
        self._if_exists = check_if_exists(self.name, if_exists)
        self._output: PartFile | StreamOutput | None = None
        self._claim: SinkClaim | None = None
        self._run = RunInfo()
        self._told: Written | None = None

    @property
    def durable(self) -> bool:
        """What went through a pipe cannot be taken back."""
        return not is_stream(self.path)

    def files(self) -> list[FileUse]:
        """Which files the sink writes: its output, and the part file that becomes it."""
        if is_stream(self.path) or is_url(self.path):
            return [FileUse(self.path, "write")]
        part = f"{os.path.realpath(self.path)}.part"
        return [FileUse(self.path, "write"), FileUse(part, "write"), FileUse(f"{part}.lock", "write")]

    def claim(self, run: RunInfo, place: object) -> SinkClaim:
        """Hold the output for this run. Raises `ConfigError`."""
        if self._claim is not None:
            raise ConfigError(f"{self.name}: is being written by another run of this process, with this very sink")
        output = self._new_output()
        output.claim(run, place)
        try:
            if isinstance(output, PartFile) and (old := output.appends_to) is not None:
                self._check_old(old)
            self._on_claimed(output)
        except BaseException:
            output.unclaim()
            raise
        self._output, self._run = output, run
        self._claim = claim = SinkClaim(self.name, self._unclaim)
        return claim

    def _new_output(self) -> PartFile | StreamOutput:
        if is_stream(self.path):
            return StreamOutput(self.path)
        if is_url(self.path):
            return self._remote()
        return PartFile(self.path, self._if_exists, self._has_rows)

    def _remote(self) -> PartFile:
        from .remote_output import RemotePart

        output = RemotePart(self.name, self._if_exists, self._has_rows)
        output.url = self.path
        return output

    def _unclaim(self) -> None:
        output = self._output
        self._let_go()
        if output is not None:
            output.unclaim()

    def _let_go(self) -> None:
        self._output = self._claim = None

    def open(self) -> None:
        """Begin the output anew, without what an earlier life has written."""
        self._begin(None, resumable=False)

    def resume(self, place: object) -> None:
        """Begin at this place, of which the journal knows; what was written after it is taken back."""
        self._begin(place, resumable=True)

    def _begin(self, place: object, *, resumable: bool) -> None:
        claim = self._claim or self.claim(RunInfo(), place)
        output = self._opened_output
        claim.opened()
        try:
            output.begin(resumable=resumable)
        except BaseException as error:
            output.close(False)
            claim.closed(error)
            self._let_go()
            raise

    def _on_claimed(self, output: PartFile | StreamOutput) -> None:
        """The output is held; its rows can be looked at. Raises `ConfigError`."""

    def _check_old(self, path: str) -> None:
        """Rows are to come after those in this file. Raises `ConfigError` where the two would be no file that can be read
        (L89)."""
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
        try:
            form = form_of(head, "utf-8")
            if form.encoding != "utf-8":
                raise ConfigError(
                    f"what is there is in {form.encoding}, and rows are written in utf-8: name another file"
                )
            refuse_other_formats(head, form, f"{self.kind} that rows can be appended to")
            self._check_head(head[form.mark :].decode(errors="replace"), whole=len(head) < HEAD_BYTES)
        except ConfigError as error:
            raise ConfigError(f"{self.name}: {error}") from None

    def _check_head(self, head: str, *, whole: bool) -> None:
        """The text that such a file begins with, or (`whole`) all of it. Raises `ConfigError`."""

    def tell(self) -> object:
        """How much was written, as `resume` wants it."""
        output = self._opened_output
        if not isinstance(output, PartFile):
            raise InternalError("what goes through a pipe has no places")
        return output.tell()

    def sync(self) -> None:
        """Have what was written on the disk."""
        output = self._opened_output
        if isinstance(output, PartFile):
            output.sync()

    def _write(self, data: bytes) -> None:
        if data:
            self._opened_output.write(data)

    def _ending(self) -> bytes:
        """What an output that is complete has still to be given."""
        return b""

    def close(self, complete: bool) -> None:  # noqa: FBT001 - connectors are closed so
        """Let go of the output, which gets its name if it is complete. Raises `OSError`."""
        output, claim = self._output, self._claim
        if output is None or claim is None:
            return
        failed: BaseException | None = None
        try:
            if complete and (ending := self._ending()):
                output.write(ending)
        except BaseException as error:
            failed = error
        try:
            output.close(complete and failed is None)
        except BaseException as error:
            failed = failed or error
        finally:
            self._told = output.written
            self._let_go()
            claim.closed(failed if complete else None)
        if failed is not None:
            raise failed

    def written(self) -> Written | None:
        """What was done to the output."""
        return self._told

    def _has_rows(self, path: str) -> bool:
        return os.path.getsize(path) > 0

    @property
    def _opened_output(self) -> PartFile | StreamOutput:
        if self._output is None:
            raise InternalError("a sink is opened before it is written")
        return self._output
