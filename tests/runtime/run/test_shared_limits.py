"""Governors that have a name."""

from __future__ import annotations

from headrace.actors import protocol
from headrace.actors.gate import Rate, Terms
from headrace.runtime.hosts.threads.dispatcher import Inbox
from headrace.runtime.run import shared_limits as governors


def told(inbox: Inbox, kind: type) -> object:
    """The next message of that kind."""
    while True:
        message = inbox.get()
        if isinstance(message, kind):
            return message


def test_what_was_learned_is_kept_for_the_next_one_of_its_name_and_forgotten_with_other_terms() -> None:
    terms = Terms(cooldown_s=0.01)
    user = Inbox("user")
    governor = governors.acquire("kept", terms, user)
    governor.put(protocol.Enlist(user))
    governor.put(protocol.PermitsWanted(user, 100))
    granted = told(user, protocol.PermitsGranted)
    assert granted == protocol.PermitsGranted(protocol.Epoch(0), 10, None, 0.0, True)
    governor.put(protocol.CallsEnded(user, protocol.Epoch(0), 5, 5, latency_s=0.001))
    governor.put(protocol.LimitHit(protocol.Epoch(0), None))
    told(user, protocol.CooldownEnded)
    governors.release("kept", user)
    again = governors.acquire("kept", terms, user)
    again.put(protocol.Enlist(user))
    again.put(protocol.PermitsWanted(user, 1))
    granted = told(user, protocol.PermitsGranted)
    assert isinstance(granted, protocol.PermitsGranted)
    assert granted.epoch == 1, "it goes on where the other one was"
    governors.release("kept", user)
    other = governors.acquire("kept", Terms(rates=(Rate(10.0),)), user)
    other.put(protocol.Enlist(user))
    other.put(protocol.PermitsWanted(user, 1))
    granted = told(user, protocol.PermitsGranted)
    assert isinstance(granted, protocol.PermitsGranted)
    assert granted.epoch == 0
    governors.release("kept", user)
