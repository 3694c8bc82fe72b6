"""What is wrong with a provider is one error when the service is added, which names function and argument."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import pytest

from rabibridge_core import Depends, RegistrationError
from rabibridge_core._services.injection import injections_of
from rabibridge_core.rpc import RpcServer
from rabibridge_testing import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal as Missing


class Session:
    pass


def session() -> Session:
    return Session()


SessionOfCall = Annotated[Session, Depends(session)]


def add(function: Callable[..., Any], **options: Any) -> RpcServer:
    server = RpcServer(transport=MemoryBroker().transport())
    server.add_service(function, name="service", **options)
    return server


def needs_of(function: Callable[..., Any]) -> list[str]:
    found = injections_of(function)
    return [] if found is None else list(found.needs)


async def by_annotation(number: int, db: Annotated[Session, Depends(session)]) -> None: ...
async def by_alias(number: int, db: SessionOfCall) -> None: ...
async def by_default(number: int, db: Missing = Depends(session)) -> None: ...  # type: ignore[assignment] # pyright: ignore
async def by_inner_text(number: int, db: Annotated[Session, Depends()]) -> None: ...
async def keyword_first(*, db: SessionOfCall, number: int) -> None: ...
async def missing_elsewhere(number: Missing, db: SessionOfCall) -> Missing: ...  # type: ignore[empty-body] # pyright: ignore


@pytest.mark.parametrize(
    "function", [by_annotation, by_alias, by_default, by_inner_text, keyword_first, missing_elsewhere]
)
def test_marks_are_found(function: Callable[..., Any]) -> None:
    assert needs_of(function) == ["db"]
    found = injections_of(function)
    assert found is not None
    assert list(found.signature.parameters) == ["number"]
    add(function)


def test_marks_are_found_in_text_inside_of_an_annotation() -> None:
    async def function(db: Any) -> None: ...

    function.__annotations__["db"] = Annotated["Session", Depends()]
    assert needs_of(function) == ["db"]


def test_functions_without_marks_have_none() -> None:
    async def plain(number: int, missing: Missing | None = None) -> None: ...

    assert needs_of(plain) == []
    assert needs_of(print) == []
    assert add(plain).services[0].injections is None


def test_methods_partials_and_wrapped_functions_have_marks() -> None:
    class Service:
        async def method(self, number: int, db: SessionOfCall) -> None: ...
        @classmethod
        async def of_class(cls, number: int, db: SessionOfCall) -> None: ...
        async def __call__(self, number: int, db: SessionOfCall) -> None: ...

    @functools.wraps(by_alias)
    async def wrapper(*args: Any, **kwargs: Any) -> None: ...

    for function in (Service().method, Service.of_class, Service(), functools.partial(by_alias, 1), wrapper):
        assert needs_of(function) == ["db"]
    assert needs_of(functools.partial(by_alias, db=Session())) == []


def test_names_that_are_local_are_found() -> None:
    class Local:
        pass

    def local() -> Local:
        return Local()

    async def function(db: Annotated[Local, Depends(local)]) -> None: ...

    assert needs_of(function) == ["db"]


async def missing_type(db: Annotated[Missing, Depends(session)]) -> None: ...
async def missing_type_of_lifespan(db: Missing = Depends()) -> None: ...
async def missing_provider(db: Annotated[Session, Depends(nowhere)]) -> None: ...  # pyright: ignore # noqa: F821
def needs_missing(db: Annotated[Missing, Depends(session)]) -> Session: ...  # type: ignore[empty-body] # pyright: ignore
async def nested(db: Session = Depends(needs_missing)) -> None: ...


@pytest.mark.parametrize(
    ("function", "where", "name"),
    [
        (missing_type, "missing_type", "Missing"),
        (missing_type_of_lifespan, "missing_type_of_lifespan", "Missing"),
        (missing_provider, "missing_provider", "nowhere"),
        (nested, "needs_missing", "Missing"),
    ],
)
@pytest.mark.parametrize("validate", [False, True])
def test_a_missing_name_is_one_error(function: Callable[..., Any], where: str, name: str, validate: bool) -> None:
    with pytest.raises(RegistrationError, match=rf"{where} \(.*\): the annotation of the argument 'db' names '{name}'"):
        add(function, validate=validate)


async def two_marks(db: Annotated[Session, Depends(session)] = Depends()) -> None: ...
async def no_class(db: Annotated[Any, Depends()]) -> None: ...
async def no_annotation(db=Depends()) -> None: ...  # type: ignore[no-untyped-def]
async def in_the_middle(a: int, db: Session = Depends(session), b: int = 0) -> None: ...
async def before_args(db: Session = Depends(session), *numbers: int) -> None: ...
async def positional(db: Session = Depends(session), /) -> None: ...
def asks_caller(user_id: int) -> Session: ...  # type: ignore[empty-body] # pyright: ignore
async def needs_caller(db: Session = Depends(asks_caller)) -> None: ...
def of_call(db: Session = Depends(session)) -> Session:
    return db


async def too_short(db: Session = Depends(of_call, scope="process")) -> None: ...


class Shape(Protocol):
    def area(self) -> float: ...


async def by_protocol(shape: Shape = Depends()) -> None: ...


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (two_marks, "has 2 Depends"),
        (no_class, r"which is typing\.Any; it must be a class"),
        (no_annotation, "which is missing; it must be a class"),
        (in_the_middle, "'b', which callers give, comes after 'db', which the server fills in: put those last"),
        (before_args, "'numbers', which callers give, comes after 'db'"),
        (positional, "needs a parameter that has a name"),
        (needs_caller, "argument 'user_id' of its provider asks_caller .* gets nothing from the caller"),
        (too_short, "lives as long as the process, .* give session .* scope='process'"),
        (by_protocol, "cannot be found by its type"),
    ],
)
def test_what_cannot_be_filled_in_is_refused(function: Callable[..., Any], why: str) -> None:
    with pytest.raises(RegistrationError, match=why):
        add(function)


def test_a_provider_that_needs_itself_is_refused() -> None:
    def circle() -> Session:
        return Session()

    again = inspect.Parameter("again", inspect.Parameter.KEYWORD_ONLY, default=Depends(circle))
    circle.__signature__ = inspect.Signature([again])  # type: ignore[attr-defined]

    async def function(db: Session = Depends(circle)) -> None: ...

    with pytest.raises(RegistrationError, match="needs itself"):
        add(function)


@pytest.mark.parametrize(
    "arguments",
    [{"provider": 7}, {"provider": session, "scope": "request"}, {"provider": session, "cleanup_timeout": 0}],
)
def test_wrong_marks_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(RegistrationError, match="Depends"):
        Depends(**arguments)
