"""The state of a circuit breaker."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from rabibridge import CircuitBreaker, ConfigurationError
from rabibridge_core._client.breaking import Circuits
from rabibridge_core._client.circuit import Circuit, Outcome, Permit

POLICY = CircuitBreaker(failures=0.5, minimum=4, window=10.0, open_for=5.0)


def _circuit(policy: CircuitBreaker = POLICY) -> Circuit:
    return Circuit(policy, lambda: 0.0)


def _call(circuit: Circuit, outcome: Outcome, now: float = 0.0) -> bool:
    permit = circuit.enter(now)
    assert permit is not None
    return circuit.leave(permit, outcome, now)


def _opened(policy: CircuitBreaker = POLICY) -> Circuit:
    circuit = _circuit(policy)
    assert [_call(circuit, "failure") for _ in range(4)] == [False, False, False, True]
    return circuit


@pytest.mark.parametrize(
    "wrong",
    [
        {"failures": 0}, {"failures": 1.1}, {"failures": "half"}, {"minimum": 0}, {"minimum": True}, {"probes": 1.5},
        {"window": 0}, {"window": math.inf}, {"open_for": timedelta(0)}, {"open_for": "5"},
    ],
    ids=repr,
)  # fmt: skip
def test_values_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"CircuitBreaker: {next(iter(wrong))} is"):
        CircuitBreaker(**wrong)


def test_a_timedelta_is_a_time() -> None:
    assert CircuitBreaker(open_for=timedelta(seconds=5)) == CircuitBreaker(open_for=5)


def test_it_opens_at_the_share_of_failures_and_not_before_the_minimum() -> None:
    circuit = _circuit()
    for outcome in ("failure", "failure", "success"):
        assert not _call(circuit, outcome)
    assert _call(circuit, "failure")
    assert circuit.state == "open"
    assert circuit.enter(4.9) is None
    assert circuit.wait(4.0) == 1.0


def test_successes_keep_it_closed() -> None:
    circuit = _circuit()
    for _ in range(100):
        assert not _call(circuit, "success")
    for _ in range(99):
        assert not _call(circuit, "failure")
    assert _call(circuit, "failure")


def test_what_says_nothing_does_not_count() -> None:
    circuit = _circuit()
    for _ in range(100):
        assert not _call(circuit, "neither")
    assert circuit.state == "closed"


def test_old_ends_do_not_count() -> None:
    circuit = _circuit()
    for _ in range(3):
        _call(circuit, "failure", now=0.0)
    assert not _call(circuit, "failure", now=10.5)
    assert circuit.state == "closed"


def test_one_probe_at_a_time() -> None:
    circuit = _opened()
    probe = circuit.enter(5.0)
    assert probe is not None
    assert probe.probe
    assert circuit.state == "half-open"
    assert circuit.enter(5.0) is None
    assert circuit.enter(1000.0) is None
    assert circuit.leave(probe, "success", 6.0)
    assert str(circuit.state) == "closed"
    assert circuit.enter(6.0) == Permit(probe.period + 1, probe=False)


def test_a_failed_probe_opens_it_for_as_long() -> None:
    circuit = _opened()
    _call(circuit, "failure", now=5.0)
    assert circuit.state == "open"
    assert circuit.enter(9.9) is None
    assert circuit.enter(10.0) is not None


def test_a_probe_that_says_nothing_is_followed_by_the_next_one_at_once() -> None:
    circuit = _opened()
    for _ in range(10):
        assert not _call(circuit, "neither", now=5.0)
        assert circuit.state == "half-open"
    assert _call(circuit, "success", now=5.0)


def test_several_probes_in_a_row_close_it() -> None:
    circuit = _opened(CircuitBreaker(minimum=4, open_for=5.0, probes=3))
    assert [_call(circuit, "success", now=5.0) for _ in range(2)] == [False, False]
    _call(circuit, "failure", now=5.0)
    assert [_call(circuit, "success", now=10.0) for _ in range(3)] == [False, False, True]


def test_calls_that_began_before_it_opened_say_nothing_afterwards() -> None:
    circuit = _circuit()
    old = [circuit.enter(0.0) for _ in range(10)]
    for _ in range(4):
        _call(circuit, "failure")
    probe = circuit.enter(5.0)
    for permit in old:
        assert permit is not None
        assert not circuit.leave(permit, "failure", 5.0)
    assert circuit.state == "half-open"
    assert probe is not None
    assert circuit.leave(probe, "success", 5.0)
    assert _circuit_is_fresh(circuit)


def _circuit_is_fresh(circuit: Circuit) -> bool:
    return not any(_call(circuit, "failure", now=5.0) for _ in range(3))


def test_probes_of_many_clients_are_spread() -> None:
    circuits = [Circuit(CircuitBreaker(minimum=1, open_for=10.0)) for _ in range(100)]
    for circuit in circuits:
        _call(circuit, "failure")
    times = [circuit.next_probe for circuit in circuits]
    assert 10.0 <= min(times) < max(times) <= 11.0
    assert len(set(times)) > 50


def test_few_circuits_are_kept() -> None:
    circuits, policy = Circuits(), CircuitBreaker()
    first = circuits.of(policy, "service 0")
    for number in range(1, 1024):
        circuits.of(policy, f"service {number}")
    assert circuits.of(policy, "service 0") is first
    second = circuits.of(policy, "service 1")
    circuits.of(policy, "one more")  # the least recently used goes: "service 2"
    assert circuits.of(policy, "service 0") is first
    assert circuits.of(policy, "service 1") is second
    assert len(circuits._circuits) == 1024
