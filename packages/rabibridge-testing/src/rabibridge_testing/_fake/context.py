"""``fake_broker_context()``: the fixture ``fake_broker`` without pytest."""

from __future__ import annotations

import functools
import inspect
import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from rabibridge_core.plugins.resolver import override_transport
from rabibridge_testing._fake.fake_broker import FakeBroker
from rabibridge_testing._fake.network_guard import NetworkGuard

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from types import TracebackType

__all__ = ["active_brokers", "brokers_made_by", "current_fake_broker", "fake_broker_context"]

T = TypeVar("T")

_active: list[FakeBroker] = []

_makers: list[Callable[[bool, bool], FakeBroker]] = [
    lambda strict, auto_advance: FakeBroker(strict=strict, auto_advance=auto_advance)
]


@contextmanager
def brokers_made_by(maker: Callable[[bool, bool], FakeBroker]) -> Iterator[None]:
    """Let ``maker(strict, auto_advance)`` make the brokers of the contexts that are entered meanwhile."""
    _makers.append(maker)
    try:
        yield
    finally:
        _makers.remove(maker)


def active_brokers() -> list[FakeBroker]:
    """Return the fake brokers in use, the innermost one last."""
    return list(_active)


def current_fake_broker() -> FakeBroker:
    """Return the fake broker that clients and servers connect to now: that of the innermost context or fixture.

    Raises:
        LookupError: there is none.
    """
    if not _active:
        raise LookupError("no fake broker is in use: request the fixture fake_broker, or use fake_broker_context()")
    return _active[-1]


class fake_broker_context:  # noqa: N801 - it is called like a function
    """Connect every client and server of a block to an in-memory broker of its own.

    For ``unittest.IsolatedAsyncioTestCase`` (``self.enterContext(fake_broker_context())`` in ``setUp``), hypothesis,
    scripts, and fixtures of other scopes::

        with fake_broker_context() as fake_broker:
            fake_broker.stub("add", returns=3)
            asyncio.run(main())

    It also decorates functions and coroutine functions, whose signature stays as it is, and classes, whose methods
    ``test…`` it decorates: each call gets a broker of its own, which :func:`current_fake_broker` returns. Contexts may
    be nested; the innermost one applies, to all threads of the process.
    """

    def __init__(
        self,
        *,
        strict: bool = False,
        auto_advance: bool = False,
        no_network: bool = False,
        allowed_hosts: Collection[str] = (),
    ) -> None:
        """Prepare a context.

        Args:
            strict: see :class:`FakeBroker`.
            auto_advance: whether the clock advances whenever nothing can run, from the first connection on: see
                :meth:`VirtualClock.auto_advance`.
            no_network: refuse connections over IP that anything in this process opens inside the block, and fail at
                its end if any was tried. It has no effect where the tests run on a real broker.
            allowed_hosts: the hosts that may be connected to nevertheless, as ``"127.0.0.1"`` or ``"127.0.0.1:5432"``.
        """
        self._options: dict[str, Any] = {
            "strict": strict, "auto_advance": auto_advance, "no_network": no_network, "allowed_hosts": allowed_hosts,
        }  # fmt: skip
        self._exits: list[tuple[FakeBroker, ExitStack]] = []

    def __enter__(self) -> FakeBroker:
        """Return the broker."""
        options, stack = self._options, ExitStack()
        broker = _makers[-1](options["strict"], options["auto_advance"])
        if options["no_network"] and type(broker) is FakeBroker:
            broker.network = stack.enter_context(NetworkGuard(options["allowed_hosts"]))
        stack.enter_context(override_transport(broker.transport_for))
        _active.append(broker)
        stack.callback(_active.remove, broker)
        self._exits.append((broker, stack))
        return broker

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the broker; then fail if it is strict, unless the block has failed by itself.

        Raises:
            AssertionError: see :meth:`FakeBroker.verify`.
        """
        broker, stack = self._exits.pop()
        stack.close()
        try:
            if exc_type is None:
                broker.verify()
        finally:
            left = broker.shut_down()
        if left and exc_type is None:
            warnings.warn(
                f"left open at the end of a test with fake_broker: {'; '.join(left)}", ResourceWarning, stacklevel=2
            )

    def __call__(self, decorated: T) -> T:
        """Decorate a function, a coroutine function or a class."""
        if isinstance(decorated, type):
            for name, method in list(vars(decorated).items()):
                if name.startswith("test") and inspect.isfunction(method):
                    setattr(decorated, name, self(method))
            return decorated
        function: Any = decorated
        return (self._of_coroutines if inspect.iscoroutinefunction(function) else self._of_others)(function)  # type: ignore[return-value]

    def _of_coroutines(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def run(*args: Any, **kwargs: Any) -> Any:
            with fake_broker_context(**self._options):
                return await function(*args, **kwargs)

        return run

    def _of_others(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with fake_broker_context(**self._options):
                return function(*args, **kwargs)

        return run
