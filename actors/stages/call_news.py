"""What a stage tells its governor of calls that have ended: how many were refused, turned away, failed or answered."""

from __future__ import annotations

from .. import protocol
from ..actor import Ref
from ..protocol import Answered, Epoch, Fault, Kind, Message, Spent
from .key_queue import KeyQueue


def call_news(
    stage: Ref,
    queue: KeyQueue,
    epoch: Epoch,
    answered: Answered,
    spent: tuple[Spent, ...],
    *,
    tells_turned_away: bool,
) -> list[Message]:
    """The messages, in order. `epoch`: in which the permits of the calls were granted. `tells_turned_away`: the governor
    is to find out whether the account is exhausted."""
    ended = len(answered.seqs) + len(answered.faults)
    latency_s = answered.busy_s / ended if ended else 0.0
    key = queue.key
    if not answered.faults:
        return [protocol.CallsEnded(stage, epoch, ended, ended, (), latency_s, key, answered.heard, spent)]
    news: list[Message] = []
    failed = tuple(f.seq for f in answered.faults if f.kind in (Kind.TRANSIENT, Kind.UNKNOWN) and not f.crashed)
    crashed = sum(f.crashed for f in answered.faults)
    refused = [f for f in answered.faults if f.kind is Kind.REFUSED]
    away = [f for f in answered.faults if f.kind is Kind.EXHAUSTED]
    if refused:
        news.append(_limit_hit(queue, epoch, refused, latency_s))
    if away and tells_turned_away:
        named_s = max((f.retry_after_s for f in away if f.retry_after_s is not None), default=None)
        words = next((f.words for f in away if f.words), None)
        news.append(protocol.TurnedAway(epoch, len(away), named_s, words, key))
    well = ended - len(failed) - len(refused) - len(away) - crashed
    news.append(protocol.CallsEnded(stage, epoch, ended, well, failed, latency_s, key, answered.heard, spent))
    return news


def _limit_hit(queue: KeyQueue, epoch: Epoch, refused: list[Fault], latency_s: float) -> protocol.LimitHit:
    hints = [f.retry_after_s for f in refused if f.retry_after_s is not None]
    took_s = max(latency_s if f.took_s is None else f.took_s for f in refused)
    doubtful = all(f.overloaded for f in refused)
    return protocol.LimitHit(epoch, max(hints, default=None), queue.key, len(refused), took_s, doubtful)
