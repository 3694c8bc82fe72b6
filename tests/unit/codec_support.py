"""What the tests of the codec share."""

from __future__ import annotations

from rabibridge_core.errors import ContentRejectedError, SerializationError

KEY = bytes(range(32))
PICKLE = "application/x-python-pickle"
SIGNED_PICKLE = f"{PICKLE}; signed=hmac-sha256"
REJECTED = (ContentRejectedError, SerializationError)
NAMES = ("msgpack", "json", "pickle", "cloudpickle")
