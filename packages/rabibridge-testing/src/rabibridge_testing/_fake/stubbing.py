"""Makes stubs: of a name, or of a function whose signature and annotations they keep."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from rabibridge_core._client.stream_targets import gives_items, stream_target_of
from rabibridge_core._client.targets import HasTarget, target_of
from rabibridge_core._protocol.broker_texts import NO_ROUTE, QUEUE_FULL
from rabibridge_core._services.injection import signature_for_callers
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.offers import schemas_of
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import QueueFullError, RegistrationError, ServiceError
from rabibridge_testing._fake.records import Records
from rabibridge_testing._fake.serving import Served
from rabibridge_testing._fake.stub import UNSET, Stub, Unset
from rabibridge_testing._memory.threads import locked

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator

    from rabibridge_core._codec.annotations import ResultAdapter
    from rabibridge_core.transport import ServiceQueue
    from rabibridge_testing._memory.messages import Message

__all__ = ["Stubs"]

P = ParamSpec("P")
R = TypeVar("R")
Errors = BaseException | type[BaseException]


class Stubs(Records):
    """The stubs of a fake broker."""

    def __init__(self) -> None:
        """Start without stubs."""
        super().__init__()
        self._stubs: dict[str, Stub[..., Any]] = {}

    @overload
    def stub(
        self,
        service: str,
        *,
        returns: Any = ...,
        raises: Errors | None = None,
        side_effect: Callable[..., Any] | Iterable[Any] | None = None,
        items: Iterable[Any] | None = None,
        kind: Literal["async", "sync"] = "async",
    ) -> Stub[..., Any]: ...
    @overload
    def stub(
        self,
        service: Callable[P, AsyncIterable[R] | Iterator[R]],
        *,
        returns: Iterable[R] = ...,
        raises: Errors | None = None,
        side_effect: Callable[P, AsyncIterable[R] | Iterable[R]] | Iterable[Iterable[R] | Errors] | None = None,
        items: Iterable[R] | None = None,
    ) -> Stub[P, Iterable[R]]: ...
    @overload
    def stub(
        self,
        service: Callable[P, Awaitable[R]],
        *,
        returns: R = ...,
        raises: Errors | None = None,
        side_effect: Callable[P, R | Awaitable[R]] | Iterable[R | Errors] | None = None,
    ) -> Stub[P, R]: ...
    @overload
    def stub(
        self,
        service: Callable[P, R],
        *,
        returns: R = ...,
        raises: Errors | None = None,
        side_effect: Callable[P, R | Awaitable[R]] | Iterable[R | Errors] | None = None,
    ) -> Stub[P, R]: ...
    def stub(
        self,
        service: str | Callable[..., Any],
        *,
        returns: Any = UNSET,
        raises: Errors | None = None,
        side_effect: Callable[..., Any] | Iterable[Any] | None = None,
        items: Iterable[Any] | None = None,
        kind: Literal["async", "sync"] = "async",
    ) -> Stub[..., Any]:
        """Answer the calls of a service without its function: with a result, an error, or what another function gives.

        Given the function itself, calls must fit its signature, or they end with ``InvalidArgumentsError`` as on a real
        worker, and results must fit its return annotation: that is checked here, and by type checkers if the result is
        given by the method, as in ``stub(add).returns(3)``. A stub takes the place of an earlier one of the service.

        Example::

            fake_broker.stub("add", returns=3)
            fake_broker.stub(add).returns(3)
            fake_broker.stub(add, side_effect=[3, QueueFullError, ValueError("too large")])
            fake_broker.stub(countdown, items=[3, 2, 1])

        Args:
            service: the name of the service, its function, or a method of a service class or of ``client.service``.
            returns: the result of every call; see :meth:`Stub.returns`.
            raises: the error of every call; see :meth:`Stub.raises`.
            side_effect: a function, or what one call after another gets; see :meth:`Stub.side_effect`.
            items: the items of every stream, which makes a service that is given by its name one that streams. Together
                with ``raises``: the stream fails after them.
            kind: whether a service that is given by its name is an async or a sync function, for callers that ask.

        Raises:
            RegistrationError: the broker serves a function of that name, or the function cannot be a service.
            TypeError: a result does not fit the annotation, several are given, or there is no such service.
        """
        given = [name for name, is_given in (
            ("returns", returns is not UNSET), ("items", items is not None), ("side_effect", side_effect is not None),
        ) if is_given]  # fmt: skip
        if len(given) > 1 or (raises is not None and given not in ([], ["items"])):
            raise TypeError(
                f"a stub has one answer, and {', '.join((*given, *(['raises'] if raises else [])))} are given"
            )
        stub, schema, queue = self._made_of(service, kind, items is not None)
        if items is not None:
            stub.returns(items)
        elif not isinstance(returns, Unset):
            stub.returns(returns)
        elif side_effect is not None:
            stub.side_effect(side_effect)
        if raises is not None:
            stub.raises(raises)
        self._use(stub, Served(schema, queue))
        return stub

    def _made_of(
        self, service: str | Callable[..., Any], kind: str, streams: bool, make: type[Stub[..., Any]] = Stub
    ) -> tuple[Stub[..., Any], ServiceSchema, ServiceQueue]:
        """Return a stub without an answer, the service that its answers come from, and the queue."""
        streams = streams or (not isinstance(service, str) and gives_items(service))
        given: Any = service
        target = stream_target_of(service) if streams else target_of(service)
        func: Any = service._listing if isinstance(service, HasTarget) else service
        name, signature = target.name, None if isinstance(func, str) else signature_for_callers(func)
        stub = make(
            self, name, given, signature=signature, streams=streams,
            check=_check_of(target.adapt, name, "an item" if streams else "a result"),
        )  # fmt: skip
        handler = _handler(stub, name)
        if not isinstance(func, str):
            (schema,) = schemas_of(func, ServiceLimits(), name)
        else:
            schema = ServiceSchema.of(_sync_stand_in if kind == "sync" else handler, ServiceLimits(), name)
        queue = replace(schema.queue, streams=streams or schema.queue.streams)
        runs = replace(
            schema, func_ptr=handler, is_async=True, executor="loop", streams=streams, classes=(), validate=False,
            injections=None, raises=(ServiceError,), resumable=False,
        )  # fmt: skip
        return stub, runs, queue

    @locked
    def _use(self, stub: Stub[..., Any], service: Served) -> None:
        name = stub.service
        known, before = self._services.get(name), self._stubs.get(name)
        if known is None:
            self._serve_from(service)
        elif before is None:
            raise RegistrationError(f"the fake broker already serves {name!r} by a function: leave out one of the two")
        elif known.queue != service.queue or before.streams != stub.streams:
            raise RegistrationError(
                f"the stub of {name!r} stands for a function of another kind, or with other limits: begin anew by "
                "reset()"
            )
        self._stubs[name] = stub

    def answer_of(self, name: str) -> Stub[..., Any]:
        """Return the stub that answers now."""
        return self._stubs[name]

    def assert_all_called(self) -> None:
        """Check that every stub was called.

        Raises:
            AssertionError: one was not; it names all of them.
        """
        called = {call.service for call in self._recorded()}
        if unused := [repr(name) for name in self._stubs if name not in called]:
            raise AssertionError(f"stubs that were not called: {', '.join(unused)}. {self._what_was_called()}")

    @locked
    def _route(self, message: Message) -> None:
        stub = self._stubs.get(self._service(message.request.routing_key))
        refusal = None if stub is None or message.trace is None else stub.refusal(message.trace)
        if refusal is None:
            super()._route(message)
        else:
            self._refuse(message, refusal, QUEUE_FULL if issubclass(refusal, QueueFullError) else NO_ROUTE)

    def _forget_services(self) -> None:
        """Forget stubs, too."""
        self._stubs.clear()
        super()._forget_services()


def _handler(stub: Stub[..., Any], name: str) -> Callable[..., Any]:
    """Return the function that is served: it answers as the stub of that name does at the time of the call."""
    broker: Any = stub._broker
    handler: Any
    if stub.streams:

        async def stream(*args: Any, **kwargs: Any) -> Any:
            async for item in broker.answer_of(name).items(*args, **kwargs):
                yield item

        handler = stream
    else:

        async def answer(*args: Any, **kwargs: Any) -> Any:
            return await broker.answer_of(name).answer(*args, **kwargs)

        handler = answer
    handler.__name__ = handler.__qualname__ = name
    if stub.signature is not None:
        handler.__signature__ = stub.signature
    return handler  # type: ignore[no-any-return]


def _sync_stand_in(*args: Any, **kwargs: Any) -> None:
    """Stand for a sync function of any name."""


def _check_of(adapt: ResultAdapter | None, name: str, what: str) -> Callable[[Any], None]:
    """Return what raises TypeError if a value does not fit an annotation."""
    if adapt is None:
        return lambda value: None
    annotation = getattr(adapt.annotation, "__name__", adapt.annotation)

    def check(value: Any) -> None:
        if why := adapt.mismatch(value):
            raise TypeError(
                f"the stub of {name!r} has {what}, {value!r}, that does not fit the annotation {annotation}: {why}"
            )

    return check
