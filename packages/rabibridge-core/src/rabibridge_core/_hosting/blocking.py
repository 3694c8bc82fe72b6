"""Whether a thread may block until a call has ended.

Blocking a thread that runs an event loop stops everything else on that loop, and where a library has replaced threads
by coroutines of its own, the thread that would end the wait is the one that waits.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING, Any

from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["check_may_block", "check_threads_are_real"]

_REPLACED = ("thread", "threading", "socket", "select", "selectors")
"""Modules that the event loop and its thread need as they are."""


def check_may_block(name: str) -> None:
    """Check that blocking this thread blocks no event loop, except that of a Jupyter kernel, which waits for its cell.

    Args:
        name: who blocks it, for the error.

    Raises:
        ConfigurationError: an event loop runs here.
    """
    loop = asyncio._get_running_loop()
    if loop is not None and not _is_of_a_kernel(loop):
        raise ConfigurationError(
            f"{name} was called in the thread that runs the event loop {loop!r}, which it would block: await RMQClient "
            "there, or call it in another thread: await asyncio.to_thread(...)"
        )


def _is_of_a_kernel(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether ``loop`` is that of a Jupyter kernel, which runs one cell at a time and does nothing meanwhile."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return False
    kernel_loop = getattr(getattr(kernel, "io_loop", None), "asyncio_loop", None)
    return kernel_loop is loop or (kernel_loop is None and threading.current_thread() is threading.main_thread())


def check_threads_are_real(name: str) -> None:
    """Check that neither gevent nor eventlet has replaced threads and sockets.

    Args:
        name: who needs them, for the error.

    Raises:
        ConfigurationError: one of them has.
    """
    for library, is_replaced in (("gevent", _by_gevent()), ("eventlet", _by_eventlet())):
        if is_replaced is not None and any(map(is_replaced, _REPLACED)):
            raise ConfigurationError(
                f"{name} needs real threads, and {library} has replaced them (monkey patching): run this program with "
                "threads, such as gunicorn's worker class gthread or Celery's pool threads, or start it without "
                "monkey patching"
            )


def _by_gevent() -> Callable[[str], bool] | None:
    patching: Any = sys.modules.get("gevent.monkey")
    return None if patching is None else patching.is_module_patched


def _by_eventlet() -> Callable[[str], bool] | None:
    patching: Any = sys.modules.get("eventlet.patcher")
    return None if patching is None else patching.is_monkey_patched
