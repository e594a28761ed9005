"""The governor: permits of several stages, cooldowns told to all."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.actors import protocol
from headrace.actors.governor import Governor
from headrace.actors.limits.terms import Rate, Terms
from headrace.actors.protocol import Epoch
from tests.actors.fake import Fake, Name

ONE, TWO = Name("one"), Name("two")


def governing(terms: Terms | None = None) -> Fake:
    fake = Fake(Governor(terms or Terms(concurrency=10)), "governor")
    fake.receive(protocol.Register(ONE), protocol.Register(TWO))
    return fake


def test_a_cooldown_belongs_to_the_governor_and_outlives_who_was_refused_L12() -> None:
    fake = governing()
    fake.receive(protocol.PermitsWanted(ONE, 1), protocol.LimitHit(Epoch(0), 45.0), protocol.Unregister(ONE))
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
    fake.receive(protocol.Register(late))
    assert [type(m) for m in fake.take_for(late)] == [protocol.CooldownBegan]


def test_who_is_not_enlisted_gets_no_permit_and_gives_none_back() -> None:
    fake = governing()
    stranger = Name("stranger")
    fake.receive(protocol.PermitsWanted(stranger, 1), protocol.PermitsReturned(stranger, 1))
    fake.receive(protocol.CallsEnded(stranger, Epoch(0), 1, 1))
    assert fake.told == []
    counted = fake.actor.statistics()
    assert (counted.granted, counted.used, counted.returned, counted.waiting) == (0, 0, 0, 0)


def test_who_enlists_twice_is_told_once() -> None:
    fake = governing()
    fake.receive(protocol.Register(ONE), protocol.LimitHit(Epoch(0), 1.0))
    assert [whom for whom, m in fake.told if isinstance(m, protocol.CooldownBegan)] == [ONE, TWO]


def test_a_stage_that_is_discharged_is_told_nothing_more_and_others_are() -> None:
    fake = governing()
    fake.receive(protocol.Unregister(ONE), protocol.Unregister(ONE), protocol.LimitHit(Epoch(0), 1.0))
    assert [whom for whom, m in fake.told if isinstance(m, protocol.CooldownBegan)] == [TWO]
    fake.told = []
    fake.receive(protocol.PermitsWanted(ONE, 1))
    fake.pass_time(10.0)
    assert fake.take_for(ONE) == []


def test_what_a_stage_takes_back_it_is_told_of_and_does_not_get() -> None:
    fake = governing(Terms(concurrency=2))
    fake.receive(protocol.PermitsWanted(ONE, 5, "k"), protocol.PermitsWanted(TWO, 3, "k"))
    assert [(g.n, g.key) for g in fake.take(protocol.PermitsGranted)] == [(2, "k")]
    fake.receive(protocol.WishesWithdrawn(ONE, "k"))
    assert fake.take_for(ONE) == [protocol.WishesForgotten(3, "k")]
    fake.receive(protocol.CallsEnded(ONE, Epoch(0), 2, 2, key="k"))
    assert [(whom, m.n) for whom, m in fake.told if isinstance(m, protocol.PermitsGranted)] == [(TWO, 2)]


def test_one_key_s_cooldown_closes_no_other_key() -> None:
    fake = governing()
    fake.receive(protocol.LimitHit(Epoch(0), 5.0, "a"))
    (began, _) = fake.take(protocol.CooldownBegan)
    assert (began.key, began.epoch, began.until_s) == ("a", Epoch(1), 5.0)
    fake.receive(protocol.PermitsWanted(ONE, 1, "a"), protocol.PermitsWanted(ONE, 1, "b"))
    assert [(g.key, g.epoch) for g in fake.take(protocol.PermitsGranted)] == [("b", Epoch(0))]
    fake.pass_time(5.0)
    told = [m for whom, m in fake.told if whom == ONE]
    assert [type(m) for m in told] == [protocol.CooldownEnded, protocol.PermitsGranted]
    assert (told[0].key, told[0].epoch, told[0].probing, told[1].epoch) == ("a", Epoch(1), False, Epoch(1))


def test_a_late_refusal_that_lengthens_a_cooldown_keeps_all_waiting_for_as_long_L09() -> None:
    fake = governing()
    fake.receive(protocol.LimitHit(Epoch(0), 1.0), protocol.PermitsWanted(ONE, 1))
    fake.pass_time(0.5)
    fake.receive(protocol.LimitHit(Epoch(0), 2.0))
    assert len(fake.take(protocol.CooldownBegan)) == 2, "there is one cooldown, which two stages were told of"
    fake.pass_time(1.9)
    assert fake.take(protocol.PermitsGranted) == []
    fake.pass_time(0.2)
    assert len(fake.take(protocol.PermitsGranted)) == 1


def down(fake: Fake, first: int = 0) -> None:
    """Ten calls that fail one after another, on permits of the epoch that is today's."""
    fake.receive(protocol.PermitsWanted(ONE, 10))
    epoch = fake.take(protocol.PermitsGranted)[0].epoch
    rows = tuple(range(first, first + 10))
    fake.receive(protocol.CallsEnded(ONE, epoch, 10, 0, rows))


