"""Chooses the way of a call with rare options. Calls that have none do not come this way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core._client.breaking import call_with_breaker
from rabibridge_core._client.hedged_call import hedged_call
from rabibridge_core._client.progress_call import call_with_progress
from rabibridge_core._client.rare_options import RareOptions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.preparation import Preparation
    from rabibridge_core.plugins.observers import CallObserver

__all__ = ["rare_call"]


async def rare_call(
    call: Callable[..., Awaitable[Any]],
    preparation: Preparation,
    func_name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: AnyOptions,
    observed: CallObserver | None,
) -> Any:
    """Call ``func_name(*args, **kwargs)`` like :meth:`Client.call`, where the headers of the options are rare ones.

    Args:
        call: that of the client, for a call without rare options.
        preparation: that of the client.
        func_name: the name of the service.
        args: its positional arguments.
        kwargs: its keyword arguments.
        options: how to call it.
        observed: observes it; ``None``: nothing does.

    Raises:
        CircuitOpenError: the circuit breaker of the service is open.
        RabiBridgeError: as :meth:`Client.call`.
        TypeError: as there.
    """
    rare = options[7]
    assert type(rare) is RareOptions
    plain = (*options[:7], rare.plain)

    async def within() -> Any:
        if rare.on_progress is not None:
            return await call_with_progress(preparation, func_name, args, kwargs, plain, rare.on_progress, observed)
        if rare.hedge is not None:
            return await hedged_call(preparation, func_name, args, kwargs, plain, rare.hedge, observed)
        return await call(func_name, args, kwargs, plain, observed)

    if rare.breaker is None:
        return await within()
    return await call_with_breaker(preparation.circuits, rare.breaker, func_name, within)
