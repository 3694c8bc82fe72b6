"""The rule of routing keys: a call reaches the queue of one service, and exactly one queue.

A key with a kind leads to the queue of that name and kind, and to no other. A key of kind "any" leads to the queue of
the async service of that name, or else to that of the sync service, and never to both. Whatever two services are
called, no key of one of them leads to a queue of the other. Keys with a kind, and names of queues, are those of
RabiBridge 0.1.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rabibridge_core._protocol.naming import (
    FunctionKind,
    queue_name,
    routing_key,
    routing_keys,
    service_of_queue,
    service_of_routing_key,
)
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.transport import Request
from rabibridge_testing import MemoryBroker

if TYPE_CHECKING:
    from rabibridge_core.transport import ServiceQueue

_KINDS: tuple[FunctionKind, ...] = get_args(FunctionKind)
_stems = st.text("abs_.-yny", min_size=1, max_size=8)
_prefixes = st.lists(st.sampled_from(["async_", "sync_", "any_", "any.", "cancel_", "rpc_", "rpc_async_"]), max_size=3)
_names = st.builds(lambda prefixes, stem: "".join(prefixes) + stem, _prefixes, _stems)
"""Names made of what keys and queues are made of."""


def _queue(name: str, *, is_async: bool) -> ServiceQueue:
    async def coroutine() -> None: ...
    def function() -> None: ...

    chosen = coroutine if is_async else function
    chosen.__name__ = name
    return ServiceSchema.of(chosen, ServiceLimits()).queue


def _reached(broker: MemoryBroker, key: str) -> list[str]:
    """Send a request to a key and return the names of the queues that it is in."""
    before = {name: len(queue) for name, queue in broker.queues.items()}
    broker.publish(Request(key, b"1", b"", "", None, None))
    return [name for name, queue in broker.queues.items() if len(queue) > before[name]]


@given(_names, _names)
@example("get", "async_get")
@example("drop", "sync_drop")
@example("x", "any:x"[4:])
@example("async_x", "any_x")
def test_no_two_services_share_a_key_or_a_queue(one: str, other: str) -> None:
    keys = {(name, kind): routing_key(name, kind) for name in (one, other) for kind in _KINDS}
    queues = {
        (name, is_async): queue_name(name, is_async=is_async) for name in (one, other) for is_async in (True, False)
    }
    assert len(set(keys.values())) == len(keys)
    assert len(set(queues.values())) == len(queues)
    assert {service_of_routing_key(key) for key in keys.values()} == {one, other}
    assert {service_of_queue(queue) for queue in queues.values()} == {one, other}
    cancellations = {"cancel:" + key for key in keys.values()}
    assert not cancellations & set(keys.values())


@given(_names, _names, st.sets(st.tuples(st.booleans(), st.booleans())))
def test_a_call_is_in_one_queue_of_its_service(one: str, other: str, existing: set[tuple[bool, bool]]) -> None:
    broker = MemoryBroker()
    names = (one, other)
    for second, is_async in sorted(existing):
        broker.declare(_queue(names[second], is_async=is_async))
        broker.publish(Request(routing_key(names[second], "async" if is_async else "sync"), b"0", b"", "", None, None))
    for name in set(names):
        served = {is_async for second, is_async in existing if names[second] == name}
        for is_async in (True, False):
            reached = _reached(broker, routing_key(name, "async" if is_async else "sync"))
            assert reached == ([queue_name(name, is_async=is_async)] if is_async in served else [])
        assert len(_reached(broker, routing_key(name, "any"))) == bool(served)


@given(_names)
def test_keys_and_queues_of_a_kind_are_those_of_rabibridge_0_1_2(name: str) -> None:
    assert (routing_key(name, "async"), routing_key(name, "sync")) == (f"async_{name}", f"sync_{name}")
    assert queue_name(name, is_async=True) == f"rpc_async_{name}"
    assert queue_name(name, is_async=False) == f"rpc_sync_{name}"


@pytest.mark.parametrize("is_async", [True, False])
def test_what_a_service_binds_is_what_its_callers_use(is_async: bool) -> None:
    kind: FunctionKind = "async" if is_async else "sync"
    queue = _queue("name", is_async=is_async)
    assert queue.routing_keys == routing_keys("name", is_async=is_async)
    assert queue.routing_keys == (routing_key("name", kind), routing_key("name", "any"))
    assert queue.any_keys == (routing_key("name", "any"),)
    assert queue.other_queue == queue_name("name", is_async=not is_async)
    assert queue.preferred == is_async
