"""``record()``: records the conversation of a program with the brokers that it is configured for."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from rabibridge_core.plugins.resolver import override_transport
from rabibridge_testing._fake.real_broker import RealBroker

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterator

    from rabibridge_testing._fake.fake_broker import FakeBroker

__all__ = ["record"]


@contextmanager
def record(
    path: str | os.PathLike[str],
    *,
    services: Collection[str] | None = None,
    redact: Collection[str] = (),
    functions: Collection[Callable[..., Any]] = (),
) -> Iterator[FakeBroker]:
    """Write the calls of clients that connect inside the block into a file, to be replayed by ``fake_broker.replay``.

    The clients use the brokers that they are configured for, and real services answer. Returned is an object that has
    the calls so far, and the assertions of ``fake_broker``. For the arguments, what the file holds and what is left out
    of it, see :meth:`FakeBroker.record`.

    Example::

        with record("tests/prices.json"):
            asyncio.run(main())

    Raises:
        RecordingError: a call is encrypted, or has a value that cannot be written.
    """
    broker = RealBroker(None, "the configured broker", _refuse)
    with override_transport(broker.transport_for):
        try:
            with broker.record(path, services=services, redact=redact, functions=functions):
                yield broker
        finally:
            broker.shut_down()


def _refuse(reason: str) -> NoReturn:
    raise RuntimeError(reason)
