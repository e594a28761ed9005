"""Pipelines in TOML files: read strictly, with every mistake told at once, each with its key and its line.

    name = "geocode"

    [source]
    type = "csv"
    path = "addresses.csv"

    [[stage]]
    call = "geo:geocode"        # module:name, found also next to the file
    workers = 32
    limit = "200/s"
    retry = 5

    [sink]
    type = "jsonl"
    path = "out.jsonl"

Paths are those of the folder that the command runs in.
"""

from __future__ import annotations

import difflib
import importlib
import re
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from . import sinks, sources
from .connectors.port import SinkConnector, SourceConnector
from .errors import ConfigError
from .limits import Limit, Retry, as_retry
from .pipeline import WORKERS, Pipeline

Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Target = Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")]
"""`module:name`."""


class SourceTable(Struct, forbid_unknown_fields=True):
    """`[source]`."""

    type: Literal["csv", "jsonl", "python"]
    path: str | None = None
    call: Target | None = None
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8"


class SinkTable(Struct, forbid_unknown_fields=True):
    """`[sink]` and `[quarantine]`."""

    type: Literal["csv", "jsonl", "python"]
    path: str | None = None
    call: Target | None = None
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    columns: list[str] | None = None


class LimitTable(Struct, forbid_unknown_fields=True):
    """`[stage.limit]`; see `Limit`. `cost` and `key` are callables, `module:name`."""

    rates: list[str] = []
    burst: Annotated[float, Meta(ge=1)] | None = None
    concurrency: Count | Literal["auto"] | None = None
    cost: Target | None = None
    key: Target | None = None
    name: str | None = None
    cooldown: Seconds = 0.1
    max_hint: Seconds = 300.0
    outage_after: Count = 10
    outage_deadline: Seconds = 600.0


class RetryTable(Struct, forbid_unknown_fields=True):
    """`[stage.retry]`; see `Retry`."""

    attempts: Count = 3
    base: Seconds = 0.1
    cap: Seconds = 30.0
    refusals: Count = 100
    classify: Target | None = None


class StageTable(Struct, forbid_unknown_fields=True):
    """`[[stage]]`; see `Pipeline.map`."""

    call: Target
    name: str | None = None
    workers: Count = WORKERS
    limit: str | LimitTable | None = None
    retry: Count | RetryTable | None = None
    timeout: Seconds | None = None
    deadline: Seconds | None = None
    on_error: Literal["quarantine", "fail", "drop"] = "quarantine"
    on_unknown: Literal["retry", "quarantine"] = "retry"


class File(Struct, forbid_unknown_fields=True):
    """A whole file."""

    source: SourceTable
    stage: list[StageTable]
    sink: SinkTable | None = None
    quarantine: SinkTable | None = None
    name: str | None = None
    window: Count | None = None
    ordered: bool = True
    max_quarantined: Annotated[float, Meta(ge=0)] | None = None
    drain_timeout: Seconds | None = None


class Job(Struct, frozen=True):
    """A pipeline out of a file, with what its run is told."""

    pipeline: Pipeline
    max_quarantined: float | None
    drain_timeout: float | None


_BAD = object()
"""In the place of a value that is none."""


