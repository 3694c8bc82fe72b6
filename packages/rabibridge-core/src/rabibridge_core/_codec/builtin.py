"""The built-in serializers: msgpack, json, pickle and cloudpickle.

Every failure is raised as a SerializationError whose cause is the original exception and whose message never quotes the
data.
"""

from __future__ import annotations

import json
import pickle
from typing import Any, NoReturn

from msgpack import Packer, unpackb  # type: ignore[import-untyped]  # it ships no types

from rabibridge_core.errors import SerializationError

__all__ = ["CloudpickleSerializer", "JsonSerializer", "MsgpackSerializer", "PickleSerializer"]

# Every supported version of Python can read this protocol; a fixed number lets different versions talk to each other.
_PICKLE_PROTOCOL = 5
# The packer doubles its buffer when needed; a small one avoids allocating the default of 256 KiB for every message.
_MSGPACK_BUFFER = 1024


def _unencodable(name: str, value: object, error: BaseException) -> SerializationError:
    # These errors of these libraries name the type or the limit; the message of any other error may quote the value.
    plain = name in ("msgpack", "json") and type(error) in (TypeError, ValueError, OverflowError)
    detail = f" ({str(error)[:150]})" if plain else ""
    return SerializationError(
        f"{name} cannot encode a value of type {type(value).__qualname__}: {type(error).__name__}{detail}"
    )


def _undecodable(name: str, error: BaseException) -> SerializationError:
    return SerializationError(f"the received bytes cannot be decoded as {name}: {type(error).__name__}")


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


class MsgpackSerializer:
    """MessagePack: compact, fast, available in every language; the default.

    Tuples are decoded as lists. Map keys may have any hashable type. Datetimes with a time zone are encoded as
    MessagePack timestamps and decoded in UTC; naive ones are refused.
    """

    name = "msgpack"
    content_type = "application/msgpack"
    trusted_only = False

    def dumps(self, value: object) -> bytes:
        """Encode ``value``; see :meth:`~rabibridge_core._codec.serializers.Serializer.dumps`."""
        try:
            packed: bytes = Packer(datetime=True, buf_size=_MSGPACK_BUFFER).pack(value)
        except Exception as error:
            raise _unencodable(self.name, value, error) from error
        return packed

    def loads(self, data: bytes | bytearray | memoryview) -> Any:
        """Decode ``data``; see :meth:`~rabibridge_core._codec.serializers.Serializer.loads`."""
        try:
            # timestamp=3 decodes to datetimes. msgpack's own Timestamp would open an attack: a sender can choose any
            # number of them with the same hash, and a map with such keys takes hours to build.
            return unpackb(data, strict_map_key=False, timestamp=3)
        except Exception as error:
            raise _undecodable(self.name, error) from error


class JsonSerializer:
    """JSON in UTF-8, without whitespace.

    Tuples are decoded as lists, map keys as strings; bytes and dates are refused. So are NaN and the infinities, which
    are not valid JSON: they are neither encoded nor decoded.
    """

    name = "json"
    content_type = "application/json"
    trusted_only = False

    def __init__(self) -> None:
        """Make the encoder and the decoder, which keep no state between calls."""
        self._encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
        self._decode = json.JSONDecoder(parse_constant=_refuse_constant).decode

    def dumps(self, value: object) -> bytes:
        """Encode ``value``; see :meth:`~rabibridge_core._codec.serializers.Serializer.dumps`."""
        try:
            return self._encode(value).encode()
        except Exception as error:
            raise _unencodable(self.name, value, error) from error

    def loads(self, data: bytes | bytearray | memoryview) -> Any:
        """Decode ``data``; see :meth:`~rabibridge_core._codec.serializers.Serializer.loads`."""
        try:
            return self._decode(str(data, "utf-8"))
        except Exception as error:
            raise _undecodable(self.name, error) from error


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
            raise _unencodable(self.name, value, error) from error

    def loads(self, data: bytes | bytearray | memoryview) -> Any:
        """Decode ``data``; see :meth:`~rabibridge_core._codec.serializers.Serializer.loads`."""
        try:
            return pickle.loads(data)
        except KeyboardInterrupt:
            raise
        # Pickled code may raise anything: a SystemExit or CancelledError in a message must not end the reader.
        except BaseException as error:
            raise _undecodable(self.name, error) from error

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
