"""Ports that nobody uses."""

from __future__ import annotations

import random
import socket

# Below the range that the system hands out to outgoing connections: a client that keeps trying to reconnect to a port
# of that range may be given the very same port, and is then connected to itself.
_RANGE = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nobody listens on.

    No other process that asks this function gets one of them while this process lives. Any other program may take one
    at any time, so the caller has to be ready to choose again.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.choice(_RANGE)
        if is_free(port) and _claim(port):
            ports.append(port)
    return ports


def is_free(port: int) -> bool:
    """Return whether nobody listens on a port of the loopback interface."""
    with socket.socket() as probe:
        # As the servers do that are started there: what lingers of old connections is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _claim(port: int) -> bool:
    """Claim a port among the processes that use this module; the system releases it when this process ends."""
    # A UDP socket of the same number does not prevent a server from listening for TCP connections.
    claim = socket.socket(type=socket.SOCK_DGRAM)
    try:
        claim.bind(("127.0.0.1", port))
    except OSError:
        claim.close()
        return False
    claim.detach()  # stays open as long as this process lives
    return True
