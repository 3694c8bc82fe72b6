"""What every way of calling needs: the engine that sends, and the options to send with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from rabibridge_core._client.options import NOTHING_GIVEN

if TYPE_CHECKING:
    from rabibridge_core._client.engine import CallEngine
    from rabibridge_core._client.options import AnyOptions, GivenOptions
    from rabibridge_core._protocol.naming import FunctionKind

__all__ = ["CallBase"]


class CallBase(ABC):
    """Base class of a client and of its views with other options."""

    __slots__ = ()

    _given: GivenOptions = NOTHING_GIVEN
    """The options that were chosen; a client has none."""

    @abstractmethod
    def _prepare(self, kind: FunctionKind) -> tuple[CallEngine, AnyOptions]:
        """Return what sends the next call, and the options of a call of a function of that kind."""

    @abstractmethod
    def _view(self, given: GivenOptions) -> CallBase:
        """Return the same with other options: these over those that were chosen before."""
