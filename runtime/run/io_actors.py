"""The actors that may block: they open, read, write and close what is outside, each on a thread of its own.

A resource answers `Open` with `Opened` and `Close` with `Closed`, in every case and once; what it is asked in between it
does one thing at a time. No BaseException of a connector ends it: it becomes the answer.
"""

from __future__ import annotations

from typing import Any, assert_never

from headrace.actors import protocol
from headrace.actors.actor import Actor, Ref
from headrace.actors.protocol import Ended, Message, Outcomes, Rows, Status
from headrace.actors.rows.identity import Bundle, Id, branch_of, place, row_of

from ..calls.awaiting import Awaiting, Loop
from ..calls.strategies import call_hook
from ..connectors.calling import CalledSink, CalledSource
from ..connectors.port import SinkConnector, SourceConnector
from ..errors import UnwritableRows, name_of
from ..journal.port import RunJournal
from ..text import add_note, escaped, message_of, remarks_of, told, visible
from .outcome import Outcome


class Resource(Actor):
    """Base: pairs the opens with the closes."""

    blocks = True

    _is_open = False

    def receive(self, message: Any) -> None:
        if isinstance(message, protocol.Open):
            error = _error_of(self.open)
            self._is_open = error is None
            self.context.tell(message.reply_to, protocol.Opened(self.context.me, error))
        elif isinstance(message, protocol.Close):
            self._is_open = False
            error = _error_of(self.close, message.complete)
            self.context.tell(message.reply_to, protocol.Closed(self.context.me, error))
        else:
            self._unknown(message)

    def ended(self) -> None:
        # Opened after everybody had stopped waiting for it, or its conductor is dead.
        if self._is_open:
            self._is_open = False
            self.close(False)

    def open(self) -> None:
        raise NotImplementedError

    def close(self, complete: bool) -> None:  # noqa: FBT001 - whatever is opened is closed so
        raise NotImplementedError


def _error_of(function: Any, *args: object) -> BaseException | None:
    try:
        function(*args)
    except BaseException as error:
        return error
    return None


class Reader(Resource):
    """The actor that reads for a source."""

    def __init__(
        self,
        connector: SourceConnector,
        source: Ref,
        *,
        placed: bool = False,
        place: Any = None,
        loop: Loop | None = None,
    ) -> None:
        """`placed`: it is to tell where its rows are, and begins at `place`. `loop`: where methods are awaited that are
        asynchronous."""
        self._connector = CalledSource(connector, loop)
        self._source = source
        self._placed = self._connector if placed else None
        self._place = place

    def open(self) -> None:
        if self._placed is not None:
            self._placed.resume(self._place)
        else:
            self._connector.open()

    def close(self, complete: bool) -> None:  # noqa: FBT001 - whatever is opened is closed so
        self._connector.close()

    def receive(self, message: protocol.Read | protocol.Open | protocol.Close) -> None:
        if not isinstance(message, protocol.Read):
            super().receive(message)
            return
        if not self._is_open:
            # Overtaken by `Close`.
            return
        try:
            values, ended, bad = self._connector.read(message.n)
            place = self._placed.tell() if self._placed is not None else None
        except BaseException as error:
            self.context.tell(self._source, protocol.ReadFailed(error, self._connector.resumable))
        else:
            self.context.tell(self._source, protocol.ReadDone(values, ended, bad, place, self._connector.extent))


class Writer(Resource):
    """Writes for a sink. `whole`: the connector takes `Outcome`s of all rows; `quarantine`: records of bad rows. `durable`:
    what is written is synced before it counts, if the connector can. `place`: how far it had written."""

    def __init__(
        self,
        connector: SinkConnector,
        sink: Ref,
        *,
        whole: bool = False,
        durable: bool = False,
        place: object = None,
        loop: Loop | None = None,
        name: str | None = None,
    ) -> None:
        """`loop`: where methods are awaited that are asynchronous. `name`: of its node, for errors."""
        self._connector = CalledSink(connector, loop, name)
        self._sink = sink
        self._whole = whole
        self._exact = self._connector if durable and getattr(connector, "durable", False) is True else None
        self._place = place

    def open(self) -> None:
        if self._exact is not None:
            self._exact.resume(self._place)
        else:
            self._connector.open()

    def close(self, complete: bool) -> None:  # noqa: FBT001 - whatever is opened is closed so
        self._connector.close(complete)

    def receive(self, message: protocol.Write | protocol.Open | protocol.Close) -> None:
        if not isinstance(message, protocol.Write):
            super().receive(message)
            return
        # Overtaken by `Close`, it is not written, and interrupted.
        if self._is_open:
            self._write(message)

    def _write(self, message: protocol.Write) -> None:
        places: list[object] | None = None
        unwritable: dict[Id, BaseException] = {}
        try:
            if self._exact is None:
                for part in message.batch:
                    self._write_part(part, unwritable)
            else:
                places = []
                for part in message.batch:
                    self._write_part(part, unwritable)
                    places.append(self._exact.tell())
                self._exact.sync()
        except BaseException as error:
            self.context.tell(self._sink, protocol.WriteFailed(error))
        else:
            self.context.tell(self._sink, protocol.Written(places, unwritable or None))

    def _write_part(self, part: Rows | Outcomes, unwritable: dict[Id, BaseException]) -> None:
        """Write one part; rows of it that the connector cannot hold are added to `unwritable`."""
        items = self._items(part)
        try:
            self._connector.write(items)
        except UnwritableRows as refused:
            strays = [index for index in refused.rows if not (isinstance(index, int) and 0 <= index < len(items))]
            if strays:
                raise IndexError(
                    f"{self._connector.name}: UnwritableRows names row {strays[0]!r} of a batch of {len(items)} rows"
                ) from refused
            if isinstance(part, Outcomes):
                # There is no quarantine for the quarantine: what it cannot hold as it is, it gets as text.
                self._write_escaped([items[index] for index in sorted(refused.rows)])
            else:
                unwritable.update({part.seqs[index]: error for index, error in refused.rows.items()})

    def _write_escaped(self, records: list[dict[str, object]]) -> None:
        """Write records of the quarantine in a form that every sink can hold: the row as marked text, in ASCII."""
        texts = [{**record, "row": escaped(record["row"])} for record in records]
        try:
            self._connector.write([{**record, "escaped": True} for record in texts])
        except UnwritableRows as refused:
            # A table has no column for the mark, so the text bears it.
            self._connector.write([_as_cells(texts[index]) for index in sorted(refused.rows)])

    def _items(self, part: Rows | Outcomes) -> list[Any]:
        match part:
            case Rows(seqs, values, attempts):
                if not self._whole:
                    return values
                tries = attempts or {}
                return [
                    Outcome(row_of(seq), Status.DELIVERED, value, None, tries.get(seq, 1), branch_of(seq))
                    for seq, value in zip(seqs, values, strict=True)
                ]
            case Outcomes(ended):
                if not self._whole:
                    return [record_of(e) for e in ended]
                return [Outcome(row_of(e.seq), e.status, e.value, e.error, e.attempts, branch_of(e.seq)) for e in ended]
            case _:
                assert_never(part)