def test_an_outage_is_told_then_a_probe_goes_out_and_its_answer_reopens_L40() -> None:
    fake = governing(Terms(concurrency=10, probe_s=1.0))
    down(fake)
    (began, _) = fake.take(protocol.CooldownBegan)
    assert (began.closure, began.epoch, began.until_s) == (protocol.Closure.OUTAGE, Epoch(1), 1.0)
    fake.receive(protocol.PermitsWanted(ONE, 10))
    fake.pass_time(1.0)
    told = [m for whom, m in fake.told if whom == ONE]
    assert told == [protocol.CooldownEnded(Epoch(1), probing=True), protocol.PermitsGranted(Epoch(1), 1, paced=True)]
    fake.told = []
    fake.receive(protocol.CallsEnded(ONE, Epoch(1), 1, 1))
    assert [(whom, m.epoch) for whom, m in fake.told if isinstance(m, protocol.Reopened)] == [
        (ONE, Epoch(1)),
        (TWO, Epoch(1)),
    ]
    assert sum(g.n for g in fake.take(protocol.PermitsGranted)) >= 1
    assert fake.actor.statistics().outages == 1


def test_calls_of_an_older_epoch_that_fail_close_nothing() -> None:
    fake = governing(Terms(concurrency=20, outage_after=2))
    fake.receive(protocol.PermitsWanted(ONE, 20), protocol.LimitHit(Epoch(0), 1.0))
    fake.pass_time(1.0)
    fake.told = []
    fake.receive(protocol.CallsEnded(ONE, Epoch(0), 5, 0, tuple(range(5))))
    assert fake.take(protocol.CooldownBegan) == []


def test_an_outage_that_outlasts_its_deadline_is_told_and_an_outage_is_counted_once() -> None:
    fake = governing(Terms(concurrency=10, probe_s=1.0, outage_deadline_s=3.0))
    down(fake)
    overdue: list[float] = []
    for row in range(100, 120):
        fake.receive(protocol.PermitsWanted(ONE, 1))
        fake.pass_time(30.0)
        (granted,) = fake.take(protocol.PermitsGranted)
        fake.receive(protocol.CallsEnded(ONE, granted.epoch, 1, 0, (row,)))
        overdue += [m.since_s for whom, m in fake.told if isinstance(m, protocol.OutageOverdue) and whom == ONE]
        fake.take(protocol.CooldownBegan)
        if overdue:
            break
    assert overdue == [30.0]
    assert fake.actor.statistics().outages == 1


def test_another_limit_holds_for_keys_that_are_there_and_for_those_to_come() -> None:
    fake = governing(Terms(concurrency=1))
    fake.receive(protocol.PermitsWanted(ONE, 5, "a"))
    fake.take(protocol.PermitsGranted)
    fake.receive(protocol.SetLimit(Terms(concurrency=3)))
    assert [(g.key, g.n) for g in fake.take(protocol.PermitsGranted)] == [("a", 2)]
    fake.receive(protocol.PermitsWanted(ONE, 5, "b"))
    assert [(g.key, g.n) for g in fake.take(protocol.PermitsGranted)] == [("b", 3)]


def test_a_stated_rate_is_given_out_in_time_without_being_asked_again() -> None:
    fake = governing(Terms(rates=(Rate(10.0, 1.0),)))
    fake.receive(protocol.PermitsWanted(ONE, 100))
    for _ in range(10):
        fake.receive(protocol.PermitsWanted(TWO, 1))
    assert fake.timers_set == 1, "a wake-up is on the way already"
    fake.pass_time(5.01)
    granted = fake.take(protocol.PermitsGranted)
    assert sum(g.n for g in granted) == 51
    assert all(g.paced for g in granted)
    assert fake.timers_set <= 52


