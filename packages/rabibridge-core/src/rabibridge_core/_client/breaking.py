"""Calls behind a circuit breaker: which of them are sent, and what their ends say about their service."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from rabibridge_core._client.circuit import Circuit
from rabibridge_core._clock import monotonic
from rabibridge_core._concurrency.forks import call_after_fork
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import (
    CallTimeoutError,
    CircuitOpenError,
    InvalidArgumentsError,
    NoRouteError,
    QueueFullError,
    RemoteExecutionError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from rabibridge_core._client.circuit import CircuitBreaker, Outcome

__all__ = ["Circuits", "call_with_breaker", "outcome_of"]

_log = get_logger(__name__)
_CIRCUITS_KEPT = 1024


class Circuits:
    """The circuits of one client. There are at most 1,024; the least recently used is dropped first, and closes.

    Attributes:
        refused: how many calls were not sent.
    """

    def __init__(self) -> None:
        """Know no service."""
        self.refused = 0
        self._circuits: OrderedDict[tuple[CircuitBreaker, str], Circuit] = OrderedDict()
        call_after_fork(self)

    def after_fork(self) -> None:
        """Called in a forked child: its parent makes the probes, and nobody here gives their permits back."""
        self._circuits.clear()

    def of(self, policy: CircuitBreaker, service: str) -> Circuit:
        """Return the circuit of a service."""
        key = policy, service
        circuit = self._circuits.get(key)
        if circuit is None:
            circuit = self._circuits[key] = Circuit(policy)
            if len(self._circuits) > _CIRCUITS_KEPT:
                self._circuits.popitem(last=False)
        else:
            self._circuits.move_to_end(key)
        return circuit

    def not_closed(self) -> Iterator[tuple[str, Circuit]]:
        """Return the services whose circuit is open or half-open, with it."""
        found = [(service, circuit) for (_, service), circuit in list(self._circuits.items())]
        return ((service, circuit) for service, circuit in found if circuit.state != "closed")

    def obstacles(self) -> list[str]:
        """Return which calls are not sent now, each as a clause."""
        now = monotonic()
        return [
            f"the circuit breaker of {service!r} is {circuit.state}: calls fail; the next probe may be sent in "
            f"{circuit.wait(now):.1f} s"
            for service, circuit in self.not_closed()
        ]


async def call_with_breaker(
    circuits: Circuits, policy: CircuitBreaker, func_name: str, call: Callable[[], Awaitable[Any]]
) -> Any:
    """Return what ``call()`` returns, if the circuit of its service lets it through.

    Raises:
        CircuitOpenError: it does not.
        BaseException: what the call raises.
    """
    circuit = circuits.of(policy, func_name)
    permit = circuit.enter(now := monotonic())
    if permit is None:
        circuits.refused += 1
        wait = circuit.wait(now)
        raise CircuitOpenError(
            f"call of {func_name!r} not sent: too many calls of it have failed, and its circuit breaker is "
            f"{circuit.state}; the next probe may be sent in {wait:.1f} s",
            func_name=func_name,
            retry_after=wait,
        )
    outcome: Outcome = "neither"
    try:
        result = await call()
        outcome = "success"
    except BaseException as error:
        outcome = outcome_of(error)
        raise
    finally:  # also if nobody awaits it any longer, and the task is destroyed with its loop
        if circuit.leave(permit, outcome, monotonic()):
            _tell(circuit, func_name)
    return result


def outcome_of(error: BaseException) -> Outcome:
    """Return what the error of a call says about its service.

    What its caller did wrong, or may not do, says nothing; nor does the loss of the caller's own connection, or a
    cancellation. What a service raises on purpose is an answer.
    """
    if isinstance(error, RemoteExecutionError):
        if isinstance(error, InvalidArgumentsError) or error.executed is False:
            return "neither"
        return "failure" if error.code is None else "success"
    if isinstance(error, CallTimeoutError):
        return "neither" if error.executed is False else "failure"  # it was not sent: no connection
    return "failure" if isinstance(error, QueueFullError | NoRouteError) else "neither"


def _tell(circuit: Circuit, func_name: str) -> None:
    if circuit.state == "closed":
        extra = log_fields("call.circuit_closed", service=func_name)
        _log.warning("calls of %r succeed again: its circuit breaker is closed", func_name, extra=extra)
        return
    wait = circuit.wait(monotonic())
    extra = log_fields("call.circuit_opened", service=func_name, delay=wait)
    text = "too many calls of %r fail: its circuit breaker is open, and no call is sent for %.1f s"
    _log.warning(text, func_name, wait, extra=extra)
