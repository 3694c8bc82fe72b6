"""A call during which its thread is needed: it draws what feeds an argument, and takes the reports of progress."""

from __future__ import annotations

from contextlib import closing
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from rabibridge_core._api.sync_iteration import iterate
from rabibridge_core._api.sync_progress import Outcome, Reports, take_report, wanted_reports
from rabibridge_core._api.sync_uploads import Drawing, is_drawn_here

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine

    from rabibridge_core._api.sync_connection_calls import ConnectionCalls
    from rabibridge_core._api.sync_iteration import Iteration
    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.upload_arguments import UploadArgument
    from rabibridge_core._protocol.progress import Progress

__all__ = ["call_with_thread"]


def call_with_thread(
    connection: ConnectionCalls,
    call: Callable[[AnyOptions, AsyncIterator[Any] | None], Coroutine[Any, Any, Any]],
    name: str,
    options: AnyOptions,
    found: UploadArgument | None = None,
) -> Any:
    """Return what ``call`` returns on the loop.

    Args:
        connection: runs it.
        call: makes the call, with the options; its second argument feeds the argument that this thread draws from.
        name: the name of the service.
        options: how to call it.
        found: the argument that is fed; ``None``: none is.
    """
    drawn = found if is_drawn_here(found) else None
    on_progress = wanted_reports(options)

    def begin(iteration: Iteration[Any]) -> AsyncGenerator[Progress | Outcome[Any]]:
        reports = Reports()
        source = None if drawn is None else iteration.inputs()
        return reports.beside(call(options if on_progress is None else reports.options(options), source))

    inputs = None if drawn is None else iter(drawn.source)
    try:
        with closing(iterate(connection, begin, inputs, Drawing())) as given:
            for item in given:
                if isinstance(item, Outcome):
                    return item.value
                if on_progress is not None:
                    try:
                        take_report(on_progress, item, name)
                    except BaseException as error:  # noqa: BLE001 - it goes on when the call has been cancelled
                        given.throw(error)
    finally:
        if drawn is not None and isinstance(drawn.source, GeneratorType):
            drawn.source.close()
    raise AssertionError("a call has ended without a result and without an error")
