"""The built-in serializers that run code when they decode: pickle and cloudpickle.

Every failure is raised as a SerializationError whose cause is the original exception and whose message never quotes the
data.
"""

from __future__ import annotations

import pickle
from typing import Any

from rabibridge_core._codec.failures import undecodable, unencodable

__all__ = ["CloudpickleSerializer", "PickleSerializer"]

# Every supported version of Python can read this protocol; a fixed number lets different versions talk to each other.
_PICKLE_PROTOCOL = 5


class PickleSerializer:
    """Pickle: any importable Python object, between Python processes that trust each other.

    Decoding a pickle runs whatever code its sender put there.
    """

    name = "pickle"
    content_type = "application/x-python-pickle"
    trusted_only = True

    def dumps(self, value: object) -> bytes:
        """Encode ``value``; see :meth:`~rabibridge_core._codec.serializers.Serializer.dumps`."""
        try:
            return self._pickle(value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise unencodable(self.name, value, error) from error

    def loads(self, data: bytes | bytearray | memoryview) -> Any:
        """Decode ``data``; see :meth:`~rabibridge_core._codec.serializers.Serializer.loads`."""
        try:
            return pickle.loads(data)  # noqa: S301 - signed, or the broker is trusted: the codec has checked
        except KeyboardInterrupt:
            raise
        # Pickled code may raise anything: a SystemExit or CancelledError in a message must not end the reader.
        except BaseException as error:
            raise undecodable(self.name, error) from error

    def _pickle(self, value: object) -> bytes:
        return pickle.dumps(value, protocol=_PICKLE_PROTOCOL)


class CloudpickleSerializer(PickleSerializer):
    """Pickle that can also hold functions and classes that the receiver cannot import: lambdas, closures, ``__main__``.

    Both sides must run the same minor version of Python. Decoding it runs whatever code its sender put there.
    """

    name = "cloudpickle"
    content_type = "application/x-python-cloudpickle"

    def _pickle(self, value: object) -> bytes:
        import cloudpickle  # type: ignore[import-untyped]  # it ships no types

        pickled: bytes = cloudpickle.dumps(value, protocol=_PICKLE_PROTOCOL)
        return pickled
