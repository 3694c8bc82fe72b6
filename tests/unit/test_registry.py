"""Which functions become services, and with which limits."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest

from rabibridge_core._protocol.naming import check_service_name, queue_name, routing_key, routing_keys
from rabibridge_core._services.limits import DEFAULT_FETCH_SIZE, DEFAULT_SYNC_FETCH_SIZE, ServiceLimits
from rabibridge_core._services.marks import services_in
from rabibridge_core._services.registration import register_call
from rabibridge_core._services.registry import Registry
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import ConfigurationError, RegistrationError


async def work(number: int) -> int:
    return number


def work_in_a_thread(number: int) -> int:
    return number


class CallableObject:
    __name__ = "callable_object"

    async def __call__(self) -> None: ...


@pytest.mark.parametrize("decorate", [register_call, register_call(), register_call(None)])
def test_decorating_gives_back_the_function(decorate: Any) -> None:
    async def function(number: int, /, *, key: str = "k") -> str:
        """Say something."""
        return key * number

    signature = inspect.signature(function)
    decorated = decorate(function)
    assert decorated is function
    assert inspect.signature(decorated) == signature
    assert decorated.__doc__ == "Say something."
    assert services_in({"function": decorated}) == [ServiceSchema.of(function, ServiceLimits())]


def test_limits_are_kept() -> None:
    @register_call(10, 2, 1.5, validate=True, re_register=True)
    def function() -> None: ...

    (schema,) = services_in({"any name": function})
    assert schema == ServiceSchema(
        name="function", func_ptr=function, queue_size=10, fetch_size=2, timeout=1.5, re_register=True, validate=True,
        is_async=False, queue_name="rpc_sync_function",
    )  # fmt: skip
    queue = schema.queue
    assert queue.name == "rpc_sync_function"
    assert queue.routing_keys == ("sync_function", "any:function")
    assert (queue.queue_size, queue.fetch_size, queue.timeout) == (10, 2, 1.5)
    assert queue.redeclare


def test_defaults() -> None:
    schema = ServiceSchema.of(work, ServiceLimits())
    assert (schema.queue_size, schema.fetch_size, schema.timeout) == (None, None, None)
    assert not schema.re_register
    assert not schema.validate
    assert schema.is_async
    assert schema.queue.fetch_size == DEFAULT_FETCH_SIZE
    assert schema.queue.queue_size is None
    assert schema.queue.timeout is None
    assert not schema.queue.redeclare
    sync = ServiceSchema.of(work_in_a_thread, ServiceLimits())
    assert sync.fetch_size is None
    assert sync.queue.fetch_size == DEFAULT_SYNC_FETCH_SIZE == 32


def test_what_is_given_goes_over_what_is_registered() -> None:
    registered = ServiceLimits(10, 2, 1.5, validate=True, re_register=True)
    assert ServiceLimits().with_defaults(None) == ServiceLimits()
    assert ServiceLimits().with_defaults(registered) == registered
    assert registered.with_defaults(ServiceLimits(9, 9, 9)) == registered
    given = ServiceLimits(queue_size=0, timeout=3)
    assert given.with_defaults(registered) == ServiceLimits(0, 2, 3, validate=True, re_register=True)
    assert given.with_defaults(None) == given
    assert ServiceLimits(validate=True).with_defaults(ServiceLimits(5)) == ServiceLimits(5, validate=True)


@pytest.mark.parametrize(
    ("limits", "names"),
    [
        ({"queue_size": -1}, "queue_size"),
        ({"queue_size": 2**31}, "queue_size"),
        ({"queue_size": 1.5}, "queue_size"),
        ({"queue_size": True}, "queue_size"),
        ({"queue_size": "10"}, "queue_size"),
        ({"fetch_size": 0}, "fetch_size"),
        ({"fetch_size": 65536}, "fetch_size"),
        ({"fetch_size": False}, "fetch_size"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"timeout": "5"}, "timeout"),
        ({"delivery": "exactly-once"}, "delivery"),
        ({"queue_type": "stream"}, "queue_type"),
        ({"redelivery_limit": -1}, "redelivery_limit"),
        ({"redelivery_limit": True}, "redelivery_limit"),
        ({"redelivery_limit": 1.5}, "redelivery_limit"),
    ],
    ids=str,
)
def test_limits_that_make_no_sense(limits: dict[str, Any], names: str) -> None:
    def function() -> None: ...

    with pytest.raises(RegistrationError, match=names) as refused:
        register_call(**limits)(function)
    assert "function" in str(refused.value)
    assert repr(limits[names]) in str(refused.value)


def test_how_calls_are_delivered() -> None:
    plain = ServiceSchema.of(work, ServiceLimits())
    assert (plain.delivery, plain.idempotent, plain.redelivery_limit) == ("at-least-once", False, 5)
    assert (plain.queue.redelivery_limit, plain.queue.queue_type) == (5, "classic")
    never = ServiceSchema.of(work, ServiceLimits(redelivery_limit=0, queue_type="quorum"))
    assert (never.queue.redelivery_limit, never.queue.queue_type) == (0, "quorum")


@pytest.mark.parametrize(("fetch_size", "runs", "held"), [(None, 256, 16), (4, 4, 4), (100, 100, 16)])
def test_at_most_once_holds_few_that_have_not_begun(fetch_size: int | None, runs: int, held: int) -> None:
    schema = ServiceSchema.of(work, ServiceLimits(fetch_size=fetch_size, delivery="at-most-once"))
    assert (schema.concurrency, schema.queue.fetch_size) == (runs, held)
    assert schema.queue.redelivery_limit is None  # one that was given to a worker is never run again


def test_what_contradicts_itself() -> None:
    with pytest.raises(RegistrationError, match="at-most-once"):
        register_call(delivery="at-most-once", idempotent=True)(work_in_a_thread)


def test_options_of_delivery_go_over_what_is_registered() -> None:
    registered = ServiceLimits(delivery="at-most-once", redelivery_limit=3, queue_type="quorum")
    assert ServiceLimits().with_defaults(registered) == registered
    given = ServiceLimits(delivery="at-least-once", idempotent=True, redelivery_limit=0, queue_type="classic")
    assert given.with_defaults(registered) == given


def test_what_cannot_be_a_service() -> None:
    for function in (lambda: None, functools.partial(work, 1)):
        with pytest.raises(RegistrationError):
            register_call(function)
    with pytest.raises(RegistrationError):
        ServiceSchema.of(5, ServiceLimits())  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_what_is_async() -> None:
    @functools.wraps(work)
    async def wrapped(number: int) -> int:
        return await work(number)

    assert ServiceSchema.of(work, ServiceLimits()).is_async
    assert ServiceSchema.of(wrapped, ServiceLimits()).is_async
    assert ServiceSchema.of(CallableObject(), ServiceLimits()).is_async
    assert not ServiceSchema.of(work_in_a_thread, ServiceLimits()).is_async


def test_a_method_is_a_service_of_its_object() -> None:
    class Account:
        def __init__(self, balance: int) -> None:
            self._balance = balance

        def balance(self) -> int:
            return self._balance

    schema = ServiceSchema.of(Account(7).balance, ServiceLimits(queue_size=4))
    assert (schema.name, schema.queue_size) == ("balance", 4)
    assert schema.func_ptr() == 7


def test_services_in_a_mapping() -> None:
    @register_call
    async def one() -> None: ...

    @register_call
    def other() -> None: ...

    class Proxy:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"a lazy proxy was asked for {name}")

    symbols = {
        "one": one,
        "alias": one,
        "other": other,
        "work": work,
        "proxy": Proxy(),
        "n": 1,
        "none": None,
        "cls": int,
    }
    assert [schema.name for schema in services_in(symbols)] == ["one", "other"]
    assert services_in({}) == []


def test_a_name_that_is_taken() -> None:
    def make() -> Any:
        async def function() -> None: ...

        return function

    registry = Registry()
    first = ServiceSchema.of(make(), ServiceLimits())
    registry.add(first)
    registry.add(first)
    with pytest.raises(RegistrationError) as taken:
        registry.add(ServiceSchema.of(make(), ServiceLimits()))
    assert str(taken.value).count(f"{__file__}:") == 2
    with pytest.raises(RegistrationError, match="other limits"):
        registry.add(ServiceSchema.of(first.func_ptr, ServiceLimits(queue_size=1)))
    assert list(registry) == [first]
    assert len(registry) == 1


def test_a_registry_changes() -> None:
    registry = Registry()
    first, second = ServiceSchema.of(work, ServiceLimits()), ServiceSchema.of(work, ServiceLimits(1))
    registry.add(first)
    registry.replace(second)
    assert registry.get("work") is second
    for schema in registry:  # it may change while it is gone through
        registry.remove(schema.name)
    registry.remove("work")
    assert "work" not in registry
    assert registry.get("work") is None


def test_names_on_the_broker() -> None:
    assert queue_name("f", is_async=True) == "rpc_async_f"
    assert queue_name("f", is_async=False) == "rpc_sync_f"
    assert routing_keys("f", is_async=True) == ("async_f", "any:f")
    assert routing_keys("f", is_async=False) == ("sync_f", "any:f")
    assert [routing_key("f", kind) for kind in ("async", "sync", "any")] == ["async_f", "sync_f", "any:f"]
    with pytest.raises(ConfigurationError, match="ftype"):
        routing_key("f", "Async")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["f", "F_9.x-y", "_", "a" * 200])
def test_names_that_services_can_have(name: str) -> None:
    assert check_service_name(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a\n", "f\u00fc", "a/b", "a*", "a" * 201, b"bytes", None])
def test_names_that_services_cannot_have(name: object) -> None:
    with pytest.raises(ConfigurationError, match="service name"):
        check_service_name(name)


def test_a_name_that_is_changed_after_decorating() -> None:
    def function() -> None: ...

    register_call(function)
    function.__name__ = "not a name"
    with pytest.raises(RegistrationError, match="service name"):
        services_in({"function": function})
