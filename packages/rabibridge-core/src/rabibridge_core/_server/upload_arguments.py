"""Which arguments of a function can be fed, and where they are in a request."""

from __future__ import annotations

import functools
import inspect
import typing
from typing import TYPE_CHECKING, Any

from rabibridge_core._codec.annotation_names import resolved_annotation
from rabibridge_core._codec.annotations import ResultAdapter
from rabibridge_core._protocol.streams import UPLOAD
from rabibridge_core._server.exceptions import ArgumentsRefusedError
from rabibridge_core._server.upload_iterators import iterate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.transport import Headers

__all__ = ["UploadArguments", "no_stream"]

_DIGITS = 6
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class UploadArguments:
    """The arguments of one function that callers can feed with items."""

    def __init__(self, schema: ServiceSchema) -> None:
        """Find them; their types are needed only if the service validates.

        Raises:
            RegistrationError: it does, and the annotation of an item cannot be used.
        """
        self._schema = schema
        self._positional: list[str] = []
        if schema.uploads:
            func = schema.func_ptr
            signature = inspect.signature(func, follow_wrapped=not isinstance(func, functools.partial))
            self._positional = [each.name for each in signature.parameters.values() if each.kind in _POSITIONAL]
        self.adapters = {name: self._adapter(name) for name in schema.uploads}

    def _adapter(self, name: str) -> ResultAdapter | None:
        if not self._schema.validate:
            return None
        annotation = resolved_annotation(self._schema.func_ptr, name)
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        items = typing.get_args(annotation)
        if not items or items[0] is Any:
            return None
        return ResultAdapter(items[0], self._schema.name, f"item of {name}")

    def named(self, fed: object, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return the name of the argument that a request feeds.

        Args:
            fed: the header of the request: an index or a name.
            args: the positional arguments.
            kwargs: the keyword arguments.

        Raises:
            ArgumentsRefusedError: there is no such argument, it cannot be fed, or has a value, too.
        """
        name, value = None, ...
        if isinstance(fed, str):
            if fed in kwargs:
                name, value = fed, kwargs[fed]
            elif (index := _index(fed)) is not None and index < min(len(args), len(self._positional)):
                name, value = self._positional[index], args[index]
        if name is None or name not in self._schema.uploads or value is not None:
            names = ", ".join(map(repr, self._schema.uploads)) or "none is"
            kind = "AsyncIterator" if self._schema.is_async else "Iterator"
            raise ArgumentsRefusedError from TypeError(
                f"{self._schema.name}(): {_which(fed)} is an iterator, and cannot be fed with its items, as those can "
                f"that are annotated as {kind}[T]: {names}"
            )
        return name

    def put(
        self, fed: object, value: object, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments with ``value`` in the place that :meth:`named` has found."""
        if fed in kwargs:
            return args, {**kwargs, str(fed): value}
        replaced = list(args)
        replaced[int(str(fed))] = value
        return replaced, kwargs

    def plain(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments of a request that feeds none: async functions get lists as async iterators, too."""
        if not self._schema.is_async:
            return args, kwargs
        for name in self._schema.uploads:
            adapter = self.adapters[name]
            if name in kwargs:
                if isinstance(kwargs[name], list | tuple):
                    kwargs = {**kwargs, name: iterate(kwargs[name], adapter)}
            elif name in self._positional:
                index = self._positional.index(name)
                if index < len(args) and isinstance(args[index], list | tuple):
                    args = [*args[:index], iterate(args[index], adapter), *args[index + 1 :]]
        return args, kwargs


def no_stream(name: str, headers: Headers) -> TypeError:
    """Return the error of a request that a service of plain calls cannot serve, as it wants a stream or is fed."""
    if UPLOAD not in headers:
        return TypeError(f"the service {name!r} returns one result, and gives no items: use client.call")
    return TypeError(
        f"{_which(headers[UPLOAD])} of a call of {name!r} is an iterator, and the service cannot be fed: give a list. "
        "Functions can be fed that have a parameter annotated as AsyncIterator[T] (in a def function, Iterator[T]) and "
        "run on the event loop or in a thread"
    )


def _which(fed: object) -> str:
    """Say in words which argument the header of a request means."""
    index = _index(fed)
    return f"the argument {repr(fed)[:80]}" if index is None else f"the argument number {index + 1}"


def _index(fed: object) -> int | None:
    """Return the index that the header of a request holds; ``None``: it holds none."""
    return int(fed) if isinstance(fed, str) and fed.isascii() and fed.isdecimal() and len(fed) < _DIGITS else None
