"""What functions get for the argument that their caller feeds: iterators of the items."""

from __future__ import annotations

import collections.abc
import typing
from collections import deque
from typing import TYPE_CHECKING, Any

from rabibridge_core._protocol.large_bodies import LargeBodyError, off_loop
from rabibridge_core._protocol.streams import decode_items

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from rabibridge_core._codec.annotations import ResultAdapter
    from rabibridge_core._server.uploads import UploadReader

__all__ = ["AsyncUpload", "Upload", "fed_annotation", "iterate"]


def fed_annotation(annotation: Any, *, on_loop: bool) -> Any:
    """Return what pydantic checks an argument by that can be fed: it cannot look into an iterator that it awaits."""
    if on_loop:
        return Any
    from pydantic import InstanceOf

    if typing.get_origin(annotation) is collections.abc.Iterator:  # which pydantic does not know
        annotation = collections.abc.Iterable[typing.get_args(annotation)]  # type: ignore[misc]
    elif annotation is collections.abc.Iterator:
        annotation = collections.abc.Iterable
    return InstanceOf[Upload] | annotation


async def iterate(values: Iterable[Any], adapter: ResultAdapter | None) -> AsyncIterator[Any]:
    """Give the values that a caller has sent as a list one by one, as the function expects them."""
    for value in values:
        yield value if adapter is None else adapter(value)


class AsyncUpload:
    """What an async function gets for the argument that its caller feeds: an async iterator of the items."""

    def __init__(self, reader: UploadReader) -> None:
        """Iterate over what ``reader`` reads."""
        self._reader = reader
        self._items: deque[Any] = deque()
        self._over = False

    def __aiter__(self) -> AsyncUpload:
        """Return itself: the items can be read once."""
        return self

    async def __anext__(self) -> Any:
        """Return the next item.

        Raises:
            StopAsyncIteration: there are no more.
            StreamError: the upload broke off: the caller has failed, or a message is missing.
            SerializationError: an item cannot be decoded, or does not fit its annotation.
        """
        reader = self._reader
        while not self._items:
            if self._over:
                raise StopAsyncIteration
            try:
                found = reader.take()
            except StopIteration:
                self._over = True
                continue
            if found is None:
                await reader.arrival()
                continue
            message, context = found
            try:
                items = decode_items(reader.codec, message, context)
            except LargeBodyError:
                items = await off_loop(decode_items, reader.codec, message, context)
            reader.advance(len(items))
            reader.consumed(len(message.body))
            self._items.extend(items)
        reader.check()
        return reader.checked(self._items.popleft())

    async def aclose(self) -> None:
        """Read no more."""
        self._over = True
        self._items.clear()


class Upload:
    """The same for a function that runs in a thread: an iterator that blocks."""

    def __init__(self, reader: UploadReader) -> None:
        """Iterate over what ``reader`` reads."""
        self._reader = reader
        self._items: deque[Any] = deque()
        self._over = False

    def __iter__(self) -> Upload:
        """Return itself: the items can be read once."""
        return self

    def __next__(self) -> Any:
        """Return the next item; see :meth:`AsyncUpload.__anext__`.

        Raises:
            StopIteration: there are no more.
            CancelledError: the call was stopped.
        """
        reader = self._reader
        while not self._items:
            if self._over:
                raise StopIteration
            try:
                found = reader.take()
            except StopIteration:
                self._over = True
                raise
            if found is None:
                reader.wait_in_thread()
                continue
            message, context = found
            items = decode_items(reader.codec, message, context, on_loop=False)
            reader.advance(len(items))
            reader.consumed_in_thread(len(message.body))
            self._items.extend(items)
        reader.check()
        return reader.checked(self._items.popleft())

    def close(self) -> None:
        """Read no more."""
        self._over = True
        self._items.clear()