class _Reading:
    """One file while it is read: its mistakes, and where they are."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._lines = _lines_of(text)
        self.mistakes: list[tuple[int, str]] = []

    def note(self, key: str, what: str) -> None:
        """A mistake."""
        line = self._line_of(key)
        where = f"{self.path}:{line}" if line else f"{self.path}"
        self.mistakes.append((line, f"{where}: {key}: {what}" if key else f"{where}: {what}"))

    def _line_of(self, key: str) -> int:
        """The line of a key, or of the nearest table around it; 0 where there is none."""
        while key:
            if key in self._lines:
                return self._lines[key]
            key = re.sub(r"(\.[^.\[\]]+|\[\d+\]|^[^.\[\]]+)$", "", key)
        return 0

    def table(self, kind: type[Struct], data: Any, key: str) -> Any:
        """`data` as a `kind`. All mistakes are noted, and the default, or None, stands in the place of
        what is wrong."""
        if not isinstance(data, dict):
            self.note(key, f"expected a table, got {_kind_of(data)}")
            return None
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        values: dict[str, Any] = {}
        for name in data:
            if name not in fields:
                near = difflib.get_close_matches(name, fields, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(fields)}"
                self.note(_join(key, name), f"unknown key; {hint}")
        for name, field in fields.items():
            at = _join(key, name)
            if name not in data:
                if field.required:
                    self.note(at, "is missing")
                    values[name] = None
                continue
            value = self._value(field.type, data[name], at)
            if value is not _BAD or field.required:
                values[name] = None if value is _BAD else value
        return kind(**values)

    def _value(self, kind: Any, value: Any, key: str) -> Any:
        tables = [k for k in _alternatives(kind) if isinstance(k, type) and issubclass(k, Struct)]
        if tables and (isinstance(value, dict) or len(_alternatives(kind)) == 1 or _only_optional(kind)):
            return self.table(tables[0], value, key)
        if kind == list[StageTable]:
            if not isinstance(value, list) or not value:
                self.note(key, "expected at least one [[stage]] table")
                return _BAD
            return [self.table(StageTable, item, f"{key}[{i}]") for i, item in enumerate(value)]
        try:
            return msgspec.convert(value, kind, strict=True)
        except msgspec.ValidationError as error:
            self.note(key, f"{_lower(str(error))}; it is {value!r}")
            return _BAD

    def attempt(self, key: str, function: Callable[[], Any]) -> Any:
        """What `function` gives; a ConfigError is noted."""
        try:
            return function()
        except ConfigError as error:
            self.note(key, str(error))
            return None


def read(path: Path) -> Job:
    """The job that a file describes. Raises `ConfigError` with all that is wrong, one line for each mistake."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        where = f"{path}:{line.group(1)}" if line else f"{path}"
        raise ConfigError(f"{where}: not TOML: {error}") from None
    reading = _Reading(path, text)
    file = reading.table(File, data, "")
    job = _build(reading, file)
    if job is None or reading.mistakes:
        raise ConfigError("\n".join(what for _, what in sorted(reading.mistakes, key=lambda m: m[0])))
    return job


