"""Serializers: the protocol, the registry of known ones, and the list of those that a receiver accepts.

Four are built in: ``msgpack`` (the default), ``json``, ``pickle`` and ``cloudpickle``; plug-ins add more to the
:class:`SerializerRegistry`.

An :class:`AcceptList` holds what a receiver was configured to accept. It is checked before a body is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from rabibridge_core._codec.json_serializer import JsonSerializer
from rabibridge_core._codec.msgpack_serializer import AnyKeysMsgpackSerializer, MsgpackSerializer
from rabibridge_core._codec.pickle_serializers import CloudpickleSerializer, PickleSerializer
from rabibridge_core.errors import ConfigurationError, ContentRejectedError, PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "AcceptList",
    "CloudpickleSerializer",
    "JsonSerializer",
    "MsgpackSerializer",
    "PickleSerializer",
    "Serializer",
    "SerializerRegistry",
    "normalize_content_type",
    "registry",
]

_CONTENT_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")
"""A media type with the characters that RFC 6838 allows, in lower case and without parameters."""
_CONTENT_TYPE_MAX = 200
"""AMQP's short strings hold 255 bytes, and the parameter that announces a signature must fit in as well."""


_OWN = f"{__package__}."
_OTHER_NAMES = {
    "application/x-msgpack": "application/msgpack",
    "application/vnd.msgpack": "application/msgpack",
}
"""Content types that common libraries write for a format, and the one that we write."""


class Serializer(Protocol):
    """Turns values into bytes and back.

    It is a protocol, so that implementations need not inherit anything. Both methods may be called from several threads
    at once.

    Attributes:
        name: the name that users write in their settings, in lower case.
        content_type: the media type on the wire, in lower case and without parameters, at most 200 characters; unique
            among all serializers.
        trusted_only: whether decoding can run code that is in the bytes. Such a serializer is accepted only if it was
            named, and only with a signature or from a broker that was declared trusted.
    """

    @property
    def name(self) -> str: ...

    @property
    def content_type(self) -> str: ...

    @property
    def trusted_only(self) -> bool: ...

    def dumps(self, value: object) -> bytes:
        """Encode one value.

        Raises:
            SerializationError: the value has no representation in this format.
        """
        ...

    def loads(self, data: bytes | bytearray | memoryview) -> Any:
        """Decode exactly one value; bytes left over are an error.

        Raises:
            SerializationError: the bytes are not the encoding of one value.
        """
        ...


def normalize_content_type(content_type: str | None) -> str:
    """Return the bare media type, in lower case and without parameters; empty if there is none."""
    return content_type.partition(";")[0].strip().lower() if content_type else ""


def _describe_problem(candidate: object) -> str:
    """Return why ``candidate`` is not a serializer; empty if it is one."""
    if isinstance(candidate, type):
        return "it is a class, and not an object of it"
    for attribute, kind in (("name", str), ("content_type", str), ("trusted_only", bool)):
        if not isinstance(getattr(candidate, attribute, None), kind):
            return f"its {attribute} is not a {kind.__name__}"
    for method in ("dumps", "loads"):
        if not callable(getattr(candidate, method, None)):
            return f"it has no method {method}"
    name, content_type = candidate.name, candidate.content_type  # type: ignore[attr-defined]
    if not name or name != name.strip().lower():
        return f"its name {name!r} must be lower case and not empty"
    if len(content_type) > _CONTENT_TYPE_MAX or not _CONTENT_TYPE.fullmatch(content_type):
        return (
            f"its content_type {content_type[:_CONTENT_TYPE_MAX]!r} must be a media type such as 'application/x-own': "
            f"lower case, without parameters, at most {_CONTENT_TYPE_MAX} characters"
        )
    return ""


