"""Checks and encodes what is sent otherwise than by :meth:`Client.call`, which does the same in line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rabibridge_core._client.arguments import check_arguments, check_options
from rabibridge_core._client.breaking import Circuits
from rabibridge_core._client.call_chains import CallChains
from rabibridge_core._client.hedge import HedgedServices
from rabibridge_core._client.rare_options import RareOptions, plain_headers
from rabibridge_core._client.routes import RouteCache
from rabibridge_core._client.timeouts import (
    TIMEOUT_MAX,
    call_timeout_error,
    normalize_timeout,
    seconds_of,
    within_inherited,
)
from rabibridge_core._observability.call_context import current_call_var
from rabibridge_core._protocol.headers import check_call_headers, check_idempotency_key
from rabibridge_core._protocol.payloads import encode_request
from rabibridge_core.plugins.observing import with_headers
from rabibridge_core.transport import Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from rabibridge_core._client.call_chains import Suspicion
    from rabibridge_core._client.call_table import CallTable
    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._protocol.naming import FunctionKind
    from rabibridge_core.plugins.observers import CallObserver, ClientObserver
    from rabibridge_core.transport import Caller, Headers, Transport

__all__ = ["Preparation", "Prepared", "Sender", "limit_of"]


class Sender(Protocol):
    """What is used of a client.

    Attributes:
        calls: the table of pending calls.
        observer: observes what is sent; ``None``: nothing does.
        transport: where it is sent.
        name: its name in logs and errors.
    """

    calls: CallTable
    observer: ClientObserver | None
    transport: Transport
    name: str

    def connected(self) -> Caller:
        """Return what sends requests; raise ConnectionLostError if the client is closed or was never connected."""
        ...

    async def admitted(self, func_name: str, timeout: float | None, seconds: float | None) -> float | None:
        """Wait until something may be sent; return the time left after that, in seconds."""
        ...


class Prepared(NamedTuple):
    """A request that is about to be sent.

    Attributes:
        request: the request; its ``timeout`` is still to be chosen.
        caller: sends it.
        time_left: how long its sender waits for its end from now on, in seconds; ``None``: without limit.
    """

    request: Request
    caller: Caller
    time_left: float | None


class Preparation:
    """Prepares the notifications and broadcasts of one client, and has what its streams need."""

    def __init__(self, client: Sender, codec: Codec, call_timeout: float | None) -> None:
        """Prepare what ``client`` sends.

        Args:
            client: waits until something may be sent.
            codec: encodes arguments.
            call_timeout: the timeout of what is given none, in seconds; ``None``: no limit.
        """
        self.client = client
        self.call_timeout = call_timeout
        self.codec = codec
        self.hedges, self.circuits = HedgedServices(), Circuits()
        self.chains = CallChains(client.calls, client.transport, client.name)
        """Finds out whether a call that a handler makes could ever start."""
        self._routes = RouteCache(client.calls.classes)

    def route(self, func_name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: AnyOptions) -> str:
        """Check what the user gave, and return the routing key.

        Raises:
            ConfigurationError: no service can have that name, or an option is out of its range.
            TypeError: ``args`` is not a tuple or list, or ``kwargs`` is not a dict.
        """
        kind, _, idempotent, idempotency_key, persistent, inherit_deadline, retry, headers = options
        headers = plain_headers(headers)
        if kwargs or type(args) is not tuple or type(kwargs) is not dict:
            check_arguments(func_name, args, kwargs)
        if idempotent is not False or persistent is not False or inherit_deadline is not True or retry is not None:
            check_options(idempotent, persistent, inherit_deadline, retry)
        if idempotency_key is not None:
            check_idempotency_key(idempotency_key)
        if headers is not None:
            check_call_headers(headers)
        try:
            return self._routes[kind][func_name]
        except (KeyError, TypeError):
            return self._routes.add(func_name, kind)

    def inherited(self, func_name: str, route: str, options: AnyOptions) -> tuple[str, AnyOptions]:
        """Return the routing key and the options of what is sent by the call being processed here; unchanged: by none.

        It must follow :meth:`route`, which checks the headers.
        """
        if current_call_var.get() is None and type(options[7]) is not RareOptions:
            return route, options
        route, headers = self._routes.inherited(func_name, options[0], route, plain_headers(options[7]))
        return route, (*options[:7], headers)

    def nested(
        self, func_name: str, kind: FunctionKind, route: str, headers: Headers | None
    ) -> tuple[str, Headers | None, Suspicion | None]:
        """Return routing key and headers of a call that a handler makes, and what it may wait for in vain."""
        route, headers = self._routes.inherited(func_name, kind, route, headers)
        return route, *self.chains.join(func_name, headers)

    def joined(self, func_name: str, options: AnyOptions) -> tuple[AnyOptions, Suspicion | None]:
        """Return the options of what is sent and waited for, with its chain, and what it may wait for in vain.

        It must follow :meth:`inherited`.
        """
        if current_call_var.get() is None:
            return options, None
        headers, suspected = self.chains.join(func_name, plain_headers(options[7]))
        return (*options[:7], headers), suspected

    def timeout(self, given: float | timedelta | None, default: float | None, *, inherit: bool) -> float | None:
        """Return how long to wait for the end of what is sent, in seconds; ``None``: without limit.

        Raises:
            ConfigurationError: ``given`` is no time.
        """
        if type(given) is float:
            seconds: float | None = given
        else:
            seconds = default if given is None else seconds_of(given)
        return within_inherited(seconds) if inherit else seconds

    async def prepare(
        self,
        func_name: str,
        route: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: AnyOptions,
        timeout: float | None,
        *,
        keyed: bool,
        observed: CallObserver | None,
        suspected: Suspicion | None = None,
    ) -> Prepared:
        """Wait until something may be sent, and encode it.

        Args:
            func_name: the name of the service.
            route: its routing key.
            args: the positional arguments.
            kwargs: the keyword arguments.
            options: how to call it.
            timeout: how long to wait for the end of what is sent, in seconds; ``None``: without limit.
            keyed: whether it has an idempotency key where a call has one.
            observed: observes it; ``None``: nothing does.
            suspected: what it may wait for in vain; ``None``: nothing.

        Raises:
            DeadlockError: it could only wait for its own chain.
            CallTimeoutError: nothing could be sent within the timeout.
            ConnectionLostError: the client is closed or not connected.
            SerializationError: the arguments cannot be encoded.
            ContentRejectedError: the arguments are too large.
        """
        client, calls = self.client, self.client.calls
        time_left = limit_of(timeout)
        caller = client.connected()
        if suspected is not None:
            time_left = await self.chains.refuse(suspected, route, time_left)
        if caller.paused or len(calls.pending) >= calls.admission.limit:
            time_left = await client.admitted(func_name, timeout, time_left)
            caller = client.connected()
        correlation_id = calls.free_id(next(calls.ids))
        if time_left is not None and time_left <= 0:
            raise call_timeout_error(func_name, correlation_id, timeout, "", sent=False)
        body, content_type, content_encoding = encode_request(self.codec, args, kwargs, correlation_id, func_name)
        headers = self._headers(route, options, keyed=keyed)
        if observed is not None:
            headers = with_headers(observed, correlation_id, time_left, headers)
        request = Request(
            route, correlation_id, body, content_type, content_encoding, None, headers, persistent=options[4]
        )
        return Prepared(request, caller, time_left)

    def _headers(self, route: str, options: AnyOptions, *, keyed: bool) -> Headers | None:
        keys, (_, _, idempotent, idempotency_key, _, _, _, headers) = self.client.calls.idempotency, options
        if not keyed:
            return headers
        if idempotent or idempotency_key is not None:
            return keys.add_header(headers, idempotency_key)
        return keys.add_learned(headers) if route in keys.routes else headers


def limit_of(timeout: float | None) -> float | None:
    """Return a timeout as a limit in seconds; ``None``: without limit."""
    return timeout if timeout is None or 0 < timeout < TIMEOUT_MAX else normalize_timeout(timeout)
