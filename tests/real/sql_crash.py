"""`make crash-sql`: a job from a table into two others, killed with SIGKILL at random moments and resumed each time.

One table gets its rows by COPY (of PostgreSQL), or by its key (of others), the other one by a key in rows that are there
already. A round is one job, from nothing to its end; then both tables have what a run without kills gives.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from headrace.runtime.connectors.sql.address import Address
from tests.system.killed import ran_to_its_end

from . import databases

ROWS = 2500
COPIED, KEYED = "copied", "keyed"


def work(url: str, folder: Path) -> None:
    """The job, in the process that is killed."""
    from headrace.runtime import Pipeline, sinks, sources

    report = (
        Pipeline("crash")
        .source(sources.sql(url, table="given"))
        .map(answered, workers=16)
        .sink(sinks.sql(url, COPIED, key=None if url.startswith("postgresql") else "id"), name="copied")
        .sink(sinks.sql(url, KEYED, key="id"), name="keyed", ordered=False)
        .run(journal=folder / "run.db")
    )
    assert report.rows == ROWS, report


async def answered(row: dict[str, Any]) -> dict[str, Any]:
    """What a row becomes."""
    import asyncio

    await asyncio.sleep(0.002)
    return {"id": row["id"], "v": row["v"].upper()}


def prepare(connection: sa.Connection) -> None:
    """The tables, as they are before the job."""
    tables = sa.inspect(connection).get_table_names()
    for name in (each for each in tables if each != "given"):
        connection.execute(sa.text(f"DROP TABLE {name}"))
    made = sa.MetaData()
    columns = (sa.Column("id", sa.Integer, primary_key=True, autoincrement=False), sa.Column("v", sa.String(40)))
    given = sa.Table("given", made, *columns, mysql_engine="InnoDB")
    keyed = sa.Table(KEYED, made, *(column._copy() for column in columns), mysql_engine="InnoDB")
    made.create_all(connection)
    if "given" not in tables:
        connection.execute(given.insert(), [{"id": i, "v": f"row {i}"} for i in range(ROWS)])
    # Rows that are updated, and one that the job does not touch.
    connection.execute(keyed.insert(), [{"id": i, "v": "old"} for i in (*range(0, ROWS, 3), ROWS + 5)])
    connection.commit()


def check(connection: sa.Connection) -> None:
    """Raises `AssertionError` where a table is not what it must be."""
    expected = [(i, f"ROW {i}") for i in range(ROWS)]
    for name, more in ((COPIED, []), (KEYED, [(ROWS + 5, "old")])):
        rows = [tuple(row) for row in connection.execute(sa.text(f"SELECT id, v FROM {name} ORDER BY id, v"))]
        assert rows == expected + more, f"{name}: {len(rows)} rows, {len(set(rows))} of them different"
    connection.rollback()


def crash(url: str, kills: int, seed: int) -> tuple[int, int]:
    """So many kills; (kills, rounds)."""
    chance, came, rounds = random.Random(seed), 0, 0
    address = Address(url)
    engine = address.engine()
    with engine.connect() as connection:
        while came < kills:
            prepare(connection)
            with tempfile.TemporaryDirectory(prefix="crash-") as folder:
                while came < kills and not run(url, Path(folder), chance.uniform(0.3, 2.6)):
                    came += 1
                run(url, Path(folder), None)
            check(connection)
            rounds += 1
    return came, rounds


def run(url: str, folder: Path, kill_after_s: float | None) -> bool:
    """Once; whether it came to its end."""
    return ran_to_its_end("tests.real.sql_crash", url, str(folder), kill_after_s=kill_after_s)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", nargs=2, metavar=("URL", "FOLDER"))
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--database", choices=("postgres", "mariadb"), default="postgres")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    if options.work:
        work(options.work[0], Path(options.work[1]))
        return 0
    print(f"seed {options.seed}", flush=True)
    program = databases.postgres_program() if options.database == "postgres" else databases.mariadb_program()
    if program is None:
        print(f"{options.database} is not installed")
        return 2
    with getattr(databases, options.database)(program) as url:
        kills, rounds = crash(url, options.kills, options.seed)
    print(f"{kills} kills in {rounds} rounds of {ROWS:,} rows: both tables as without")
    return 0


if __name__ == "__main__":
    sys.exit(main())
