"""How long a gate waits for an account that is exhausted, and when it asks again (L71). State only; the gate decides.

An account is taken to be exhausted when calls are turned away one after another with none answered between them, or at once
where none was ever answered: that is a wrong key. The gate then closes, and asks again with one call: at the time that the
other side names, else after a minute, and then 1.5 times later each time, up to ten minutes.

How long it waits in all, the user says (`Limit(give_up_after=)`). By default,

- a day and an hour, in which each quota by the day begins anew, and a person who was asleep has looked at the log;
- where the other side names a time that is further off, at most a day and a half, until then and an hour more;
- half a minute where no call was ever answered and no time is named, since a wrong key is the mistake of somebody who is
  still there; it then asks again after two seconds, twice as late each time.
"""

from __future__ import annotations

from ..errors import InternalError

ENOUGH = 3
"""So many calls that are turned away one after another close the gate."""
SOONEST_S = 60.0
"""An account that is exhausted is not asked again before, whatever a header says, ..."""
LATEST_S = 600.0
"""... and where no time is named, not later than this."""
GROWS = 1.5
DAY_AND_HOUR_S = 25 * 3600.0
NAMED_AT_MOST_S = 36 * 3600.0
"""A time that is further off than this is none that a run could wait for."""
AFTER_NAMED_S = 3600.0
AT_START_S = 30.0
"""How long a key is tried that never worked."""
AT_START_SOONEST_S = 2.0
AT_START_GROWS = 2.0
REFUSED_FOR_LONG_S = 60.0
"""Refusals for so long with no answer between them are no matter of a pace that is too fast."""
ROUNDING_S = 1e-3


class Patience:
    """It does what the module says. Times are `context.now()` seconds."""

    def __init__(self) -> None:
        self.shut_since_s: float | None = None
        """Since when the gate is closed, or asks with one call at a time, for this."""
        self.words: str | None = None
        self.closures = 0
        """How often an account was found exhausted that had not been."""
        self._in_row = 0
        self._ever_answered = False
        self._refused = False
        self._asked = 0
        self._named_until_s: float | None = None

    @property
    def enough(self) -> bool:
        """So many calls were turned away that the gate is to close."""
        return self._in_row >= ENOUGH or (self._in_row > 0 and not self._ever_answered)

    def on_turned_away(self, n: int, words: str | None) -> None:
        """So many calls were turned away one after another."""
        self._in_row += n
        self._refused = False
        self.words = words or self.words

    def on_refused_for_long(self) -> None:
        """Nobody has said that the account is exhausted; so what was never answered need be no wrong key."""
        self._refused = True

    def on_answered(self) -> bool:
        """A call was answered. True: the first one ever, while the key was taken for a wrong one."""
        wrong = not self._ever_answered and self.shut_since_s is not None
        self._ever_answered = True
        self._in_row = 0
        return wrong

    def on_reopened(self) -> None:
        """The account has something to spend again."""
        self.shut_since_s = None
        self.words = None
        self._asked = 0
        self._named_until_s = None

    def wait_s(self, named_s: float | None, words: str | None, give_up_after_s: float | None, now: float) -> float:
        """The gate closes for this now: how long until it asks again. `named_s`: when the other side says to come again."""
        if self.shut_since_s is None:
            self.shut_since_s = now
            self.closures += 1
        self.words = words or self.words
        if named_s is not None and SOONEST_S <= named_s <= NAMED_AT_MOST_S:
            self._named_until_s = now + named_s
            wait_s = named_s
        elif self._at_start:
            wait_s = AT_START_SOONEST_S * AT_START_GROWS**self._asked
        else:
            wait_s = min(SOONEST_S * GROWS ** min(self._asked, 50), LATEST_S)
        self._asked += 1
        left_s = self.shut_since_s + self.gives_up_after_s(give_up_after_s) - now
        # Before it gives up, it asks once more.
        return min(wait_s, left_s) if left_s > ROUNDING_S else wait_s

    def overdue(self, give_up_after_s: float | None, now: float) -> bool:
        """The gate has closed again, and has waited for as long as it should."""
        if self.shut_since_s is None:
            return False
        return now - self.shut_since_s >= self.gives_up_after_s(give_up_after_s) - ROUNDING_S

    def gives_up_after_s(self, stated_s: float | None) -> float:
        """Seconds from the first closing; `stated_s` is what the user says."""
        if stated_s is not None:
            return stated_s
        if self.shut_since_s is None:
            raise InternalError("nothing is given up that is not shut")
        if self._named_until_s is None:
            return AT_START_S if self._at_start else DAY_AND_HOUR_S
        return max(DAY_AND_HOUR_S, self._named_until_s - self.shut_since_s + AFTER_NAMED_S)

    @property
    def _at_start(self) -> bool:
        """Nothing was ever answered, and the other side says that it is for long."""
        return not self._ever_answered and not self._refused
