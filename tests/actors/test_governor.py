"""The governor: permits of several stages, cooldowns told to all."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from headrace.actors import protocol
from headrace.actors.gate import Rate, Terms
from headrace.actors.governor import Governor
from headrace.actors.protocol import Epoch
from tests.actors.fake import Fake, Name

ONE, TWO = Name("one"), Name("two")


def governing(terms: Terms | None = None) -> Fake:
    fake = Fake(Governor(terms or Terms(concurrency=10)), "governor")
    fake.receive(protocol.Enlist(ONE), protocol.Enlist(TWO))
    return fake


def test_a_cooldown_belongs_to_the_governor_and_outlives_who_was_refused_L12() -> None:
    fake = governing()
    fake.receive(protocol.PermitsWanted(ONE, 1), protocol.LimitHit(Epoch(0), 45.0), protocol.Discharge(ONE))
    fake.take(protocol.CooldownBegan)
    fake.receive(protocol.PermitsWanted(TWO, 5))
    fake.pass_time(44.9)
    assert fake.take(protocol.PermitsGranted) == []
    fake.pass_time(0.2)
    assert sum(g.n for g in fake.take(protocol.PermitsGranted)) > 0


def test_all_stages_hear_of_a_cooldown_and_one_that_enlists_in_it_too() -> None:
    fake = governing()
    fake.receive(protocol.LimitHit(Epoch(0), 1.0))
    assert [whom for whom, m in fake.told if isinstance(m, protocol.CooldownBegan)] == [ONE, TWO]
    fake.told = []
    late = Name("late")
    fake.receive(protocol.Enlist(late))
    assert [type(m) for m in fake.take_for(late)] == [protocol.CooldownBegan]


def test_idle_keys_are_forgotten() -> None:
    fake = governing(Terms(rates=(Rate(1000.0),)))
    for key in range(5000):
        fake.receive(protocol.PermitsWanted(ONE, 1, key), protocol.CallsEnded(ONE, Epoch(0), 1, 1, key=key))
        fake.pass_time(0.01)
    assert fake.actor.statistics().keys <= 2049


@given(st.data())
def test_permits_granted_are_used_returned_or_out_whatever_happens_L16(data: st.DataObject) -> None:
    fake = governing(data.draw(st.sampled_from([Terms(), Terms(concurrency=3), Terms(rates=(Rate(50.0),))])))
    held: Counter[Name] = Counter()
    epoch = Epoch(0)
    cooling = False
    enlisted = {ONE, TWO}
    for _ in range(data.draw(st.integers(1, 60))):
        stage = data.draw(st.sampled_from([ONE, TWO]))
        match data.draw(st.sampled_from(["want", "end", "return", "hit", "time", "leave"])):
            case "want" if stage in enlisted:
                fake.receive(protocol.PermitsWanted(stage, data.draw(st.integers(1, 8))))
            case "end" if held[stage]:
                n = data.draw(st.integers(1, held[stage]))
                held[stage] -= n
                fake.receive(protocol.CallsEnded(stage, epoch, n, data.draw(st.integers(0, n))))
            case "return" if held[stage]:
                fake.receive(protocol.PermitsReturned(stage, held[stage]))
                held[stage] = 0
            case "hit":
                fake.receive(protocol.LimitHit(Epoch(data.draw(st.integers(0, epoch))), None))
            case "time":
                fake.pass_time(data.draw(st.sampled_from([0.001, 0.05, 1.0, 60.0])))
            case "leave" if stage in enlisted:
                enlisted.discard(stage)
                held[stage] = 0
                fake.receive(protocol.Discharge(stage))
            case _:
                continue
        for whom, message in fake.told:
            match message:
                case protocol.PermitsGranted():
                    assert not cooling, "granted in a cooldown"
                    assert whom in enlisted
                    held[whom] += message.n
                case protocol.CooldownBegan(began, _, _, _):
                    assert began >= epoch
                    cooling, epoch = True, began
                case protocol.CooldownEnded():
                    cooling = False
                case _:
                    pass
        fake.told = []
        counted = fake.actor.statistics()
        assert counted.granted == counted.used + counted.returned + counted.out
        assert counted.out == sum(held.values())