def _build(reading: _Reading, file: File) -> Job | None:
    folder = str(reading.path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    pipeline = Pipeline(file.name or reading.path.stem, window=file.window, ordered=file.ordered)
    source = _source(reading, file.source) if file.source is not None else None
    if source is not None:
        reading.attempt("source", lambda: pipeline.source(source))
    for i, stage in enumerate(file.stage or ()):
        if stage is not None:
            _add_stage(reading, pipeline, stage, f"stage[{i}]")
    for key, table, add in (("sink", file.sink, pipeline.sink), ("quarantine", file.quarantine, pipeline.quarantine)):
        sink = _sink(reading, table, key) if table is not None else None
        if sink is not None:
            reading.attempt(key, partial(add, sink))
    return None if reading.mistakes else Job(pipeline, file.max_quarantined, file.drain_timeout)


def _add_stage(reading: _Reading, pipeline: Pipeline, stage: StageTable, key: str) -> None:
    function = _callable(reading, stage.call, f"{key}.call")
    limit = reading.attempt(f"{key}.limit", lambda: _limit(reading, stage.limit, f"{key}.limit"))
    retry = _retry(reading, stage.retry, f"{key}.retry")
    if reading.mistakes:
        return
    reading.attempt(
        key,
        lambda: pipeline.map(
            function() if isinstance(function, type) else function,
            name=stage.name or stage.call.split(":")[1].split(".")[-1],
            workers=stage.workers,
            limit=limit,
            retry=retry,
            timeout=stage.timeout,
            deadline=stage.deadline,
            on_error=stage.on_error,
            on_unknown=stage.on_unknown,
        ),
    )


def _limit(reading: _Reading, limit: str | LimitTable | None, key: str) -> Limit | None:
    if limit is None or isinstance(limit, str):
        return Limit(limit) if limit is not None else None
    return Limit(
        *(limit.rates or ()),
        burst=limit.burst,
        concurrency=limit.concurrency,
        cost=_callable(reading, limit.cost, f"{key}.cost") if limit.cost else None,
        key=_callable(reading, limit.key, f"{key}.key") if limit.key else None,
        name=limit.name,
        cooldown=limit.cooldown,
        max_hint=limit.max_hint,
        outage_after=limit.outage_after,
        outage_deadline=limit.outage_deadline,
    )


def _retry(reading: _Reading, retry: int | RetryTable | None, key: str) -> Retry | None:
    if retry is None or isinstance(retry, int):
        return as_retry(retry)
    own = _callable(reading, retry.classify, f"{key}.classify") if retry.classify else None
    return Retry(retry.attempts, retry.base, retry.cap, retry.refusals, own)


def _source(reading: _Reading, table: SourceTable) -> SourceConnector | Any:
    if table.type == "python":
        made = _callable(reading, _needed(reading, table.call, "source.call"), "source.call")
        return made() if callable(made) else made
    path = _needed(reading, table.path, "source.path")
    if path is None or table.type is None:
        return None
    if path != "-" and not Path(path).exists():
        reading.note("source.path", f"no such file: {path}")
        return None
    if table.type == "jsonl":
        return sources.jsonl(path)
    return reading.attempt("source", lambda: sources.csv(path, delimiter=table.delimiter, encoding=table.encoding))


def _sink(reading: _Reading, table: SinkTable, key: str) -> SinkConnector | Any:
    if table.type == "python":
        return _callable(reading, _needed(reading, table.call, f"{key}.call"), f"{key}.call")
    path = _needed(reading, table.path, f"{key}.path")
    if path is None or table.type is None:
        return None
    if path != "-" and not Path(path).resolve().parent.is_dir():
        reading.note(f"{key}.path", f"no such folder: {Path(path).parent}")
        return None
    if table.type == "jsonl":
        return sinks.jsonl(path)
    return sinks.csv(path, columns=table.columns, delimiter=table.delimiter)


def _needed(reading: _Reading, value: str | None, key: str) -> str | None:
    if value is None:
        reading.note(key, "is missing")
    return value


def _callable(reading: _Reading, target: str | None, key: str) -> Any:
    """The object that `module:name` names."""
    if target is None:
        return None
    module_name, _, name = target.partition(":")
    try:
        value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and module_name.split(".")[0] == error.name.split(".")[0]:
            reading.note(key, f"no module {module_name!r}, neither installed nor next to the file")
        else:
            reading.note(key, f"importing {module_name!r} needs the module {error.name!r}, which is not installed")
        return None
    except Exception as error:
        reading.note(key, f"importing {module_name!r} raised {type(error).__name__}: {error}")
        return None
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            near = difflib.get_close_matches(part, dir(value), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            reading.note(key, f"{module_name!r} has no {name!r}{hint}")
            return None
    return value


def _lines_of(text: str) -> dict[str, int]:
    """The line of each table and key. What the parser does not tell is read off the text, for messages only."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*(\[\[?)\s*([\w.\-\" ]+?)\s*\]\]?\s*(#.*)?$", line):
            name = header.group(2).replace('"', "").replace(" ", "")
            if header.group(1) == "[[":
                counts[name] = counts.get(name, -1) + 1
                table = f"{name}[{counts[name]}]"
            else:
                # `[stage.limit]` belongs to the last `[[stage]]`.
                head, _, rest = name.partition(".")
                table = f"{head}[{counts[head]}].{rest}" if rest and head in counts else name
            lines.setdefault(table, number)
        elif key := re.match(r"\s*([\w\-]+|\"[^\"]+\")\s*=", line):
            lines.setdefault(_join(table, key.group(1).strip('"')), number)
    return lines


def _alternatives(kind: Any) -> tuple[Any, ...]:
    arguments = getattr(kind, "__args__", None)
    return tuple(arguments) if arguments and not isinstance(kind, type) and kind != list[StageTable] else (kind,)


def _only_optional(kind: Any) -> bool:
    return len([k for k in _alternatives(kind) if k is not type(None)]) == 1


def _join(table: str, key: str) -> str:
    return f"{table}.{key}" if table else key


def _kind_of(value: Any) -> str:
    return {str: "a string", int: "a number", float: "a number", bool: "true or false", list: "a list"}.get(
        type(value), type(value).__name__
    )


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
