"""What sends calls: the engine of a client, or several of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.preparation import Preparation
    from rabibridge_core.plugins.observers import CallObserver, ClientObserver
    from rabibridge_core.transport import Transport

__all__ = ["CallEngine"]


class CallEngine(Protocol):
    """Sends calls; :class:`~rabibridge_core._client.client.Client` describes everything."""

    @property
    def name(self) -> str: ...

    @property
    def transport(self) -> Transport: ...

    @property
    def preparation(self) -> Preparation: ...

    @property
    def observer(self) -> ClientObserver | None: ...

    @property
    def call_timeout(self) -> float | None: ...

    async def call(
        self,
        func_name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: AnyOptions,
        observed: CallObserver | None = None,
    ) -> Any: ...
