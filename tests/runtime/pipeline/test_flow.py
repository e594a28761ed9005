"""A flow is a value: what goes on from one place twice are two pipelines, and what was dropped by mistake is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headrace.runtime import ConfigError, Flow, Pipeline
from headrace.scenarios.testing import simulate


def outcomes(flow: Flow[Any]) -> list[Any]:
    return [outcome.value for outcome in flow.stream() if outcome.status == "delivered"]


def double(row: int) -> int:
    return 2 * row


def negative(row: int) -> int:
    return -row


def test_two_that_go_on_from_one_place_are_two() -> None:
    base = Pipeline().source([1, 2])
    a, b = base.map(double), base.map(negative)
    assert (outcomes(a), outcomes(b)) == ([2, 4], [-1, -2])
    assert outcomes(a.map(negative)) == [-2, -4]
    assert outcomes(a) == [2, 4]


def test_two_sinks_after_one_place_are_two_pipelines_and_two_in_a_row_are_one() -> None:
    base, first, second = Pipeline().source([1, 2]).map(double), list[int](), list[int]()
    one, other = base.sink(first.append), base.sink(second.append)
    assert one.run().delivered == 2
    assert (first, second) == ([2, 4], [])
    other.run()
    assert (first, second) == ([2, 4], [2, 4])
    base.sink(first.append).sink(second.append).run()
    assert (first, second) == ([2, 4] * 2, [2, 4] * 2)


def test_a_filter_in_front_of_all_leaves_the_pipeline_without_it_as_it_was() -> None:
    base = Pipeline().source([1, 2, 3]).map(double)
    odd = base.where(lambda row: row % 2)
    assert (outcomes(odd), outcomes(base)) == ([2, 6], [2, 4, 6])


def _runs(flow: Flow[Any]) -> object:
    return flow.run()


def _streams(flow: Flow[Any]) -> object:
    return next(flow.stream())


@pytest.mark.parametrize("use", [_runs, _streams, simulate])
def test_what_a_method_gave_and_nobody_took_is_told(use: Callable[[Flow[Any]], object]) -> None:
    flow = Pipeline("job").source([1, 2]).map(double)
    flow.map(negative)
    with pytest.raises(ConfigError, match=r"what \.map\(\.\.\.\) gave was dropped.*write flow = flow\.map"):
        use(flow)
    with pytest.raises(ConfigError, match="dropped"):
        use(flow.map(negative))


def test_what_was_dropped_in_a_branch_is_told() -> None:
    def branch(flow: Flow[Any]) -> Flow[Any]:
        flow.map(negative)
        return flow

    with pytest.raises(ConfigError, match=r"\.map\(\.\.\.\) gave was dropped"):
        Pipeline().source([1]).fork(a=branch, b=branch)


def test_what_was_used_once_may_go() -> None:
    flow = Pipeline().source([1, 2]).map(double)
    assert outcomes(flow.map(negative)) == [-2, -4]
    assert flow.map(negative).plan() is not None
    assert outcomes(flow) == [2, 4]


def test_a_branch_must_give_a_flow_that_goes_on_from_its_own() -> None:
    other = Pipeline().source([1]).map(double)
    wrongs: list[Any] = [lambda flow: None, lambda flow: other, lambda flow: 3]
    for wrong in wrongs:
        with pytest.raises(
            ConfigError, match="branch 'a' of 'fork': the function must return the flow that it was given"
        ):
            Pipeline().source([1]).fork(a=wrong)


def test_a_branch_is_not_run_by_itself() -> None:
    def branch(flow: Flow[Any]) -> Flow[Any]:
        flow.run()
        return flow

    with pytest.raises(ConfigError, match="a branch is run by the pipeline that it is a part of"):
        Pipeline().source([1]).fork(a=branch)


@pytest.mark.parametrize("method", ["map", "flat_map", "filter", "tap"])
def test_an_option_that_there_is_not_is_told_with_one_that_there_is(method: str) -> None:
    told = r"\(\) got an unexpected keyword argument 'wrokers'; did you mean 'workers'"
    flow: Any = Pipeline().source([1])
    with pytest.raises(TypeError, match=method + told):
        getattr(flow, method)(double, wrokers=3)
    with pytest.raises(TypeError, match="route" + told):
        flow.route(str, ["a"], options={"wrokers": 3})
    with pytest.raises(TypeError, match="merge" + told):
        flow.fork(a=same, b=same).join(merge=max, wrokers=3)
    with pytest.raises(
        TypeError, match=r"start\(\) got an unexpected keyword argument 'jornal'; did you mean 'journal'"
    ):
        flow.map(double).run(jornal="run.db")


def same(flow: Flow[Any]) -> Flow[Any]:
    return flow
