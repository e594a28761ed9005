"""What a run notes beside the user's tables, in the transactions of its rows: whose a table's rows are, and how far it came.

`headrace_outputs` has one row a table: which pipeline and run wrote it last, and whether that was complete.
`headrace_places` says for each number of rows that was told to the journal, which of the notes of `undo` had been made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..port import RunInfo

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, RowMapping

ABSENT, EMPTY, WITH_ROWS = range(3)
"""What a table was when the run began."""


class Notes:
    """Those on one table. `sink`: how it is called in them."""

    def __init__(self, connection: Connection, sink: str, run: RunInfo) -> None:
        import sqlalchemy as sa

        self._connection = connection
        self._sink = sink
        self._run = run
        made = sa.MetaData()
        name, text = sa.String(180), sa.Text
        options: dict[str, Any] = {f"{each}_engine": "InnoDB" for each in ("mysql", "mariadb")}
        options |= {f"{each}_charset": "utf8mb4" for each in ("mysql", "mariadb")}
        options |= {f"{each}_collate": "utf8mb4_bin" for each in ("mysql", "mariadb")}
        self._outputs = sa.Table(
            "headrace_outputs",
            made,
            sa.Column("sink", name, primary_key=True),
            sa.Column("pipeline", text, nullable=False),
            sa.Column("run", name, nullable=False),
            sa.Column("journal", text),
            sa.Column("target", name, nullable=False),
            sa.Column("n_rows", sa.BigInteger, nullable=False),
            sa.Column("own", sa.Integer, nullable=False),
            sa.Column("complete", sa.Integer, nullable=False),
            sa.Column("existed", sa.Integer, nullable=False),
            **options,
        )
        self._places = sa.Table(
            "headrace_places",
            made,
            sa.Column("sink", name, primary_key=True),
            sa.Column("run", sa.String(64), primary_key=True),
            sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("note", sa.BigInteger, nullable=False),
            **options,
        )
        self._made = made

    def make(self) -> None:
        """Make the tables that are not there."""
        self._made.create_all(self._connection)

    def are_there(self) -> bool:
        """Whether any run has made them."""
        import sqlalchemy as sa

        return bool(sa.inspect(self._connection).has_table("headrace_outputs"))

    def last(self) -> RowMapping | None:
        """What the last run on this table noted of itself."""
        outputs = self._outputs
        return self._connection.execute(outputs.select().where(outputs.c.sink == self._sink)).mappings().first()

    def begin(self, target: str, rows: int, *, own: bool, existed: int) -> None:
        """This run writes there now."""
        run, outputs = self._run, self._outputs
        self._connection.execute(outputs.delete().where(outputs.c.sink == self._sink))
        told = {"sink": self._sink, "pipeline": run.pipeline, "run": run.run, "journal": run.journal, "target": target}
        more = {"n_rows": rows, "own": int(own), "complete": 0, "existed": existed}
        self._connection.execute(outputs.insert().values(**told, **more))

    def update(self, **values: object) -> None:
        """Of what this run noted of itself."""
        outputs = self._outputs
        self._connection.execute(outputs.update().where(outputs.c.sink == self._sink).values(**values))

    def place(self, n: int, note: int) -> None:
        """So many rows were written when this was the last note."""
        places = self._places
        self._connection.execute(places.delete().where(self._here(), places.c.n == n))
        self._connection.execute(places.insert().values(sink=self._sink, run=self._run.run, n=n, note=note))

    def find(self, n: int) -> int | None:
        """The last note when so many rows were written; None where that is not known."""
        places = self._places
        found = self._connection.execute(places.select().where(self._here(), places.c.n == n)).mappings().first()
        return int(found["note"]) if found is not None else None

    def forget_after(self, note: int) -> None:
        """Places that were taken back."""
        places = self._places
        self._connection.execute(places.delete().where(self._here(), places.c.note > note))

    def forget_before(self, n: int) -> int | None:
        """All places before the latest one of so many rows; the note of that."""
        import sqlalchemy as sa

        places = self._places
        latest = self._connection.execute(
            sa.select(sa.func.max(places.c.n)).where(self._here(), places.c.n <= n)
        ).scalar()
        if latest is None:
            return None
        self._connection.execute(places.delete().where(self._here(), places.c.n < latest))
        return self.find(int(latest))

    def forget_all(self) -> None:
        """Places of this run and of others."""
        places = self._places
        self._connection.execute(places.delete().where(places.c.sink == self._sink))

    def _here(self) -> Any:
        import sqlalchemy as sa

        return sa.and_(self._places.c.sink == self._sink, self._places.c.run == self._run.run)