def test_what_a_governor_counts_is_kept_when_a_key_is_forgotten() -> None:
    fake = governing(Terms(rates=(Rate(1000.0),), concurrency=5))
    for key in range(1024):
        fake.receive(protocol.PermitsWanted(ONE, 1, key), protocol.LimitHit(Epoch(0), 0.5, key))
        fake.receive(protocol.CallsEnded(ONE, Epoch(0), 1, 0, key=key))
    fake.pass_time(10.0)
    before = fake.actor.statistics()
    assert (before.cooldowns, before.keys, before.hits) == (1024, 1024, 1024)
    assert before.cooled_s == pytest.approx(512.0)
    fake.receive(protocol.PermitsWanted(ONE, 1, "new"))
    after = fake.actor.statistics()
    assert after.keys < 1024
    assert (after.cooldowns, after.cooled_s) == (before.cooldowns, before.cooled_s)


def test_idle_keys_are_forgotten() -> None:
    fake = governing(Terms(rates=(Rate(1000.0),)))
    for key in range(5000):
        fake.receive(protocol.PermitsWanted(ONE, 1, key), protocol.CallsEnded(ONE, Epoch(0), 1, 1, key=key))
        fake.pass_time(0.01)
    assert fake.actor.statistics().keys <= 2049


def test_what_was_learned_is_bequeathed_and_what_was_under_way_is_not() -> None:
    fake = governing(Terms())
    fake.receive(protocol.PermitsWanted(ONE, 100, "a"), protocol.PermitsWanted(TWO, 1, "b"))
    fake.receive(protocol.CallsEnded(ONE, Epoch(0), 5, 5, latency_s=0.1, key="a"))
    fake.pass_time(0.2)
    fake.receive(protocol.LimitHit(Epoch(0), 30.0, "a", took_s=0.1))
    assert isinstance(fake.actor, Governor)
    fake.receive(protocol.LearnedWanted(fake.me))
    assert fake.told_to(fake.me, protocol.Learned) == [protocol.Learned(fake.me, fake.actor.lessons())]
    lessons = fake.actor.lessons()
    assert list(lessons.priors) == ["a"]
    heir = Fake(Governor(Terms(), lessons), "heir")
    late = Name("late")
    heir.receive(protocol.Register(late), protocol.PermitsWanted(late, 100, "a"))
    assert [type(m) for m in heir.take_for(late)] == [protocol.CooldownBegan], "its cooldown is not over"
    counted = heir.actor.statistics()
    assert (counted.out, counted.waiting, counted.cooldowns, counted.keys) == (0, 100, 0, 1)
    heir.pass_time(30.3)
    assert heir.actor.statistics().learned_per_s is not None
    assert 0 < sum(m.n for whom, m in heir.told if isinstance(m, protocol.PermitsGranted)) < 100


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
                fake.receive(protocol.Unregister(stage))
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


class Hurried(Fake):
    """Time passes between any two looks at the clock, as it does where a thread has to wait for its turn."""

    step_s = 0.0

    def now(self) -> float:
        self._now += self.step_s
        return super().now()


@pytest.mark.parametrize("step_s", [0.0, 0.0005, 0.003, 0.02])
def test_a_permit_that_is_there_by_a_later_look_at_the_clock_is_given_L48(step_s: float) -> None:
    """Else nobody would ever wake the governor: whoever waits for the permit waits for ever."""
    governor = Governor(Terms(rates=(Rate(1000.0, 1.0),)))
    fake = Hurried(governor, "governor")
    stage = Name("stage")
    fake.receive(protocol.Register(stage))
    fake.step_s = step_s
    fake.receive(protocol.PermitsWanted(stage, 3))
    for _ in range(3):
        fake.pass_time(1.0)
    assert sum(m.n for m in fake.take(protocol.PermitsGranted)) == 3


def test_the_time_in_which_calls_wait_for_their_turn_is_counted_apart_from_that_of_a_cooldown() -> None:
    fake = governing(Terms(rates=(Rate(1.0, 1.0),)))
    fake.receive(protocol.PermitsWanted(ONE, 3))
    fake.pass_time(2.5)
    told = fake.actor.statistics()
    assert told.permit_s == pytest.approx(2.0, abs=0.01), "the third was granted after two seconds"
    fake.receive(protocol.LimitHit(Epoch(0), 5.0), protocol.PermitsWanted(ONE, 1))
    fake.pass_time(3.0)
    told = fake.actor.statistics()
    assert told.permit_s == pytest.approx(2.0, abs=0.01)
    assert told.closed_s == {"refused": pytest.approx(3.0)}, "a cooldown that is not over counts until now"


def test_keys_that_are_closed_at_once_are_one_time_of_waiting() -> None:
    fake = governing(Terms(rates=(Rate(1000.0),)))
    for key in range(10):
        fake.receive(protocol.PermitsWanted(ONE, 1, key), protocol.LimitHit(Epoch(0), 2.0, key))
    fake.pass_time(10.0)
    assert fake.actor.statistics().closed_s == {"refused": pytest.approx(2.0)}
