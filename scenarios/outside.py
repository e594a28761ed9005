"""The outside: a remote service as a scenario describes it. The same model answers in simulation and behind a real
HTTP server.

It is told of each call when it arrives, and says what will come of it and when. Times are seconds since the scenario began.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from random import Random
from typing import Any, NamedTuple

import msgspec

from headrace.runtime.verdicts.reading import attribute

from .dialects import Fields, date_field, quota_fields
from .latency import drawn_s
from .quotas import Quota, quota_of
from .script import BrownOutTable, OutageTable, ServiceTable, TroubleTable


class Answer(msgspec.Struct, frozen=True):
    """What comes of a call `after_s` seconds after it arrived. None: nothing, ever.

    `status` 0: the connection breaks. `nonsense`: it is of another type. `headers`: all but the Retry-After. `tokens`: what
    the call took. `many`: it is so for all who call, not for this row alone. `code`, `words`: what its body says of an
    account that is exhausted.
    """

    after_s: float | None
    status: int = 200
    retry_after: str | None = None
    nonsense: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    tokens: float = 0.0
    many: bool = False
    code: str | None = None
    words: str | None = None

    @property
    def body(self) -> dict[str, Any] | None:
        """What says why, as providers write it."""
        if self.words is None:
            return None
        return {"error": {"code": self.code, "message": self.words}}

    @property
    def fields(self) -> Fields:
        """All fields of the answer's header."""
        hint = [("retry-after", self.retry_after)] if self.retry_after is not None else []
        return [*self.headers, *hint]


