"""What a stage counts of its rows, and of what their calls came to. State only; the stage decides."""

from __future__ import annotations

from ..edges.error_tally import ErrorTally
from ..protocol import Traffic
from .deadlines import Deadlines
from .meter import Meter
from .scheduler import Scheduler
from .terms import StageStatistics, StageTerms


class Counters:
    """`here`: rows that have come and have not left. `answered`, `recalled`: rows. `refusals`, `turned_away`, `unknown`:
    calls. `retries`: rows that were to be called again. `faults`: calls that did not answer. See `StageStatistics`."""

    def __init__(self) -> None:
        self.rows = 0
        self.here = 0
        self.answered = 0
        self.recalled = 0
        self.refusals = 0
        self.turned_away = 0
        self.retries = 0
        self.unknown = 0
        self.faults = ErrorTally()
        self.meter = Meter()

    def statistics(
        self, terms: StageTerms, scheduler: Scheduler, deadlines: Deadlines, traffic: Traffic
    ) -> StageStatistics:
        """What the stage says of itself; `scheduler` and `deadlines` count the rest of it."""
        assignments = scheduler.assignments
        # Workers have rows in hand that wait for their turn, so that none of them waits for a row: these are no calls yet. A
        # worker of thread calls makes one call at a time.
        in_flight = min(len(assignments) if terms.dispatch.blocking else assignments.in_flight, terms.workers)
        most = assignments.most if terms.dispatch.blocking else assignments.in_flight_max
        return StageStatistics(
            name=terms.name,
            rows=self.rows,
            calls=scheduler.calls,
            answered=self.answered,
            refusals=self.refusals,
            retries=self.retries,
            unknown=self.unknown,
            late=deadlines.late + assignments.late,
            recalled=self.recalled,
            turned_away=self.turned_away,
            workers_lost=scheduler.workforce.lost,
            in_flight=in_flight,
            in_flight_max=min(most, terms.workers),
            waiting=self.here - in_flight,
            busy_s=scheduler.busy_s,
            traffic=traffic,
            spent=dict(self.meter.total),
            latency=scheduler.latencies.summary(),
            faults=self.faults.groups(),
        )
