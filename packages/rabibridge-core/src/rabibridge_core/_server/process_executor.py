"""Runs handlers in child processes, to which bodies go as they came, and from which replies come ready to be sent."""

from __future__ import annotations

import pickle
from functools import partial
from typing import TYPE_CHECKING, Any

from rabibridge_core._clock import monotonic
from rabibridge_core._protocol.headers import CHAIN
from rabibridge_core._reporting.error_text import message_of
from rabibridge_core._server.child_process import ChildGoneError, ChildLaunch, ChildStartError
from rabibridge_core._server.exceptions import NotStartedError, TooLateError
from rabibridge_core._server.executors import HandlerExecutor
from rabibridge_core._server.forwarding import ChildAnswer
from rabibridge_core._server.observed import with_child_headers
from rabibridge_core._server.process_pool import ProcessPool
from rabibridge_core._services.callables import place_of
from rabibridge_core._services.importable import import_path, is_importable
from rabibridge_core._services.providers import ByType
from rabibridge_core.errors import ConfigurationError, RegistrationError, WorkerCrashedError
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._server.child_process import ChildProcess
    from rabibridge_core._server.process_scope import ProcessScope
    from rabibridge_core._services.providers import Need, Provider
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.transport import HeaderValue, IncomingRequest

__all__ = ["ProcessExecutor", "check_can_run_in_child"]


def check_can_run_in_child(schema: ServiceSchema) -> None:
    """Check what can be known of a function before a child process is started.

    Raises:
        RegistrationError: a child could not import it, or not fill in its parameters.
    """
    import_path(schema.func_ptr)
    for need in _needs(schema):
        if isinstance(need, ByType):
            raise RegistrationError(
                f"service {schema.name!r}: {need.what} wants what the lifespan of the server yields, which does not "
                "exist in a child process: use Depends with a provider, which each child process calls itself "
                "(scope='process': once)"
            )


class ProcessExecutor(HandlerExecutor):
    """Runs the handler of one service in a pool of child processes."""

    def __init__(self, schema: ServiceSchema, codec: Codec, process: ProcessScope) -> None:
        """Start nothing yet.

        Raises:
            RegistrationError: a child process cannot run the handler.
        """
        check_can_run_in_child(schema)
        self.inline = None
        self.problem = ""
        self._threads = None
        self.begun: Callable[[ActiveRequest], None] | None = None
        """Called when a child is given a call."""
        self._name = schema.name
        self._place = place_of(schema.func_ptr)
        self._process = process
        self._providers = [need for need in _needs(schema) if not isinstance(need, ByType)]
        self._pool = ProcessPool(
            _launch(schema, codec, process.observed),
            schema.concurrency,
            schema.max_calls_per_child,
            tell_problem=self._tell,
        )

    @property
    def finished(self) -> bool:
        """Whether all child processes are gone."""
        return self._pool.empty

    def _tell(self, problem: str) -> None:
        self.problem = problem

    async def start(self) -> None:
        """Start all child processes, and wait until they have imported the handler.

        Raises:
            RegistrationError: they cannot.
        """
        try:
            await self._pool.start()
        except ChildStartError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: ChildStartError) -> RegistrationError:
        return RegistrationError(
            f"service {self._name!r}: {self._place} cannot be served with executor='process': a child process "
            f"cannot serve: {error}"
        )

    async def run(self, args: Sequence[Any], kwargs: Mapping[str, Any], active: ActiveRequest) -> ChildAnswer:
        """Return how a child has settled the request; the arguments are those of no request.

        Raises:
            NotStartedError: a provider is overridden in this process, or no child could be started.
            TooLateError: there is no time left.
            WorkerCrashedError: the child has crashed.
            CancelledError: the request was stopped; the child is gone.
        """
        if self._process.overrides and (overridden := self._overridden()) is not None:
            raise NotStartedError from ConfigurationError(
                f"the provider {overridden.place} is overridden in the worker, and {self._name!r} runs in child "
                "processes, which know nothing of that: serve it without executor='process' in this test"
            )
        time_left = None if active.ends_at is None else active.ends_at - monotonic()
        if time_left is not None and time_left <= 0:
            raise TooLateError
        request = active.request
        try:
            fields, body = await self._pool.run(
                _described(active, request, time_left), request.body, active.progress,
                partial(self._given, active),
            )  # fmt: skip
        except ChildStartError as error:
            raise NotStartedError from self._unusable(error)
        except ChildGoneError as error:
            raise WorkerCrashedError(
                f"the child process that ran this call {error}", func_name=self._name, exit_code=error.exit_code
            ) from None
        finally:
            if hasattr(active, "child"):
                del active.child
        if fields["kind"] == "reply":
            return ChildAnswer(Reply(body, fields["content_type"], fields["content_encoding"], fields["headers"]))
        return ChildAnswer(None, fields.get("reason", ""), fields.get("failure"))

    def _given(self, active: ActiveRequest, child: ChildProcess) -> None:
        active.child = child
        if self.begun is not None:
            self.begun(active)

    def _overridden(self) -> Provider | None:
        return next((each for each in self._providers if each.key in self._process.overrides), None)

    def close(self, *, drop_waiting: bool) -> None:
        """Let the child processes end, after the calls that they run; with ``drop_waiting``, they are killed."""
        self._pool.close(finish=not drop_waiting)

    async def wait_closed(self) -> None:
        """Wait until all child processes are gone."""
        await self._pool.wait_closed()


def _needs(schema: ServiceSchema) -> Iterator[Need]:
    waiting = [] if schema.injections is None else list(schema.injections.needs.values())
    while waiting:
        need = waiting.pop()
        yield need
        if not isinstance(need, ByType):
            waiting.extend(need.needs.values())


def _launch(schema: ServiceSchema, codec: Codec, observed: Mapping[str, Any] | None) -> ChildLaunch:
    path = import_path(schema.func_ptr)
    raised = [import_path(cls) for cls in schema.raises if is_importable(cls)]
    try:
        pickled = pickle.dumps(codec)
    except Exception as error:
        raise RegistrationError(
            f"service {schema.name!r}: executor='process' needs serializers that can be pickled, as those are whose "
            f"class is at the top level of a module: {type(error).__name__}: {message_of(error)}"
        ) from error
    fields: dict[str, Any] = {
        "service": schema.name,
        "function": [path.module, path.name],
        "folders": list(path.folders),
        "raises": [[each.module, each.name] for each in raised],
        "validate": schema.validate,
        "remote_traceback": schema.remote_traceback,
        "observed": observed,
    }
    return ChildLaunch(schema.name, fields, pickled)


def _described(active: ActiveRequest, request: IncomingRequest, time_left: float | None) -> dict[str, Any]:
    return {
        "kind": "call",
        "caller": request.caller,
        "user": request.user,
        "correlation_id": request.correlation_id,
        "content_type": request.content_type,
        "content_encoding": request.content_encoding,
        "headers": {
            **{n: value for n, value in with_child_headers(active, request.headers).items() if _is_plain(value)},
            CHAIN: active.chain,
        },
        "redelivered": request.redelivered,
        "deliveries": request.deliveries,
        "persistent": request.persistent,
        "time_left": time_left,
        "wants_reply": request.wants_reply or active.execution is not None,
    }


def _is_plain(value: HeaderValue) -> bool:
    return isinstance(value, str | int | float | bytes)