class Service:
    """It does what the module says. `counts`: answers by status; `inside_max`: calls at once, at most; `over_quota`:
    refused by quotas."""

    def __init__(self, table: ServiceTable, seed: int, wall_s: float = 0.0) -> None:
        """`wall_s`: the wall clock when the scenario began, for dates."""
        self.table = table
        self._wall_s = wall_s
        self.counts: Counter[int] = Counter()
        self.calls = 0
        self.inside = 0
        self.inside_max = 0
        self.watcher: Callable[[float, int, bool], None] | None = None
        """Told of each call that arrives: when, which row, and whether a quota refused it."""
        self.over_quota = 0
        self._random = Random(f"{seed}:{table.name}").random
        # One of its own, so that a way that takes time changes nothing else of a seed.
        self._random_way = Random(f"{seed}:{table.name}:travel").random
        self._quotas: dict[tuple[int, int], Quota] = {}
        self._called: Counter[int] = Counter()

    def travel_s(self) -> float:
        """Seconds that the next call takes to arrive."""
        return drawn_s(self.table.travel, self._random_way)

    def arrive(self, now: float, row: int, key: int) -> tuple[Answer, list[Quota]]:
        """A call has come in: the answer, and the quotas to tell when it has `left`."""
        self.calls += 1
        self.inside += 1
        self.inside_max = max(self.inside_max, self.inside)
        over_quota = self.over_quota
        answer, quotas = self._decide(now, row, key)
        if self.watcher is not None:
            self.watcher(now, row, self.over_quota > over_quota)
        self.counts[answer.status if answer.after_s is not None else -1] += 1
        if self.table.headers != "none" or self.table.clock or self.table.tokens is not None:
            answer = self._told(answer, now, row, key)
        return answer, quotas

    def _told(self, answer: Answer, now: float, row: int, key: int) -> Answer:
        """The same answer, with what its headers say: of the quotas as they stand when the call has come in, dated when the
        answer goes out."""
        fields: Fields = []
        tokens = self.table.tokens_of(row) if answer.status < 400 else 0.0
        if answer.after_s is not None and answer.status != 0:
            wall_s = self._wall_s + self.table.clock + now
            fields = [date_field(wall_s + answer.after_s)]
            standings = []
            for i, table in enumerate(self.table.quota):
                quota = self._quotas.get((i, key if table.per_key else 0))
                standing = quota.standing(now) if quota is not None else None
                if standing is not None:
                    standings.append((table.unit, standing))
            fields += quota_fields(self.table.headers, standings, wall_s)
        return msgspec.structs.replace(answer, headers=tuple(fields), tokens=tokens)

    def leave(self, quotas: list[Quota]) -> None:
        """Note that a call has ended, however it did."""
        self.inside -= 1
        for quota in quotas:
            quota.left()

    def _decide(self, now: float, row: int, key: int) -> tuple[Answer, list[Quota]]:
        for outage in self.table.outage:
            if outage.at <= now < outage.at + outage.lasts:
                match outage.by:
                    case "silence":
                        return Answer(None), []
                    case "reset":
                        return Answer(self._trouble_latency(outage), 0, many=True), []
                    case "429":
                        return Answer(self._latency(), 429, self._hint(now)), []
                    case _:
                        return Answer(self._trouble_latency(outage), 503, many=True), []
        many = self._concerns_many(now)
        if many is not None:
            return many, []
        taken: list[Quota] = []
        waits_s = 0.0
        for i, table in enumerate(self.table.quota):
            place = (i, key if table.per_key else 0)
            quota = self._quotas.get(place)
            if quota is None:
                quota = self._quotas[place] = quota_of(table)
            admitted = quota.take(now, self.table.tokens_of(row) if table.unit == "tokens" else 1.0)
            if not admitted:
                self.over_quota += 1
                for other in taken:
                    other.left()
                status = self.table.refuses_with
                return Answer(self._refusal_latency(), status, self._hint(now), many=status == 503), []
            if table.kind == "concurrency":
                taken.append(quota)
            waits_s = max(waits_s, quota.wait_s)
        for trouble in self.table.trouble:
            if self._strikes(trouble, row):
                return self._troubled(trouble, now), taken
        return Answer(waits_s + self._latency()), taken

    def _concerns_many(self, now: float) -> Answer | None:
        """What everybody meets who calls now: an account that is exhausted, a brown-out."""
        for shut in self.table.exhausted:
            left_s = math.inf if shut.lasts is None else shut.at + shut.lasts - now
            if now >= shut.at and left_s > 0.0:
                hint = f"{left_s:.0f}" if shut.hint and left_s < math.inf else None
                return Answer(self._latency(), shut.status, hint, many=True, code=shut.code, words=shut.words)
        for brown in self.table.brown_out:
            if brown.at <= now < brown.at + brown.lasts and self._random() < brown.share:
                return Answer(self._trouble_latency(brown), 503 if brown.by == "503" else 0, many=True)
        return None

    def _strikes(self, trouble: TroubleTable, row: int) -> bool:
        if trouble.first is not None:
            self._called[row] += 1
            if self._called[row] > trouble.first:
                return False
        if trouble.share is not None:
            return self._random() < trouble.share
        if trouble.every is not None:
            return self.calls % trouble.every == 0
        return row in trouble.rows if trouble.rows else trouble.first is not None

    def _troubled(self, trouble: TroubleTable, now: float) -> Answer:
        match trouble.answer:
            case int() as status:
                return Answer(self._latency(), status, self._hint_with(status, now))
            case "reset":
                return Answer(self._latency(), 0)
            case "silence":
                return Answer(None)
            case "late":
                return Answer(self._latency() + trouble.seconds)
            case "nonsense":
                return Answer(self._latency(), nonsense=True)
            case _:
                return Answer(self._latency(), 429, self._hint(now))

    def _hint_with(self, status: int, now: float) -> str | None:
        """Refusals bring hints; of services that say what cannot be, all errors of theirs do (L60)."""
        return self._hint(now) if status == 429 or self.table.retry_after in ("absurd", "huge", "nan") else None

    def _hint(self, now: float) -> str | None:
        hint, wall_s = self.table.hint, self._wall_s + self.table.clock + now
        match self.table.retry_after:
            case "none":
                return None
            case "seconds":
                return f"{hint:g}"
            case "date":
                return formatdate(wall_s + hint + 1.0, usegmt=True)
            case "negative":
                return "-5"
            case "zero":
                return "0"
            case "absurd":
                return "31536000"
            case "huge":
                return "1e300"
            case "nan":
                return "nan"
            case _:
                return "in a while"

    def _latency(self) -> float:
        return drawn_s(self.table.latency, self._random)

    def _trouble_latency(self, trouble: OutageTable | BrownOutTable) -> float:
        return self._refusal_latency() if trouble.fast else self._latency()

    def _refusal_latency(self) -> float:
        refusal = self.table.refusal_latency
        return drawn_s(refusal, self._random) if refusal is not None else self._latency()


class HttpStatus(Exception):
    """An answer that is none, as clients' libraries raise it."""

    def __init__(self, status_code: int, headers: Fields | None = None, body: Any = None) -> None:
        super().__init__(f"HTTP {status_code}")
        self.status_code = status_code
        self.body = body
        self.headers = dict(headers or [])


class Told(NamedTuple):
    """What an answer tells besides: its headers, and what the call took."""

    headers: Any
    tokens: float


NOTHING_TOLD = Told({}, 0.0)


def told_of(answer: Answer, row: Any) -> Told:
    """What a client gets to know from an answer that is one; raises as `value_of`."""
    value_of(answer, row)
    return Told(dict(answer.headers), answer.tokens) if answer.headers or answer.tokens else NOTHING_TOLD


def concerns_many(error: BaseException | None) -> bool:
    """Everybody met with it who called then."""
    return attribute(error, "many") is True


def _marked(error: BaseException, answer: Answer) -> BaseException:
    if answer.many:
        error.many = True  # type: ignore[attr-defined]
    return error


def value_of(answer: Answer, row: Any) -> Any:
    """What the client makes of an answer: the row again, or what it raises."""
    if answer.status == 0:
        raise _marked(ConnectionResetError("the connection broke"), answer)
    if answer.status >= 400:
        raise _marked(HttpStatus(answer.status, answer.fields, answer.body), answer)
    if answer.nonsense:
        raise TypeError("the service answered with something of another type")
    return row
