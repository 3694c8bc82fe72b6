"""All metrics: their names, types, labels and meanings. docs/metrics.md is written from this list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["CATALOG", "PREFIX", "Family", "FamilyType"]

PREFIX: Final = "rabibridge_"
FamilyType: TypeAlias = Literal["counter", "gauge", "histogram", "info"]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric.

    Attributes:
        key: its name in ``rabibridge_core``.
        type: as OpenMetrics calls it.
        meaning: what it counts, in a sentence.
        labels: their names.
        unit: of its values, which ends its name; empty: it counts things.
        where: which processes have it.
    """

    key: str
    type: FamilyType
    meaning: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    where: Literal["server", "client", "both", "supervisor"] = "server"

    @property
    def name(self) -> str:
        """Its name without the suffixes that OpenMetrics gives to samples, such as ``_total``."""
        name = PREFIX + self.key
        return f"{name}_{self.unit}" if self.unit and not name.endswith(f"_{self.unit}") else name

    @property
    def sample(self) -> str:
        """The name of its samples; of a histogram, what they begin with."""
        return self.name + {"counter": "_total", "info": "_info"}.get(self.type, "")


_FAMILIES = (
    Family("server_calls", "counter", "Calls that have ended on workers, by how they ended.", ("service", "outcome")),
    Family(
        "server_call_duration", "histogram",
        "Time from the arrival of a call at its worker to its end, including the time that it waited there.",
        ("service",), "seconds",
    ),
    Family("server_broadcasts", "counter", "Broadcasts that workers have run.", ("service",)),
    Family(
        "server_redelivered_calls", "counter",
        "Calls that have arrived again, because the worker that had them before has died or lost its connection.",
        ("service",),
    ),
    Family(
        "server_admission_refusals", "counter",
        "Calls that workers could have run and have refused: their time would have been over before their end "
        "(`deadline`), or they had waited for too long (`wait`).", ("service", "reason"),
    ),
    Family("server_stream_items", "counter", "Items of streams that workers have sent.", ("service",)),
    Family("server_calls_in_hand", "gauge", "Calls that workers have received and not answered.", ("service",)),
    Family(
        "server_calls_waiting", "gauge", "Those of them that wait in their worker, as others run.", ("service",)
    ),
    Family("server_concurrency", "gauge", "Calls that may run at a time, on all workers together.", ("service",)),
    Family(
        "server_rate_limit", "gauge", "Calls that may start in one second, on all workers together, where rate= says.",
        ("service",),
    ),
    Family(
        "server_calls_awaiting_rate", "gauge", "Calls that wait in their worker for their turn by that limit.",
        ("service",),
    ),
    Family(
        "server_calls_over_rate", "counter",
        "Calls that workers have refused, as they would have had to wait too long for their turn by that limit.",
        ("service",),
    ),
    Family(
        "server_calls_over_share", "counter",
        "Calls that workers have refused, as their callers had the most calls in a fair queue that was full.",
        ("service",),
    ),
    Family(
        "server_concurrency_min", "gauge", "The least that this may become, of workers that find it out.", ("service",)
    ),
    Family("server_concurrency_max", "gauge", "The most that this may become, of such workers.", ("service",)),
    Family(
        "server_no_load_latency", "gauge",
        "How long a call takes while others do not slow it down, as such workers have found; the longest of all.",
        ("service",), "seconds",
    ),
    Family("server_live_workers", "gauge", "Workers that receive calls of the service now.", ("service",)),
    Family("server_queue_size", "gauge", "Calls that may wait in the queue; more are refused.", ("service", "queue")),
    Family(
        "client_calls", "counter", "Calls of clients that have ended, by how they ended.", ("service", "outcome"),
        where="client",
    ),
    Family(
        "client_call_duration", "histogram",
        "Time from the start of a call to its end, as its caller sees it: with waiting, retries and the way.",
        ("service",), "seconds", where="client",
    ),
    Family(
        "client_resends", "counter", "Calls that were sent again, as the queue was full or the connection was lost.",
        ("service", "reason"), where="client",
    ),
    Family("client_stream_items", "counter", "Items of streams that callers have taken.", ("service",), where="client"),
    Family("client_calls_pending", "gauge", "Calls that wait for their reply.", where="client"),
    Family(
        "client_calls_waiting", "gauge", "Calls that are not sent yet, as max_pending calls are pending.",
        where="client",
    ),
    Family(
        "client_stray_replies", "counter", "Replies that matched no pending call: late, repeated or forged.",
        where="client",
    ),
    Family("client_hedges", "counter", "Second copies of calls that clients have sent.", where="client"),
    Family(
        "client_hedges_won", "counter", "Those of them that were answered before the first copy.", where="client"
    ),
    Family(
        "client_circuit_refusals", "counter",
        "Calls that were not sent, as the circuit breaker of their service was open.", where="client",
    ),
    Family(
        "client_open_circuits", "gauge",
        "Clients whose circuit breaker of a service is open or half-open.", ("service",), where="client",
    ),
    Family("connections", "gauge", "Clients and servers, by the state of their connection.", ("role", "state"),
           where="both"),
    Family("connection_losses", "counter", "Connections that were lost.", ("role",), where="both"),
    Family("reconnects", "counter", "Connections that were made anew after a loss.", ("role",), where="both"),
    Family(
        "connection_blocked", "counter", "Time for which the broker accepted no messages: a memory or disk alarm.",
        ("role",), "seconds", where="both",
    ),
    Family(
        "refused_messages", "counter",
        "Messages that were refused before anything of them was decoded: signature, identity, replay.",
        ("role", "reason"), where="both",
    ),
    Family("loop_lag", "gauge", "How late the event loop reacts, of the slowest worker.", (), "seconds"),
    Family("loop_lag_max", "gauge", "The longest lag of the last minute, of the slowest worker.", (), "seconds"),
    Family("worker_memory", "gauge", "Resident memory of all workers.", (), "bytes"),
    Family("worker_cpu", "counter", "Processor time of all workers.", (), "seconds"),
    Family("worker", "info", "Versions that run.", ("version", "python")),
    Family(
        "workers", "gauge", "Worker processes by state: ready, starting, degraded (a service of it receives no calls), "
        "leaving.", ("state",), where="supervisor",
    ),
    Family("workers_wanted", "gauge", "Worker processes that there should be.", where="supervisor"),
    Family("worker_starts", "counter", "Worker processes that were started.", where="supervisor"),
    Family(
        "worker_ends", "counter",
        "Worker processes that have ended: asked by the supervisor, returned by themselves, failed with an exit code, "
        "or killed by a signal.", ("how",), where="supervisor",
    ),
)  # fmt: skip
CATALOG: Final = {family.key: family for family in _FAMILIES}
