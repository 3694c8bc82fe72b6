"""The broker that a program measures."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tools.broker import BrokerError, provide_broker

if TYPE_CHECKING:
    from tools.broker import Broker

__all__ = ["broker_to_measure"]


def broker_to_measure() -> Broker:
    """Return a RabbitMQ with as many schedulers as it likes, installed if need be; end the program if there is none."""
    try:
        broker = provide_broker(allow_install=True, schedulers=None)
    except BrokerError as error:
        sys.exit(str(error))
    if broker is None:
        sys.exit("No RabbitMQ: install rabbitmq-server or Docker, or set RABIBRIDGE_TEST_URL")
    return broker
