"""The settings that a codec is made from.

The settings of a client or server are in a higher layer, so that the codec declares what it needs of them.
"""

from __future__ import annotations

from typing import Protocol

from rabibridge_core.errors import ConfigurationError

__all__ = ["CodecSettings", "SigningKey", "positive"]


def positive(name: str, size: int) -> int:
    """Return a size.

    Raises:
        ConfigurationError: it is not positive.
    """
    if size <= 0:
        raise ConfigurationError(f"{name} must be a positive number of bytes, not {size}")
    return size


class SigningKey(Protocol):
    """A key that is not printed by accident."""

    def reveal(self) -> str: ...


class CodecSettings(Protocol):
    """What the codec reads of :class:`rabibridge_core.settings.Settings`, which documents it."""

    @property
    def serializer(self) -> str: ...

    @property
    def compress_threshold(self) -> int: ...

    @property
    def max_body(self) -> int: ...

    @property
    def max_decompressed(self) -> int: ...

    @property
    def max_decoded(self) -> int: ...

    @property
    def any_map_keys(self) -> bool: ...

    @property
    def signing_key(self) -> SigningKey | None: ...

    @property
    def trust_broker(self) -> bool: ...
