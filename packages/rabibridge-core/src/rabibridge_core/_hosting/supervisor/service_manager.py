"""Tells systemd how this service is, by the protocol of ``sd_notify(3)``."""

from __future__ import annotations

import os
import socket
from time import clock_gettime_ns
from typing import Self

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

__all__ = ["ServiceManager"]

_log = get_logger(__name__)
_CLOCK_MONOTONIC = 1
_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class ServiceManager:
    """Sends notifications to the socket that the service manager has named; without one, it does nothing."""

    def __init__(self, address: str, watchdog: float) -> None:
        """Notify ``address``; see :meth:`take`."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self.watchdog = watchdog
        """Within how many seconds the next sign of life is expected; 0: none is."""

    @classmethod
    def take(cls) -> Self:
        """Take what the service manager has told this process, so that no child process gets it."""
        address, interval, pid = (os.environ.pop(name, "") for name in _VARIABLES)
        watchdog = int(interval) / 1e6 if interval.isdecimal() and pid in ("", str(os.getpid())) else 0.0
        return cls(address, watchdog if address else 0.0)

    def ready(self) -> None:
        """Tell that all workers serve."""
        self._notify("READY=1")

    def reloading(self) -> None:
        """Tell that workers are being replaced; :meth:`ready` ends it."""
        self._notify(f"RELOADING=1\nMONOTONIC_USEC={clock_gettime_ns(_CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Tell that the service ends."""
        self._notify("STOPPING=1")

    def alive(self) -> None:
        """Give the sign of life that the watchdog expects."""
        self._notify("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Tell what ``systemctl status`` shows."""
        self._notify(f"STATUS={text}")

    def _notify(self, message: str) -> None:
        if not self._address:
            return
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:
            _log.warning(
                "the service manager cannot be notified at %r: %s", self._address, error,
                extra=log_fields("supervisor.manager_unreachable", error=error),
            )  # fmt: skip

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