def _as_cells(record: dict[str, object]) -> dict[str, object]:
    """A record of the quarantine whose row is text already, in values that a cell of any table can hold."""
    cells = {key: visible(value) if isinstance(value, str) else value for key, value in record.items()}
    if isinstance(cells["seq"], list):
        cells["seq"] = escaped(cells["seq"])
    return {**cells, "row": f"escaped: {record['row']}"}


def record_of(ended: Ended) -> dict[str, object]:
    """A row in quarantine, as a record for people: which row (of a batch, a list of them), where it ended, why, and the row
    itself. `branch`: the path of forks and outputs under it, such as "0.2"."""
    error = ended.error
    seq = ended.seq
    return {
        "seq": [place(member)[0] for member in seq.members] if isinstance(seq, Bundle) else row_of(seq),
        "branch": ".".join(map(str, branch_of(seq))),
        "stage": ended.stage,
        "error": name_of(error) if error is not None else None,
        "message": _message_in_full(error) if error is not None else None,
        "attempts": ended.attempts,
        "row": ended.value,
    }


def _message_in_full(error: BaseException) -> str:
    """The message, as text that any file can hold, and what Headrace has remarked on the error."""
    return "".join([message_of(error), *(f" ({remark})" for remark in remarks_of(error))])


class JournalWriter(Resource):
    """Keeps the journal. It was open before the run began."""

    def __init__(self, store: RunJournal, journal: Ref) -> None:
        self._store = store
        self._journal = journal
        self._is_open = True

    def close(self, complete: bool) -> None:  # noqa: FBT001 - whatever is opened is closed so
        self._store.close(complete)

    def receive(self, message: protocol.Commit | protocol.Open | protocol.Close) -> None:
        if not isinstance(message, protocol.Commit):
            super().receive(message)
            return
        try:
            self._store.commit(message.entries)
        except BaseException as error:
            self.context.tell(self._journal, protocol.CommitFailed(error))
        else:
            self.context.tell(self._journal, protocol.Committed())


class Strategies(Resource):
    """Prepares the functions that have a `prepare`, once each, and closes those that were prepared, in reverse (L17)."""

    def __init__(self, functions: list[object], loop: Loop) -> None:
        # One strategy may serve several stages: identity decides, not equality.
        self._functions = list({id(function): function for function in functions}.values())
        self._awaiting = Awaiting(loop)
        self._prepared: list[object] = []

    def open(self) -> None:
        for function in self._functions:
            try:
                self._call(function, "prepare")
            except BaseException as error:
                # The conductor closes only what opened: what was prepared before this one is ours to close (L21).
                for own in self._close_all():
                    add_note(error, message_of(own))
                raise
            self._prepared.append(function)

    def close(self, complete: bool) -> None:  # noqa: FBT001 - whatever is opened is closed so
        errors = self._close_all()
        if len(errors) > 1:
            raise ExceptionGroup("; ".join(map(message_of, errors)), errors)
        if errors:
            raise errors[0]

    def _close_all(self) -> list[Exception]:
        """Close all, whatever any of them raises; none of their errors comes before another."""
        errors: list[Exception] = []
        while self._prepared:
            function = self._prepared.pop()
            error = _error_of(self._call, function, "close")
            if error is not None:
                failed = RuntimeError(f"close() of {type(function).__name__}: {told(error)}")
                failed.__cause__ = error
                errors.append(failed)
        return errors

    def _call(self, function: object, name: str) -> None:
        call_hook(function, name, self._awaiting.settled)

    def receive(self, message: Message) -> None:
        super().receive(message)