class SerializerRegistry:
    """The serializers known by name. A new registry has the four built-in ones."""

    def __init__(self) -> None:
        """Add msgpack, json, pickle and cloudpickle."""
        self._by_name: dict[str, Serializer] = {}
        builtins = (MsgpackSerializer(), JsonSerializer(), PickleSerializer(), CloudpickleSerializer())
        for serializer in builtins:
            self.add(serializer)

    def __iter__(self) -> Iterator[Serializer]:
        """Iterate over the serializers in the order in which they were added."""
        return iter(self._by_name.values())

    def add(self, serializer: Serializer) -> None:
        """Add a serializer under its name. Adding the same object again does nothing.

        Raises:
            PluginError: the object is not a serializer, or its name or content type is taken.
        """
        problem = _describe_problem(serializer)
        if problem:
            raise PluginError(f"{serializer!r} is not a serializer: {problem}")
        for known in self:
            if known is serializer:
                return
            if known.name == serializer.name or known.content_type == serializer.content_type:
                raise PluginError(
                    f"the serializer {serializer.name!r} ({serializer.content_type}) of {type(serializer).__module__} "
                    f"clashes with {known.name!r} ({known.content_type}) of {type(known).__module__}: "
                    "give it a name and a content type of its own"
                )
        self._by_name[serializer.name] = serializer

    def get(self, serializer: str | Serializer) -> Serializer:
        """Return the serializer with a name. A serializer object is returned as it is, registered or not.

        Raises:
            ConfigurationError: there is no serializer with that name, or the object is not a serializer.
        """
        if isinstance(serializer, str):
            found = self._by_name.get(serializer.strip().lower())
            if found is None:
                known = ", ".join(sorted(self._by_name))
                raise ConfigurationError(f"unknown serializer {serializer!r}; known: {known}")
            return found
        problem = _describe_problem(serializer)
        if problem:
            raise ConfigurationError(f"{serializer!r} is neither the name of a serializer nor a serializer: {problem}")
        return serializer


registry = SerializerRegistry()
"""The registry of this process. Clients and servers look names up here, and plug-ins add serializers to it."""


class AcceptList:
    """The content types that a receiver accepts, each with its serializer.

    Messages without a content type belong to the default serializer: RabiBridge 0.1.2 sends none.

    Attributes:
        default: the serializer for sending, and for messages without a content type.
    """

    def __init__(
        self,
        default: str | Serializer = "msgpack",
        others: Iterable[str | Serializer] | None = None,
        *,
        known: SerializerRegistry = registry,
        any_map_keys: bool = False,
    ) -> None:
        """Accept ``default`` and ``others``, by name or as objects.

        ``others=None`` means msgpack and json, which are safe to decode from any sender. A serializer that can run code
        is never accepted unless it is named. ``any_map_keys`` makes msgpack accept all kinds of map keys.

        Raises:
            ConfigurationError: ``others`` is not a list of serializers, a name is unknown, or two different serializers
                share a content type.
        """
        if isinstance(others, str):
            others = (others,)
        given: object = others
        if given is not None and (isinstance(given, bytes | bytearray) or not isinstance(given, Iterable)):
            raise ConfigurationError(
                f"accept is {given!r}; allowed: a list of names of serializers or of serializer objects"
            )
        replacement = AnyKeysMsgpackSerializer() if any_map_keys else None

        def find(name_or_object: str | Serializer) -> Serializer:
            found = known.get(name_or_object)
            return replacement if replacement is not None and type(found) is MsgpackSerializer else found

        self.default = find(default)
        self._by_type: dict[str, Serializer] = {self.default.content_type: self.default}
        for other in ("msgpack", "json") if others is None else others:
            serializer = find(other)
            taken = self._by_type.setdefault(serializer.content_type, serializer)
            # If msgpack and json were not named, a default of the user with the same content type replaces them.
            if taken is not serializer and others is not None:
                raise ConfigurationError(
                    f"two accepted serializers, {taken.name!r} and {serializer.name!r}, "
                    f"share the content type {serializer.content_type}"
                )

    def portable(self) -> dict[str, Any]:
        """Return the serializers as the arguments of a codec that can be pickled: built-in ones by their names."""
        built_in = (
            MsgpackSerializer,
            AnyKeysMsgpackSerializer,
            JsonSerializer,
            PickleSerializer,
            CloudpickleSerializer,
        )
        first, *others = (each.name if type(each) in built_in else each for each in self)
        return {"serializer": first, "accept": others}

    def __iter__(self) -> Iterator[Serializer]:
        """Iterate over the accepted serializers, the default first."""
        return iter(self._by_type.values())

    def __contains__(self, content_type: object) -> bool:
        """Tell whether messages with this content type (``None``: without one) are accepted."""
        return content_type is None or (isinstance(content_type, str) and self.get(content_type) is not None)

    def get(self, content_type: str | None) -> Serializer | None:
        """Return the serializer for a received content type, or ``None`` if it is not accepted."""
        base = normalize_content_type(content_type)
        if not base:
            return self.default
        return self._by_type.get(base) or self._by_type.get(_OTHER_NAMES.get(base, ""))

    def find(self, content_type: str | None) -> Serializer:
        """Return the serializer for a received content type.

        Raises:
            ContentRejectedError: it is not accepted.
        """
        serializer = self.get(content_type)
        if serializer is None:
            accepted = ", ".join(sorted(self._by_type))
            raise ContentRejectedError(
                f"content type {str(content_type)[:100]!r} is not accepted here (accepted: {accepted}); "
                "to accept it, name its serializer in accept="
            )
        return serializer
