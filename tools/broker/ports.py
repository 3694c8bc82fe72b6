"""Ports that nobody uses."""

from __future__ import annotations

import random
import socket


def free_ports(count: int) -> list[int]:
    """Return so many ports of the loopback interface that nobody listens on."""
    # Below the range that the system hands out to outgoing connections: a client that keeps trying to reconnect to a
    # port of that range may be given the very same port, and then is connected to itself.
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports
