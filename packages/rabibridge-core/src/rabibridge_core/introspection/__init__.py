"""What servers tell a client that asks: ``client.workers()``, ``services()``, ``ping()`` and ``running_calls()``.

The answers are plain values: frozen dataclasses, each with ``to_json()``, which returns what ``json.dumps`` takes. They
describe one moment, hold nothing of the connection, and may be kept, compared and sent on.

    Workers                  what ``client.workers()`` returns: who has answered, and who has not
    ├─ WorkerStatus          one worker: process, clock, loop lag, memory, ...
    │  └─ ServiceOnWorker    one service on that worker: what it runs and has run
    │     ├─ CallCounts      calls by outcome, since the service was started there
    │     ├─ Latency         how long they took: a histogram that can be merged and subtracted
    │     └─ FailureRecord   one of the last failures
    └─ DeafService           a service with workers that take calls and have not answered

    Services                 what ``client.services()`` returns
    └─ ServiceStatus         one service, merged over its workers
       ├─ QueueStatus        its queues, one for each class: what waits there
       └─ ...                CallCounts, Latency, FailureRecord

    WorkerCalls              what ``client.running_calls()`` returns of one worker: what it runs now
    └─ RunningCall           one call: service, age, caller
       └─ CallStack          where it is: of its task, of a thread, or of a child process
          └─ Place           one frame
"""

from rabibridge_core.introspection.answers import DeafService, Pong, Workers
from rabibridge_core.introspection.calls import CallCounts, FailureRecord
from rabibridge_core.introspection.latency import Latency
from rabibridge_core.introspection.running import CallStack, Place, RunningCall, WorkerCalls
from rabibridge_core.introspection.services import QueueStatus, Services, ServiceStatus
from rabibridge_core.introspection.workers import ServiceOnWorker, WorkerStatus

__all__ = [
    "CallCounts",
    "CallStack",
    "DeafService",
    "FailureRecord",
    "Latency",
    "Place",
    "Pong",
    "QueueStatus",
    "RunningCall",
    "ServiceOnWorker",
    "ServiceStatus",
    "Services",
    "WorkerCalls",
    "WorkerStatus",
    "Workers",
]
