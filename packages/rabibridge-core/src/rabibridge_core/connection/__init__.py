"""One supervised connection, for any broker: connected, set up, and replaced when it is lost.

Transports of brokers share it. They tell it how a session is opened, and what is set up on each new one; it decides
when another attempt is made, and when attempts end. It knows no broker, and no library for one.

Transports also share what errors say when a broker refuses, ``broker_texts``: it is the same over every broker.
"""

from rabibridge_core._protocol import broker_texts
from rabibridge_core._protocol.broadcasts import BROADCAST_MAX
from rabibridge_core.connection.sessions import Opener, Session
from rabibridge_core.connection.supervisor import SupervisedConnection

__all__ = ["BROADCAST_MAX", "Opener", "Session", "SupervisedConnection", "broker_texts"]
