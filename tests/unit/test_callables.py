"""Callables of every kind: served as what they are, or refused where they are decorated or added."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.marks import schema_of, services_in
from rabibridge_core._services.registration import register_call
from rabibridge_core.errors import RegistrationError

if TYPE_CHECKING:
    from rabibridge_core._services.schema import ServiceSchema


async def work(number: int = 0) -> int:
    return number


def work_in_a_thread(number: int = 0) -> int:
    return number


async def agenerator() -> Any:
    yield 1


def generator() -> Any:
    yield 1


class AsyncObject:
    async def __call__(self) -> int:
        return 3


class SyncObject:
    def __call__(self) -> int:
        return 4


class StaticCall:
    @staticmethod
    async def __call__() -> int:
        return 5


class GeneratorObject:
    def __call__(self) -> Any:
        yield 1


class Account:
    def __init__(self, balance: int = 7) -> None:
        self._balance = balance

    @register_call(queue_size=3)
    async def balance(self) -> int:
        return self._balance

    @classmethod
    @register_call(queue_size=4)
    async def below(cls) -> str:
        return cls.__name__

    @register_call(queue_size=5)
    @classmethod
    async def above(cls) -> str:
        return cls.__name__

    @staticmethod
    @register_call(queue_size=6)
    def static_below() -> int:
        return 1

    @register_call(queue_size=7)
    @staticmethod
    def static_above() -> int:
        return 2


def _id(value: Any) -> str:
    """Return an id without an address, the same in every process."""
    return value if isinstance(value, str) else getattr(value, "__qualname__", type(value).__name__)


def _add(func: Any, name: str | None = None, **limits: Any) -> ServiceSchema:
    return schema_of(func, ServiceLimits(**limits), name)


@pytest.mark.parametrize(
    ("func", "is_async"),
    [
        (work, True),
        (work_in_a_thread, False),
        (functools.partial(work, 1), True),
        (functools.partial(work_in_a_thread, 1), False),
        (functools.partial(functools.partial(work), 1), True),
        (AsyncObject(), True),
        (SyncObject(), False),
        (StaticCall(), True),
        (functools.partial(AsyncObject()), True),
        (functools.partial(SyncObject()), False),
        (AsyncObject().__call__, True),
        (Account().balance, True),
        (functools.partial(Account().balance), True),
        (Account.below, True),
        (Account.static_below, False),
        (functools.cache(work_in_a_thread), False),
        (functools.wraps(work)(work_in_a_thread), False),
        (len, False),
        (lambda: 1, False),
    ],
    ids=_id,
)
def test_the_kind_is_what_a_call_gives(func: Any, is_async: bool) -> None:
    schema = _add(func, "service")
    assert (schema.name, schema.is_async, schema.func_ptr) == ("service", is_async, func)
    assert schema.queue_name == ("rpc_async_service" if is_async else "rpc_sync_service")


@pytest.mark.parametrize(
    ("func", "is_async"),
    [
        (agenerator, True),
        (generator, False),
        (functools.partial(generator), False),
        (functools.partial(agenerator), True),
        (GeneratorObject(), False),
    ],
    ids=_id,
)
def test_generator_functions_stream(func: Any, is_async: bool) -> None:
    schema = _add(func, "service")
    assert (schema.streams, schema.queue.streams, schema.is_async) == (True, True, is_async)
    assert schema.queue_name == ("rpc_async_service" if is_async else "rpc_sync_service")
    assert not _add(work, "other").queue.streams


@pytest.mark.parametrize(
    ("func", "says"),
    [
        (Account, "is a class"),
        (dict, "is a class"),
        (5, "not callable"),
    ],
    ids=_id,
)
def test_what_is_no_function_is_refused(func: Any, says: str) -> None:
    with pytest.raises(RegistrationError, match=says):
        register_call(name="service")(func)
    with pytest.raises(RegistrationError, match=says):
        _add(func, "service")


@pytest.mark.parametrize("func", [functools.partial(work, 1), AsyncObject(), lambda: 1], ids=_id)
def test_what_has_no_name_is_told_how_to_get_one(func: Any) -> None:
    with pytest.raises(RegistrationError, match="name="):
        register_call(func)
    with pytest.raises(RegistrationError, match="name="):
        _add(func)
    decorated = register_call(2, name="named")(func)
    assert decorated is func
    (schema,) = services_in({"x": func})
    assert (schema.name, schema.queue_size, schema.func_ptr) == ("named", 2, func)
    assert (_add(func).name, _add(func).queue_size) == ("named", 2)
    assert (_add(func, "other").name, _add(func, "other").queue_size) == ("other", 2)


@pytest.mark.parametrize("func", [len, "".join, Account().balance], ids=_id)
def test_what_cannot_be_marked_is_told_of_add_service(func: Any) -> None:
    with pytest.raises(RegistrationError, match=r"add_service\(\)"):
        register_call(func)
    assert _add(func).name == func.__name__


def test_a_function_with_several_names() -> None:
    @register_call(queue_size=1, name="v1")
    @register_call(queue_size=2, name="v2")
    @register_call(3)
    @register_call(4, name="v1")
    async def add() -> None: ...

    services = {schema.name: schema for schema in services_in({"add": add, "alias": add})}
    assert {name: schema.queue_size for name, schema in services.items()} == {"v1": 1, "v2": 2, "add": 3}
    assert {schema.func_ptr for schema in services.values()} == {add}
    assert _add(add, "v2").queue_size == 2
    with pytest.raises(RegistrationError, match="'v1'"):
        _add(register_call(name="v1")(register_call(name="v2")(work_in_a_thread)))


@pytest.mark.parametrize("what", ["validate", "re_register", "idempotent"])
@pytest.mark.parametrize("value", ["false", "no", "", 0, 1, None, [True]], ids=repr)
def test_a_switch_is_true_or_false(what: str, value: Any) -> None:
    with pytest.raises(RegistrationError, match=f"{what} is .*True or False"):
        register_call(**{what: value})(lambda_with_a_name())
    with pytest.raises(RegistrationError, match=f"{what} is .*True or False"):
        _add(lambda_with_a_name(), **{what: value})


def lambda_with_a_name() -> Any:
    def function() -> None: ...

    return function


def test_methods_of_an_object_and_of_a_class() -> None:
    symbols = {name: getattr(Account(9), name) for name in dir(Account)}
    assert {schema.name: schema.queue_size for schema in services_in(symbols)} == {
        "balance": 3, "below": 4, "above": 5, "static_below": 6, "static_above": 7,
    }  # fmt: skip
    above = _add(Account.static_above)
    assert (above.queue_size, above.func_ptr()) == (7, 2)
    static = {name: value for name, value in vars(Account).items() if name.startswith("static")}
    assert {schema.name: schema.func_ptr() for schema in services_in(static)} == {"static_below": 1, "static_above": 2}


def test_a_method_without_its_object_is_refused() -> None:
    with pytest.raises(RegistrationError, match=r"balance .*without its object"):
        services_in(vars(Account))
    with pytest.raises(RegistrationError, match=r"balance .*without its object"):
        services_in({"balance": Account.balance})
    with pytest.raises(RegistrationError, match=r"balance .*without its object"):
        _add(Account.balance)
    with pytest.raises(RegistrationError, match=r"below .*without its object"):
        services_in({"below": vars(Account)["below"]})


def test_the_mark_belongs_to_the_function_that_was_decorated(caplog: pytest.LogCaptureFixture) -> None:
    @register_call(queue_size=2)
    async def counted() -> int:
        return 1

    @functools.wraps(counted)
    async def traced() -> int:
        return await counted()

    assert [schema.func_ptr for schema in services_in({"traced": traced, "counted": counted})] == [counted]
    assert [record.getMessage() for record in caplog.records] == []
    assert services_in({"traced": traced}) == []
    assert "'traced' is not served" in caplog.text
    assert _add(traced).queue_size is None


def test_a_wrapper_in_the_place_of_the_function_is_served() -> None:
    @functools.cache
    @register_call(queue_size=2)
    def slow(number: int) -> int:
        return number

    (schema,) = services_in({"slow": slow})
    assert (schema.name, schema.queue_size, schema.func_ptr) == ("slow", 2, slow)


def test_no_object_among_the_symbols_is_touched() -> None:
    touched: list[str] = []

    class Lazy:
        def __getattribute__(self, name: str) -> Any:
            touched.append(name)
            raise RuntimeError(name)

        def __call__(self) -> None: ...

        def __eq__(self, other: object) -> bool:
            raise RuntimeError

        __hash__ = None  # type: ignore[assignment]

    class Claims:
        @property  # type: ignore[misc]
        def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] # what Django's lazy objects do
            touched.append("__class__")
            raise RuntimeError

    @register_call
    async def service() -> None: ...

    symbols = {"lazy": Lazy(), "claims": Claims(), "service": service, "Lazy": Lazy}
    assert [schema.name for schema in services_in(symbols)] == ["service"]
    assert touched == []
