"""A limit with a name has one governor in a process, whoever shares it."""

from __future__ import annotations

from headrace.actors import protocol
from headrace.actors.limits.terms import Rate, Terms
from headrace.runtime.hosts.threads import shared_limits as governors
from headrace.runtime.hosts.threads.dispatcher import Inbox


def told(inbox: Inbox, kind: type) -> object:
    """The next message of that kind."""
    while True:
        message = inbox.get()
        if isinstance(message, kind):
            return message


def found_by(governor: Inbox, user: Inbox) -> protocol.Lessons:
    """What it has found out."""
    governor.put(protocol.LearnedWanted(user))
    learned = told(user, protocol.Learned)
    assert isinstance(learned, protocol.Learned)
    assert learned.who == governor
    return learned.lessons


def test_what_was_learned_is_kept_for_the_next_one_of_its_name_and_forgotten_with_other_terms() -> None:
    terms = Terms(cooldown_s=0.01)
    user = Inbox("user")
    governor = governors.acquire("kept", terms, user)
    governor.put(protocol.Register(user))
    governor.put(protocol.PermitsWanted(user, 100))
    granted = told(user, protocol.PermitsGranted)
    assert granted == protocol.PermitsGranted(protocol.Epoch(0), 10, None, 0.0, True)
    governor.put(protocol.CallsEnded(user, protocol.Epoch(0), 5, 5, latency_s=0.001))
    governor.put(protocol.LimitHit(protocol.Epoch(0), None))
    told(user, protocol.CooldownEnded)
    found = found_by(governor, user)
    rate = found.priors[None].rate
    assert rate is not None
    governors.release("kept", user)
    again = governors.acquire("kept", terms, user, protocol.Lessons(terms.said, {None: protocol.Prior(rate=1e5)}))
    assert found_by(again, user) == found, "what this process knows is newer than what another one has left"
    governors.release("kept", user)
    other = governors.acquire("kept", Terms(rates=(Rate(10.0),)), user)
    assert found_by(other, user) == protocol.Lessons("10.0 calls/s", {})
    governors.release("kept", user)


def test_what_another_process_has_left_is_begun_with_where_this_one_knows_nothing() -> None:
    terms, user = Terms(), Inbox("user")
    left = protocol.Lessons(terms.said, {None: protocol.Prior(rate=47.0, in_flight=12)})
    governor = governors.acquire("left", terms, user, left)
    assert found_by(governor, user) == left
    second = governors.acquire("left", terms, user, protocol.Lessons(terms.said, {None: protocol.Prior(rate=1.0)}))
    assert second is governor
    assert found_by(governor, user) == left, "who comes later finds it at work"
    governors.release("left", user)
    governors.release("left", user)
