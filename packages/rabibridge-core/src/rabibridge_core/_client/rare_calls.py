"""Chooses the way of a call with rare options. Calls that have none do not come this way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core._client.hedged_call import hedged_call
from rabibridge_core._client.progress_call import call_with_progress
from rabibridge_core._client.rare_options import RareOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.preparation import Preparation
    from rabibridge_core.plugins.observers import CallObserver

__all__ = ["call_with_rare_options"]


async def call_with_rare_options(
    preparation: Preparation,
    func_name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: AnyOptions,
    observed: CallObserver | None,
) -> Any:
    """Call ``func_name(*args, **kwargs)`` like :meth:`Client.call`, where the headers of the options are rare ones.

    Raises:
        RabiBridgeError: as :meth:`Client.call`.
        TypeError: as there.
    """
    rare = options[7]
    assert type(rare) is RareOptions
    options = (*options[:7], rare.plain)
    if rare.on_progress is not None:
        return await call_with_progress(preparation, func_name, args, kwargs, options, rare.on_progress, observed)
    assert rare.hedge is not None
    return await hedged_call(preparation, func_name, args, kwargs, options, rare.hedge, observed)
