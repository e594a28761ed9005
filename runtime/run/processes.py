"""The worker processes of a stage, as a run opens and closes them."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context

from headrace.actors.protocol import Message

from ..calls.answers import answering
from ..calls.processes import log
from ..calls.processes.child import Job
from ..calls.processes.pool import Pool
from ..calls.processes.wire import dump, pairs_of
from ..errors import ConfigError, HeadraceError, name_of
from ..graph.nodes.calls import StagePlan
from ..text import message_of
from .io_actors import Resource


class Processes(Resource):
    """Starts the first process of a pool, which prepares the stage's function, and closes all of them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def open(self) -> None:
        self._pool.open()

    def close(self, complete: bool) -> None:  # noqa: FBT001 - whatever is opened is closed so
        self._pool.close()

    def receive(self, message: Message) -> None:
        super().receive(message)


def pool_of(
    stage: StagePlan, prefix: str, name: str, context: Context, failed: Callable[[BaseException], object]
) -> Pool:
    """The processes of a stage. `prefix`: of the keys of its calls. `name`: of the thread that
    listens to them. `context`: of whoever started the run. Raises `ConfigError`."""
    function = answering(stage.kind, stage.function)
    try:
        functions = dump((function, stage.function, stage.retry.classify, stage.limit.headers))
    except HeadraceError:
        raise
    except Exception as error:
        raise ConfigError(
            f"stage {stage.name!r}: the function cannot be sent to a process ({name_of(error)}: {message_of(error)}); let "
            f"prepare() make there what cannot be sent, such as a client or an open file"
        ) from error
    job = Job(functions, pairs_of(context), prefix, stage.timeout, stage.memory, log.levels())
    return Pool(f"stage {stage.name!r}", dump(job), name, failed)
